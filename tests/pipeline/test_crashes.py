"""Rows that kill, hang or break their workers, and workers that are killed, on a real Ray."""

import json
from pathlib import Path

import pytest

from pipeline import Config, dub, flow
from pipeline.run import retry
from tests.films import manifest, same_pictures
from tests.poisoned import poison, two_shards

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

WORDS = {
    "raise": "internal",
    "memory": "oom",
    "exit": "crashed",
    "segfault": "crashed",
    "hang": "timeout",
    "cuda": "internal",
}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["exit"], id="sample"),
        pytest.param(list(WORDS), id="all", marks=pytest.mark.soak),
    ],
)
def test_one_poisoned_shard_a_film_passes_through_and_retry_heals_it(
    tmp_path: Path, poisoned: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ways to fail, each in the second shard of its own film; one more film is well. Both shards are in one block."""
    monkeypatch.setattr(flow, "rows_a_block", lambda _films, _pools: 2)
    rows = two_shards(tmp_path, [*words, "good"])
    poison(poisoned, {f"lips-{word}-10": word for word in words})
    settings = {"max_attempts": 1, "deadline_base_s": 30, "deadline_per_s": 0.1, "workers": 1}
    config = Config.model_validate({"encode": {"codec": "ffv1"}, "split": {"shard_s": 0.4}, "run": settings})
    path = manifest(tmp_path / "films.jsonl", *rows)
    report = dub(str(path), config, str(tmp_path / "work"), executor="ray")
    assert {film.id: film.code for film in report.all_films} == {**dict.fromkeys(words, "ok_passthrough"), "good": "ok"}
    for word in words:
        passed = report.films[word].passed_through
        assert [(told["start_s"], told["end_s"], told["code"]) for told in passed] == [(0.4, 0.8, WORDS[word])], passed
    records = [json.loads(file.read_text()) for file in (tmp_path / "work/quarantine").glob("*/*.json")]
    tries = {record["film"]: [attempt["fate"] for attempt in record["attempts"]] for record in records}
    fates = {"raise": [], "memory": [], "exit": [""], "segfault": [""], "hang": ["hung"], "cuda": ["broken"]}
    assert tries == {word: fates[word] for word in words}
    for hung in (record for record in records if record["film"] == "hang"):
        assert "sitecustomize.py" in hung["attempts"][0]["told"]  # where it slept
    assert not list((tmp_path / "work").glob("attempts/*"))

    for file in poisoned.iterdir():
        file.unlink()
    healed = retry(str(tmp_path / "work"))
    assert healed is not None
    assert {film.id: (film.code, film.shards_made) for film in healed.all_films} == dict.fromkeys(words, ("ok", 1))
    inline = [{**row, "output": f"inline/{row['id']}.mp4"} for row in rows]
    dub(str(manifest(tmp_path / "inline.jsonl", *inline)), config, str(tmp_path / "inline/work"))
    for row in rows:
        assert same_pictures(tmp_path / "out" / f"{row['id']}.mp4", tmp_path / "inline" / f"{row['id']}.mp4")
    assert not list((tmp_path / "work").glob("quarantine/*/*"))


STEPS = ["split", "faces", "cast", "crops", "lips", "composite", "mux"]


@pytest.mark.parametrize(
    ("steps", "when"),
    [
        pytest.param(["lips", "mux"], "", id="sample"),
        pytest.param(STEPS, "", id="before_its_work", marks=pytest.mark.soak),
        pytest.param(STEPS, "-after", id="before_it_tells", marks=pytest.mark.soak),
    ],
)
def test_workers_that_are_killed_once_at_every_step_cost_nothing(
    tmp_path: Path, poisoned: Path, steps: list[str], when: str
) -> None:
    """`kill -9`, each step in a film of its own."""
    rows = two_shards(tmp_path, steps, found=True)
    # The mux is called with the shard that landed last.
    poison(poisoned, {f"{step}-{step}-0{when}": "kill" for step in steps} | {f"mux-mux-10{when}": "kill"})
    config = Config.model_validate(
        {"encode": {"codec": "ffv1"}, "split": {"shard_s": 0.4}, "run": {"workers": 1, "max_attempts": 2}}
    )
    report = dub(str(manifest(tmp_path / "films.jsonl", *rows)), config, str(tmp_path / "work"), executor="ray")
    assert {film.id: film.code for film in report.all_films} == dict.fromkeys(steps, "ok")
    assert len(list(poisoned.iterdir())) <= 1  # the one of the mux that was not called
    assert not list((tmp_path / "work").glob("quarantine/*/*"))

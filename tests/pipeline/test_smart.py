"""Smart rendering through the whole flow: what is copied is the source's, and nobody else's film changes."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.plan import plan_films
from pipeline.progress import Progress
from pipeline.report import FilmReport, RunReport
from pipeline.rows import Row
from stages.arrays import U8
from stages.media.index import index_video
from stages.media.planes import Plane
from tests.clips import same, shown, times
from tests.films import BOX, film, manifest, portrait, slide, speech

SETTINGS: dict[str, object] = {"preset": "ultrafast", "render": "smart", "copy_min_s": 0.4}
FRAMES, GOP = 72, 12
SPOKEN = range(36, 48)
"""Frames with a face; before and after them are slides."""


def lecture_picture(k: int) -> U8:
    return portrait(k) if k in SPOKEN else slide(k // 24)


@pytest.fixture(scope="module")
def lecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with its dub: slides, a face, slides."""
    folder = tmp_path_factory.mktemp("lecture")
    film(folder / "a.mp4", frames=FRAMES, picture=lecture_picture, gop=GOP)
    speech(folder / "dub.wav", FRAMES / 25)
    return folder


def run(
    folder: Path,
    out: Path,
    name: str = "a.mp4",
    video: str = "a.mp4",
    more: dict[str, object] | None = None,
    **settings: object,
) -> FilmReport:
    """Dub one film into `out`, with the work folder beside it."""
    row = {"id": "a", "video": str(folder / video), "audio": str(folder / "dub.wav"), "output": str(out / name)}
    encode = {**SETTINGS, **settings.pop("encode", {})}  # type: ignore[arg-type]
    config = Config.model_validate({"encode": encode, **settings})
    return whole_run(out, config, {**row, **(more or {})}).films["a"]


def whole_run(out: Path, config: Config, row: dict[str, object]) -> RunReport:
    return dub(str(manifest(out / "films.jsonl", row)), config, str(out / "work"))


def plan_of(out: Path) -> dict[str, object]:
    [path] = (out / "work/films").glob("*/plan.json")
    loaded: dict[str, object] = json.loads(path.read_text())
    return loaded


def copied_of(out: Path) -> list[tuple[int, int]]:
    return [(s["start"], s["end"]) for s in plan_of(out)["shards"] if s["copied"]]  # type: ignore[attr-defined]


def pictures(path: Path) -> list[list[Plane]]:
    return [picture for _, picture in shown(path)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_slides_are_copied_and_the_face_is_painted(lecture: Path, tmp_path: Path, suffix: str) -> None:
    report = run(lecture, tmp_path, f"a{suffix}", split={"shard_s": 0.3})
    assert (report.code, report.message) == ("ok", "")
    assert report.frames == FRAMES
    assert report.copied == FRAMES - len(SPOKEN)
    assert copied_of(tmp_path) == [(0, 36), (48, 72)]
    assert report.shards == 2 + report.shards_made
    assert not [note for note in report.notes if "cop" in note]
    before, after = pictures(lecture / "a.mp4"), pictures(tmp_path / f"a{suffix}")
    equal = [same(a, b) for a, b in zip(before, after, strict=True)]
    assert [k for k, alike in enumerate(equal) if not alike] == list(SPOKEN)
    plan = plan_of(tmp_path)
    segments = [s for s in plan["shards"] if not s["copied"]]  # type: ignore[attr-defined]
    [folder] = (tmp_path / "work/segments").iterdir()
    painted = [picture for s in segments for picture in pictures(folder / f"{s['key']}.mp4")]
    assert all(same(a, b) for a, b in zip(painted, after[36:48], strict=True))
    if suffix == ".mp4":
        source, made = index_video(str(lecture / "a.mp4")), index_video(str(tmp_path / "a.mp4"))
        assert np.array_equal(made.pts, source.pts)
        assert made.end_pts == source.end_pts


def test_the_face_is_as_in_a_film_that_is_encoded_whole(lecture: Path, tmp_path: Path) -> None:
    run(lecture, tmp_path, "smart.mp4")
    full = run(lecture, tmp_path, "full.mp4", encode={"render": "full"})
    assert full.copied == 0
    one, other = pictures(tmp_path / "smart.mp4"), pictures(tmp_path / "full.mp4")
    for k in SPOKEN:
        apart = np.abs(one[k][0].astype(int) - other[k][0].astype(int))
        assert apart.mean() < 1.5, k
    assert not same(one[0], other[0])


def test_other_shards_copy_the_same(lecture: Path, tmp_path: Path) -> None:
    found = []
    for number, shard_s in enumerate((0.2, 600.0)):
        out = tmp_path / str(number)
        out.mkdir()
        run(lecture, out, split={"shard_s": shard_s})
        found.append(copied_of(out))
    assert found[0] == found[1] == [(0, 36), (48, 72)]


def test_resumed_it_is_the_same_film(lecture: Path, tmp_path: Path) -> None:
    first = run(lecture, tmp_path)
    wanted = pictures(tmp_path / "a.mp4")
    assert run(lecture, tmp_path).kept
    assert run(lecture, tmp_path).copied == first.copied
    (tmp_path / "a.mp4").unlink()
    again = run(lecture, tmp_path)
    assert (again.code, again.kept, again.shards_made, again.copied) == ("ok", False, 0, first.copied)
    assert all(same(a, b) for a, b in zip(wanted, pictures(tmp_path / "a.mp4"), strict=True))


def test_a_film_without_a_face_is_copied_whole(lecture: Path, tmp_path: Path) -> None:
    film(tmp_path / "slides.mp4", frames=36, picture=lambda k: slide(k // 12), gop=GOP)
    report = run(lecture, tmp_path, video=str(tmp_path / "slides.mp4"), more={"audio_longer": "trim"})
    assert (report.code, report.copied, report.shards, report.shards_made) == ("no_face", 36, 1, 0)
    assert not list((tmp_path / "work").glob("segments/*/*"))
    before, after = pictures(tmp_path / "slides.mp4"), pictures(tmp_path / "a.mp4")
    assert all(same(a, b) for a, b in zip(before, after, strict=True))
    assert times(tmp_path / "a.mp4") == times(tmp_path / "slides.mp4")


@pytest.mark.parametrize("policy", ["trim", "freeze"])
def test_a_film_of_another_length_copies_what_stays(lecture: Path, tmp_path: Path, policy: str) -> None:
    """Trimmed to 60 of 72 frames, or frozen after the last: groups that are shown as they are, are copied."""
    seconds = 60 / 25 if policy == "trim" else 80 / 25
    speech(tmp_path / "other.wav", seconds)
    column = "audio_shorter" if policy == "trim" else "audio_longer"
    report = run(lecture, tmp_path, more={"audio": str(tmp_path / "other.wav"), column: policy})
    assert report.code == "ok", report.message
    assert copied_of(tmp_path) == ([(0, 36), (48, 60)] if policy == "trim" else [(0, 36), (48, 72)])
    before, after = pictures(lecture / "a.mp4"), pictures(tmp_path / "a.mp4")
    assert len(after) == report.frames
    for start, end in copied_of(tmp_path):
        assert all(same(a, b) for a, b in zip(before[start:end], after[start:end], strict=True))


def test_smart_refuses_what_cannot_be_copied_and_auto_encodes_it(lecture: Path, tmp_path: Path) -> None:
    film(tmp_path / "old.mp4", frames=36, picture=lambda k: slide(k // 12), gop=GOP, codec="mpeg4")
    row = {"audio_longer": "trim"}
    report = run(lecture, tmp_path, video=str(tmp_path / "old.mp4"), more=row)
    assert (report.code, report.stage) == ("unsupported", "split")
    assert "only H.264 is copied" in report.message
    assert "encode.render" in report.message
    report = run(lecture, tmp_path, video=str(tmp_path / "old.mp4"), more=row, encode={"render": "auto"})
    assert (report.code, report.copied, report.shards_made) == ("no_face", 0, 1)
    assert [note for note in report.notes if "encoded in full" in note and "only H.264" in note]
    full = run(lecture, tmp_path, "b.mp4", str(tmp_path / "old.mp4"), row, encode={"render": "full"})
    assert (full.code, full.shards_made) == ("no_face", 0), "auto's segments are those of a full film"


def test_plan_says_what_smart_will_refuse(lecture: Path, tmp_path: Path) -> None:
    film(tmp_path / "old.mp4", frames=4, codec="mpeg4")
    row = {"id": "a", "audio": str(lecture / "dub.wav"), "output": "o.mp4", "audio_longer": "trim"}
    rows = [
        {**row, "video": str(tmp_path / "old.mp4")},
        {**row, "id": "b", "video": str(lecture / "a.mp4"), "output": "p.mp4"},
    ]
    path = manifest(tmp_path / "m.jsonl", *rows)
    planned = list(
        plan_films(str(path), Config.model_validate({"encode": {"render": "smart"}}), str(tmp_path / "work"))
    )
    assert "only H.264 is copied" in planned[0].problem
    assert not planned[1].problem


@pytest.mark.parametrize("render", ["smart", "auto"])
def test_a_film_that_is_painted_everywhere_is_a_full_film(lecture: Path, tmp_path: Path, render: str) -> None:
    report = run(lecture, tmp_path, more={"box": BOX}, encode={"render": render})
    assert (report.code, report.copied) == ("ok", 0)
    assert [note for note in report.notes if "no stretch without paint" in note]
    full = run(lecture, tmp_path, "b.mp4", more={"box": BOX}, encode={"render": "full"})
    assert full.shards_made == 0


def test_auto_copies_when_it_is_worth_it(lecture: Path, tmp_path: Path) -> None:
    assert run(lecture, tmp_path, encode={"render": "auto"}).copied == 60
    few = run(lecture, tmp_path, "b.mp4", encode={"render": "auto", "copy_min_s": 1.45})
    assert few.copied == 0
    assert [note for note in few.notes if "long enough" in note]


def test_frames_that_come_out_wrong_are_encoded_after_all(
    lecture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.mux import smart

    unlike, asked = smart.unlike, []

    def wrong_at_first(*arguments: object) -> object:
        asked.append(arguments[3])
        return arguments[3][:1] if len(asked) == 1 else unlike(*arguments)  # type: ignore[index, arg-type]

    monkeypatch.setattr(smart, "unlike", wrong_at_first)
    report = run(lecture, tmp_path)
    assert (report.code, report.copied, len(asked)) == ("ok", 24, 2)
    assert [note for note in report.notes if "encoded instead: 0 to 35" in note]
    before, after = pictures(lecture / "a.mp4"), pictures(tmp_path / "a.mp4")
    assert len(after) == FRAMES
    assert all(same(a, b) for a, b in zip(before[48:], after[48:], strict=True))
    for k in range(36):
        assert np.abs(before[k][0].astype(int) - after[k][0].astype(int)).mean() < 2


def test_how_much_is_copied_means_nothing_to_a_full_film(lecture: Path, tmp_path: Path) -> None:
    run(lecture, tmp_path, more={"box": BOX}, encode={"render": "full"})
    assert run(lecture, tmp_path, more={"box": BOX}, encode={"render": "full", "copy_min_s": 9.0}).kept


def test_progress_takes_copied_shards_for_done() -> None:
    from rich.console import Console

    progress = Progress(1, Console(), 1.0, clock=iter(float(k) for k in range(9)).__next__)
    progress.add(Row("film", "a", "{}", facts={"frames": 100, "cells": 0}))
    progress.add(Row("shard", "a", "{}", 0, 90, 2, code="ok", facts={"frames": 90, "copied": True}))
    progress.add(Row("shard", "a", "{}", 90, 100, 2, code="ok", facts={"frames": 10, "painted": 10}))
    line = progress.line()
    assert "shards 2/2" in line
    assert "about 0:00 left" in line


@pytest.mark.soak
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_makes_the_film_that_this_process_makes(lecture: Path, tmp_path: Path) -> None:
    """Copied shards, painted ones and the check, each in a worker of its own."""
    run(lecture, tmp_path, "inline.mp4")
    row = {"id": "a", "video": str(lecture / "a.mp4"), "audio": str(lecture / "dub.wav"), "output": "ray.mp4"}
    config = Config.model_validate({"encode": SETTINGS, "split": {"shard_s": 0.3}, "run": {"workers": 1}})
    report = dub(str(manifest(tmp_path / "m.jsonl", row)), config, str(tmp_path / "ray"), executor="ray").films["a"]
    assert (report.code, report.copied, report.message) == ("ok", 60, "")
    one, other = pictures(tmp_path / "inline.mp4"), pictures(tmp_path / "ray.mp4")
    assert len(one) == len(other) == FRAMES
    apart = [k for k, (a, b) in enumerate(zip(one, other, strict=True)) if not same(a, b)]
    assert set(apart) <= set(SPOKEN), "shards are encoded apart, copies are the source's"

"""What befalls jobs on a real head: two at one output, a driver that is killed, a model that fails everywhere.

Workers are slowed and broken by the files of a folder (tests/poison/sitecustomize.py).
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

import pytest

from tests.cluster.head import Head, ray_head
from tests.films import BOX, film, manifest, same_pictures, speech
from tests.poisoned import poison, two_shards

pytestmark = [pytest.mark.ray, pytest.mark.soak]

_Found = TypeVar("_Found")


@dataclass
class Poisoned:
    """A head with room for several runs, and the folder whose files poison its workers."""

    head: Head
    folder: Path

    def submit(self, folder: Path, name: str, work: str, *options: str) -> CompletedProcess[str]:
        """`dubline submit` of the folder's manifest, and how it ended."""
        words = ["--work", folder / work, "--submission-id", name, *options]
        words += [word for each in ("run.workers=1", "split.shard_s=0.4") for word in ("--set", each)]
        return self.head.dubline("submit", folder / "films.jsonl", *words)

    def start(self, *arguments: Any) -> Callable[[], CompletedProcess[str]]:
        """The same, beside; what is returned waits for its end."""
        ended: list[CompletedProcess[str]] = []
        thread = threading.Thread(target=lambda: ended.append(self.submit(*arguments)))
        thread.start()

        def wait() -> CompletedProcess[str]:
            thread.join()
            return ended[0]

        return wait


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Poisoned]:
    folder = tmp_path_factory.mktemp("poison")
    sick = {"PYTHONPATH": str(Path(__file__).parents[1] / "poison"), "DUBLINE_TEST_POISON": str(folder)}
    with ray_head(cpus=24, environment=sick) as head:
        yield Poisoned(head, folder)


@pytest.fixture
def cluster(started: Poisoned) -> Iterator[Poisoned]:
    """With nothing poisoned, before and after."""
    yield started
    for file in started.folder.iterdir():
        file.unlink()


def waited_for(look: Callable[[], _Found]) -> _Found:
    """What `look` finds, as soon as it finds something."""
    over = time.monotonic() + 200
    while not (found := look()):
        assert time.monotonic() < over
        time.sleep(0.05)
    return found


def codes(folder: Path, work: str) -> dict[str, str]:
    """How the films of a work folder's last run ended."""
    last = max(folder.glob(f"{work}/runs/*/report.json"))
    return {told["id"]: told["code"] for told in json.loads(last.read_text())["films"]}


def stamps(folder: Path) -> dict[Path, int]:
    """When each marker was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("work/segments/*/*.json")}


def driver_of(folder: Path) -> int:
    """Process id of the driver whose manifest is in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # over meanwhile
            words = (process / "cmdline").read_text().split("\0")
            if words[1:4] == ["-m", "pipeline", "run"] and str(folder) in " ".join(words):
                found.append(int(process.name))
    [driver] = found
    return driver


def long_film(folder: Path) -> Path:
    """A manifest of one film of 12 shards."""
    speech(folder / "dub.wav", 4.8)
    source = film(folder / "a.mp4", frames=120, gop=10)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out/a.mp4", "box": BOX}
    manifest(folder / "films.jsonl", row)
    return source


def test_of_two_runs_at_one_output_one_delivers_and_the_other_leaves_or_waits(
    cluster: Poisoned, tmp_path: Path
) -> None:
    source = long_film(tmp_path)
    poison(cluster.folder, {"composite": "wait"})
    first = cluster.start(tmp_path, "overlap-1", "work")
    waited_for(lambda: [*tmp_path.glob("out/.*.lease-1")])
    waits = cluster.start(tmp_path, "overlap-2", "work")
    waited_for(lambda: len([*tmp_path.glob("work/runs/*/job.json")]) == 2)
    leaves = cluster.submit(tmp_path, "overlap-3", "other", "--set", "run.lease_wait_s=0")
    assert leaves.returncode == 2, leaves.stdout + leaves.stderr
    assert codes(tmp_path, "other") == {"a": "held"}
    (cluster.folder / "composite").unlink()
    for one in (first(), waits()):
        assert one.returncode == 0, one.stdout + one.stderr
    made = [json.loads(path.read_text())["films"][0] for path in sorted(tmp_path.glob("work/runs/*/report.json"))]
    assert [told["shards_made"] for told in made] == [12, 0]
    assert [told["kept"] for told in made] == [False, True]
    assert "another run is at work" in str(made[1]["notes"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4"], "a film, and no leases"
    assert not same_pictures(source, tmp_path / "out/a.mp4")


def test_a_night_whose_driver_was_killed_goes_on_under_the_same_name(cluster: Poisoned, tmp_path: Path) -> None:
    long_film(tmp_path)
    poison(cluster.folder, {"composite": "slow"})
    first = cluster.start(tmp_path, "killed", "work")
    made = waited_for(lambda: len(found := stamps(tmp_path)) >= 2 and found)
    os.kill(driver_of(tmp_path), signal.SIGKILL)
    assert first().returncode == 137
    assert not [*tmp_path.glob("work/runs/*/report.json")]
    assert len(stamps(tmp_path)) < 12
    again = cluster.submit(tmp_path, "killed", "work")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "killed-2: submitted again" in again.stdout
    assert made.items() <= stamps(tmp_path).items(), "what was finished was made again"
    assert codes(tmp_path, "work") == {"a": "ok"}


def test_a_model_that_fails_everywhere_stops_the_night_and_ships_nothing(cluster: Poisoned, tmp_path: Path) -> None:
    names = [*"abcdef"]
    manifest(tmp_path / "films.jsonl", *two_shards(tmp_path, names))
    poison(cluster.folder, {"lips": "raise"})
    broken = cluster.submit(tmp_path, "broken", "work", "--set", "run.breaker_last=4")
    assert broken.returncode == 2, broken.stdout + broken.stderr
    assert "4 of the last 4 painted shards failed" in broken.stdout
    assert codes(tmp_path, "work") == dict.fromkeys(names, "internal")
    assert not [*tmp_path.glob("out/*")]
    (cluster.folder / "lips").unlink()
    mended = cluster.submit(tmp_path, "broken", "work", "--set", "run.breaker_last=4")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert codes(tmp_path, "work") == dict.fromkeys(names, "ok")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.mp4" for name in names]

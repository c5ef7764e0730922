"""Three machines, of which one is lost while it works; and a driver that is killed while they work."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from pipeline import Config, dub
from tests.films import manifest, same_pictures
from tests.poisoned import environment, poison, two_shards

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
_Found = TypeVar("_Found")


@dataclass
class Machines:
    """A cluster whose workers' steps the files of `poison` poison."""

    process: subprocess.Popen[str]
    address: str
    nodes: list[str]
    poison: Path

    def lose(self, node: str) -> None:
        """Kill a machine."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{node}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "gone\n"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("poison")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.nodes", "3"],
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Machines(process, **json.loads(process.stdout.readline()), poison=folder)
        process.communicate(timeout=60)


def start(machines: Machines, folder: Path) -> subprocess.Popen[str]:
    """`dubline run` on the cluster."""
    command = ["run", str(folder / "films.jsonl"), "--work", str(folder / "work"), "--address", machines.address]
    settings = ["encode.codec=ffv1", "split.shard_s=0.4", "run.workers=2", "run.max_attempts=2"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command, *overrides],
        env=environment(machines.poison),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(look: Callable[[], _Found], driver: subprocess.Popen[str]) -> _Found:
    """What `look` finds, as soon as it finds something; the driver must not end before."""
    while not (found := look()):
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.05)
    return found


def stamps(folder: Path) -> dict[Path, int]:
    """When each marker was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("work/segments/*/*.json")}


def at_work(folder: Path, machines: Machines) -> str:
    """A machine that can be lost and is painting."""
    for path in folder.glob("work/attempts/*/*/composite-*.json"):
        try:
            node = str(json.loads(path.read_text())["node"])
        except (FileNotFoundError, ValueError):  # done meanwhile
            continue
        if node in machines.nodes:
            return node
    return ""


@pytest.mark.soak
@pytest.mark.parametrize("driver_too", [False, True], ids=["machine", "driver_and_machine"])
def test_a_killed_driver_and_a_lost_machine_cost_only_what_they_worked_on(
    tmp_path: Path, machines: Machines, driver_too: bool
) -> None:
    names = ["a", "b", "c", "d"]
    rows = two_shards(tmp_path, names)
    path = manifest(tmp_path / "films.jsonl", *rows)
    poison(machines.poison, {"composite": "slow"})
    if driver_too:
        with start(machines, tmp_path) as first:
            wait_for(lambda: len(stamps(tmp_path)) >= 2, first)
            first.kill()
    made = stamps(tmp_path)
    assert len(made) < 2 * len(names)
    with start(machines, tmp_path) as second:
        lost = wait_for(lambda: at_work(tmp_path, machines), second)
        machines.lose(lost)
        output, _ = second.communicate(timeout=200)
    assert second.returncode == 0, output
    assert "4 of 4 films delivered" in output
    assert stamps(tmp_path).items() >= made.items()
    assert not list(tmp_path.glob("work/quarantine/*/*"))
    undisturbed = [{**row, "output": f"inline/{row['id']}.mp4"} for row in rows]
    config = Config.model_validate({"encode": {"codec": "ffv1"}, "split": {"shard_s": 0.4}})
    path = manifest(tmp_path / "inline.jsonl", *undisturbed)
    dub(str(path), config, str(tmp_path / "inline/work"))
    for name in names:
        assert same_pictures(tmp_path / f"out/{name}.mp4", tmp_path / f"inline/{name}.mp4")

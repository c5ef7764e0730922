"""A driver that is killed, and the same command again: only what had no marker is made, and the films are the same."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.films import film, manifest, same_pictures
from tests.poisoned import environment, poison, two_shards


def driver(folder: Path, poisoned: Path, output: str = "out") -> subprocess.Popen[bytes]:
    """`dubline run` in this machine's one process, lossless, in shards of ten frames."""
    settings = ["--set", "encode.codec=ffv1", "--set", "split.shard_s=0.4", "--executor", "inline"]
    command = ["run", str(folder / f"{output}.jsonl"), "--work", str(folder / f"work-{output}"), *settings]
    log = (folder / "log").open("wb")
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command], env=environment(poisoned), stdout=log, stderr=log
    )


def written(folder: Path, output: str = "out") -> dict[Path, int]:
    """Every marker, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob(f"work-{output}/segments/*/*.json")}


def test_a_driver_killed_at_every_step_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """One film, one killing after the other, before and after a step's work; the last run delivers it."""
    poisoned = tmp_path / "poison"
    [row] = two_shards(tmp_path, ["a"], found=True)
    manifest(tmp_path / "out.jsonl", row)
    deaths = ["split-a-0-after", "faces-a-0-after", "cast-a-0-after", "crops-a-0", "lips-a-0", "composite-a-0-after"]
    deaths += ["composite-a-10-after", "mux-a-10", "mux-a-10-after"]
    kept: dict[Path, int] = {}
    for death in deaths:
        poison(poisoned, {death: "kill"})
        if "mux" in death:  # called with another row when all segments are there
            poison(poisoned, {death.replace("10", "0"): "kill"})
        assert driver(tmp_path, poisoned).wait(60) == -signal.SIGKILL, death
        for file in poisoned.iterdir():
            file.unlink()
        now = written(tmp_path)
        assert now.items() >= kept.items(), death
        kept = now
    assert len(kept) == 2
    assert driver(tmp_path, poisoned).wait(60) == 0, (tmp_path / "log").read_text()
    assert written(tmp_path) == kept
    manifest(tmp_path / "whole.jsonl", {**row, "output": "whole/a.mp4"})
    assert driver(tmp_path, poisoned, "whole").wait(60) == 0
    assert same_pictures(tmp_path / "out/a.mp4", tmp_path / "whole/a.mp4")


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_twenty_kills_at_random_moments_over_ten_films(tmp_path: Path) -> None:
    """The seed is printed, so that a failure can be had again; kills fall anywhere between start and the last film."""
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    poisoned = tmp_path / "poison"
    poisoned.mkdir()
    names = [f"film{number}" for number in range(10)]
    rows = two_shards(tmp_path, names, found=True)
    for name in names:
        film(tmp_path / f"{name}.mp4", frames=60, gop=10 + names.index(name))
    for output in ("whole", "out"):
        own = [{**row, "output": f"{output}/{row['id']}.mp4", "audio_longer": "trim"} for row in rows]
        manifest(tmp_path / f"{output}.jsonl", *own)
    assert driver(tmp_path, poisoned, "whole").wait(600) == 0, (tmp_path / "log").read_text()
    [told] = tmp_path.glob("work-whole/runs/*/report.json")
    whole_s = json.loads(told.read_text())["wall_s"]
    shards = len(written(tmp_path, "whole"))
    kills = rewritten = lost = delivered = 0
    while kills < 20:
        before = written(tmp_path)
        process = driver(tmp_path, poisoned)
        while len(list(tmp_path.glob("work-out/runs/*"))) == kills:  # Python is still importing
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.01)
        # On the average a twentieth of the work, so that there is something left for the twentieth.
        time.sleep(dice.uniform(0, 2 * whole_s / 20))
        process.kill()
        if process.wait() == 0:
            break  # all was done
        kills += 1
        after = written(tmp_path)
        rewritten += sum(after.get(path) != stamp for path, stamp in before.items())
        partial = list(tmp_path.glob("work-out/segments/*/.*partial*"))
        lost = len(partial)  # never removed in between: each is one shard that was under way at a kill
        delivered = len(list(tmp_path.glob("out/*.mp4")))
    before = written(tmp_path)
    assert driver(tmp_path, poisoned).wait(600) == 0, (tmp_path / "log").read_text()
    rewritten += sum(written(tmp_path).get(path) != stamp for path, stamp in before.items())
    print(
        f"\nseed {seed}: {kills} kills over {shards} shards ({whole_s:.1f} s undisturbed), {delivered} films delivered "
        f"before the last; markers written twice: {rewritten}; segments under way at a kill: {lost}"
    )
    assert rewritten == 0
    assert lost <= kills
    for name in names:
        assert same_pictures(tmp_path / f"out/{name}.mp4", tmp_path / f"whole/{name}.mp4"), name

"""Stages land where they should: nothing on a head without CPUs, the generator at the GPU; a machine that is lost costs
no film, and one that joins works."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("lost", "films"), [("cpu", 20), ("gpu", 8)])
def test_a_lost_machine_costs_no_film_and_the_next_one_works(tmp_path: Path, lost: str, films: int) -> None:
    command = [sys.executable, "-m", "tests.cluster.placing", str(tmp_path), str(films), lost]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    # Ray has its own to say of workers that went with the machine.
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    print(f"{lost} lost: the first row of its successor after {told['back_s']:.0f} s")
    assert told["codes"] == {"ok": films}
    rows = {name: Counter(told["rows"].get(name, {})) for name in ("head", "cpu", "other", "gpu", "late")}
    assert not rows["head"]
    assert rows[lost]  # it was at work when it was lost
    with_gpu = ["gpu", "late"] if lost == "gpu" else ["gpu"]
    assert all(rows[name]["lips"] for name in with_gpu)
    assert not any(rows[name]["lips"] for name in rows if name not in with_gpu)
    assert set(rows["late"]) & {"faces", "crops", "lips", "composite"}  # actors, not only tasks

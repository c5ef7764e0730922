"""Stages land where they should: nothing on a head without CPUs, the generator at the GPU; a machine that is lost costs
no film, and one that joins works."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(600)]
_FILMS = 20


def test_a_lost_machine_costs_no_film_and_the_next_one_works(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.cluster.placing", str(tmp_path), str(_FILMS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["codes"] == {"ok": _FILMS}
    rows = {name: Counter(told["rows"].get(name, {})) for name in ("head", "cpu", "other", "gpu", "late")}
    assert not rows["head"]
    assert rows["gpu"]["lips"] >= _FILMS * 8
    assert rows["cpu"]["lips"] == rows["other"]["lips"] == rows["late"]["lips"] == 0
    assert rows["cpu"]  # it was at work when it was lost
    assert set(rows["late"]) & {"faces", "crops", "composite"}  # actors, not only tasks

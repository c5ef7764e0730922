"""docs/landmarks.md gives the costs that the code counts with."""

import re
from pathlib import Path

import pytest

from stages.crops.landmarks.costs import FRAME_MS, core_ms
from stages.crops.landmarks.settings import LandmarksSettings

PAGE = (Path(__file__).parents[2] / "docs/landmarks.md").read_text()
CORES = {
    "`five`": {"provider": "five"},
    "`onnx`": {"provider": "onnx", "weights": "pfld.onnx"},
    "`fan`, on a GPU of its own": {"provider": "fan", "device": "cuda"},
    "`dwpose`, `stride: 5`": {"provider": "dwpose", "stride": 5},
    "`fan`, `bfloat16`, `stride: 5`": {"provider": "fan", "dtype": "bfloat16", "stride": 5},
    "`fan`, every frame": {"provider": "fan"},
}


@pytest.mark.parametrize("provider", ["five", "template", "onnx", "dwpose", "fan"])
def test_every_provider_s_row_begins_with_its_cost(provider: str) -> None:
    row = re.search(rf"^\| `{provider}`.*", PAGE, re.MULTILINE)
    assert row is not None
    cost = row[0].split(" | ")[3]
    assert float(re.split("[; ]", cost)[0]) == FRAME_MS[provider]


@pytest.mark.parametrize("what", CORES)
def test_the_cores_a_gpu_needs_are_counted_right(what: str) -> None:
    row = re.search(rf"^ *\| {re.escape(what)} \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert row is not None
    settings = LandmarksSettings.model_validate(CORES[what])
    assert float(row[1]) == pytest.approx(100 * core_ms(settings) / 1000, rel=0.03)

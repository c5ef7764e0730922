"""What the settings mean for the box and the speech."""

import subprocess
import sys
from typing import Any

import pytest

from stages.crops.types import HalfFace
from stages.lips.musetalk import MuseTalkSettings


@pytest.mark.parametrize(
    ("fields", "box"),
    [
        ({}, HalfFace(0, 10 / 128, "face")),
        ({"version": "1.0"}, HalfFace(0, 0, "face")),
        ({"version": "1.0", "bbox_shift": 0.1}, HalfFace(0.1, 0, "face")),
        ({"box_unit": "px"}, HalfFace(0, 10, "px")),
        ({"box_unit": "px", "margin": 0}, HalfFace(0, 0, "px")),
        ({"version": "1.0", "box_unit": "px", "bbox_shift": -7}, HalfFace(-7, 0, "px")),
        ({"margin": 0.2}, HalfFace(0, 0.2, "face")),
    ],
)
def test_half_face(fields: dict[str, Any], box: HalfFace) -> None:
    assert MuseTalkSettings(**fields).half_face == box


@pytest.mark.parametrize(
    ("fields", "route"),
    [({}, "current"), ({"version": "1.0"}, "legacy"), ({"version": "1.0", "route": "current"}, "current")],
)
def test_speech_route(fields: dict[str, Any], route: str) -> None:
    assert MuseTalkSettings(**fields).speech_route == route


def test_version_may_be_a_number_as_yaml_has_it() -> None:
    written: Any = [1.5, 1.0, 1, "1.0"]
    assert [MuseTalkSettings(version=v).version for v in written] == ["1.5", "1.0", "1.0", "1.0"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bbox_shift": -7}, "set box_unit to px"),
        ({"margin": 10}, "set box_unit to px"),
        ({"margin": -0.1}, "margin"),
        ({"version": "1.2"}, "version"),
        ({"version": True}, "version"),
        ({"seed": -1}, "seed"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_settings_that_do_not_fit(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        MuseTalkSettings(**fields)


def test_settings_cost_no_torch_and_the_generator_no_video_library() -> None:
    code = (
        "import sys, stages.lips.musetalk.settings, stages.lips.musetalk.layout, stages.lips.musetalk as m\n"
        "assert 'torch' not in sys.modules\n"
        "m.MuseTalkGenerator\n"
        "print([m for m in ('av', 'cv2', 'ray', 'diffusers', 'transformers', 'fsspec') if m in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")

"""Which provider the settings give."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from stages.crops.landmarks.five import Five
from stages.crops.landmarks.onnx68 import Onnx68
from stages.crops.landmarks.settings import LandmarksSettings, build
from stages.crops.landmarks.template import Template
from stages.errors import DubError
from stages.weights import Weights


@pytest.mark.parametrize(("provider", "kind"), [("auto", Five), ("five", Five), ("template", Template)])
def test_the_light_providers_need_no_weights_and_no_pixels(provider, kind, tmp_path):
    landmarker = build(LandmarksSettings(provider=provider), Weights(str(tmp_path)))
    assert isinstance(landmarker, kind)
    assert not landmarker.needs_pixels
    assert LandmarksSettings(provider=provider).weights_spec is None


def test_pfld_is_built_from_its_path(weights_dir):
    settings = LandmarksSettings(provider="onnx", weights=str(weights_dir / "pfld_68.onnx"))
    landmarker = build(settings, Weights())
    assert isinstance(landmarker, Onnx68)
    assert landmarker.needs_pixels
    assert 0 < landmarker.room < 0.2


def test_onnx_without_a_file_says_what_to_set():
    with pytest.raises(DubError, match=r"landmarks\.weights") as caught:
        build(LandmarksSettings(provider="onnx"), Weights())
    assert caught.value.code == "weights_missing"


@pytest.mark.parametrize("provider", ["fan", "dwpose", "onnx"])
def test_a_missing_file_is_weights_missing(provider, tmp_path):
    settings = LandmarksSettings(provider=provider, weights=str(tmp_path / "absent.onnx"))
    with pytest.raises(DubError, match="absent") as caught:
        build(settings, Weights(str(tmp_path)))
    assert caught.value.code == "weights_missing"


def test_fan_asks_for_the_official_file_unless_told_otherwise():
    assert LandmarksSettings(provider="fan").weights_spec == "2dfan4"
    assert LandmarksSettings(provider="fan", weights="mine.pth").weights_spec == "mine.pth"


def test_the_light_providers_do_not_import_torch():
    code = "import sys, stages.crops.landmarks.settings; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_an_unknown_provider_is_refused():
    with pytest.raises(ValidationError, match="provider"):
        LandmarksSettings(provider="dlib")

"""What kept landmarks depend on, by their key, and where a network runs, settled before the workers begin."""

from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.keys import landmarks_key
from pipeline.recipe import recipe_of, settle_devices
from stages.weights import Weights


@pytest.fixture
def network(tmp_path: Path) -> str:
    (tmp_path / "network").write_bytes(b"any file: its content is what counts")
    return str(tmp_path / "network")


def key(**landmarks: object) -> str:
    return landmarks_key(Config.model_validate({"crops": {"landmarks": landmarks}}), Weights())


CHANGES = {
    "fan": {"device": "cuda", "dtype": "bfloat16", "batch_size": 3, "threads": 2},
    "dwpose": {"flip_test": True, "parity": True},
    "onnx": {"margin": 0.2, "input_px": 96},
}
"""What each network reads of the settings, and another value of it."""


@pytest.mark.parametrize("provider", CHANGES)
def test_a_setting_that_the_network_reads_makes_another_key_and_no_other_does(provider: str, network: str) -> None:
    plain = key(provider=provider, weights=network)
    changes = {name: value for own in CHANGES.values() for name, value in own.items()}
    changes |= {"stride": 7, "smooth_s": 0.3}
    changed = {
        name for name, value in changes.items() if key(provider=provider, weights=network, **{name: value}) != plain
    }
    assert changed == set(CHANGES[provider])


def test_another_network_and_another_file_make_another_key(network: str) -> None:
    keys = {key(provider=provider, weights=network) for provider in CHANGES}
    Path(network).write_bytes(b"another file")
    keys |= {key(provider=provider, weights=network) for provider in CHANGES}
    assert len(keys) == 2 * len(CHANGES)


@pytest.mark.parametrize(
    ("provider", "wanted", "gpu", "device"),
    [
        ("fan", "auto", True, "cuda"),
        ("fan", "auto", False, "cpu"),
        ("fan", "cpu", True, "cpu"),
        ("fan", "cuda", False, "cuda"),
        ("five", "auto", True, "cpu"),
    ],
)
def test_auto_is_answered_once_for_all_workers(provider: str, wanted: str, gpu: bool, device: str) -> None:
    config = Config.model_validate({"crops": {"landmarks": {"provider": provider, "device": wanted}}})
    settled, on_gpu = settle_devices(config, [recipe_of("mouthwarp", "none", config)], lambda: gpu)
    assert settled.crops.landmarks.device == device
    assert list(on_gpu) == (["crops"] if device == "cuda" else [])
    assert (settled.lips.device, settled.enhance.device) == ("cpu", "cpu")

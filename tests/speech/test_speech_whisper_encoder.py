"""The official folder loads, in every layout it is published in, and gives transformers' hidden states; all else is
refused, by name, without running what it carries."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel

from stages.arrays import F32
from stages.errors import DubError
from stages.speech.hearing import WHISPER_FILES
from stages.speech.whisper import WhisperFeatures
from stages.speech.whisper.encoder import Sizes, load, skeleton
from stages.speech.whisper.files import find
from stages.weights import REGISTRY, Weights
from tests.speech.whisper_files import TINY, shapes, state, write

MEL = np.random.default_rng(5).uniform(-1, 1.5, (80, 3000)).astype(np.float32)


def refusal(folder: Path) -> str:
    with pytest.raises(DubError) as caught:
        WhisperFeatures(folder)
    assert caught.value.code == "weights_missing"
    assert str(folder) in caught.value.message
    assert "dubline weights fetch musetalk-1.5" in caught.value.message
    return caught.value.message


def test_whisper_tinys_encoder_has_the_official_size():
    sizes = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    network = skeleton(Sizes(model_type="whisper", **sizes))
    assert sum(p.numel() for p in network.parameters()) == 8_208_384
    assert {name: tuple(p.shape) for name, p in network.state_dict().items()} == shapes(**TINY)
    assert len(shapes(**TINY)) == 67


@pytest.mark.parametrize("layout", ["safetensors", "pickle"])
@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder."])
def test_layouts_and_prefixes(layout, prefix, tmp_path: Path):
    network = load(write(tmp_path, seed=3, layout=layout, prefix=prefix))
    loaded = network.state_dict()
    wanted = state(seed=3)
    assert loaded.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(loaded[key], value), key
    assert not network.training
    assert not any(p.requires_grad or p.is_meta for p in network.parameters())


def test_the_folder_above_will_do(tmp_path: Path):
    write(tmp_path / "whisper", seed=1)
    assert torch.equal(load(tmp_path).conv1.bias, state(seed=1)["conv1.bias"])


def test_the_file_that_is_checked_comes_before_one_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "whisper", seed=1, layout="pickle")
    write(tmp_path / "whisper", seed=2, layout="safetensors")
    for name in WHISPER_FILES:
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], sha256=None))
    weights = Weights(str(tmp_path))
    folder = weights.layout(WHISPER_FILES)
    assert set(find(folder)) == {weights.path(name) for name in WHISPER_FILES}
    assert torch.equal(load(folder).conv1.bias, state(seed=1)["conv1.bias"])


def test_sizes_come_from_the_configuration(tmp_path: Path):
    features = WhisperFeatures(write(tmp_path, width=24, layers=2, heads=3, ffn=40))
    assert (features.states, features.width) == (3, 24)
    assert features.encode(MEL).shape == (1500, 3, 24)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes a whole Whisper model, small."""
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(4)
    config = WhisperConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=4,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        init_std=0.5,
        pad_token_id=50,
    )
    model = WhisperForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.encoder.layer_norm.weight, 1, 0.2)
    torch.nn.init.normal_(model.model.encoder.layer_norm.bias, 0, 0.2)
    model.save_pretrained(folder)
    return folder


def theirs(folder: Path, mel: F32) -> tuple[F32, F32]:
    """float32[1500, 5, width] and the last hidden state, by transformers."""
    encoder = WhisperModel.from_pretrained(folder, local_files_only=True).eval().encoder
    with torch.no_grad():
        out = encoder(torch.from_numpy(mel)[None], output_hidden_states=True)
    return torch.stack(out.hidden_states, dim=2)[0].numpy(), out.last_hidden_state[0].numpy()


def test_five_states_as_transformers_gives_them(official: Path):
    states, last = theirs(official, MEL)
    ours = WhisperFeatures(official).encode(MEL)
    assert ours.shape == (1500, 5, 16)
    assert np.array_equal(ours, states)
    assert np.array_equal(ours[:, 4], last)


def test_legacy_takes_the_last_state_before_the_final_norm(official: Path):
    features = WhisperFeatures(official)
    current, legacy = features.encode(MEL), features.encode(MEL, "legacy")
    assert np.array_equal(legacy[:, :4], current[:, :4])
    norm = load(official).layer_norm
    normed = norm(torch.from_numpy(legacy[:, 4])).numpy()
    np.testing.assert_allclose(normed, current[:, 4], atol=1e-6)
    assert np.abs(legacy[:, 4] - current[:, 4]).mean() > 0.1
    assert np.array_equal(features.encode(MEL), current), "and leaves no trace"


def test_a_state_does_not_depend_on_the_callers_threads(tmp_path: Path):
    features = WhisperFeatures(write(tmp_path), threads=1)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(features.encode(MEL))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert np.array_equal(*results)


@pytest.mark.parametrize("mel", [MEL[:, :2999], MEL.astype(np.float64), MEL[:79]])
def test_a_mel_of_another_shape_is_refused(mel, tmp_path: Path):
    with pytest.raises(ValueError, match="float32"):
        WhisperFeatures(write(tmp_path, layers=1)).encode(mel)


def test_missing_files(tmp_path: Path):
    assert "config.json" in refusal(tmp_path / "nowhere")
    write(tmp_path / "no weights")
    (tmp_path / "no weights" / "model.safetensors").unlink()
    assert "no such file" in refusal(tmp_path / "no weights")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_type": "bert"}, "model_type"),
        ({"num_mel_bins": 128}, "num_mel_bins"),
        ({"max_source_positions": 3000}, "max_source_positions"),
        ({"d_model": 10**9}, "d_model"),
        ({"d_model": "384"}, "d_model"),
        ({"encoder_layers": 10**9}, "encoder_layers"),
        ({"encoder_attention_heads": 3}, "3 heads cannot share"),
        ({"activation_function": "relu"}, "activation_function"),
        ({"encoder_ffn_dim": 64}, "weights of another network"),
        ({"encoder_layers": 3}, "15 unknown: layers.3."),
        ({"encoder_layers": 5}, "15 missing: layers.4."),
    ],
)
def test_configuration_of_something_else(change, what, tmp_path: Path):
    path = write(tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert what in refusal(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"whisper"', '{"model_type": "whisper"}', "\x80\x02"])
def test_no_configuration(content, tmp_path: Path):
    (write(tmp_path) / "config.json").write_text(content)
    assert "config.json: this is no configuration of Whisper" in refusal(tmp_path)


CHANGES: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "one missing": (lambda s: s.pop("model.encoder.layers.2.fc1.bias"), "1 missing: layers.2.fc1.bias"),
    "one too many": (lambda s: s.update({"model.encoder.extra": torch.ones(1)}), "1 unknown: extra"),
    "another shape": (
        lambda s: s.update({"model.encoder.conv1.bias": torch.ones(17)}),
        "conv1.bias is (17,) instead of (16,)",
    ),
    "not a number": (lambda s: s["model.encoder.conv2.weight"].fill_(torch.nan), "conv2.weight holds values"),
    "integers": (lambda s: s.update({"model.encoder.conv1.bias": torch.ones(16, dtype=torch.int64)}), "conv1.bias"),
    "a decoder alone": (lambda s: [s.pop(k) for k in list(s) if ".encoder." in k], "no Whisper encoder"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_of_something_else(change, tmp_path: Path):
    path = write(tmp_path) / "model.safetensors"
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    CHANGES[change][0](tensors)
    save_file(tensors, path)
    assert CHANGES[change][1] in refusal(tmp_path)


class Payload:
    """Unpickled naively, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("old", [True, False])
def test_payload_does_not_run(old, tmp_path: Path):
    trace = tmp_path / "was-here"
    path = write(tmp_path / "evil", layout="pickle") / "pytorch_model.bin"
    torch.save({"model.encoder.conv1.bias": Payload(trace)}, path, _use_new_zipfile_serialization=not old)
    assert "holds more than weights" in refusal(tmp_path / "evil")
    assert not trace.exists()


def test_half_precision_is_read_as_float32(tmp_path: Path):
    path = write(tmp_path) / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(path).items()}, path)
    network = load(tmp_path)
    assert network.conv1.weight.dtype == torch.float32
    assert torch.equal(network.conv1.weight, state()["conv1.weight"].half().float())


def test_without_transformers_the_install_command_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "stages.speech.whisper.encoder")
    with pytest.raises(DubError, match=r"pip install 'dubline\[musetalk\]'") as caught:
        WhisperFeatures(write(tmp_path))
    assert caught.value.code == "unsupported"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path):
    write(tmp_path)
    with pytest.raises(DubError, match="no GPU") as caught:
        WhisperFeatures(tmp_path, "cuda")
    assert caught.value.code == "unsupported"
    assert WhisperFeatures(tmp_path, "auto").device == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("route", ["current", "legacy"])
def test_a_gpu_gives_the_states_of_the_cpu(route, tmp_path: Path):
    write(tmp_path, **TINY)
    gpu = WhisperFeatures(tmp_path, "cuda")
    states = gpu.encode(MEL, route)
    assert np.array_equal(states, gpu.encode(MEL, route))
    np.testing.assert_allclose(states, WhisperFeatures(tmp_path).encode(MEL, route), atol=1e-3, rtol=1e-3)


def test_telling_dubs_apart_loads_neither_torch_nor_transformers():
    # Keys are made in workers that have no use for the 500 MB.
    script = """
import sys, numpy as np
from stages.speech.samples import Samples
from stages.speech.whisper import WhisperFeatures, WhisperWindows
for route in ("current", "legacy"):
    WhisperWindows(Samples(np.zeros(16000, np.float32)), None, route).heard_digest(np.zeros(1))
sys.exit(bool({"torch", "transformers"} & sys.modules.keys()))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

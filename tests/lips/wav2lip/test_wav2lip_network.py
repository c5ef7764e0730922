"""The layers against the numbers of wav2lip.md 8.1, in float64 like they were made."""

import pytest
import torch
from torch import Tensor

from stages.lips.wav2lip.network import ENTRIES, PARAMETERS, Wav2Lip
from tests.lips.wav2lip.checkpoints import filled, u


@pytest.fixture(scope="module")
def network() -> Wav2Lip:
    with torch.device("meta"):
        net = Wav2Lip()
    net.load_state_dict(filled(torch.float64), assign=True)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def mel() -> Tensor:
    return torch.from_numpy(4 * u(80 * 16, 900)).reshape(1, 1, 80, 16)


@pytest.fixture(scope="module")
def face() -> Tensor:
    return torch.from_numpy(0.5 + 0.5 * u(6 * 96 * 96, 901)).reshape(1, 6, 96, 96)


def test_entries_and_parameters() -> None:
    with torch.device("meta"):
        net = Wav2Lip()
    assert len(net.state_dict()) == ENTRIES == 352
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS == 36_298_035


def test_names_come_in_the_official_order() -> None:
    with torch.device("meta"):
        names = list(Wav2Lip().state_dict())
    groups = list(dict.fromkeys(name.split(".")[0] for name in names))
    assert groups == ["face_encoder_blocks", "audio_encoder", "face_decoder_blocks", "output_block"]
    assert names[:7] == [
        f"face_encoder_blocks.0.0.conv_block.{suffix}"
        for suffix in (
            "0.weight",
            "0.bias",
            "1.weight",
            "1.bias",
            "1.running_mean",
            "1.running_var",
            "1.num_batches_tracked",
        )
    ]
    assert names[-2:] == ["output_block.1.weight", "output_block.1.bias"]


def test_picture(network: Wav2Lip, mel: Tensor, face: Tensor) -> None:
    y = network(mel, face)
    assert y.mean().item() == pytest.approx(0.500713066, abs=2e-9)
    assert y.std(correction=0).item() == pytest.approx(0.015761992, abs=2e-9)
    assert y.min().item() == pytest.approx(0.467321129, abs=2e-9)
    assert y.max().item() == pytest.approx(0.537240375, abs=2e-9)
    samples = [y[0, 0, 0, 0], y[0, 1, 50, 40], y[0, 2, 95, 95], y[0, 0, 70, 48]]
    assert [s.item() for s in samples] == pytest.approx([0.517424862, 0.498608404, 0.476675833, 0.515677394], abs=2e-9)


def test_speech_code(network: Wav2Lip, mel: Tensor) -> None:
    code = network.encode_speech(mel)
    assert code.shape == (1, 512, 1, 1)
    assert code.mean().item() == pytest.approx(0.052411985, abs=2e-9)
    assert code.std(correction=0).item() == pytest.approx(0.079205375, abs=2e-9)
    assert code.min().item() == 0
    assert code.max().item() == pytest.approx(0.906412930, abs=2e-9)
    assert code[0, 511].item() == pytest.approx(0.106536480, abs=2e-9)


def test_skips(network: Wav2Lip, face: Tensor) -> None:
    skips = network.encode_face(face)
    assert [s.shape[1] for s in skips] == [16, 32, 64, 128, 256, 512, 512]
    assert [s.shape[2] for s in skips] == [96, 48, 24, 12, 6, 3, 1]
    means = [skips[i].mean().item() for i in (0, 3, 6)]
    assert means == pytest.approx([0.144118275, 0.132327056, 0.052933210], abs=2e-9)
    corners = [skips[i][0, 0, 0, 0].item() for i in (0, 3, 6)]
    assert corners == pytest.approx([0.062153603, 0.291172227, 0.877535499], abs=2e-9)


def test_halves_of_the_face_input_cannot_be_swapped_unnoticed(network: Wav2Lip, mel: Tensor, face: Tensor) -> None:
    swapped = torch.cat((face[:, 3:], face[:, :3]), dim=1)
    difference = (network(mel, swapped) - network(mel, face)).abs().max().item()
    assert difference == pytest.approx(0.0211, abs=5e-5)

"""Pictures in, classes out: as the layers say, whatever they come along with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.arrays import U8
from stages.errors import DubError
from stages.lips.parsing import checkpoint
from stages.lips.parsing.network import full_size
from stages.lips.parsing.parser import MEAN_RGB, STD_RGB, FaceParser, network_input
from stages.lips.parsing.settings import ParsingSettings


@pytest.fixture(scope="module")
def parser(parser_file: Path) -> FaceParser:
    return FaceParser(parser_file, batch_size=2, threads=1)


@pytest.fixture(scope="module")
def whole(parser: FaceParser, pictures: U8) -> U8:
    return parser.classes(pictures)


def test_classes_are_those_of_the_layers_as_trained(whole: U8, parser_file: Path, pictures: U8) -> None:
    """Folding and memory layout change rounding: only pixels on the line between two classes may differ."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN_RGB, STD_RGB))
    with torch.inference_mode():
        small = checkpoint.network(parser_file)(network_input(torch.from_numpy(pictures[:1]), mean, std))
        scores = full_size(small, 512, 512)[0]
    theirs = scores.argmax(0).numpy()
    assert len(np.unique(theirs)) >= 5
    assert whole.dtype == np.uint8
    assert whole.shape == (3, 512, 512)
    best, second = scores.topk(2, dim=0).values
    clear = (best - second).numpy() > 1e-4 * float(scores.abs().max())
    assert clear.mean() > 0.999
    assert np.array_equal(whole[0][clear], theirs[clear])


def test_grouping_and_order_leave_no_trace(parser: FaceParser, whole: U8, pictures: U8) -> None:
    assert np.array_equal(parser.classes(pictures[2:]), whole[2:])
    assert np.array_equal(parser.classes(pictures[1::-1]), whole[1::-1])


def test_no_pictures(parser: FaceParser) -> None:
    assert parser.classes(np.zeros((0, 512, 512, 3), np.uint8)).shape == (0, 512, 512)


def test_bfloat16_parses_nearly_the_same(whole: U8, parser_file: Path, pictures: U8) -> None:
    near = FaceParser(parser_file, dtype="bfloat16", batch_size=1, threads=1).classes(pictures[:1])
    assert 0.8 < (near[0] == whole[0]).mean() <= 1


@pytest.fixture
def failing(parser: FaceParser) -> Iterator[Callable[[int, Exception], FaceParser]]:
    """The parser, failing for steps of more pictures than asked."""
    handles = []

    def make(above: int, error: Exception) -> FaceParser:
        def act(_: object, inputs: Any) -> None:
            if len(inputs[0]) > above:
                raise error

        handles.append(parser._network.register_forward_pre_hook(act))
        return parser

    yield make
    for handle in handles:
        handle.remove()
    parser._batches.size = 2


def test_out_of_memory_halves_the_batch_and_goes_on(
    failing: Callable[[int, Exception], FaceParser], whole: U8, pictures: U8
) -> None:
    short = failing(1, torch.OutOfMemoryError("CUDA out of memory"))
    assert (short.classes(pictures[:1]) == whole[:1]).mean() > 0.999
    assert short.batch_size == 1
    assert short.notes == ["face parser batch 1 instead of 2: out of memory"]


def test_no_memory_for_a_single_picture(failing: Callable[[int, Exception], FaceParser], pictures: U8) -> None:
    with pytest.raises(DubError, match="face parser cannot fit") as caught:
        failing(0, torch.OutOfMemoryError("CUDA out of memory")).classes(pictures[:1])
    assert caught.value.code == "oom"


def test_scores_that_overflow_are_no_classes(parser: FaceParser, pictures: U8) -> None:
    def spoil(_: object, __: object, scores: torch.Tensor) -> torch.Tensor:
        return scores * torch.inf

    handle = parser._network.register_forward_hook(spoil)
    with pytest.raises(DubError, match="not finite") as caught:
        parser.classes(pictures[:1])
    handle.remove()
    assert caught.value.code == "internal"


@pytest.mark.parametrize(
    "pictures",
    [np.zeros((1, 256, 256, 3), np.uint8), np.zeros((1, 512, 512, 3), np.float32), np.zeros((512, 512, 3), np.uint8)],
)
def test_inputs_of_another_shape_are_named(pictures: Any, parser: FaceParser) -> None:
    with pytest.raises(ValueError, match="pictures must be"):
        parser.classes(pictures)


def test_absent_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DubError, match="sees no GPU") as caught:
        FaceParser(tmp_path / "unread.pth", device="cuda")
    assert caught.value.code == "unsupported"


def test_settings_reach_the_parser(parser_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = ParsingSettings(dtype="bfloat16", batch_size=3, threads=5)
    made = FaceParser.from_settings(settings, parser_file, "auto")
    assert (made.device, made.batch_size, made._threads) == ("cpu", 3, 5)
    assert made._network.cp.resnet.conv1.weight.dtype == torch.bfloat16
    assert made._network.conv_out.conv_out.weight.dtype == torch.float32


@pytest.mark.gpu
def test_a_gpu_parses_as_the_cpu_does(parser_file: Path, whole: U8, pictures: U8) -> None:
    ours = FaceParser(parser_file, device="cuda", batch_size=2).classes(pictures)
    assert (ours == whole).mean() > 0.999

"""The folders of these tests: small, written once a session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.arrays import F32, U8
from stages.lips.musetalk import MuseTalkGenerator
from tests.lips.musetalk import checkpoints


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine a second thread costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of `behaves` or `random`."""
    folder = tmp_path_factory.mktemp("musetalk")

    def of(weights: str) -> Path:
        if not (folder / weights).exists():
            checkpoints.write(folder / weights, weights=weights)
        return folder / weights

    return of


@pytest.fixture(scope="session")
def generator(folders: Callable[[str], Path]) -> MuseTalkGenerator:
    """Float32 on the CPU, weights `random`, two frames a step."""
    return MuseTalkGenerator(folders("random"), batch_size=2, threads=1)


@pytest.fixture(scope="session")
def stack() -> tuple[U8, F32]:
    """Five crops, noisy and smooth by turns, and five speech windows."""
    random = np.random.default_rng(256)
    crops = random.integers(0, 256, (5, 256, 256, 3), dtype=np.uint8)
    crops[::2] = crops[::2, ::32, ::32].repeat(32, axis=1).repeat(32, axis=2)
    speech = random.standard_normal((5, 50, 384)).astype(np.float32)
    return crops, speech


@pytest.fixture(scope="session")
def whole(generator: MuseTalkGenerator, stack: tuple[U8, F32]) -> U8:
    """What `generator` makes of the whole stack."""
    return generator.generate(*stack)

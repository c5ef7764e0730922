"""The checkpoints of these tests: 145 MB each, written once a session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.arrays import F32, U8
from stages.lips.wav2lip import Wav2LipGenerator
from tests.lips.wav2lip import checkpoints


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Loading and comparing on one thread: on a busy machine a second one costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """The file of `filled`, `spread` or `behaves`."""
    folder = tmp_path_factory.mktemp("wav2lip")
    made: dict[str, Path] = {}

    def of(weights: str) -> Path:
        if weights not in made:
            made[weights] = checkpoints.write(folder / f"{weights}.pth", weights)
        return made[weights]

    yield of
    for path in made.values():
        path.unlink()


@pytest.fixture(scope="session")
def eager(checkpoint_files: Callable[[str], Path]) -> Wav2LipGenerator:
    """The layers as they are trained, weights `spread`: what the faster ways are compared with."""
    return Wav2LipGenerator(checkpoint_files("spread"), mode="parity", batch_size=2, threads=1)


@pytest.fixture(scope="session")
def stack() -> tuple[U8, F32]:
    """Six crops, noisy and smooth by turns, and six speech windows."""
    random = np.random.default_rng(96)
    crops = random.integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)
    crops[::2] = crops[::2, ::12, ::12].repeat(12, axis=1).repeat(12, axis=2)
    speech = random.uniform(-4, 4, (6, 80, 16)).astype(np.float32)
    return crops, speech

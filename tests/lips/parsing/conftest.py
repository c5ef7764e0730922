"""The checkpoint of these tests: 53 MB, written once a session."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stages.arrays import U8
from tests.lips.parsing import checkpoints


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Loading and comparing on one thread: on a busy machine a second one costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def parser_state() -> checkpoints.State:
    return checkpoints.sees()


@pytest.fixture(scope="session")
def parser_file(parser_state: checkpoints.State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = checkpoints.write(tmp_path_factory.mktemp("parsing") / "79999_iter.pth", parser_state)
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def pictures() -> U8:
    """Three pictures of soft coloured spots: uint8 [3, 512, 512, 3]."""
    random = np.random.default_rng(512)
    spots = [cv2.resize(random.uniform(0, 256, (9, 9, 3)), (512, 512), interpolation=cv2.INTER_CUBIC) for _ in range(3)]
    return np.clip(np.stack(spots), 0, 255).astype(np.uint8)

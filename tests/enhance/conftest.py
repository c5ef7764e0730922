"""The checkpoints of these tests, 6 MB each, written once a session."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.arrays import U8
from stages.enhance.restorer import GfpganRestorer
from tests.enhance import checkpoints
from tests.faces.portraits import astronaut


@pytest.fixture(scope="session")
def gfpgan_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of `filled` or `behaves`, narrow."""
    folder = tmp_path_factory.mktemp("gfpgan")

    def of(weights: str) -> Path:
        path = folder / f"{weights}.pth"
        return path if path.exists() else checkpoints.write(path, weights)

    return of


@pytest.fixture(scope="session")
def behaving(gfpgan_files: Callable[[str], Path]) -> GfpganRestorer:
    return GfpganRestorer(gfpgan_files("behaves"), batch_size=2)


@pytest.fixture(scope="session")
def faces() -> U8:
    """Three faces, uint8 [3, 512, 512, 3] BGR, the last with the whole range from black to white."""
    portrait = astronaut()
    wide = portrait[62:177, 166:281]
    ramp = np.tile(np.linspace(0, 255, 512).astype(np.uint8)[:, None, None], (1, 512, 3))
    return np.stack([portrait, cv2.resize(wide, (512, 512), interpolation=cv2.INTER_CUBIC), ramp])

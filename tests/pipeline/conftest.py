"""What the tests of the flow share: one Ray, one Wav2Lip checkpoint."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lips.wav2lip.checkpoints import write


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for every test that needs one."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def wav2lip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the official layout whose mouth follows the speech."""
    return write(tmp_path_factory.mktemp("weights") / "wav2lip.pth", "behaves")

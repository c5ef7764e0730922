"""Where the tests find what is not part of the project: real weights and real clips, both optional."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no defect; what hangs ends by pytest's own timeout.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

_ROOT = Path(__file__).resolve().parent.parent


def _outside_folder(variable: str, name: str) -> Path:
    """The folder in `variable`, else `../shared/<name>` beside the repository; without either, a skip."""
    given = os.environ.get(variable)
    folder = Path(given) if given else _ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"no {name}: set {variable} to a folder that has them ({folder} is not one)")
    return folder.resolve()


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Folder of real weights, $DUBLINE_TEST_WEIGHTS or ../shared/weights."""
    return _outside_folder("DUBLINE_TEST_WEIGHTS", "weights")


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Folder of real clips, $DUBLINE_TEST_MEDIA or ../shared/media."""
    return _outside_folder("DUBLINE_TEST_MEDIA", "media")

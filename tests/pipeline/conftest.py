"""What the tests of the flow share: one Ray, one set of checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.connect import WORKERS_STAY
from tests.lips.wav2lip.checkpoints import write
from tests.pipeline import models
from tests.poisoned import environment


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One local Ray for every test that needs one. The files of this folder poison its workers' steps."""
    import ray

    folder = tmp_path_factory.mktemp("poison")
    with pytest.MonkeyPatch.context() as patch:  # workers have the environment that Ray is started with
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        told = {"metrics_report_interval_ms": 1000, **WORKERS_STAY}
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init("local", num_cpus=4, _system_config=told, **quiet)
    yield folder
    ray.shutdown()


@pytest.fixture
def poisoned(ray_cluster: Path) -> Iterator[Path]:
    """The folder whose files poison the workers; empty before and after."""
    yield ray_cluster
    for file in ray_cluster.iterdir():
        file.unlink()


@pytest.fixture(scope="session")
def wav2lip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the official layout whose mouth follows the speech."""
    return write(tmp_path_factory.mktemp("weights") / "wav2lip.pth", "behaves")


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `tests.pipeline.models`."""
    return models.write(tmp_path_factory.mktemp("models"))


@pytest.fixture
def stages_on_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The stages that were given workers on Ray."""
    from ray.data import Dataset

    made: list[str] = []
    map_batches = Dataset.map_batches

    def told(self: Any, *arguments: Any, **options: Any) -> Any:
        if "fn_constructor_kwargs" in options:
            made.append(options["fn_constructor_kwargs"]["kind"].name)
        return map_batches(self, *arguments, **options)

    monkeypatch.setattr(Dataset, "map_batches", told)
    return made

"""What the driver settles of a config before workers, which have a folder of their own, get it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline import run
from pipeline.config import Config
from stages.settings import Settings


def value(settings: BaseModel, path: tuple[str, ...]) -> str | None:
    for name in path:
        settings = getattr(settings, name)
    return settings  # type: ignore[return-value]


def with_value(path: tuple[str, ...], given: str) -> Config:
    tree: object = given
    for name in reversed(path):
        tree = {name: tree}
    return Config.model_validate(tree)


def named_weights(model: type[BaseModel], *above: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield from named_weights(kind, *above, name)
        elif name.endswith("weights"):
            yield (*above, name)


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("path", named_weights(Config), ids=".".join)
def test_weights_of_every_network_are_found_from_a_workers_folder(
    path: tuple[str, ...], folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "models/mine"
    there.mkdir(parents=True) if folder else there.parent.mkdir()
    if not folder:
        there.write_bytes(b"any")
    assert value(run._settled(with_value(path, "models/mine")), path) == str(there)


@pytest.mark.parametrize("path", named_weights(Config), ids=".".join)
def test_a_name_of_the_registry_stays_one_beside_a_file_of_that_name(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gfpgan-1.4").mkdir()
    assert value(run._settled(with_value(path, "gfpgan-1.4")), path) == "gfpgan-1.4"
    assert value(run._settled(with_value(path, "memory://bucket/x.pth")), path) == "memory://bucket/x.pth"

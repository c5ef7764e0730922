"""Every setting is documented, and docs/settings.md is what the code says."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.config import Config, load_config
from pipeline.settings_page import page


def undocumented(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of fields without a docstring."""
    found = []
    for name, field in model.model_fields.items():
        if not field.description:
            found.append(prefix + name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += undocumented(kind, f"{prefix}{name}.")
    return found


def test_every_setting_says_what_it_is() -> None:
    assert undocumented(Config) == []


def test_the_settings_page_is_current() -> None:
    assert Path("docs/settings.md").read_text() == page(), "run: python -m pipeline.settings_page > docs/settings.md"


@pytest.mark.parametrize("preset", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_are_valid(preset: Path) -> None:
    assert load_config(preset) != Config()

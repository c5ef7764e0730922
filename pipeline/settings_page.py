"""docs/settings.md out of the settings themselves: `python -m pipeline.settings_page > docs/settings.md`."""

import sys
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import Config

_HEAD = """# Settings

Made from the code by `python -m pipeline.settings_page > docs/settings.md`. A YAML file holds them by section
(`--config`), `--set section.name=value` changes one.
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(sections("", Config)) + "\n"


def sections(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """Lines of one table of settings a model: what it has itself, then each model in it."""
    own = {name: field for name, field in model.model_fields.items() if _nested(field) is None}
    if own:
        yield f"\n## {prefix.rstrip('.') or 'top level'}\n"
        yield "| setting | default | what it is |"
        yield "|---|---|---|"
        for name, field in own.items():
            yield f"| `{prefix}{name}` | `{_default(field)}` | {_told(field)} |"
    for name, field in model.model_fields.items():
        nested = _nested(field)
        if nested is not None:
            yield from sections(f"{prefix}{name}.", nested)


def _nested(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _default(field: FieldInfo) -> str:
    value = field.default
    return "" if value is None else str(list(value) if isinstance(value, tuple) else value)


def _told(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    return (f"one of {', '.join(f'`{choice}`' for choice in choices)}. " if choices else "") + text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())

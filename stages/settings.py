"""Base of every stage's settings: frozen, strict, documented field by field."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of one stage. The docstring under a field is its help text, in the CLI and in docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def digest(*parts: Any) -> str:
    """20 hex digits over JSON-able parts: the `H(...)` of the work folder's keys (design section 4).

    The same parts give the same key in every process and on every machine; settings are hashed by value.
    """
    plain = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]

"""What travels between the steps: one flat Arrow schema, one small class."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("film", pa.string()),
        ("job", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("count", pa.int64()),
        ("key", pa.string()),
        ("ready", pa.bool_()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("stage", pa.string()),
        ("facts", pa.string()),
        # large: a block of binary beyond 2 GiB overflows 32-bit offsets (reference ray.md 3.1)
        ("payload", pa.large_binary()),
    ]
)
"""No column is ever null: types inferred block by block would differ."""

Kind = Literal["film", "cell", "shard"]
PAINTING: Final = ("crops", "lips", "enhance", "composite")
"""Stages of a shard on its way to a segment. Without them it has a picture all the same: the source's."""


@dataclass(frozen=True)
class Row:
    """One film, cell or shard on its way."""

    kind: Kind
    film: str
    """The film's id."""
    job: str
    """JSON of `pipeline.job.Job`: what every step must know of the film."""
    start: int = 0
    """First frame of the cell or shard."""
    end: int = 0
    """The frame after the last one."""
    count: int = 0
    """How many cells or shards the film has in all."""
    key: str = ""
    """The shard's key."""
    ready: bool = False
    """This row completes a fan-in: all cells (then cast) or all segments (then mux) of its film are there."""
    code: str = ""
    """Empty while under way; else how the row ended (`stages.errors.CODES`)."""
    message: str = ""
    """What went wrong and what to do."""
    stage: str = ""
    """Where it went wrong."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For the report: seconds per stage under `s`, counts."""
    payload: bytes = b""
    """`stages.crops.types.FaceStack`, bounded; empty where there are no pixels to carry."""

    @property
    def waits(self) -> bool:
        """Whether this is a shard still without a segment."""
        return self.kind == "shard" and not self.ready and not self.code

    @property
    def failed(self) -> bool:
        """Whether the row goes on only to be reported."""
        return self.code not in ("", "ok", "ok_passthrough", "no_face")

    def with_facts(self, **facts: Any) -> "Row":
        """The row with more facts."""
        return replace(self, facts={**self.facts, **facts})

    def to_dict(self) -> dict[str, Any]:
        """Columns of `SCHEMA`."""
        return {
            **{name: getattr(self, name) for name in SCHEMA.names},
            "facts": json.dumps(self.facts),
        }

    @classmethod
    def from_dict(cls, columns: Mapping[str, Any]) -> "Row":
        """From the columns of `SCHEMA`."""
        return cls(**{**columns, "facts": json.loads(columns["facts"])})


BLOCK = pa.schema([("rows", pa.list_(pa.struct(list(SCHEMA))))])
"""What Ray Data sees: a block is one row of its own, with some of ours in it."""
MOST_BYTES: Final = 128 * 2**20
"""Of pixels in a block, about: Ray Data's own default. What is read, sent and kept is whole blocks."""


def pack(rows: Iterable[Row], most: int) -> Iterator[pa.Table]:
    """Blocks of up to `most` rows, each as soon as it is full."""
    some, size = list[Row](), 0
    for row in rows:
        some.append(row)
        size += len(row.payload)
        if len(some) == most or size >= MOST_BYTES:
            yield _block(some)
            some, size = [], 0
    if some:
        yield _block(some)


def unpack(block: pa.Table) -> Iterator[Row]:
    """The rows of a block, one after the other: the pixels of one at a time are copied out of it."""
    for chunk in block["rows"].chunks:
        for columns in chunk.flatten():
            yield Row.from_dict(columns.as_py())


def _block(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist([{"rows": [row.to_dict() for row in rows]}], schema=BLOCK)

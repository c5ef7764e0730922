"""What travels between the steps."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import rows
from pipeline.rows import Row, pack, unpack


def test_a_row_survives_arrow() -> None:
    row = Row("shard", "a", "{}", 3, 9, 2, "key", True, facts={"s": {"lips": 1.5}}, payload=b"\0\1")
    (block,) = pack([row, Row("film", "b", "{}")], 2)
    assert block.num_rows == 1  # to Ray Data: what it never takes apart
    assert list(unpack(block)) == [row, Row("film", "b", "{}")]


@given(payloads=st.lists(st.integers(0, 40), max_size=30), most=st.integers(1, 7))
def test_blocks_hold_every_row_once_in_order_and_no_more_than_they_may(payloads: list[int], most: int) -> None:
    made = [Row("shard", f"{n}", "{}", payload=bytes(size)) for n, size in enumerate(payloads)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "MOST_BYTES", 50)
        blocks = [list(unpack(block)) for block in pack(made, most)]
    assert [row for block in blocks for row in block] == made
    for block in blocks:
        assert 1 <= len(block) <= most
        assert sum(len(row.payload) for row in block[:-1]) < 50
    for block in blocks[:-1]:  # none is sent before it is full
        assert len(block) == most or sum(len(row.payload) for row in block) >= 50


def test_a_full_block_leaves_before_the_next_row_is_made() -> None:
    taken: list[int] = []

    def making() -> Iterator[Row]:
        for number in range(4):
            taken.append(number)
            yield Row("shard", f"{number}", "{}")

    blocks = pack(making(), 2)
    next(blocks)
    assert taken == [0, 1]


def test_blocks_that_were_joined_and_sliced_without_a_copy_have_their_own_rows() -> None:
    made = [Row("shard", f"{number}", "{}", payload=bytes([number])) for number in range(6)]
    joined = pa.concat_tables(pack(made, 2))
    for table in (joined, joined.combine_chunks()):  # in three chunks, and in one
        assert list(unpack(table)) == made
        assert list(unpack(table.slice(1, 1))) == made[2:4]
        assert not list(unpack(table.slice(1, 0)))

"""How far a run plans ahead of what it delivers."""

import gc
from pathlib import Path

import pytest
from ray.data.block import BlockStats

from pipeline.ahead import FilmsUnderWay
from pipeline.flow import rows_a_block
from pipeline.pools import Pool
from pipeline.rows import Row
from tests.bench import bench_many


def ended(film: str) -> Row:
    return Row("film", film, "", code="ok")


def test_so_many_films_may_always_be_under_way_and_more_only_while_workers_lack_rows() -> None:
    films = FilmsUnderWay(always=2, workers=3)
    assert films.may_begin(0, 0, idle=True)
    assert films.may_begin(1, 100, idle=False)
    assert not films.may_begin(2, 6, idle=False)
    assert films.may_begin(2, 5, idle=False)


def test_a_film_that_ended_makes_room_however_it_ended_and_once() -> None:
    films = FilmsUnderWay(always=1, workers=1)
    for row in (ended("a"), Row("shard", "b", "", code="internal", stage="lips"), Row("cell", "c", "", code="oom")):
        films.add(row)
        films.add(row)
    assert not films.may_begin(4, 2, idle=False)
    assert films.may_begin(3, 2, idle=False)


def test_films_whose_rows_were_lost_do_not_hold_up_the_others_for_ever() -> None:
    films = FilmsUnderWay(always=2, workers=0)
    assert not films.may_begin(2, 0, idle=False)
    assert films.may_begin(2, 0, idle=True)
    assert films.may_begin(3, 0, idle=False)
    assert not films.may_begin(4, 0, idle=False)


def test_what_waits_is_told_in_blocks() -> None:
    films = FilmsUnderWay(always=0, workers=6, rows_a_block=8)
    assert films.may_begin(0, 1, idle=False)
    assert not films.may_begin(0, 2, idle=False)


@pytest.mark.parametrize(("films", "workers", "rows"), [(1, 4, 1), (40, 4, 5), (10_000, 4, 16), (10_000, 1000, 5)])
def test_shards_travel_together_only_where_that_leaves_every_worker_many_blocks(
    films: int, workers: int, rows: int
) -> None:
    pools = {"crops": Pool(1.0, 0.0, 1, workers), "lips": Pool(1.0, 1.0, 1, 1)}
    assert rows_a_block(films, pools) == rows


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(600)
@pytest.mark.soak
@pytest.mark.parametrize("films", [20, 200])
def test_a_film_is_out_before_many_more_are_begun(tmp_path: Path, films: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run on Ray of films without media: every one comes out, no more are begun than may be, and the driver
    does not keep what Ray Data knows of every block."""
    kept: list[int] = []

    def counted() -> float:
        kept.append(sum(isinstance(each, BlockStats) for each in gc.get_objects()))
        return 0.0

    monkeypatch.setattr(bench_many, "resident_mib", counted)
    seen = bench_many.run(tmp_path, films, cells=1, shards=4, every=10, films_ahead=3)
    assert max(kept) < 300  # those of blocks that are somewhere; 200 films have 1,200
    assert seen.films == {"ok": films}
    assert seen.shards == 4 * films
    # Three, and those that begin while rows are counted as waiting too few: two a worker, four a film.
    assert seen.begun_at_first <= seen.most_ahead + 1 <= 12

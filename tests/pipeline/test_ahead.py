"""How far a run plans ahead of what it delivers."""

from pathlib import Path

import pytest

from pipeline.ahead import FilmsUnderWay
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


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("films", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_a_film_is_out_before_many_more_are_begun(tmp_path: Path, films: int) -> None:
    """A whole run on Ray of films without media: every one comes out, and no more are begun than may be."""
    seen = bench_many.run(tmp_path, films, cells=1, shards=4, films_ahead=3)
    assert {film.code for film in seen.report.all_films} == {"ok"}
    assert len(seen.report.films) == films
    assert seen.report.shards_done == 4 * films
    # Three, and those that begin while rows are counted as waiting too few: two a worker, four a film.
    assert seen.begun_at_first <= seen.most_ahead + 1 <= 12

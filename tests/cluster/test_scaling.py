"""The scaling model: its page, its simulation, and where it bends."""

from pathlib import Path

import pytest

from cluster import scaling
from cluster.scaling import (
    BEGIN,
    CHECKED,
    END,
    blocks_of,
    costs,
    film_of,
    picture,
    pools_of,
    predict,
    simulated,
    tables,
)
from cluster.simulate import Blocks, Film, films_an_hour, simulate
from pipeline.pools import Pool

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_and_the_picture_are_what_the_code_makes() -> None:
    """Made anew by `python -m cluster.scaling docs`."""
    page = (DOCS / "scaling.md").read_text()
    assert page[page.index(BEGIN) : page.index(END) + len(END)] == tables()
    assert (DOCS / "scaling.svg").read_text() == picture()


@pytest.mark.parametrize(("cores", "gpus"), CHECKED)
def test_the_simulation_agrees_with_the_division(cores: int, gpus: int) -> None:
    assert simulated(cores, gpus) == pytest.approx(predict(cores, gpus).films_an_hour, rel=0.1)


_COSTS = {"faces": 0.01, "crops": 0.01, "lips": 0.1, "composite": 0.4}


def test_the_simulation_by_hand() -> None:
    """One worker each, two cores for a shard's 10 s of blending: a film of four shards every 40 s."""
    pools = {stage: Pool(1, 0, 1, 1) for stage in ("faces", "crops", "lips", "composite")}
    film = Film(frames=100, cells=2, shards=4, split_s=1, mux_s=1)
    ended = simulate(40, film, pools, _COSTS, cores=16, blocks=Blocks())
    assert films_an_hour(ended) == pytest.approx(90, rel=0.02)


def test_rows_of_a_block_wait_for_each_other() -> None:
    """Four shards of 10 s of blending, four workers for them: side by side only as blocks of their own."""
    pools = {stage: Pool(1, 0, 1, 4) for stage in ("faces", "crops", "lips", "composite")}
    film = Film(frames=100, cells=2, shards=4, split_s=1, mux_s=1)

    def took(rows: int, with_pixels: int) -> float:
        (ended,) = simulate(1, film, pools, _COSTS, cores=16, blocks=Blocks(rows, with_pixels))
        return ended

    alone = 1 + 0.5 + 0.25 + 2.5 + 10 + 1
    assert took(1, 1) == pytest.approx(alone)
    assert took(4, 4) == pytest.approx(alone + 0.5 + 3 * (0.25 + 2.5 + 10))
    # What is cut out goes on row by row, while the rest of the block is cut out.
    assert took(4, 1) == pytest.approx(alone + 0.5 + 3 * 0.25)


def test_the_simulation_waits_for_cores_that_others_use() -> None:
    pools = {stage: Pool(1, 0, 1, 8) for stage in ("faces", "crops", "lips", "composite")}
    film = Film(frames=100, cells=2, shards=4, split_s=0.1, mux_s=0.1)
    worker_s = {"faces": 0.1, "crops": 0.1, "lips": 0.1, "composite": 0.1}
    # A frame takes 0.1 s of 1 + 1 + 2 + 2 cores.
    ended = simulate(600, film, pools, worker_s, cores=6, blocks=Blocks())
    assert films_an_hour(ended) == pytest.approx(3600 / 10, rel=0.1)


def test_films_are_cut_as_a_run_cuts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """MuseTalk's face parser looks at surroundings of 512 px, of which 96 MiB hold 95 frames."""
    film = film_of()
    assert (film.cells, film.shards) == (30, 158)
    assert blocks_of(pools_of(64, 1)) == Blocks(16, 2)
    monkeypatch.setattr(scaling, "FILMS", 10)
    assert blocks_of(pools_of(64, 1)) == Blocks(1, 1)


def test_more_machines_never_make_less() -> None:
    for gpus in (0, 1, 16):
        made = [predict(cores, gpus).films_an_hour for cores in (16, 64, 256, 2048)]
        assert made == sorted(made)


def test_where_it_bends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with pixels travel two by two, with few films one by one, and the driver hands out no more."""
    assert [predict(cores, 1).held_by for cores in (16, 32, 64, 2048)] == ["cores", "cores", "GPUs", "GPUs"]
    assert predict(512, 64).held_by == "cores"
    many = predict(2048, 64)
    monkeypatch.setattr(scaling, "FILMS", 1000)
    few = predict(2048, 64)
    assert (many.held_by, few.held_by) == ("driver", "driver")
    assert few.films_an_hour < many.films_an_hour
    assert "lips" in costs(0)

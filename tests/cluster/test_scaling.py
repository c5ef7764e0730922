"""The scaling model: its page, its simulation, and where it bends."""

from pathlib import Path

import pytest

from cluster import scaling
from cluster.scaling import BEGIN, CHECKED, END, costs, picture, predict, simulated, tables
from cluster.simulate import Film, simulate
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


def test_the_simulation_by_hand() -> None:
    """One worker each, two cores for a shard's 10 s of blending: a film of four shards every 40 s."""
    pools = {stage: Pool(1, 0, 1, 1) for stage in ("faces", "crops", "lips", "composite")}
    film = Film(frames=100, cells=2, shards=4, split_s=1, mux_s=1)
    an_hour = simulate(40, film, pools, {"faces": 0.01, "crops": 0.01, "lips": 0.1, "composite": 0.4}, cores=16)
    assert an_hour == pytest.approx(90, rel=0.02)


def test_the_simulation_waits_for_cores_that_others_use() -> None:
    pools = {stage: Pool(1, 0, 1, 8) for stage in ("faces", "crops", "lips", "composite")}
    film = Film(frames=100, cells=2, shards=4, split_s=0.1, mux_s=0.1)
    worker_s = {"faces": 0.1, "crops": 0.1, "lips": 0.1, "composite": 0.1}
    # A frame takes 0.1 s of 1 + 1 + 2 + 2 cores.
    assert simulate(600, film, pools, worker_s, cores=6) == pytest.approx(3600 / 10, rel=0.1)


def test_more_machines_never_make_less() -> None:
    for gpus in (0, 1, 16):
        made = [predict(cores, gpus).films_an_hour for cores in (16, 64, 256, 2048)]
        assert made == sorted(made)


def test_where_it_bends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few films blocks are one row, and the driver hands out no more."""
    assert [predict(cores, 1).held_by for cores in (16, 32, 64, 2048)] == ["cores", "cores", "GPUs", "GPUs"]
    assert predict(2048, 64).held_by == "cores"
    monkeypatch.setattr(scaling, "FILMS", 1000)
    assert predict(2048, 64).held_by == "driver"
    assert "lips" in costs(0)

"""Claims of the work folder: one cast and one mux a film and run."""

from pathlib import Path

from pipeline.ledger import WorkFolder, read_json, write_json


def test_only_the_first_claims_and_it_may_again(tmp_path: Path) -> None:
    """A task that Ray runs again after a crash finds its own claim and goes on."""
    work = WorkFolder(str(tmp_path))
    assert work.claim("film", "cast", "run-0", "cell 0")
    assert not work.claim("film", "cast", "run-0", "cell 500")
    assert work.claim("film", "cast", "run-0", "cell 0")


def test_a_claim_blocks_no_other_run_film_or_work(tmp_path: Path) -> None:
    work = WorkFolder(str(tmp_path))
    assert work.claim("film", "cast", "run-0", "a")
    assert work.claim("film", "cast", "run-1", "b")
    assert work.claim("film", "mux", "run-0", "b")
    assert work.claim("other", "cast", "run-0", "b")


def test_half_written_json_counts_as_none(tmp_path: Path) -> None:
    write_json(str(tmp_path / "a.json"), {"x": 1})
    assert read_json(str(tmp_path / "a.json")) == {"x": 1}
    (tmp_path / "a.json").write_text('{"x": ')
    assert read_json(str(tmp_path / "a.json")) is None
    assert read_json(str(tmp_path / "b.json")) is None

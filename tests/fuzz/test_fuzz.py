"""Broken MP4, Matroska and WAV files through probe, plan and first shard: a code; no crash, no hang, no stray file.

A seed that fails is written into `ONCE_FAILED`, where it is run on every day from then on.
"""

import resource
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.fuzz import pool as pools
from tests.fuzz.case import misbehave
from tests.fuzz.mutate import mutate, sources
from tests.fuzz.pool import Pool

SAMPLE = range(60)
SOAK = range(1_000, 3_200)
ONCE_FAILED = (3544, 3675)
"""Seeds that found a defect: each has its own test where the defect was, too."""


def counted(folder: Path, seeds: Iterable[int], workers: int = 1) -> tuple[Counter[str], list[str]]:
    """How many cases ended how, and what is wrong with those that must not end so."""
    files = sources(folder / "sources")
    before = {path: path.read_bytes() for kind in files.values() for path in kind}
    counts: Counter[str] = Counter()
    wrong = []
    with Pool(folder, files, workers) as pool:
        for seed, found in pool.outcomes(seeds):
            counts[found.partition(":")[0]] += 1
            if found.startswith(("BUG", "HANG")):
                wrong.append(f"seed {seed}: {found}")
            elif found.startswith("died"):
                print(f"seed {seed}: {found}")
    assert {path: path.read_bytes() for path in before} == before
    return counts, wrong


def test_a_sample_of_broken_files(tmp_path: Path) -> None:
    counts, wrong = counted(tmp_path, SAMPLE)
    assert not wrong, "\n".join(wrong)
    assert sum(counts.values()) == len(SAMPLE)
    assert counts["ok"], "some accidents hurt nothing"
    assert counts["decode_error"], "and some do"
    assert not counts["died"]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_broken_files(tmp_path: Path) -> None:
    """A decoder that crashes takes its worker along, no more: such seeds are printed and counted."""
    counts, wrong = counted(tmp_path, SOAK, workers=2)
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{sum(counts.values())} broken files: {dict(counts.most_common())}; the largest worker took {peak_mb:.0f} MB"
    )
    assert not wrong, "\n".join(wrong)
    assert sum(counts.values()) == len(SOAK)


def test_seeds_that_once_failed(tmp_path: Path) -> None:
    counts, wrong = counted(tmp_path, ONCE_FAILED)
    assert not wrong, "\n".join(wrong)
    assert not counts["died"]


def test_a_case_that_dies_or_hangs_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "DEADLINE_S", 1.0)
    with Pool(tmp_path, {}, 1, misbehave) as pool:
        found = dict(pool.outcomes(range(5)))
    assert found == {0: "ok", 1: "died: exit status -6", 2: "ok", 3: "HANG", 4: "ok"}


def test_a_seed_is_always_the_same_file(tmp_path: Path) -> None:
    files = sources(tmp_path / "sources")
    one, other = (files["video"][k].read_bytes() for k in (0, 1))
    assert mutate(one, other, 7) == mutate(one, other, 7)
    assert len({mutate(one, other, seed) for seed in range(50)}) > 45

"""Shards of a film that is frozen or runs to and fro leave no trace, wherever they are cut."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.composite.composite import Composite
from stages.composite.settings import CompositeSettings
from stages.crops.landmarks.template import place
from stages.crops.types import FaceStack
from stages.media.encode import EncodeSettings
from stages.media.index import index_video
from stages.media.planes import Plane
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline, fit
from tests.clips import clip, same, seconds, shown, uneven

SIZE = (96, 80)
BOX = (23, 15, 70, 74)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"g": "9", "bf": "3"}
    return clip(tmp_path_factory.mktemp("film") / "a.mp4", uneven(25), size=SIZE, options=options)


def patches(frames: list[int], weight: np.ndarray) -> FaceStack:
    """Noise of its own for every output frame, as opaque as `weight` says for it."""
    boxes = np.array([BOX] * len(frames), np.int32)
    pixels = np.stack([np.random.default_rng(n).integers(0, 256, (32, 32, 3), np.uint8) for n in frames])
    return FaceStack(np.array(frames), pixels, boxes, place(boxes.astype(np.float32)), weight[frames])


def painted(film: Path, line: Timeline, ends: list[int], every: int, weight: np.ndarray) -> list[list[Plane]]:
    """The film in shards that end at `ends`, each `every`th frame painted."""
    stage = Composite(CompositeSettings(threads=2), EncodeSettings(codec="ffv1", threads=1), MediaSettings())
    found = []
    for start, end in zip([0, *ends], [*ends, len(line)], strict=True):
        frames = [n for n in range(start, end) if n % every == 0]
        target = film.with_name("segment.mp4")
        stage(film, line, start, end, patches(frames, weight) if frames else None, target)
        pictures = shown(target)
        assert [at for at, _ in pictures] == seconds(line.pts[start:end], line.time_base)
        found += [planes for _, planes in pictures]
    return found


@settings(max_examples=10, deadline=None)
@given(
    longer=st.sampled_from(["freeze", "pingpong"]),
    length=st.fractions(1, 4, max_denominator=7),
    cuts=st.sets(st.integers(1, 200), max_size=4),
    every=st.integers(1, 5),
)
def test_shards_leave_no_trace_on_any_map(
    film: Path, longer: str, length: Fraction, cuts: set[int], every: int
) -> None:
    index = index_video(str(film))
    line = fit(index, Fraction(index.duration_s) * length, "keep", longer, 10_000)  # type: ignore[arg-type]
    weight = np.random.default_rng(len(line)).uniform(0.1, 1, len(line)).astype(np.float32)
    whole = painted(film, line, [], every, weight)
    parts = painted(film, line, sorted(cut for cut in cuts if cut < len(line)), every, weight)
    assert len(whole) == len(parts) == len(line)
    for number, (one, other) in enumerate(zip(whole, parts, strict=True)):
        assert same(one, other), number
    source = [planes for _, planes in shown(film)]
    for number in range(len(line)):
        assert same(whole[number], source[line.source[number]]) == (number % every != 0), number


def test_half_the_weight_is_half_the_way(film: Path) -> None:
    line = Timeline.of(index_video(str(film)))
    source, full, half = (
        painted(film, line, [], 1, np.full(len(line), weight, np.float32)) for weight in (0.0, 1.0, 0.5)
    )
    for was, whole, middle in zip(source, full, half, strict=True):
        for a, b, c in zip(was, whole, middle, strict=True):
            assert np.abs((a.astype(int) + b) / 2 - c).max() <= 1

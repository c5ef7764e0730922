"""Half-face boxes: the official rule step by step, its form in shares of the face, and the square round a box."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stages.arrays import F32
from stages.crops.boxes import context_boxes, half_face_boxes, whole_boxes
from stages.crops.landmarks.settings import LandmarksSettings
from stages.crops.landmarks.smooth import smooth
from stages.crops.landmarks.template import MEAN, place
from stages.crops.types import HalfFace

BOX = np.array([[300, 200, 420, 360]], np.float32)
SIZE = (1920, 1080)
numbers = st.integers(0, 2**32 - 1)


def face(x: float = 300, y: float = 200, width: float = 120, height: float = 160) -> F32:
    """The mean face in a box of that place and size, [1, 68, 2]."""
    return place(np.array([[x, y, x + width, y + height]], np.float32))


def official(points: np.ndarray, fallback: list[float], shift: int, margin: int | None, width: int, height: int):
    """musetalk.md 4.5 for one frame as the script goes, then the clamps that it lacks."""
    landmarks = [(int(x - 0.5), int(y - 0.5)) for x, y in points.tolist()]  # int() cuts towards zero
    nose = landmarks[29][1] + shift
    chin = max(y for _, y in landmarks)
    top = max(0, nose - (chin - nose))
    left, right = min(x for x, _ in landmarks), max(x for x, _ in landmarks)
    box = [left, int(top), right, chin]
    if chin - top <= 0 or right - left <= 0 or left < 0:
        box = [int(max(v, 0)) for v in fallback]
    if margin is not None:
        box[3] = min(box[3] + margin, height)
    box = [min(max(v, 0), limit) for v, limit in zip(box, (width, height) * 2, strict=True)]
    if box[2] - box[0] < 2 or box[3] - box[1] < 2:
        return whole_boxes(np.array([fallback], np.float32), width, height)[0].tolist()
    return box


@given(seed=numbers, shift=st.integers(-9, 9), margin=st.one_of(st.none(), st.integers(0, 20)))
def test_the_px_rule_is_the_official_one_step_by_step(seed: int, shift: int, margin: int | None) -> None:
    """Faces of every size anywhere in and across the picture's edges, some upside down or flat."""
    random = np.random.default_rng(seed)
    width, height = 320, 240
    size = random.uniform(2, 200, (8, 1, 2)) * random.choice([1, 1, 1, -1, 0.001], (8, 1, 2))
    points = (random.uniform(-60, 330, (8, 1, 2)) + size * MEAN + random.normal(0, 2, (8, 68, 2))).astype(np.float32)
    corner = random.uniform(-20, 200, (8, 2))
    fallback = np.concatenate([corner, corner + random.uniform(3, 100, (8, 2))], axis=1).astype(np.float32)
    rule = HalfFace(shift=shift, margin=margin or 0, unit="px")
    found = half_face_boxes(points, fallback, rule, width, height)
    for one, own, box in zip(points, fallback, found.tolist(), strict=True):
        assert box == official(one, own.tolist(), shift, margin, width, height)


def test_the_px_rule_by_hand() -> None:
    """Nose at 100, chin at 160: top 40. One px of shift moves the top two, a margin the bottom alone."""
    points = np.full((1, 68, 2), 120.0, np.float32)
    points[0, 0], points[0, 16], points[0, 8], points[0, 29] = (80, 90), (170, 90), (125, 160.9), (124, 100.6)
    points[0, :, 1] += 0.5  # our pixel centres
    points[0, :, 0] += 0.5

    def box(**rule: float) -> list[int]:
        return half_face_boxes(points, BOX, HalfFace(**rule, unit="px"), *SIZE)[0].tolist()  # type: ignore[arg-type]

    assert box() == [80, 40, 170, 160]
    assert box(shift=1) == [80, 42, 170, 160]
    assert box(margin=10) == [80, 40, 170, 170]
    assert box(shift=-7, margin=10) == [80, 26, 170, 170]


def test_a_px_face_beyond_the_left_edge_gets_the_fallback_and_its_margin() -> None:
    points = face(-20, 100)
    found = half_face_boxes(points, np.array([[3.7, 90.2, 95.9, 260.9]], np.float32), HalfFace(0, 10, "px"), *SIZE)
    assert found.tolist() == [[3, 90, 95, 270]]


@given(seed=numbers, shift=st.floats(-0.5, 0.8), margin=st.floats(0, 0.5), unit=st.sampled_from(["face", "px"]))
def test_boxes_are_always_whole_and_inside_the_picture(seed: int, shift: float, margin: float, unit: str) -> None:
    """Whatever a network says: far away, upside down, in one point, not a number."""
    random = np.random.default_rng(seed)
    width, height = (int(v) for v in random.integers(2, 400, 2))
    points = (random.normal(150, 10 ** random.uniform(0, 9, (12, 1, 1)), (12, 68, 2))).astype(np.float32)
    points[random.random(12) < 0.2] = 77
    points[random.random((12, 68, 2)) < 0.001] = random.choice([np.nan, np.inf, -np.inf])
    corner = random.uniform(-50, 400, (12, 2))
    fallback = np.concatenate([corner, corner + random.uniform(0, 200, (12, 2))], axis=1).astype(np.float32)
    rule = HalfFace(shift, margin, unit)  # type: ignore[arg-type]
    boxes = half_face_boxes(points, fallback, rule, width, height)
    assert boxes.dtype == np.int32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()
    lost = ~np.isfinite(points).all(axis=(1, 2))
    assert np.array_equal(boxes[lost], whole_boxes(fallback, width, height)[lost])


@given(seed=numbers, shift=st.floats(-0.2, 0.2), size=st.floats(40, 400))
def test_the_middle_line_is_at_the_nose_and_moves_by_the_shift(seed: int, shift: float, size: float) -> None:
    x, y = np.random.default_rng(seed).uniform(500, 600, 2)
    points = face(x, y, 0.75 * size, size)
    x0, y0, x1, y1 = half_face_boxes(points, BOX, HalfFace(shift), *SIZE)[0].tolist()
    nose, chin = float(points[0, 29, 1]), float(points[0, :, 1].max())
    assert abs((y0 + y1) / 2 - (nose + shift * (chin - nose))) <= 0.75
    assert abs(y1 - chin) <= 0.5
    assert abs(x0 - points[0, :, 0].min()) <= 0.5
    assert abs(x1 - points[0, :, 0].max()) <= 0.5


@given(seed=numbers, margin=st.floats(0, 0.4), size=st.floats(40, 400))
def test_a_margin_in_shares_grows_with_the_face_and_moves_the_bottom_alone(
    seed: int, margin: float, size: float
) -> None:
    x, y = np.random.default_rng(seed).uniform(200, 600, 2)
    points = face(x, y, 0.75 * size, size)
    plain, wide = (half_face_boxes(points, BOX, HalfFace(margin=m), *SIZE)[0] for m in (0.0, margin))
    assert np.array_equal(plain[:3], wide[:3])
    reach = float(points[0, :, 1].max() - points[0, 29, 1])
    assert abs((wide[3] - plain[3]) - margin * reach) <= 1


@given(x=st.integers(-200, 200), y=st.integers(-150, 150), seed=numbers)
def test_a_face_that_moves_by_whole_px_takes_its_box_along(x: int, y: int, seed: int) -> None:
    points = face(800, 500) + np.random.default_rng(seed).normal(0, 1, (1, 68, 2)).astype(np.float32)
    points = np.round(points * 64) / 64  # so that float32 holds the moved ones exactly
    moved = points + np.float32([x, y])
    for rule in (HalfFace(0, 0.125), HalfFace(-3, 10, "px")):
        before, after = (half_face_boxes(p, BOX, rule, *SIZE)[0] for p in (points, moved))
        assert np.array_equal(after - before, [x, y, x, y])


@pytest.mark.parametrize(
    ("x", "y", "edge"), [(-40, 300, 0), (300, -60, 1), (SIZE[0] - 80, 300, 2), (300, SIZE[1] - 100, 3)]
)
def test_a_box_ends_at_the_picture_s_edge_on_every_side(x: float, y: float, edge: int) -> None:
    """Crop and paste are one place: the official rule lets the right and the bottom hang over (9.1, 12)."""
    box = half_face_boxes(face(x, y), BOX, HalfFace(margin=0.2), *SIZE)[0]
    assert box[edge] == (0, 0, *SIZE)[edge]
    free = half_face_boxes(face(x, y) + np.float32(2000), BOX, HalfFace(margin=0.2), 9000, 9000)[0] - 2000
    assert np.array_equal(np.delete(box, edge), np.delete(free, edge))


@pytest.mark.parametrize("unit", ["face", "px"])
def test_a_face_wholly_outside_the_picture_gets_the_cast_s_box(unit: str) -> None:
    rule = HalfFace(unit=unit)  # type: ignore[arg-type]
    for points in (face(5000, 300), face(300, 5000), face(300, -900)):
        assert half_face_boxes(points, BOX, rule, *SIZE).tolist() == BOX.astype(int).tolist()


def test_a_frame_s_box_does_not_depend_on_its_neighbours() -> None:
    points = np.concatenate([face(100, 100), face(-50, 80), face(900, 500), np.full((1, 68, 2), np.nan, np.float32)])
    cast = np.repeat(BOX, 4, axis=0) + np.arange(4, dtype=np.float32)[:, None]
    for rule in (HalfFace(0.1, 0.1), HalfFace(2, 10, "px")):
        together = half_face_boxes(points, cast, rule, *SIZE)
        alone = [half_face_boxes(points[k : k + 1], cast[k : k + 1], rule, *SIZE)[0] for k in range(4)]
        assert np.array_equal(together, alone)


def test_no_faces_give_no_boxes() -> None:
    nothing = np.zeros((0, 68, 2), np.float32), np.zeros((0, 4), np.float32)
    for unit in ("face", "px"):
        boxes = half_face_boxes(*nothing, HalfFace(unit=unit), *SIZE)  # type: ignore[arg-type]
        assert boxes.shape == context_boxes(boxes).shape == (0, 4)


@given(x=st.integers(0, 500), y=st.integers(0, 500), w=st.integers(2, 900), h=st.integers(2, 900))
def test_the_context_is_the_official_square(x: int, y: int, w: int, h: int) -> None:
    """musetalk.md 4.8, step 2, in Python's own integers."""
    x1, y1 = x + w, y + h
    xc, yc, s = (x + x1) // 2, (y + y1) // 2, int((max(w, h) // 2) * 1.5)
    found = context_boxes(np.array([[x, y, x1, y1]], np.int32))
    assert found.dtype == np.int32
    assert found.tolist() == [[xc - s, yc - s, xc + s, yc + s]]
    assume(max(w, h) >= 4)
    assert (found[0, :2] <= (x, y)).all()
    assert (found[0, 2:] >= (x1 - 1, y1 - 1)).all()


def test_smoothed_landmarks_of_a_still_head_hold_its_box_still() -> None:
    """Points that tremble as PFLD's do on a noisy still head: 0.35 px each, top = 2 nose - chin has twice that."""
    count = 250
    trembling = face() + np.random.default_rng(0).normal(0, 0.35, (count, 68, 2)).astype(np.float32)
    times, runs = np.arange(count) / 25, np.zeros(count, np.int32)
    calm = smooth(trembling, times, runs, LandmarksSettings().smooth_s)
    raw, still = (half_face_boxes(p, np.repeat(BOX, count, 0), HalfFace(0, 0.1), *SIZE) for p in (trembling, calm))
    assert raw.std(axis=0).max() > 0.5
    assert still.std(axis=0).max() <= 0.5
    assert np.abs(np.diff(still, axis=0)).mean() < 0.6 * np.abs(np.diff(raw, axis=0)).mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (2, 2)])
def test_a_box_in_a_picture_of_one_pixel_a_side_is_in_it(size: tuple[int, int]) -> None:
    boxes = whole_boxes(np.array([[0, 0, *size], [0, 0, 0, 0], [99, 99, 99, 99]], np.float32), *size)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= size).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= np.minimum(size, 2)).all()
    squares = context_boxes(boxes)
    assert (squares[:, 2:] > squares[:, :2]).all()

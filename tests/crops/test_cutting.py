"""Boxes and squares as pixels: how they are resized, and what is beyond the picture."""

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.arrays import U8
from stages.crops.cutting import crop, surroundings
from stages.crops.settings import CropsSettings
from stages.crops.types import CONTEXT_PX

REGION = (40, 20, 340, 260)
"""Where the picture below lies in its film."""


def picture() -> U8:
    return np.random.default_rng(0).integers(0, 256, (240, 300, 3), np.uint8)


def waves(px: int, cycles: float) -> U8:
    """A full-contrast cosine of so many cycles a px, across."""
    row = (127.5 + 127.5 * np.cos(2 * np.pi * cycles * np.arange(px))).round().astype(np.uint8)
    return np.repeat(np.repeat(row[None, :, None], px, axis=0), 3, axis=2)


BOXES = [(50, 30, 300, 250), (60, 60, 110, 130), (40, 20, 340, 260)]


@pytest.mark.parametrize("box", BOXES)
def test_lanczos_is_pillow_s_and_lanczos4_is_opencv_s(box: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = box
    part = picture()[y0 - 20 : y1 - 20, x0 - 40 : x1 - 40]
    cut = {how: crop(picture(), REGION, np.array(box, np.int32), 128, how) for how in ("lanczos", "lanczos4")}
    rgb = Image.fromarray(np.ascontiguousarray(part[..., ::-1]))  # Pillow treats channels alike, whatever their order
    pillow = np.asarray(rgb.resize((128, 128), Image.Resampling.LANCZOS))[..., ::-1]
    assert np.array_equal(cut["lanczos"], pillow)
    assert np.array_equal(cut["lanczos4"], cv2.resize(part, (128, 128), interpolation=cv2.INTER_LANCZOS4))


def test_lanczos_and_area_draw_no_false_patterns_where_they_shrink_and_lanczos4_does() -> None:
    """musetalk.md 9.1, 10: from 400 to 256 px 0.45 cycles a px are beyond what can be shown; 69 levels of them stay."""
    fine, whole = waves(400, 0.45), np.array([0, 0, 400, 400], np.int32)
    cut = {how: crop(fine, (0, 0, 400, 400), whole, 256, how) for how in ("area", "lanczos", "lanczos4")}
    left = {how: pixels[:, 8:-8].std() for how, pixels in cut.items()}
    assert left["lanczos"] < 1.5
    assert left["area"] < 30
    assert left["lanczos4"] > 60


def test_the_default_is_still_the_average() -> None:
    assert CropsSettings().resize == "area"


@pytest.mark.parametrize("side", [60, 700])
def test_a_context_is_averaged_where_it_shrinks_and_interpolated_where_it_grows(side: int) -> None:
    large = np.random.default_rng(1).integers(0, 256, (800, 800, 3), np.uint8)
    square = np.array([50, 40, 50 + side, 40 + side], np.int32)
    how = cv2.INTER_AREA if side > CONTEXT_PX else cv2.INTER_LINEAR
    expected = cv2.resize(large[40 : 40 + side, 50 : 50 + side], (CONTEXT_PX, CONTEXT_PX), interpolation=how)
    assert np.array_equal(surroundings(large, (0, 0, 800, 800), square), expected)


def test_a_context_is_black_beyond_the_picture_and_nowhere_else() -> None:
    """The square hangs over the left and the top by a quarter of its side each."""
    white = np.full((200, 200, 3), 255, np.uint8)
    found = surroundings(white, (0, 0, 200, 200), np.array([-32, -32, 96, 96], np.int32))
    assert found.shape == (CONTEXT_PX, CONTEXT_PX, 3)
    edge = CONTEXT_PX // 4
    assert (found[: edge - 2] == 0).all()
    assert (found[:, : edge - 2] == 0).all()
    assert (found[edge + 2 :, edge + 2 :] == 255).all()
    beyond = surroundings(white, (0, 0, 200, 200), np.array([104, 104, 232, 232], np.int32))
    assert (beyond[: CONTEXT_PX - edge - 2, : CONTEXT_PX - edge - 2] == 255).all()
    assert (beyond[CONTEXT_PX - edge + 2 :] == 0).all()

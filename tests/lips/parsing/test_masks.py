"""Masks from parsed faces: the official rules, in their own words and in ours."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.arrays import I32, U8
from stages.crops.boxes import context_boxes
from stages.lips.parsing.masks import (
    blend_masks,
    blur_width,
    box_mask,
    cheek_kernel,
    jaw_kernel,
    painted_classes,
    parsed_side,
)
from stages.lips.parsing.settings import ParsedMask, ParsingSettings
from tests.lips.parsing.faces import drawn

MODES: tuple[ParsedMask, ...] = ("jaw", "raw", "neck", "face")
SETTINGS = ParsingSettings(threads=1)


def around(box: I32, mode: ParsedMask = "jaw") -> I32:
    """The square that is parsed round a box; but for the first version's, the one that crops cut out."""
    if mode != "face":
        return context_boxes(box[None])[0]
    half = parsed_side(box, mode) // 2
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    return np.array([x - half, y - half, x + half, y + half], np.int32)


def box_of(width: int, height: int, x: int = 700, y: int = 300) -> I32:
    return np.array([x, y, x + width, y + height], np.int32)


def official(painted: U8, box: I32, mode: ParsedMask = "jaw", ratio: float = 0.5) -> U8:
    """Steps 4 to 6 of musetalk.md 4.8 with the whole square, as the official script takes them; the box's part."""
    square = around(box, mode)
    side = int(square[2] - square[0])
    x0, y0, x1, y1 = (int(v) for v in box - np.tile(square[:2], 2))
    grown = Image.fromarray(painted).resize((side, side))  # Pillow's default
    cut = Image.new("L", (side, side), 0)
    cut.paste(grown.crop((x0, y0, x1, y1)), (x0, y0))
    soft = np.array(cut)
    soft[: int(side * ratio)] = 0
    share = 0.1 if mode == "face" else 0.05
    width = int(share * side // 2 * 2) + 1
    return cv2.GaussianBlur(soft, (width, width), 0)[y0:y1, x0:x1]


def test_the_jaw_s_kernel_has_its_373_ones() -> None:
    kernel = jaw_kernel()
    assert kernel.shape == (33, 33)
    assert kernel.sum() == 373
    assert kernel.sum(axis=1).tolist() == [0] * 10 + list(range(1, 22, 2)) + [21] * 12
    assert np.array_equal(kernel, kernel[:, ::-1])


def test_the_cheek_s_kernel_is_a_line_with_two_points() -> None:
    assert cheek_kernel().sum(axis=1).tolist() == [1, 35, 1]


def test_one_pixel_of_skin_spreads_16_up_6_down_and_10_aside() -> None:
    face = np.zeros((512, 512), np.uint8)
    face[300, 256] = 1
    rows, columns = np.nonzero(painted_classes(face, "jaw"))
    assert (rows.min(), rows.max()) == (300 - 16, 300 + 6)
    assert (columns.min(), columns.max()) == (256 - 10, 256 + 10)
    assert (rows == 306).sum() == 1, "downwards it tapers to a point"
    assert (rows == 284).sum() == 21


def test_cheeks_are_the_outer_columns_from_90_px_off_the_middle() -> None:
    """A sheet of skin with a hole: it closes in the middle, and grows at the cheeks."""
    face = np.ones((512, 512), np.uint8)
    face[300:304] = 0
    painted = painted_classes(face, "jaw")
    assert painted[:, 167:346].all()
    holes = ~painted.all(axis=0)
    assert not holes.any(), "a gap of 4 px is closed before anything is taken away"
    face[300:330] = 0  # 22 px are closed, 8 stay open; at the cheeks an erosion of 2 px each way opens them to 12
    painted = painted_classes(face, "jaw")
    gaps = (painted == 0).sum(axis=0)
    assert set(gaps[167:346]) == {8}
    assert set(gaps[:167]) == set(gaps[346:]) == {12}
    wider = (painted_classes(face, "jaw", 120, 60) == 0).sum(axis=0)
    assert set(wider[137:316]) == {8}
    assert set(wider[:137]) == set(wider[316:]) == {12}


def test_what_lies_outside_the_picture_takes_nothing_from_the_cheeks() -> None:
    assert painted_classes(np.ones((512, 512), np.uint8), "jaw").all()


def test_each_mode_paints_its_classes() -> None:
    face = drawn()
    for mode, classes in (("raw", {1, 11, 12, 13}), ("neck", {1, 11, 12, 13, 14}), ("face", set(range(1, 14)))):
        painted = painted_classes(face, mode)
        assert set(np.unique(painted)) == {0, 255}
        assert np.array_equal(painted == 255, np.isin(face, list(classes)))
    jaw = painted_classes(face, "jaw")
    assert not jaw[face == 10].any(), "the nose is the film's"
    assert jaw[np.isin(face, (11, 12, 13))].all()
    assert jaw[face == 14].any(), "the jaw has room below the chin"
    assert np.nonzero(jaw)[0].max() == np.nonzero(face == 1)[0].max() + 6


def test_a_nose_that_overlaps_nothing_does_not_matter_and_lips_win_over_the_rest() -> None:
    face = np.zeros((512, 512), np.uint8)
    face[200:210, 200:210] = 11
    assert np.array_equal(painted_classes(face, "jaw") == 255, face == 11), "the mouth does not grow"


@pytest.mark.parametrize(("side", "width"), [(200, 11), (400, 21), (640, 33), (802, 41), (40, 3), (38, 1), (2, 1)])
def test_the_blur_is_as_wide_as_the_square_asks(side: int, width: int) -> None:
    assert blur_width(side, "jaw") == blur_width(side, "raw") == blur_width(side, "neck") == width


def test_the_blur_is_the_official_one_for_every_side() -> None:
    for side in range(2, 4001, 2):
        assert blur_width(side, "jaw") == 2 * (side // 40) + 1
        assert blur_width(side, "face") == 2 * (side // 20) + 1


def test_the_square_is_rounded_twice() -> None:
    assert parsed_side(box_of(101, 90), "jaw") == 150
    assert parsed_side(box_of(90, 103), "jaw") == 152
    assert parsed_side(box_of(101, 90), "face") == 120
    for width, height in ((101, 90), (2, 3), (257, 300), (640, 333)):
        square = around(box_of(width, height))
        assert parsed_side(box_of(width, height), "jaw") == square[2] - square[0]


@pytest.mark.parametrize("mode", MODES[:3])  # of `face`, see the next test
@pytest.mark.parametrize("size", [(256, 256), (131, 170), (133, 171), (301, 320), (544, 601)])
def test_the_mask_is_the_official_one_in_the_box_s_pixels(size: tuple[int, int], mode: ParsedMask) -> None:
    box = box_of(*size)
    painted = painted_classes(drawn((7, -4)), mode)
    assert np.array_equal(box_mask(painted, around(box), box, mode), official(painted, box))


def test_the_first_version_s_square_is_within_ours() -> None:
    """A picture of 1.5 that was put together from one of 1.2: the same mask."""
    box = box_of(320, 320)
    inner = painted_classes(drawn(), "face")[64:448, 64:448]  # 384 of 480 px
    theirs = official(inner, box, "face")
    outer = np.zeros((480, 480), np.uint8)
    outer[48:432, 48:432] = inner
    ours = box_mask(outer, around(box), box, "face")
    assert np.array_equal(ours, theirs)
    assert theirs.max() == 255


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.5, 0.63, 1.0])
def test_nothing_above_the_boundary_but_the_blur(ratio: float) -> None:
    box = box_of(300, 300)
    painted = np.full((512, 512), 255, np.uint8)
    mask = box_mask(painted, around(box), box, "jaw", ratio)
    assert np.array_equal(mask, official(painted, box, ratio=ratio))
    row = int(450 * ratio) - 75  # of the box
    half = blur_width(450, "jaw") // 2
    assert not mask[: max(row - half, 0)].any()
    inside = mask[max(row + half, half) : -half, half:-half]
    assert (inside == 255).all()
    assert (inside.size > 0) == (ratio < 0.8)


def test_a_box_on_the_grid_is_exact_and_others_are_near() -> None:
    face = drawn()
    exact = blend_masks(face[None], around(box_of(256, 256))[None], box_of(256, 256)[None], "jaw", SETTINGS)
    assert np.array_equal(exact[0], official(painted_classes(face, "jaw"), box_of(256, 256)))
    for size in ((180, 200), (333, 420), (600, 640)):
        box = box_of(*size)
        (mask,) = blend_masks(face[None], around(box)[None], box[None], "jaw", SETTINGS)
        assert mask.shape == (256, 256)
        back = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR).astype(int)
        difference = np.abs(back - official(painted_classes(face, "jaw"), box))
        assert difference.max() <= 4
        assert difference.mean() < 0.2


@pytest.mark.parametrize("mode", MODES)
def test_where_things_are(mode: ParsedMask) -> None:
    """The grid of the box: 1 px is 4/3 px of the parse."""
    (mask,) = blend_masks(drawn()[None], around(box_of(256, 256))[None], box_of(256, 256)[None], mode, SETTINGS)

    def at(x: int, y: int) -> int:  # of the parse, from the nose
        return int(mask[128 + round(y * 0.75), 128 + round(x * 0.75)])

    assert at(0, 80) == 255, "the mouth"
    assert at(0, 130) == 255, "the chin"
    assert at(0, -40) == 0, "the eyes"
    assert (at(0, 25) > 128) == (mode == "face"), "the nose"
    assert (at(40, 165) > 128) == (mode == "neck"), "the neck"
    assert at(80, 30) > 250, "the cheek"
    assert at(-160, 60) == 0, "beside the face"


def test_faces_do_not_depend_on_each_other_or_on_threads() -> None:
    faces = np.stack([drawn((x, y)) for x, y in ((0, 0), (20, 5), (-30, 9), (4, -8), (0, 40))])
    boxes = np.stack([box_of(200 + 31 * k, 230 + 17 * k, 100 * k, 50 * k) for k in range(5)])
    squares = np.stack([around(box) for box in boxes])
    whole = blend_masks(faces, squares, boxes, "jaw", SETTINGS)
    assert np.array_equal(whole, blend_masks(faces, squares, boxes, "jaw", ParsingSettings(threads=3)))
    for k in range(5):
        own = blend_masks(faces[k : k + 1], squares[k : k + 1], boxes[k : k + 1], "jaw", SETTINGS)
        assert np.array_equal(own[0], whole[k])


def test_masks_take_the_threads_of_the_settings_and_none_of_opencv_s() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(4)
        blend_masks(
            np.zeros((0, 512, 512), np.uint8), np.zeros((0, 4), np.int32), np.zeros((0, 4), np.int32), "jaw", SETTINGS
        )
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_the_settings_reach_the_mask() -> None:
    box = box_of(300, 330)[None]
    square, faces = around(box[0])[None], drawn()[None]
    usual = blend_masks(faces, square, box, "jaw", SETTINGS)
    for changed in (
        ParsingSettings(threads=1, cheek_left=40),
        ParsingSettings(threads=1, cheek_right=150),
        ParsingSettings(threads=1, upper_boundary_ratio=0.6),
    ):
        assert not np.array_equal(blend_masks(faces, square, box, "jaw", changed), usual)


def test_no_faces() -> None:
    masks = blend_masks(
        np.zeros((0, 512, 512), np.uint8), np.zeros((0, 4), np.int32), np.zeros((0, 4), np.int32), "jaw", SETTINGS
    )
    assert masks.shape == (0, 256, 256)


def test_no_skin_is_no_mask() -> None:
    box = box_of(90, 100)
    for mode in MODES:
        assert not blend_masks(np.zeros((1, 512, 512), np.uint8), around(box)[None], box[None], mode, SETTINGS).any()


@given(st.integers(2, 60), st.integers(2, 60), st.integers(-40, 40), st.sampled_from(MODES), st.floats(0, 1))
def test_small_boxes_have_masks_too(width: int, height: int, x: int, mode: ParsedMask, ratio: float) -> None:
    box = box_of(width, height, x, -x)
    settings = ParsingSettings(threads=1, upper_boundary_ratio=ratio)
    (mask,) = blend_masks(np.ones((1, 512, 512), np.uint8), around(box)[None], box[None], mode, settings)
    assert mask.shape == (256, 256)
    if ratio == 0 and min(width, height) > 40:
        assert (mask == 255).any()


@pytest.mark.parametrize(
    ("classes", "squares", "boxes", "named"),
    [
        (np.zeros((1, 256, 256), np.uint8), [[0, 0, 9, 9]], [[0, 0, 9, 9]], "classes must be"),
        (np.zeros((1, 512, 512), np.int64), [[0, 0, 9, 9]], [[0, 0, 9, 9]], "classes must be"),
        (np.zeros((1, 512, 512), np.uint8), [[0, 0, 9, 8]], [[0, 0, 9, 9]], "squares"),
        (np.zeros((1, 512, 512), np.uint8), [[0, 0, 9, 9]], [[0, 0, 0, 9]], "boxes must be"),
        (np.zeros((1, 512, 512), np.uint8), [[0, 0, 9, 9]] * 2, [[0, 0, 9, 9]], "context_boxes must be"),
    ],
)
def test_inputs_of_another_shape_are_named(classes: U8, squares: list, boxes: list, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        blend_masks(classes, np.array(squares, np.int32), np.array(boxes, np.int32), "jaw", SETTINGS)

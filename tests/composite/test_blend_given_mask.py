"""Painting under a mask that somebody else made: a face parser's."""

import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from stages.arrays import F32, U8
from stages.composite.blend import composited, paint
from stages.composite.composite import Composite
from stages.composite.mask import placed_mask, soft_mask
from stages.composite.settings import CompositeSettings
from stages.crops.landmarks.template import place
from stages.crops.types import FaceStack
from stages.media.encode import EncodeSettings
from stages.media.index import Picture, index_video
from stages.media.planes import FORMATS, Plane, RegionColour, planes
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline
from tests.clips import clip, same, shown, steady

SIZE = (160, 128)
BOX = (37, 21, 124, 118)
BLENDS = ("seamless", "feather", "paste")


def colour(pix_fmt: str = "yuv420p", size: tuple[int, int] = SIZE, rotation: int = 0) -> RegionColour:
    picture = Picture("h264", *size, pix_fmt, (0, 1), 0, 2, 2, 2, (25, 1), "", "mov", False, "left", rotation)
    return RegionColour(picture, MediaSettings())


def soft(pix_fmt: str = "yuv420p", size: tuple[int, int] = SIZE) -> VideoFrame:
    frame, random = av.VideoFrame(*size, pix_fmt), np.random.default_rng(0)
    code = 1 << (FORMATS[pix_fmt].bits - 8)
    for plane, room in zip(planes(frame), (300, 60, 60), strict=True):
        plane[:] = np.rint(code * (128 + room * cv2.GaussianBlur(random.uniform(-1, 1, plane.shape), (0, 0), 6)))
    return frame


def disc(px: int = 256) -> U8:
    """A soft spot in the lower half of the box."""
    mask = np.zeros((px, px), np.uint8)
    cv2.circle(mask, (px // 2, px * 5 // 8), px // 4, 255, -1)
    width = px // 16 * 2 + 1
    return cv2.GaussianBlur(mask, (width, width), 0)


def patch(px: int = 256) -> U8:
    grain = cv2.GaussianBlur(np.random.default_rng(7).uniform(-1, 1, (px, px, 3)), (0, 0), 4)
    return np.clip(128 + 900 * grain, 0, 255).astype(np.uint8)


def painted(
    frame: VideoFrame,
    mask: U8 | None,
    *,
    box: tuple[int, int, int, int] = BOX,
    convert: RegionColour | None = None,
    weight: float = 1.0,
    **settings: object,
) -> list[Plane]:
    points: F32 = place(np.array([box], np.float32))[0]
    convert = convert or colour(frame.format.name, (frame.width, frame.height))
    paint(frame, patch(), box, points, convert, CompositeSettings(**settings), weight, mask)
    return [plane.copy() for plane in planes(frame)]


def changed(before: list[Plane], after: list[Plane]) -> list[np.ndarray]:
    return [now.astype(int) - was for now, was in zip(after, before, strict=True)]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(("pix_fmt", "size"), [*itertools.product(FORMATS, [SIZE]), ("yuv420p", (159, 127))])
@pytest.mark.parametrize("blend", BLENDS)
def test_only_samples_under_the_mask_change(blend: str, pix_fmt: str, size: tuple[int, int], rotation: int) -> None:
    """A mask on the left half of the upright box: the other half, and everything round the box, stays."""
    frame = soft(pix_fmt, size)
    before = [plane.copy() for plane in planes(frame)]
    box = (21, 13, 108, 110)
    mask = np.zeros((256, 256), np.uint8)
    mask[:, :128] = 255
    after = painted(frame, mask, box=box, convert=colour(pix_fmt, size, rotation), blend=blend)
    layout = FORMATS[pix_fmt]
    for plane, (x, y) in zip(changed(before, after), ((0, 0), *[(layout.shift_x, layout.shift_y)] * 2), strict=True):
        # Each sample as a block of pixels, upright.
        seen = np.kron(plane != 0, np.ones((1 << y, 1 << x), bool))[: size[1], : size[0]]
        rows, columns = np.nonzero(np.rot90(seen, rotation // 90))
        # Two px of tolerance: half a chroma sample, and the mask's one step from 255 to 0.
        assert box[0] - 1 <= columns.min()
        assert columns.max() <= (box[0] + box[2]) // 2 + 2
        assert box[1] - 1 <= rows.min()
        assert rows.max() <= box[3] + 1
        assert len(rows) > 1000


@pytest.mark.parametrize("blend", BLENDS)
def test_a_mask_of_nothing_changes_nothing(blend: str) -> None:
    frame = soft("yuv420p10le")
    before = [plane.copy() for plane in planes(frame)]
    assert same(painted(frame, np.zeros((256, 256), np.uint8), blend=blend), before)


@pytest.mark.parametrize("blend", BLENDS)
def test_a_weight_of_nothing_changes_nothing(blend: str) -> None:
    frame = soft("yuv420p10le")
    before = [plane.copy() for plane in planes(frame)]
    assert same(painted(frame, disc(), weight=0.0, blend=blend), before)


@pytest.mark.parametrize("blend", BLENDS)
def test_the_weight_multiplies_the_mask(blend: str) -> None:
    """At half the weight every sample goes half the way."""
    before = [plane.copy() for plane in planes(soft())]
    full, half = (changed(before, painted(soft(), disc(), weight=w, blend=blend)) for w in (1.0, 0.5))
    for whole, part in zip(full, half, strict=True):
        assert np.abs(part - whole / 2).max() <= 2
    assert max(np.abs(whole).max() for whole in full) > 20


def test_a_given_mask_takes_the_place_of_the_landmarks() -> None:
    """Landmarks that are somewhere else, or nowhere, make no difference."""
    results = []
    for points in (place(np.array([BOX], np.float32))[0], np.full((68, 2), np.nan, np.float32)):
        frame = soft()
        paint(frame, patch(), BOX, points, colour(), CompositeSettings(blend="feather"), mask=disc())
        results.append([plane.copy() for plane in planes(frame)])
    assert same(*results)
    assert not same(results[0], painted(soft(), None, blend="feather"))


def test_feather_mixes_by_the_mask_times_the_ramp() -> None:
    frame, convert = soft(), colour()
    luma = planes(frame)[0].astype(np.float32)
    region = convert.region(BOX, 4)
    face = cv2.resize(patch(), (BOX[2] - BOX[0], BOX[3] - BOX[1]), interpolation=cv2.INTER_AREA)
    source = convert.to_bgr(frame, region)
    inside = np.s_[BOX[1] - region[1] : BOX[3] - region[1], BOX[0] - region[0] : BOX[2] - region[0]]
    source[inside] = face
    share = soft_mask(disc(), BOX, region, 0.12)
    where = np.s_[region[1] : region[3], region[0] : region[2]]
    wanted = luma.copy()
    wanted[where] += share * (convert.from_bgr(source)[0] - luma[where])
    assert np.abs(painted(frame, disc(), blend="feather")[0] - wanted).max() <= 1


def test_the_ramp_ends_every_mask_on_the_box_s_border() -> None:
    region = (32, 16, 130, 124)
    mask = soft_mask(np.full((256, 256), 255, np.uint8), BOX, region, 0.12)
    x0, y0, x1, y1 = BOX[0] - 32, BOX[1] - 16, BOX[2] - 32, BOX[3] - 16
    inner = mask[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].copy()
    mask[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = 0
    assert not mask.any()
    assert inner.max() == 1
    assert 0 < inner[0].max() < 0.3
    assert (inner > 0).all()
    assert (inner[4:-4, 4:-4] == 1).all(), "a third of 0.12 of 97 px"


def test_a_mask_of_the_box_s_size_is_taken_value_for_value() -> None:
    box, region = (10, 6, 266, 262), (6, 2, 270, 266)
    mask = np.random.default_rng(3).integers(0, 256, (256, 256), np.uint8)
    placed = placed_mask(mask, box, region)
    assert np.array_equal(np.rint(placed[4:260, 4:260] * 255), mask)
    assert np.array_equal(placed_mask(mask // 255 * 255, box, region) == 1, np.pad(mask == 255, 4))
    placed[4:260, 4:260] = 0
    assert not placed.any()


def test_compositing_is_pillow_s() -> None:
    """Every mask value over every pair of a few levels, and noise."""
    random = np.random.default_rng(1)
    alpha = np.arange(256, dtype=np.uint8)[:, None].repeat(512, axis=1)
    base, source = (random.integers(0, 256, (256, 512, 3), np.uint8) for _ in range(2))
    base[:, :4], source[:, :4] = 0, 255
    base[:, 4:8], source[:, 4:8] = 255, 0
    theirs = Image.fromarray(base)
    theirs.paste(Image.fromarray(source), (0, 0), Image.fromarray(alpha))
    ours = composited(base, source, alpha)
    assert np.array_equal(ours, np.asarray(theirs))
    assert np.array_equal(ours[0], base[0])
    assert np.array_equal(ours[255], source[255])


@pytest.mark.parametrize("box", [(20, 12, 110, 102), (37, 21, 124, 118), (0, 0, 63, 61), (99, 65, 160, 128)])
def test_paste_is_the_official_script_s(box: tuple[int, int, int, int]) -> None:
    """musetalk.md 4.8: the face resized bilinearly, pasted by Pillow through the mask; then the picture is encoded."""
    x0, y0, x1, y1 = box
    frame, convert, mask = soft(), colour(), disc()
    before = [plane.copy() for plane in planes(frame)]
    picture = convert.to_bgr(frame, (0, 0, *SIZE))
    alpha = np.zeros(SIZE[::-1], np.uint8)
    alpha[y0:y1, x0:x1] = np.rint(cv2.resize(mask.astype(np.float32), (x1 - x0, y1 - y0)))
    face = picture.copy()
    face[y0:y1, x0:x1] = cv2.resize(patch(), (x1 - x0, y1 - y0))
    body = Image.fromarray(picture)
    body.paste(Image.fromarray(face), (0, 0), Image.fromarray(alpha))
    luma, *chroma = convert.from_bgr(np.asarray(body))

    now = painted(frame, mask, box=box, convert=convert, blend="paste", upscale="bilinear")
    seen = alpha > 0
    # The rest are mask values that lie between two levels: ours is interpolated in shares of 1, theirs in levels.
    assert (now[0][seen] == luma[seen]).mean() > 0.995
    assert np.abs(now[0][seen].astype(int) - luma[seen]).max() <= 1
    assert np.array_equal(now[0][~seen], before[0][~seen]), "theirs has been through RGB, ours has not"
    some = seen.reshape(64, 2, 80, 2).any(axis=(1, 3))
    for plane, theirs, was in zip(now[1:], chroma, before[1:], strict=True):
        assert np.abs(plane[some].astype(int) - theirs[some]).max() <= 1
        assert np.array_equal(plane[~some], was[~some])


def test_the_stack_s_masks_reach_their_frames(tmp_path: Path) -> None:
    """One mask an item: the second frame is painted left, the third right, and neither elsewhere."""
    film = clip(tmp_path / "a.mp4", steady(4), size=(96, 80))
    boxes = np.array([[20, 14, 76, 70]] * 2, np.int32)
    masks = np.zeros((2, 256, 256), np.uint8)
    masks[0, :, :100], masks[1, :, 156:] = 255, 255
    stack = FaceStack(
        np.array([1, 2]),
        np.stack([patch()] * 2),
        boxes,
        np.full((2, 68, 2), np.nan, np.float32),
        np.ones(2, np.float32),
        masks=masks,
    )
    stack = FaceStack.from_bytes(stack.to_bytes())
    target = tmp_path / "segment.mp4"
    stage = Composite(CompositeSettings(blend="feather"), EncodeSettings(codec="ffv1", threads=1), MediaSettings())
    stage(film, Timeline.of(index_video(str(film))), 0, 4, stack, target)
    source, made = ([picture for _, picture in shown(path)] for path in (film, target))
    assert same(made[0], source[0])
    assert same(made[3], source[3])
    left, right = (np.nonzero(made[k][0] != source[k][0])[1] for k in (1, 2))
    assert 20 <= left.min() < left.max() <= 43
    assert 52 <= right.min() < right.max() <= 76

"""One patch into one frame: where it lands, what it keeps, what it leaves."""

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from stages.arrays import F32, U8
from stages.composite.blend import mix, paint, resize_patch
from stages.composite.settings import CompositeSettings
from stages.crops.landmarks.template import place
from stages.media.index import Picture
from stages.media.planes import FORMATS, Plane, RegionColour, planes
from stages.media.settings import MediaSettings

SIZE = (160, 128)
BOX = (37, 21, 124, 118)


def colour(pix_fmt: str = "yuv420p", conversion: str = "accurate", size: tuple[int, int] = SIZE) -> RegionColour:
    picture = Picture("h264", *size, pix_fmt, (0, 1), 0, 2, 2, 2, (25, 1), "", "mov", False, "left", 0)
    return RegionColour(picture, MediaSettings(conversion=conversion))


def soft(pix_fmt: str = "yuv420p", seed: int = 0, size: tuple[int, int] = SIZE) -> VideoFrame:
    """A picture like skin: smooth, of muted colours, with a little grain."""
    frame, random = av.VideoFrame(*size, pix_fmt), np.random.default_rng(seed)
    code = 1 << (FORMATS[pix_fmt].bits - 8)
    for plane, room in zip(planes(frame), (300, 60, 60), strict=True):
        smooth = cv2.GaussianBlur(random.uniform(-1, 1, plane.shape), (0, 0), 6)
        plane[:] = np.rint(code * (128 + room * smooth))
    return frame


def landmarks(box: tuple[int, int, int, int] = BOX) -> F32:
    return place(np.array([box], np.float32))[0]


def painted(frame: VideoFrame, patch: U8, box: tuple[int, int, int, int] = BOX, **settings: object) -> list[Plane]:
    """Copies of the planes after painting."""
    paint(
        frame, patch, box, landmarks(box), colour(frame.format.name, size=(frame.width, frame.height)), _set(**settings)
    )
    return [plane.copy() for plane in planes(frame)]


def _set(**settings: object) -> CompositeSettings:
    return CompositeSettings(**settings)


def change(frame: VideoFrame, patch: U8, **settings: object) -> list[np.ndarray]:
    """By how many 8-bit codes every sample changed."""
    before = [plane.astype(float) for plane in planes(frame)]
    code = 1 << (FORMATS[frame.format.name].bits - 8)
    return [(now - was) / code for now, was in zip(painted(frame, patch, **settings), before, strict=True)]


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("blend", ["seamless", "feather"])
def test_the_face_itself_as_a_patch_changes_nothing_one_could_see(blend: str, pix_fmt: str) -> None:
    frame = soft(pix_fmt)
    own = colour(pix_fmt).to_bgr(frame, (0, 0, *SIZE))[BOX[1] : BOX[3], BOX[0] : BOX[2]]
    for plane in change(frame, own, blend=blend):
        assert np.abs(plane).max() <= 2


@pytest.mark.parametrize("blend", ["seamless", "feather", "paste"])
def test_a_patch_lands_on_its_pixel(blend: str) -> None:
    """An asymmetric pattern, compared with itself moved by a pixel each way."""
    random = np.random.default_rng(5)
    grain = cv2.GaussianBlur(random.uniform(-1, 1, (BOX[3] - BOX[1], BOX[2] - BOX[0])), (0, 0), 1.2)
    patch = np.clip(128 + 250 * grain, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    frame = soft()
    for plane in planes(frame):
        plane[:] = 128
    luma = painted(frame, patch, blend=blend)[0].astype(float)
    x, y = BOX[0] + 28, BOX[1] + 66  # the middle of the mouth, where every mask is 1
    wanted = patch[66:80, 28:58, 0].astype(float)
    errors = {}
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            part = luma[y + dy : y + dy + 14, x + dx : x + dx + 30]
            errors[dx, dy] = np.std((part - part.mean()) / part.std() - (wanted - wanted.mean()) / wanted.std())
    right = errors.pop((0, 0))
    assert right < 0.3
    assert min(errors.values()) > 2 * right


def test_a_patch_of_another_brightness_takes_the_film_s_seamlessly() -> None:
    """Gradients of the patch, colours of the film: a shifted copy of the face leaves no edge anywhere."""
    frame = soft()
    own = colour().to_bgr(frame, (0, 0, *SIZE))[BOX[1] : BOX[3], BOX[0] : BOX[2]]
    assert own.max() < 235
    shifted = (own + np.array([20, 8, 14], np.uint8)).astype(np.uint8)
    for plane in change(frame, shifted, blend="seamless"):
        assert np.abs(plane).max() <= 3
        steps = [np.abs(np.diff(plane, axis=axis)).max() for axis in (0, 1)]
        assert max(steps) <= 3


def test_a_flat_patch_on_a_flat_film_leaves_no_step() -> None:
    frame = soft()
    for plane in planes(frame):
        plane[:] = 120
    for patch_colour in ((90, 140, 200), (255, 255, 255), (0, 0, 0)):
        patch = np.full((64, 64, 3), patch_colour, np.uint8)
        for plane in change(frame, patch, blend="seamless"):
            assert np.abs(plane).max() <= 2


def test_a_feathered_patch_has_no_edge() -> None:
    """White on grey: neighbouring pixels differ by no more than the feather allows."""
    frame = soft()
    for plane in planes(frame):
        plane[:] = 128
    feather = 0.15
    luma = change(frame, np.full((64, 64, 3), 255, np.uint8), blend="feather", feather=feather)[0]
    assert luma.max() > 90, "the mouth is wholly the patch's"
    allowed = 110 * 6 / (feather * (BOX[3] - BOX[1])) + 1
    assert max(np.abs(np.diff(luma, axis=axis)).max() for axis in (0, 1)) <= allowed


def test_seamless_is_the_same_every_time() -> None:
    """OpenCV overwrites the mask it is given (media.md 7.6)."""
    patch = np.random.default_rng(1).integers(60, 200, (32, 32, 3), np.uint8)
    first, second = painted(soft(), patch, blend="seamless"), painted(soft(), patch, blend="seamless")
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("box", [(37, 21, 124, 118), (40, 20, 120, 116), (0, 0, 63, 61), (99, 65, 160, 128)])
@pytest.mark.parametrize("conversion", ["fast", "accurate"])
def test_paste_is_the_official_script_s_overwrite(conversion: str, box: tuple[int, int, int, int]) -> None:
    """wav2lip.md 5.2, step 10: the patch resized bilinearly overwrites the rows and columns of the box."""
    x0, y0, x1, y1 = box
    patch = np.random.default_rng(2).integers(40, 220, (96, 96, 3), np.uint8)
    patch = cv2.GaussianBlur(patch, (0, 0), 4)
    settings = _set(blend="paste", upscale="bilinear")
    face = cv2.resize(patch, (x1 - x0, y1 - y0))
    assert np.array_equal(resize_patch(patch, box, settings), face)

    convert, frame = colour(conversion=conversion), soft()
    before = [plane.copy() for plane in planes(frame)]
    official = convert.to_bgr(frame, (0, 0, *SIZE))
    official[y0:y1, x0:x1] = face
    luma, *chroma = convert.from_bgr(official)
    paint(frame, patch, box, landmarks(box), convert, settings)
    now = planes(frame)
    assert np.abs(now[0][y0:y1, x0:x1].astype(int) - luma[y0:y1, x0:x1]).max() <= 1
    for plane, theirs in zip(now[1:], chroma, strict=True):
        whole = np.s_[-(-y0 // 2) + 1 : y1 // 2 - 1, -(-x0 // 2) + 1 : x1 // 2 - 1]
        assert np.abs(plane[whole].astype(int) - theirs[whole]).max() <= 1
    outside = now[0].copy()
    outside[y0:y1, x0:x1] = before[0][y0:y1, x0:x1]
    assert np.array_equal(outside, before[0]), "their luma outside the box has been through BGR, ours has not"


def test_patches_grow_and_shrink_as_asked() -> None:
    patch = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    grown, shrunk = (0, 0, 100, 90), (0, 0, 40, 30)
    for box, how in ((grown, cv2.INTER_CUBIC), (shrunk, cv2.INTER_AREA)):
        assert np.array_equal(resize_patch(patch, box, _set()), cv2.resize(patch, box[2:], interpolation=how))
    bilinear = _set(upscale="bilinear")
    assert np.array_equal(resize_patch(patch, shrunk, bilinear), cv2.resize(patch, (40, 30)))
    assert np.array_equal(resize_patch(patch, (0, 0, 64, 64), bilinear), patch)


def test_ten_bits_stay_ten() -> None:
    """Where the patch is the film's own face, the two lower bits are not lost to 8-bit BGR all over the face."""
    frame = soft("yuv420p10le")
    for plane in planes(frame):
        plane[:] = plane // 4 * 4 + 1
    before = [plane.copy() for plane in planes(frame)]
    after = painted(frame, np.full((32, 32, 3), 90, np.uint8), blend="feather")
    assert any((plane % 4 != 1).any() for plane in after)
    for now, was in zip(after, before, strict=True):
        assert now.dtype == np.uint16
        assert now.max() <= 1023
        untouched = now == was
        assert untouched[:8].all()
        assert 0.3 < untouched.mean() < 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16]))
def test_mixing_never_leaves_the_two_it_mixes(seed: int, dtype: type) -> None:
    random, peak = np.random.default_rng(seed), 255 if dtype is np.uint8 else 1023
    base, source = (random.integers(0, peak + 1, (9, 7)).astype(dtype) for _ in range(2))
    weight = random.choice([0, 1, 0.5, 0.25, random.random()], (9, 7)).astype(np.float32)
    target = base.copy()
    mix(target, source, weight)
    assert np.array_equal(target[weight == 0], base[weight == 0])
    assert np.array_equal(target[weight == 1], source[weight == 1])
    assert (target >= np.minimum(base, source)).all()
    assert (target <= np.maximum(base, source)).all()
    exact = base + weight.astype(np.float64) * (source.astype(np.float64) - base)
    assert np.abs(target - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("blend", ["seamless", "feather"])
def test_landmarks_that_are_missing_still_give_a_mouth(blend: str) -> None:
    frame = soft()
    before = [plane.copy() for plane in planes(frame)]
    unknown = np.full((68, 2), np.nan, np.float32)
    patch = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    paint(frame, patch, BOX, unknown, colour(), _set(blend=blend))
    changed = planes(frame)[0] != before[0]
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 500
    assert rows.min() > (BOX[1] + BOX[3]) // 2 - 5
    assert BOX[0] < columns.min() < columns.max() < BOX[2]

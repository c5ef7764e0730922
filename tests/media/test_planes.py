"""Planes without a copy, and the way to BGR and back: the same for a region as for the whole picture."""

import gc

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.media.index import Picture
from stages.media.picture import Shrinker
from stages.media.planes import FORMATS, SEES_PX, RegionColour, even_region, matrix_of, planes, region_planes
from stages.media.settings import MediaSettings
from tests.clips import clip, noise, numbered, same, steady

WIDTH, HEIGHT = 94, 70


def picture(width: int, height: int, pix_fmt: str, **tags: int) -> Picture:
    plain = {"color_range": 0, "matrix": 2, "primaries": 2, "transfer": 2}
    return Picture(
        "h264",
        width,
        height,
        pix_fmt,
        (0, 1),
        rate=(25, 1),
        language="",
        container="mov",
        interlaced=False,
        chroma="left",
        rotation=0,
        **{**plain, **tags},
    )


def colour(
    pix_fmt: str, conversion: str = "accurate", size: tuple[int, int] = (WIDTH, HEIGHT), **tags: int
) -> RegionColour:
    return RegionColour(picture(*size, pix_fmt, **tags), MediaSettings(conversion=conversion))


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (95, 71)])
def test_planes_are_views_of_every_sample_and_nothing_else(pix_fmt: str, size: tuple[int, int]) -> None:
    frame = av.VideoFrame(*size, pix_fmt)
    layout = FORMATS[pix_fmt]
    expected = [size, *[(-(-size[0] >> layout.shift_x), -(-size[1] >> layout.shift_y))] * 2]
    assert [(p.shape[1], p.shape[0]) for p in planes(frame)] == expected
    for k, plane in enumerate(planes(frame)):
        plane[:] = 7 + k
        plane[-1, -1] = 99
    assert [(int(p[0, 0]), int(p[-1, -1])) for p in planes(frame)] == [(7, 99), (8, 99), (9, 99)]


def test_a_view_outlives_the_name_of_its_frame() -> None:
    frame = noise(1)
    views, copies = planes(frame), [plane.copy() for plane in planes(frame)]
    del frame
    gc.collect()
    _others = [noise(k) for k in range(30)]
    assert same(views, copies)


SIDE = st.tuples(st.floats(-20, 120), st.floats(-20, 120)).map(sorted)


@given(SIDE, SIDE, st.integers(0, 9), st.sampled_from([(94, 70), (95, 71)]))
def test_regions_are_even_inside_the_picture_and_hold_the_box(
    across: list[float], down: list[float], margin: int, size: tuple[int, int]
) -> None:
    left, top, right, bottom = even_region((across[0], down[0], across[1], down[1]), margin, *size)
    for low, high, wanted, length in ((left, right, across, size[0]), (top, bottom, down, size[1])):
        assert low % 2 == 0
        assert high % 2 == 0 or high == length
        assert 0 <= low <= max(0, wanted[0] - margin)
        assert min(length, wanted[1] + margin) <= high <= length


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (95, 71)])
@pytest.mark.parametrize("conversion", ["accurate", "fast"])
def test_a_pixel_s_colour_does_not_tell_how_large_its_region_was(
    conversion: str, size: tuple[int, int], pix_fmt: str
) -> None:
    """Crops must not differ between a frame whose landmarks are looked for, with room round it, and another."""
    frame, convert = noise(3, size, pix_fmt), colour(pix_fmt, conversion, size)
    whole = convert.to_bgr(frame, (0, 0, *size))
    random = np.random.default_rng(0)
    for _ in range(40):
        x0, y0 = (2 * int(random.integers(0, side // 2 - 12)) for side in size)
        x1, y1 = (min(side, low + 2 * int(random.integers(12, 40))) for side, low in zip(size, (x0, y0), strict=True))
        part = convert.to_bgr(frame, (x0, y0, x1, y1))
        assert part.shape == (y1 - y0, x1 - x0, 3)
        sees = [SEES_PX if edge else 0 for edge in (x0 > 0, y0 > 0, x1 < size[0], y1 < size[1])]
        inside = np.s_[sees[1] : y1 - y0 - sees[3], sees[0] : x1 - x0 - sees[2]]
        assert np.array_equal(part[inside], whole[y0:y1, x0:x1][inside])


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (176, 144), (322, 182)])
def test_the_fast_conversion_is_the_one_of_opencv_s_reader(tmp_path, size: tuple[int, int]) -> None:
    """What the official script sees (wav2lip.md 5.2): an untagged film through cv2.VideoCapture."""
    path = clip(tmp_path / "a.mp4", steady(3), size=size)
    reader = cv2.VideoCapture(str(path))
    convert = colour("yuv420p", "fast", size)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            official = reader.read()[1]
            assert np.array_equal(convert.to_bgr(frame, (0, 0, *size)), official)
            assert np.array_equal(convert.to_bgr(frame, (10, 4, 80, 60)), official[4:60, 10:80])
            assert np.array_equal(Shrinker(None, "bt601").bgr(frame), official)


# H.273: luma weights of red and blue.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_the_source_s_own_matrix_and_range_are_used(matrix: int, color_range: int, pix_fmt: str) -> None:
    frame = noise(0, pix_fmt=pix_fmt)
    scale = 1 << (FORMATS[pix_fmt].bits - 8)
    colours = {"luma": 120, "cb": 100, "cr": 150}
    for plane, value in zip(planes(frame), colours.values(), strict=True):
        plane[:] = value * scale
    kr, kb = WEIGHTS[matrix]
    full = color_range == 2
    y = colours["luma"] / 255 if full else (colours["luma"] - 16) / 219
    cb, cr = ((colours[c] - 128) / (255 if full else 224) for c in ("cb", "cr"))
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    got = colour(pix_fmt, size=(64, 48), matrix=matrix, color_range=color_range).to_bgr(frame, (0, 0, 64, 48))
    assert np.abs(got[20, 20] - 255 * np.array([blue, green, red])).max() <= 1.01
    again = colour(pix_fmt, size=(64, 48), matrix=matrix, color_range=color_range).from_bgr(got)
    for plane, value in zip(again, colours.values(), strict=True):
        assert np.abs(plane.astype(int) - value * scale).max() <= 1.01 * scale


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (95, 71)])
def test_there_and_back_changes_next_to_nothing(pix_fmt: str, size: tuple[int, int]) -> None:
    frame, convert = numbered(5, size, pix_fmt), colour(pix_fmt, size=size)
    code = 1 << (FORMATS[pix_fmt].bits - 8)
    for plane, room in zip(planes(frame), (1.0, 0.1, 0.1), strict=True):  # chroma that every luma can carry
        plane[:] = 128 * code + room * (cv2.GaussianBlur(plane, (0, 0), 3).astype(float) - 128 * code)
    region = (10, 12, size[0], size[1])
    back = convert.from_bgr(convert.to_bgr(frame, region))
    for got, was in zip(back, region_planes(frame, region), strict=True):
        assert got.shape == was.shape
        error = (got.astype(int) - was) / code
        assert np.abs(error).max() <= 2
        # swscale rounds the chroma of full range down: half a code, and the same in every frame.
        assert abs(error.mean()) < (0.7 if "yuvj" in pix_fmt else 0.1)


def test_untagged_pictures_are_taken_for_what_their_size_says() -> None:
    named = {h: matrix_of(2, h, "auto").name for h in (576, 719, 720, 1080)}
    assert named == {576: "ITU601", 719: "ITU601", 720: "ITU709", 1080: "ITU709"}
    assert matrix_of(2, 1080, "bt601").name == "ITU601"
    assert matrix_of(2, 100, "bt709").name == "ITU709"
    assert matrix_of(1, 100, "bt601").name == "ITU709", "a tag is believed"


def test_the_shrinker_never_enlarges_and_keeps_the_shape() -> None:
    frame = numbered(1, (160, 90))
    assert Shrinker(80).bgr(frame).shape == (45, 80, 3)
    assert Shrinker(400).bgr(frame).shape == (90, 160, 3)
    assert Shrinker(None).bgr(frame).shape == (90, 160, 3)
    assert Shrinker(33).bgr(frame).shape == (19, 33, 3)


def test_the_shrinker_averages_what_it_drops() -> None:
    """A detector must not see the moiré of a picture sampled at every fourth pixel."""
    frame = numbered(0, (160, 80))
    luma = planes(frame)[0]
    luma[:] = np.where(np.arange(160) % 4 == 0, 235, 16)[None]
    for plane in planes(frame)[1:]:
        plane[:] = 128
    small = Shrinker(40).bgr(frame)
    assert np.abs(small.astype(float) - 255 / 4).max() < 6

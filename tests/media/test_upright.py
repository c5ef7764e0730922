"""Between the coded picture and the upright one."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import DubError
from stages.media.decode import first_frame, read_frames
from stages.media.index import Picture, VideoIndex, index_video
from stages.media.picture import Shrinker
from stages.media.planes import RegionColour
from stages.media.settings import MediaSettings
from stages.media.upright import Upright, rotation_of
from tests.clips import clip, steady
from tests.odd import face

TURNS = (0, 90, 180, 270)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(TURNS), st.data())
def test_boxes_follow_the_pixels(width: int, height: int, rotation: int, data: st.DataObject) -> None:
    upright = Upright(width, height, rotation)
    coded = np.arange(width * height).reshape(height, width)
    shown = upright.turn(coded)
    assert shown.shape == upright.size[::-1]
    assert np.array_equal(upright.turn_back(shown), coded)
    x0, y0 = data.draw(st.integers(0, upright.size[0] - 1)), data.draw(st.integers(0, upright.size[1] - 1))
    box = x0, y0, data.draw(st.integers(x0 + 1, upright.size[0])), data.draw(st.integers(y0 + 1, upright.size[1]))
    c0, r0, c1, r1 = upright.coded(box)
    assert np.array_equal(upright.turn(coded[r0:r1, c0:c1]), shown[y0 : box[3], x0 : box[2]])
    assert upright.shown((c0, r0, c1, r1)) == box


@given(st.integers(8, 41), st.integers(8, 41), st.sampled_from(TURNS), st.data())
def test_regions_are_even_aligned_in_the_planes_also_at_odd_sizes(
    width: int, height: int, rotation: int, data: st.DataObject
) -> None:
    upright = Upright(width, height, rotation)
    across, down = upright.size
    x0, y0 = data.draw(st.floats(0, across - 2)), data.draw(st.floats(0, down - 2))
    box = x0, y0, min(across, x0 + 2.5), min(down, y0 + 1.5)
    picture = index_of(width, height, rotation)
    region = RegionColour(picture.picture, MediaSettings()).region(box, 1)
    c0, r0, c1, r1 = upright.coded(region)
    assert c0 % 2 == r0 % 2 == 0
    assert c1 % 2 == 0 or c1 == width
    assert r1 % 2 == 0 or r1 == height
    assert region[0] <= x0
    assert region[1] <= y0
    assert region[2] >= box[2]
    assert region[3] >= box[3]


def index_of(width: int, height: int, rotation: int) -> VideoIndex:
    plain = Picture("h264", width, height, "yuv420p", (0, 1), 0, 2, 2, 2, (25, 1), "", "mov", False, "left", rotation)
    zeros = np.zeros(1, np.int64)
    return VideoIndex(zeros, zeros, zeros, zeros + 1, zeros == 0, Fraction(1, 25), 0.0, plain)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("rotation", TURNS)
def test_the_display_matrix_is_read(tmp_path: Path, suffix: str, rotation: int) -> None:
    path = clip(tmp_path / f"a{suffix}", steady(3), rotation=rotation)
    index = index_video(str(path))
    assert index.picture.rotation == rotation
    assert rotation_of(first_frame(path, index)) == rotation
    assert VideoIndex.from_bytes(index.to_bytes()).picture == index.picture
    assert len(list(read_frames(path, index, 0, 3))) == 3


@pytest.mark.parametrize(
    ("rotation", "mirrored", "said"),
    [
        (0, True, "mirrored"),
        (90, True, "mirrored"),
        (180, True, "mirrored"),
        (45, False, "no multiple of 90"),
        (89, False, "no multiple of 90"),
    ],
)
def test_mirrored_and_slanted_pictures_are_refused_in_words(
    tmp_path: Path, rotation: int, mirrored: bool, said: str
) -> None:
    path = clip(tmp_path / "a.mp4", steady(3), rotation=rotation, mirrored=mirrored)
    with pytest.raises(DubError, match=f"a.mp4: .*{said}.*encode it upright first") as caught:
        index_video(str(path))
    assert caught.value.code == "unsupported"


def test_a_turn_that_changes_midway_is_refused(tmp_path: Path) -> None:
    """Joined recordings of a phone that was turned: only the first one's matrix is in the index."""
    path = clip(tmp_path / "a.mp4", steady(3), rotation=90)
    index = index_video(str(clip(tmp_path / "b.mp4", steady(3))))
    with pytest.raises(DubError, match="changes from 64x48 yuv420p to 64x48 yuv420p turned by 90 degrees"):
        list(read_frames(path, index, 0, 3))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("width", [None, 80, 37])
def test_detectors_see_the_picture_a_player_shows(tmp_path: Path, turns: int, width: int | None) -> None:
    straight = Shrinker(width).bgr(face(3, pix_fmt="yuv444p"))
    path = clip(
        tmp_path / "a.mp4",
        steady(1),
        size=(120, 160) if turns % 2 else (160, 120),
        codec="ffv1",
        pix_fmt="yuv444p",
        picture=lambda *_: face(3, pix_fmt="yuv444p", turns=turns),
        rotation=turns * 90,
    )
    seen = Shrinker(width).bgr(first_frame(path, index_video(str(path))))
    assert seen.shape == straight.shape
    assert abs(seen.astype(int) - straight).max() <= 3


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_region_goes_to_bgr_and_back_where_it_was(turns: int) -> None:
    frame = face(5, pix_fmt="yuv444p", turns=turns)
    index = index_of(frame.width, frame.height, turns * 90)
    colour = RegionColour(replace(index.picture, pix_fmt="yuv444p"), MediaSettings())
    straight = RegionColour(replace(index_of(160, 120, 0).picture, pix_fmt="yuv444p"), MediaSettings())
    region = colour.region((52, 30, 107, 95), 2)
    pixels = colour.to_bgr(frame, region)
    assert np.array_equal(pixels, straight.to_bgr(face(5, pix_fmt="yuv444p"), region))
    for made, there in zip(colour.from_bgr(pixels), colour.planes(frame, region), strict=True):
        assert made.shape == there.shape
        assert abs(made.astype(int) - there).mean() < 2


def test_frames_made_here_are_upright() -> None:
    assert rotation_of(av.VideoFrame(16, 16, "yuv420p")) == 0

"""Where chroma samples lie: read from the header, and written into every encoder's that has a word for it."""

from pathlib import Path

import pytest

from stages.media.chroma import chroma_location
from stages.media.encode import EncodeSettings, SegmentWriter
from stages.media.index import index_video
from stages.media.settings import MediaLimits
from tests.clips import CLOCK, Sound, clip, numbered, steady

PLACES = ["left", "center", "topleft", "top", "bottomleft", "bottom"]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("place", PLACES)
def test_the_place_is_read_and_kept_in_the_segment(tmp_path: Path, codec: str, place: str) -> None:
    film = clip(tmp_path / "a.mp4", steady(3), codec=codec, options={"chroma_sample_location": place})
    index = index_video(str(film))
    assert index.picture.chroma == place
    with SegmentWriter(tmp_path / "b.mp4", index.picture, CLOCK, EncodeSettings(preset="ultrafast")) as writer:
        for number in range(3):
            frame = numbered(number)
            frame.pts = number * 512
            writer.write(frame)
    assert index_video(str(tmp_path / "b.mp4")).picture.chroma == place


def test_what_says_nothing_stays_without_it(tmp_path: Path) -> None:
    assert index_video(str(clip(tmp_path / "a.mp4", steady(2)))).picture.chroma == "left"
    assert index_video(str(clip(tmp_path / "b.mp4", steady(2), codec="libvpx-vp9"))).picture.chroma == "unspecified"
    assert index_video(str(clip(tmp_path / "c.mp4", steady(2), pix_fmt="yuv444p"))).picture.chroma == "unspecified"


def test_another_stream_s_words_are_not_taken(tmp_path: Path) -> None:
    """A title may look like a line of ffmpeg's."""
    title = "x\n  Stream #0:0: Video: h264, yuv420p(top), 64x48"
    film = clip(tmp_path / "a.mkv", steady(2), sounds=[Sound(0.1)], metadata={"title": title})
    assert chroma_location(film, 0, MediaLimits()) in ("left", "top")
    assert chroma_location(film, 1, MediaLimits()) == "unspecified"
    assert chroma_location(tmp_path / "none.mp4", 0, MediaLimits()) == "unspecified"

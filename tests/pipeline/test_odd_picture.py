"""Odd pictures from the manifest to the delivery: painted where players see the mouth, tagged as before."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stages.media.index import index_video
from tests.clips import clip, shown, steady
from tests.odd import BOX, SIZE, changed, deliver, picture_of


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize(("pix_fmt", "apart"), [("yuv444p", 3), ("yuv420p", 12)])
def test_a_turned_film_is_painted_as_the_upright_one(tmp_path: Path, turns: int, pix_fmt: str, apart: int) -> None:
    """As players show it: the same box, the same face; 4:2:0 differs by where its chroma samples lie."""
    results = {}
    for name, quarter in (("upright", 0), ("turned", turns)):
        (tmp_path / name).mkdir()
        film = clip(
            tmp_path / name / "a.mp4",
            steady(8),
            codec="ffv1",
            size=SIZE if quarter % 2 == 0 else SIZE[::-1],
            pix_fmt=pix_fmt,
            picture=picture_of(pix_fmt, quarter),
            rotation=quarter * 90 or None,
        )
        made, report = deliver(film)
        assert (report.code, report.painted) == ("ok", 8), report.message
        assert index_video(str(made)).picture.rotation == quarter * 90
        results[name] = list(zip(shown(film), shown(made), strict=True))
    painted = 0
    for ((_, before), (_, after)), ((_, coded_before), (_, coded)) in zip(
        results["upright"], results["turned"], strict=True
    ):
        for was, plane, turned_was, turned_plane in zip(before, after, coded_before, coded, strict=True):
            assert np.array_equal(np.rot90(turned_was, turns), was)
            difference = np.abs(np.rot90(turned_plane, turns).astype(int) - plane)
            assert difference.max() <= apart
            assert difference.mean() < 0.1
        x0, y0, x1, y1 = changed(before, after) or (0, 0, 1, 1)
        assert BOX[2] - 4 <= x0 < x1 <= BOX[3] + 4
        assert BOX[0] - 4 <= y0 < y1 <= BOX[1] + 4
        painted += (x1 - x0) * (y1 - y0)
    assert painted > 3000


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_face_in_a_turned_film_is_found_and_the_matrix_kept(tmp_path: Path, suffix: str) -> None:
    """Lying on its side the detector does not see it."""
    size = (320, 240)
    film = clip(
        tmp_path / "a.mp4",
        steady(6),
        size=size[::-1],
        picture=picture_of("yuv420p", 1, size),
        rotation=90,
    )
    encode = {"codec": "auto", "preset": "ultrafast"}
    made, report = deliver(film, f"out{suffix}", row={"box": None}, encode=encode, faces={"stride": 2})
    assert (report.code, report.painted) == ("ok", 6), report.message
    found = index_video(str(made)).picture
    assert (found.rotation, found.width, found.height) == (90, 240, 320)


def test_a_box_that_is_only_in_the_coded_picture_is_refused(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(3), size=SIZE[::-1], picture=picture_of(turns=1), rotation=90)
    _, report = deliver(film, row={"box": [100, 150, 10, 60]})
    assert report.code == "bad_row"
    assert "160x120" in report.message


def test_a_mirrored_film_is_unsupported(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(3), size=SIZE, picture=picture_of(), rotation=0, mirrored=True)
    _, report = deliver(film)
    assert report.code == "unsupported"
    assert "mirrored" in report.message


TAGS = {
    "color_range": 1,
    "colorspace": 9,
    "color_primaries": 9,
    "color_trc": 14,
    "sample_aspect_ratio": Fraction(16, 11),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(("codec", "family"), [("libx264", "h264"), ("libx265", "hevc")])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_what_a_film_says_of_its_pictures_the_delivery_says(
    tmp_path: Path, suffix: str, codec: str, family: str, pix_fmt: str
) -> None:
    """SDR of BT.2020 with oblong pixels and chroma at the top left; then full range; then nothing at all."""
    for tags, more in (
        (TAGS, {"chroma_sample_location": "topleft"}),
        ({**TAGS, "color_range": 2, "colorspace": 1, "color_primaries": 1, "color_trc": 1}, {}),
        ({}, {}),
    ):
        film = clip(
            tmp_path / "a.mp4",
            steady(5),
            codec=codec,
            size=SIZE,
            pix_fmt=pix_fmt,
            picture=picture_of(pix_fmt),
            tags=tags,
            options=more,
        )
        made, report = deliver(film, f"o{suffix}", encode={"preset": "ultrafast"}, run={"overwrite": True})
        assert (report.code, report.painted) == ("ok", 5), report.message
        was, now = index_video(str(film)).picture, index_video(str(made)).picture
        assert now.codec == family
        for name in ("width", "height", "pix_fmt", "sar", "matrix", "primaries", "transfer", "chroma", "color_range"):
            assert getattr(now, name) == getattr(was, name), name


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_every_format_keeps_its_depth_and_its_samples(tmp_path: Path, pix_fmt: str) -> None:
    """Outside the face not one sample is another."""
    film = clip(tmp_path / "a.mp4", steady(3), codec="ffv1", size=SIZE, pix_fmt=pix_fmt, picture=picture_of(pix_fmt))
    made, report = deliver(film)
    assert (report.code, report.painted) == ("ok", 3), report.message
    assert index_video(str(made)).picture.pix_fmt == pix_fmt
    for (_, before), (_, after) in zip(shown(film), shown(made), strict=True):
        x0, y0, x1, y1 = changed(before, after) or (0, 0, 1, 1)
        assert BOX[2] - 4 <= x0 < x1 <= BOX[3] + 4
        assert BOX[0] - 4 <= y0 < y1 <= BOX[1] + 4


@pytest.mark.parametrize("size", [(161, 121), (161, 120), (160, 121)])
def test_odd_sizes_are_unsupported_or_padded_as_set(tmp_path: Path, size: tuple[int, int]) -> None:
    film = clip(tmp_path / "a.mkv", steady(3, step=40), time_base=Fraction(1, 1000), codec="ffv1", size=size)
    film = clip(
        film, steady(3, step=40), time_base=Fraction(1, 1000), codec="ffv1", size=size, picture=picture_of(size=size)
    )
    encode = {"codec": "libx264", "preset": "ultrafast"}
    _, report = deliver(film, encode=encode)
    assert report.code == "unsupported"
    assert "encode.odd_size to pad" in report.message
    made, report = deliver(film, encode={**encode, "odd_size": "pad"})
    assert (report.code, report.painted) == ("ok", 3), report.message
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert any(f"{even[0]}x{even[1]} and not {size[0]}x{size[1]}" in note for note in report.notes)
    assert shown(made)[0][1][0].shape == even[::-1]
    made, report = deliver(film, "lossless.mp4")
    assert report.code == "ok", report.message
    assert shown(made)[0][1][0].shape == size[::-1]


@pytest.mark.parametrize(
    ("suffix", "codec", "made_by"),
    [
        (".webm", "auto", "vp9"),
        (".webm", "libsvtav1", "av1"),
        (".mov", "prores_ks", "prores"),
        (".mkv", "libvpx-vp9", "vp9"),
        (".mp4", "libsvtav1", "av1"),
    ],
)
def test_every_encoder_s_segments_join_to_the_film(tmp_path: Path, suffix: str, codec: str, made_by: str) -> None:
    pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    film = clip(
        tmp_path / "a.mp4", steady(25), codec="libx264", size=SIZE, pix_fmt=pix_fmt, picture=picture_of(pix_fmt)
    )
    encode = {"codec": codec, "preset": "ultrafast"}
    made, report = deliver(film, f"o{suffix}", encode=encode)
    assert (report.code, report.painted, report.shards) == ("ok", 25, 2), report.message
    assert index_video(str(made)).picture.codec == made_by
    assert [at for at, _ in shown(made)] == [Fraction(k, 25) for k in range(25)]


def test_interlaced_scenes_in_a_film_fail_it_in_words(tmp_path: Path) -> None:
    ts = {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}, "size": SIZE, "picture": picture_of()}
    new = clip(tmp_path / "new.ts", steady(6, 90000, 3600), **ts)
    old = clip(tmp_path / "old.ts", steady(6, 180000, 3600), options={"flags": "+ildct+ilme"}, **ts)
    film = tmp_path / "a.ts"
    film.write_bytes(new.read_bytes() + old.read_bytes())
    made, report = deliver(film)
    assert report.code == "unsupported", report.message
    assert "frame 6 is interlaced; deinterlace it first" in report.message
    assert not made.exists()


def test_tags_that_a_delivery_cannot_hold_are_named(tmp_path: Path) -> None:
    """ffv1 says nothing of colours, and MP4 holds matrix, primaries and transfer together or not at all."""
    film = clip(tmp_path / "a.mp4", steady(5), size=SIZE, picture=picture_of(), tags={"colorspace": 1})
    _, report = deliver(film)
    assert report.code == "ok", report.message
    assert any("the picture's matrix was 1 and is 2" in note for note in report.notes)
    _, report = deliver(film, "b.mp4", encode={"preset": "ultrafast"})
    assert not any("matrix" in note for note in report.notes)

"""Odd pictures from the manifest to the delivery: painted where players see the mouth, tagged as before."""

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

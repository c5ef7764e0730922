"""Which moments a report shows, and what the pictures of them show."""

import io
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline import Config, dub
from pipeline.cli import app
from pipeline.pictures import choose, cut, painted_ranges
from stages.arrays import U8
from stages.lips.opening import openings, strongest
from stages.media.index import index_video
from stages.media.settings import MediaSettings
from tests.clips import clip
from tests.films import BOX, film, manifest, speech

TIMES = np.arange(100) / 10


def mouth(opening: int, beard: bool = False) -> tuple[U8, np.ndarray]:
    """A crop of 64 px with a mouth that is `opening` px open, and its landmarks."""
    face = np.full((64, 64, 3), (120, 150, 200), np.uint8)
    if beard:
        face[52:] = (20, 25, 30)
    face[40:44, 22:42] = (90, 90, 190)
    face[42 : 42 + opening, 24:40] = (15, 10, 25)
    landmarks = np.full((68, 2), 32, np.float32)
    landmarks[48:68] = [(22, 42), (42, 42), (32, 40), (32, 44)] * 5
    return face, landmarks


@pytest.mark.parametrize("beard", [False, True])
def test_the_wider_a_mouth_opens_the_stronger(beard: bool) -> None:
    drawn = [mouth(opening, beard) for opening in (0, 0, 2, 6, 10, 6, 0)]
    after, landmarks = (np.stack(parts) for parts in zip(*drawn, strict=True))
    before = np.stack([mouth(0, beard)[0]] * len(drawn))
    scores = openings(before, after, landmarks)
    assert np.argmax(scores) == 4
    assert scores[4] > scores[3] > scores[2] > scores[0] == 0
    assert scores[3] == scores[5]


def test_a_mouth_that_was_left_as_it_was_is_not_an_opening() -> None:
    """The source's speaker shouts while the dub is silent: nothing to show there."""
    after = np.stack([mouth(opening)[0] for opening in (0, 10, 4)])
    before = np.stack([mouth(opening)[0] for opening in (0, 10, 0)])
    scores = openings(before, after, np.stack([mouth(0)[1]] * 3))
    assert scores[1] == 0 < scores[2]


def test_faces_without_landmarks_and_shards_without_faces() -> None:
    nowhere = np.full((2, 68, 2), np.nan, np.float32)
    faces = np.stack([mouth(0)[0], mouth(10)[0]])
    assert np.isfinite(openings(faces[::-1], faces, nowhere)).all()
    assert len(openings(faces[:0], faces[:0], nowhere[:0])) == 0


def test_strongest_are_apart_and_above_nothing() -> None:
    frames = np.arange(100, 110)
    scores = np.float32([0, 5, 6, 5, 0, 0, 0, 3, 0, 0])
    assert [frame for frame, _ in strongest(frames, scores, 3, apart=4)] == [102, 107]
    assert strongest(frames, np.zeros(10, np.float32), 3, apart=4) == []


def test_moments_come_from_different_parts_of_a_film() -> None:
    found = [(10, 0.9), (11, 0.8), (12, 0.7), (50, 0.2), (90, 0.1)]
    assert choose(found, TIMES) == [10, 50, 90]


def test_a_film_that_speaks_in_one_place_has_its_moments_there() -> None:
    assert choose([(10, 0.9), (11, 0.8), (13, 0.7), (15, 0.1)], TIMES) == [10, 11, 13]
    assert choose([(10, 0.9), (10, 0.9)], TIMES) == [10]
    assert choose([], TIMES) == []
    assert choose([(0, 1.0)], np.zeros(1)) == [0]


def test_painted_ranges_end_where_the_next_frame_begins() -> None:
    painted = np.zeros(100, bool)
    painted[[0, 1, 2, 50, 98, 99]] = True
    assert painted_ranges(painted, TIMES, 12.5) == [[0.0, 0.3], [5.0, 5.1], [9.8, 12.5]]
    assert painted_ranges(np.zeros(100, bool), TIMES, 10) == []
    assert painted_ranges(np.ones(100, bool), TIMES, 10) == [[0.0, 10.0]]


def test_too_many_ranges_lose_their_shortest_gaps() -> None:
    painted = np.ones(100, bool)
    painted[[10, 20, 40, 41, 60]] = False
    kept = painted_ranges(painted, TIMES, 10.0, most=2)
    assert kept == [[0.0, 4.0], [4.2, 10.0]]


def test_pictures_have_square_pixels_and_are_small(tmp_path: Path) -> None:
    """A film of 704 px that is shown 1408 px wide."""
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 704, 576, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((576, 704, 3), 60 * k + 60, np.uint8), "bgr24")
            frame.pts = k
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    index = index_video(str(tmp_path / "a.mp4"))
    boxes = np.float32([[300, 200, 400, 350], [0, 0, 704, 576]])
    jpegs = cut(tmp_path / "a.mp4", index, [0, 2], boxes, MediaSettings())
    near, whole = (np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs)
    assert near.shape[1] == whole.shape[1] == 360
    assert whole.shape[0] == round(576 * 360 / 1408)
    assert abs(int(near.mean()) - 60) <= 2
    assert abs(int(whole.mean()) - 180) <= 2


def test_a_box_at_the_edge_of_a_tiny_picture(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    [jpeg] = cut(path, index_video(str(path)), [3], np.float32([[62, 46, 64, 48]]), MediaSettings())
    assert min(Image.open(io.BytesIO(jpeg)).size) >= 2


def test_pictures_show_what_was_delivered_and_a_kept_film_has_them_too(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=50)
    speech(tmp_path / "dub.wav", 2.0)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "box": BOX}
    rows, work = manifest(tmp_path / "m.jsonl", row), tmp_path / "work"
    config = Config.model_validate({"encode": {"preset": "ultrafast"}, "split": {"shard_s": 0.7}})
    first = dub(str(rows), config, str(work)).films["a"]
    assert first.painted_s == [[0.0, 2.0]]
    assert 1 <= len(first.pictures) <= 3
    for moment in first.pictures:
        before, after = (cv2.imread(str(work / moment[when])) for when in ("before", "after"))
        assert before.shape == after.shape
        changed = np.abs(before.astype(int) - after).mean(axis=2) > 40
        rows_changed = np.flatnonzero(changed.any(axis=1))
        assert changed.sum() > 20, "the mouth opens"
        assert rows_changed.min() > before.shape[0] / 2, "and only the mouth changes"
    again = dub(str(rows), config, str(work)).films["a"]
    assert again.kept
    assert (again.pictures, again.painted_s, again.length_s) == (first.pictures, first.painted_s, 2.0)


def test_the_command_says_how_the_last_run_ended_and_makes_lost_files_again(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "box": BOX}
    first = dub(str(manifest(tmp_path / "m.jsonl", row)), Config(), str(tmp_path / "work"))
    second = dub(str(manifest(tmp_path / "m.jsonl", row)), Config(), str(tmp_path / "work"))
    for name in ("report.html", "report.parquet", "shards.parquet"):
        (Path(first.url).parent / name).unlink()
    work = str(tmp_path / "work")
    last = CliRunner().invoke(app, ["report", work])
    assert last.exit_code == 0, last.output
    assert second.run in last.output
    assert "1 of 1 films delivered" in last.output
    named = CliRunner().invoke(app, ["report", work, first.run])
    assert str(Path(first.url).with_suffix(".html")) in named.output.replace("\n", "")
    there = {path.name for path in Path(first.url).parent.iterdir()}
    assert there == {"job.json", "report.json", "report.html", "report.parquet", "shards.parquet"}
    assert json.loads(Path(first.url).read_text())["films"][0]["code"] == "ok"
    for arguments in ([work, "20200101-000000-000000"], [str(tmp_path)], [work, "../../etc"]):
        wrong = CliRunner().invoke(app, ["report", *arguments])
        assert wrong.exit_code == 1
        assert "has no r" in wrong.output


def test_pictures_of_a_turned_film_are_upright(tmp_path: Path) -> None:
    """Coded lying down, 64 x 48; shown standing, 48 x 64."""
    path = clip(tmp_path / "a.mp4", rotation=90)
    jpegs = cut(path, index_video(str(path)), [2], np.float32([[0, 0, 48, 64]]), MediaSettings())
    shown = np.asarray(Image.open(io.BytesIO(jpegs[0])))
    assert shown.shape == (64, 48, 3)
    with av.open(str(path)) as container:
        coded = list(container.decode(video=0))[2].to_ndarray(format="rgb24")
    assert np.abs(shown.astype(int) - np.rot90(coded)).mean() < 12  # JPEG halves the colours' resolution
    assert np.abs(shown.astype(int) - np.rot90(coded, 3)).mean() > 40

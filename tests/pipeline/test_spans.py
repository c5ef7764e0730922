"""Nothing is painted outside a row's spans, and the paint comes and goes softly inside them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import Config, dub
from pipeline.manifest import read_manifest
from pipeline.plan import plan_films
from pipeline.report import FilmReport
from stages.cast.spans import LARGEST_FILE, MOST_SPANS, Span, check_spans, merged, opacity, subtitle_spans
from stages.cast.types import Cast
from tests.films import BOX, decoded, film, manifest, portrait, same_pictures, speech

FRAMES = 50
SRT = "1\n00:00:00,400 --> 00:00:00,800\nGood morning\n\n2\n00:00:01,200 --> 00:00:01,600\nAll of you\n"
SPANS = [[0.4, 0.8], [1.2, 1.6]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 2 s whose picture stands still, and a dub."""
    folder = tmp_path_factory.mktemp("spans")
    film(folder / "a.mp4", frames=FRAMES, picture=lambda k: portrait(0))
    speech(folder / "dub.wav", 2.0)
    return folder


def dubbed(folder: Path, output: str, fade_s: float = 0.2, **columns: object) -> FilmReport:
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": output, "box": BOX, **columns}
    settings = {"encode": {"codec": "ffv1"}, "cast": {"span_fade_s": fade_s}, "split": {"shard_s": 0.6}}
    report = dub(str(manifest(folder / "films.jsonl", row)), Config.model_validate(settings), str(folder / "work"))
    return report.all_films[0]


def changes(one: Path, other: Path) -> np.ndarray:
    """[n] how far two films are apart in each frame, summed over all planes."""
    pairs = zip(decoded(one), decoded(other), strict=True)
    return np.array([sum(int(np.abs(p.astype(int) - q).sum()) for p, q in zip(x, y, strict=True)) for x, y in pairs])


def test_frames_outside_are_the_source_s_to_the_last_bit(folder: Path) -> None:
    report = dubbed(folder, "spans.mp4", spans=SPANS)
    assert report.code == "ok", report.message
    changed = changes(folder / "a.mp4", folder / "spans.mp4") > 0
    times = np.arange(FRAMES) / 25
    inside = ((times > 0.4) & (times < 0.8)) | ((times > 1.2) & (times < 1.6))
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.9
    assert report.painted == inside.sum()


def test_the_paint_comes_and_goes_softly(folder: Path) -> None:
    assert dubbed(folder, "all.mp4").code == "ok"
    assert dubbed(folder, "soft.mp4", spans=[[0.2, 1.8]], fade_s=0.4).code == "ok"
    assert dubbed(folder, "hard.mp4", spans=[[0.2, 1.8]], fade_s=0.0).code == "ok"
    whole = changes(folder / "a.mp4", folder / "all.mp4").astype(float)
    soft, hard = (changes(folder / "a.mp4", folder / f"{name}.mp4") / whole for name in ("soft", "hard"))
    assert set(hard.tolist()) == {0.0, 1.0}
    assert hard[5:45].min() == 1.0
    wanted = np.clip(np.minimum(np.arange(FRAMES) / 25 - 0.2, 1.8 - np.arange(FRAMES) / 25) / 0.4, 0, 1)
    assert np.abs(soft - wanted).max() < 0.2, "chroma and luma round to whole codes"
    assert soft[15:35].tolist() == [1.0] * 20


def test_a_subtitle_says_the_same_as_a_list(folder: Path) -> None:
    assert dubbed(folder, "list.mp4", spans=SPANS).code == "ok"
    texts = {
        "a.srt": SRT,
        "utf16.srt": SRT,
        "a.vtt": "WEBVTT\n\n" + SRT.replace(",", "."),
        "a.ass": "[Script Info]\n[V4+ Styles]\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
        "Dialogue: 0,0:00:00.40,0:00:00.80,Default,Hi\nComment: 0,0:00:00.00,0:00:02.00,Default,not shown\n"
        "Dialogue: 0,0:00:01.20,0:00:01.60,Default,You\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-16" if "utf16" in name else "utf-8")
        report = dubbed(folder, f"{name}.mp4", spans=name)
        assert report.code == "ok", report.message
        assert report.shards_made == 0, "the same times: the same shards"
        assert same_pictures(folder / f"{name}.mp4", folder / "list.mp4")


def test_other_words_in_a_subtitle_deliver_the_film_again_and_make_no_shard(folder: Path) -> None:
    (folder / "b.srt").write_text(SRT)
    assert dubbed(folder, "words.mp4", spans="b.srt").code == "ok"
    (folder / "b.srt").write_text(SRT.replace("morning", "evening"))
    assert dubbed(folder, "words.mp4", spans="b.srt").kept
    (folder / "b.srt").write_text(SRT.replace("00:00:01,600", "00:00:01,700"))
    again = dubbed(folder, "other.mp4", spans="b.srt")
    assert (again.kept, again.shards, again.shards_made) == (False, 4, 1), "the last one only"


def test_a_shard_that_no_span_touches_is_never_painted(folder: Path) -> None:
    report = dubbed(folder, "never.mp4", spans=[[0.1, 0.5]])
    assert report.code == "ok", report.message
    assert report.painted == 10
    none = dubbed(folder, "none.mp4", spans=[[100, 200]])
    assert (none.code, none.painted) == ("no_face", 0)
    assert same_pictures(folder / "a.mp4", folder / "none.mp4")


def test_spans_are_on_the_dub_s_clock_also_where_the_film_runs_backwards(folder: Path) -> None:
    speech(folder / "long.wav", 3.0)
    columns = {"audio": "long.wav", "audio_longer": "pingpong"}
    report = dubbed(folder, "pong.mp4", spans=[[2.2, 2.6]], fade_s=0.0, **columns)
    assert report.code == "ok", report.message
    [url] = [
        path for path in (folder / "work/films").glob("*/cast.npz") if len(Cast.from_bytes(path.read_bytes())) > 50
    ]
    assert np.flatnonzero(Cast.from_bytes(url.read_bytes()).painted).tolist() == list(range(55, 65))
    assert len(decoded(folder / "pong.mp4")) == 75


# What is refused, and how it is told.


def problem(folder: Path, spans: object, suffix: str = ".jsonl") -> str:
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "spans": spans}
    path = folder / f"bad{suffix}"
    if suffix == ".csv":
        cell = spans if isinstance(spans, str) else json.dumps(spans)
        path.write_text("id,video,audio,output,spans\n" + f'a,a.mp4,dub.wav,o.mp4,"{cell}"\n')
    else:
        path.write_text(json.dumps(row) + "\n")
    read = read_manifest(str(path))
    return "; ".join(str(problem) for problem in read.problems)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([[2, 1]], "span 0, [2, 1]: must have 0 <= start_s < end_s"),
        ([[0, 1], [3, 3]], "span 1, [3, 3]: must have"),
        ([[-1, 1]], "span 0, [-1, 1]: must have"),
        ([[0, 1e9]], "span 0, [0, 1000000000.0]: must have"),
        ([[0]], "span 0 must be [start_s, end_s]"),
        ([[0, "1"]], "span 0 must be [start_s, end_s]"),
        ([[0, True]], "span 0 must be [start_s, end_s]"),
        ([], "must be [[start_s, end_s], ...]"),
        ("[[0, 1]", "must be [[start_s, end_s], ...], or the path or URL of a subtitle"),
        ("ftp://a/b.srt", "cannot be read from"),
    ],
)
def test_spans_that_make_no_sense_are_a_bad_row(folder: Path, spans: object, said: str, suffix: str) -> None:
    if suffix == ".csv" and spans == [[0, "1"]]:
        spans = '[[0, ""1""]]'
    assert problem(folder, spans, suffix).startswith("line ")
    assert "(a): spans " in problem(folder, spans, suffix)
    assert said in problem(folder, spans, suffix)


def test_csv_and_jsonl_give_the_same_spans(folder: Path) -> None:
    for suffix, spans in ((".csv", "[[0, 1.5], [2, 3]]"), (".jsonl", [[0, 1.5], [2, 3]])):
        assert problem(folder, spans, suffix) == ""
        [row] = read_manifest(str(folder / f"bad{suffix}")).films
        assert row.spans == ((0.0, 1.5), (2.0, 3.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1e-9])
def test_a_time_that_is_no_time_is_refused(value: float) -> None:
    for span in ([0, value], [value, 1]):
        with pytest.raises(ValueError, match="span 0"):
            check_spans([span])


def test_too_many_spans_are_refused() -> None:
    with pytest.raises(ValueError, match="the most is"):
        check_spans([[k, k + 1] for k in range(MOST_SPANS + 1)])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"Dear all,\nthe meeting is at ten.\n", "is not a subtitle"),
        (b"\x00\x01\x02" * 1000, "is not a subtitle"),
        (b"WEBVTT\n\nnothing\n", "is not a subtitle"),
        (b'{"info": {}, "styles": {}, "events": []}', "is json"),
        (b"1\n00:00:02,000 --> 00:00:01,000\nback\n", "span 0, [2.0, 1.0]: must have"),
        (b"x" * (LARGEST_FILE + 1), "is larger than"),
        (b"{1}{2}microdvd counts in frames", "is microdvd"),
    ],
)
def test_a_file_that_is_no_subtitle_is_a_bad_row(folder: Path, data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said.split("[")[0].split("(")[0]):
        subtitle_spans(data)
    (folder / "bad.srt").write_bytes(data)
    report = dubbed(folder, "bad.mp4", spans="bad.srt")
    assert report.code == "bad_row"
    assert report.message.startswith("a: spans ")
    assert "bad.srt" in report.message
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "spans": "bad.srt"}
    [planned] = plan_films(str(manifest(folder / "plan.jsonl", row)), Config(), str(folder / "work"))
    assert planned.problem.startswith("bad_row: a: spans ")


def test_a_subtitle_that_is_not_there(folder: Path) -> None:
    report = dubbed(folder, "gone.mp4", spans="gone.srt")
    assert (report.code, report.stage) == ("not_found", "split")


def test_a_subtitle_made_to_keep_a_parser_busy_is_read_at_once() -> None:
    for filler in ("<a" * 900_000, "\n" * 1_800_000, "<" + " " * 1_800_000, "{\\" * 900_000):
        assert subtitle_spans(f"1\n00:00:01,000 --> 00:00:02,000\n{filler}x\n".encode()) == ((1.0, 2.0),)


spans_lists = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0.01, 20)).map(lambda t: (t[0], t[0] + t[1])), min_size=1, max_size=12
)


@given(spans_lists, st.floats(0, 3), st.lists(st.floats(-5, 150), min_size=1, max_size=50))
def test_opacity_of_merged_spans(spans: list[Span], fade_s: float, at: list[float]) -> None:
    joined = merged(spans)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(joined))
    times = np.sort(np.array(at))
    weight = opacity(times, joined, fade_s)
    inside = np.array([any(start < t < end for start, end in spans) for t in times])
    touched = np.array([any(start <= t <= end for start, end in spans) for t in times])
    assert ((weight >= 0) & (weight <= 1)).all()
    assert not weight[~touched].any()
    deep = np.array([any(start + fade_s <= t <= end - fade_s for start, end in joined) for t in times])
    assert (weight[deep & inside] == 1).all()
    if fade_s == 0:
        assert (weight[inside] == 1).all()


def test_without_spans_everything_is_painted_in_full() -> None:
    assert opacity(np.arange(5.0), None, 0.2).tolist() == [1.0] * 5


def test_a_span_shorter_than_two_fades_still_reaches_its_full_weight() -> None:
    assert opacity(np.array([1.0, 1.05, 1.1, 1.15, 1.2]), [(1.0, 1.2)], 0.2) == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_a_shard_that_a_span_just_leaves_out_is_shared_with_the_film_without_paint(folder: Path) -> None:
    """What nobody paints is encoded once, whatever the spans of the films that hold it."""
    assert dubbed(folder, "early.mp4", spans=[[0.0, 0.3]]).code == "ok"
    late = dubbed(folder, "late.mp4", spans=[[1.7, 2.0]])
    assert (late.code, late.shards, late.shards_made) == ("ok", 4, 1)

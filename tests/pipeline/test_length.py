"""A film's length: what becomes of it when the dub is shorter or longer, and of an excerpt."""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.film import Film
from pipeline.flow import run_inline
from pipeline.job import Job
from pipeline.plan import plan_films
from pipeline.report import RunReport
from pipeline.rows import Row
from stages.media.index import index_video
from stages.media.planes import even_region
from tests.clips import Sound, audio, clip, ffmpeg, heard, lag_s
from tests.films import BOX, SIZE, decoded, film, manifest, same_pictures, speech

LOSSLESS: dict[str, object] = {"encode": {"codec": "ffv1"}}


def run(rows: list[dict[str, object]], folder: Path, work: str = "work", **settings: object) -> RunReport:
    """Dub rows inline, losslessly."""
    config = Config.model_validate({**LOSSLESS, **settings})
    return dub(str(manifest(folder / "films.jsonl", *rows)), config, str(folder / work))


def made(folder: Path, name: str = "out.mp4", work: str = "work", settings: object = None, **columns: object) -> Path:
    """The film of one row, delivered."""
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": name, "box": BOX, **columns}
    report = run([row], folder, work, **(settings or {}))  # type: ignore[arg-type]
    assert report.films["a"].code == "ok", report.films["a"].message
    return folder / name


def shows(path: Path, source: Path) -> list[int]:
    """The source frame that each frame of a lossless film shows, told by what lies outside the box; -1 for none."""
    region = even_region((BOX[2], BOX[0], BOX[3], BOX[1]), 4, *SIZE)

    def outside(luma: np.ndarray) -> bytes:
        luma = luma.copy()
        luma[region[1] : region[3], region[0] : region[2]] = 0
        return luma.tobytes()

    known = {outside(planes[0]): number for number, planes in enumerate(decoded(source))}
    return [known.get(outside(planes[0]), -1) for planes in decoded(path)]


def ends_s(path: Path) -> Fraction:
    index = index_video(str(path))
    return index.end_pts * index.time_base


def to_and_fro(count: int, frames: int) -> list[int]:
    cycle = [*range(frames), *range(frames - 2, 0, -1)]
    return [cycle[k % len(cycle)] for k in range(count)]


def test_a_shorter_dub_keeps_the_picture_s_length(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=20)
    speech(tmp_path / "dub.wav", 0.4)
    assert shows(made(tmp_path), tmp_path / "a.mp4") == list(range(20))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_trimmed_to_a_shorter_dub_everything_ends_with_it(tmp_path: Path, suffix: str) -> None:
    """Picture, the source's own sound, its subtitles and its chapters."""
    clip(tmp_path / "b.mkv", [k * 40 for k in range(75)], time_base=Fraction(1, 1000), sounds=[Sound(3.0)])
    at = [("00,200", "00,500"), ("00,900", "02,700"), ("02,800", "02,900")]
    lines = [f"{n + 1}\n00:00:{start} --> 00:00:{end}\nline {n}\n" for n, (start, end) in enumerate(at)]
    (tmp_path / "s.srt").write_text("\n".join(lines))
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/10\nSTART={n}0\nEND={n + 1}0\ntitle={n}\n" for n in range(3))
    (tmp_path / "c.txt").write_text(f";FFMETADATA1\n{chapters}")
    inputs = [argument for name in ("b.mkv", "s.srt", "c.txt") for argument in ("-i", tmp_path / name)]
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-map_chapters", "2", "-c", "copy", tmp_path / "a.mkv")
    speech(tmp_path / "dub.wav", 1.21)
    box = [4, 44, 8, 56]
    out = made(tmp_path, f"out{suffix}", video="a.mkv", audio_shorter="trim", box=box)
    index = index_video(str(out))
    assert len(index) == 31
    assert abs(ends_s(out) - Fraction(121, 100)) <= Fraction(1, 1000)
    with av.open(str(out)) as container:
        for stream in container.streams:
            if stream.type in ("audio", "subtitle"):
                packets = [p for p in container.demux(stream) if p.pts is not None and p.size]
                assert packets, stream.type
                assert max(p.pts * p.time_base for p in packets) < 1.21 + 0.001
                if stream.type == "subtitle":
                    shown = [p for p in packets if len(bytes(p)) > 2]  # MP4 tells by an empty one that a line is gone
                    ends = [float((p.pts + p.duration) * p.time_base) for p in shown]
                    assert ends == pytest.approx([0.5, 1.21], abs=0.002)
                container.seek(0)
        assert [entry["end"] * entry["time_base"] <= 1.211 for entry in container.chapters()] == [True, True]
        assert container.duration <= 1.21e6 + 64e3, "the dub is AAC of 16 kHz: it ends with a frame of 64 ms"


@pytest.mark.parametrize("longer", ["freeze", "pingpong"])
def test_a_longer_dub_and_shards_that_leave_no_trace(tmp_path: Path, longer: str) -> None:
    """The picture goes on to the dub's end, its mouth too; one shard or many, the same film."""
    source = film(tmp_path / "a.mp4", frames=20, gop=8)
    speech(tmp_path / "dub.wav", 2.3)
    out = made(tmp_path, audio_longer=longer, settings={"split": {"shard_s": 600}})
    wanted = [min(k, 19) for k in range(58)] if longer == "freeze" else to_and_fro(58, 20)
    assert shows(out, source) == wanted
    index = index_video(str(out))
    assert np.array_equal(index.pts[:20], index_video(str(source)).pts)
    assert set(np.diff(index.pts).tolist()) == {index.pts[1] - index.pts[0]}
    assert ends_s(out) == Fraction(23, 10)
    sound, _, rate = heard(out)
    assert len(sound) / rate >= 2.3
    mouths = {planes[0][BOX[0] : BOX[1], BOX[2] : BOX[3]].tobytes() for planes in decoded(out)[20:]}
    assert len(mouths) > 10, "the mouth goes on speaking"
    for number, shard_s in enumerate((0.25, 0.7)):
        other = made(tmp_path, f"{number}.mp4", f"work{number}", {"split": {"shard_s": shard_s}}, audio_longer=longer)
        assert same_pictures(out, other)


def test_frames_of_uneven_length_keep_theirs_on_the_way_back(tmp_path: Path) -> None:
    gaps = [1, 3, 1, 5, 2, 1, 1, 4, 2, 2]
    pts = np.cumsum([0, *gaps]) * 400
    source = film(tmp_path / "a.mp4", frames=11, pts=pts.tolist(), time_base=Fraction(1, 10000))
    own = index_video(str(source)).duration
    speech(tmp_path / "dub.wav", float((pts[-1] + own[-1] + pts[-1]) / 10000) + 0.5)
    out = made(tmp_path, audio_longer="pingpong")
    shown = shows(out, source)
    assert shown == to_and_fro(len(shown), 11)
    assert len(shown) > 22
    index = index_video(str(out))
    assert np.array_equal(index.duration[:-1] * index.time_base, own[shown[:-1]] * Fraction(1, 10000))


def test_a_film_whose_clock_begins_late_is_frozen_on_the_dub_s_clock(tmp_path: Path) -> None:
    pts = [5000 + 400 * k for k in range(10)]
    source = film(tmp_path / "a.mkv", frames=10, pts=[at // 10 for at in pts], time_base=Fraction(1, 1000))
    speech(tmp_path / "dub.wav", 1.0)
    out = made(tmp_path, "out.mp4", video="a.mkv", audio_longer="freeze")
    zero_s = index_video(str(source)).zero_s
    assert shows(out, source) == [min(k, 9) for k in range(25)]
    assert abs(float(ends_s(out)) - zero_s - 1.0) <= 0.001


def test_landmarks_are_located_once_however_often_a_frame_is_shown(tmp_path: Path, weights_dir: Path) -> None:
    film(tmp_path / "a.mp4", frames=12)
    speech(tmp_path / "dub.wav", 1.6)
    landmarks = {"provider": "onnx", "weights": str(weights_dir / "pfld_68.onnx")}
    settings = {"split": {"shard_s": 0.4}, "crops": {"landmarks": landmarks}}
    row: dict[str, object] = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4", "box": BOX}
    report = run([row | {"audio_longer": "pingpong"}], tmp_path, **settings)
    assert report.films["a"].code == "ok", report.films["a"].message
    assert (report.films["a"].frames, report.films["a"].shards) == (40, 4)
    assert report.films["a"].landmarks_located == 12


def test_the_plan_tells_the_length_that_comes_out(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=20)
    speech(tmp_path / "long.wav", 2.0)
    speech(tmp_path / "short.wav", 0.4)
    audio(tmp_path / "long.m4a", Sound(2.0, rate=16000))
    rows: list[dict[str, object]] = [
        {"audio": "long.wav"},
        {"audio": "long.wav", "audio_longer": "freeze"},
        {"audio": "long.wav", "audio_longer": "pingpong"},
        {"audio": "long.wav", "audio_longer": "trim"},
        {"audio": "short.wav"},
        {"audio": "short.wav", "audio_shorter": "trim"},
        {"audio": "long.m4a", "audio_longer": "freeze"},
        {"text": "Guten Tag", "audio_longer": "freeze"},
    ]
    rows = [{"id": str(n), "video": "a.mp4", "output": f"{n}.mp4", **row} for n, row in enumerate(rows)]
    planned = list(plan_films(str(manifest(tmp_path / "films.jsonl", *rows)), Config(), str(tmp_path / "work")))
    assert planned[0].problem.startswith("audio_longer: 0: the dub is 1.20 s longer")
    assert [(p.frames, p.length_s and round(p.length_s, 2)) for p in planned[1:6]] == [
        (50, 2.0),
        (50, 2.0),
        (20, 0.8),
        (20, 0.8),
        (10, 0.4),
    ]
    assert planned[6].length_s is not None
    assert abs(planned[6].length_s - 2.0) < 0.1
    assert planned[7].length_s is None
    assert planned[7].columns()[2] == "the dub's"


# An excerpt: what `Job.range` asks for.


def excerpt(folder: Path, start_s: float, end_s: float, **columns: object) -> Row:
    """The film row of an excerpt, which is delivered as excerpt.mp4."""
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", **columns}
    places = {name: str(folder / str(row[name])) for name in ("video", "audio")}
    asked = Film.model_validate({**row, **places, "output": str(folder / "excerpt.mp4")})
    job = Job(film=asked, run="r", generator="mouthwarp", range=(start_s, end_s))
    config = Config.model_validate({**LOSSLESS, "split": {"cell_s": 0.4, "shard_s": 0.4}})
    films = [Row(kind="film", film="a", job=job.model_dump_json())]
    rows = list(run_inline(films, config, str(folder / "excerpts")))
    failed = [row.message for row in rows if row.failed]
    return rows[-1] if not failed else next(row for row in rows if row.failed)


@pytest.mark.parametrize("columns", [{}, {"audio_longer": "pingpong"}])
def test_an_excerpt_is_what_the_whole_film_shows_there(tmp_path: Path, columns: dict[str, object]) -> None:
    film(tmp_path / "a.mp4", frames=40, gop=10)
    speech(tmp_path / "dub.wav", 1.6 if not columns else 2.6)
    whole = made(tmp_path, **columns)
    start_s, end_s = (0.6, 1.08) if not columns else (1.44, 2.2)
    row = excerpt(tmp_path, start_s, end_s, box=tuple(BOX), **columns)
    assert row.code == "ok", row.message
    first, last = round(start_s * 25), round(end_s * 25)
    pictures, shown = decoded(whole)[first:last], decoded(tmp_path / "excerpt.mp4")
    assert len(pictures) == len(shown) == row.facts["frames"]
    assert all(
        np.array_equal(p, q)
        for one, other in zip(pictures, shown, strict=True)
        for p, q in zip(one, other, strict=True)
    )
    index = index_video(str(tmp_path / "excerpt.mp4"))
    assert index.pts[0] == 0
    assert ends_s(tmp_path / "excerpt.mp4") == Fraction(last - first, 25)


def test_an_excerpt_has_its_part_of_the_dub_and_nothing_else(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", sounds=[Sound(1.0)], pts=[k * 512 for k in range(50)])
    tone = audio(tmp_path / "dub.wav", Sound(2.0, codec="pcm_s16le"))
    row = excerpt(tmp_path, 0.8, 1.6, box=(4, 44, 8, 56))
    assert row.code == "ok", row.message
    with av.open(str(tmp_path / "excerpt.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    sound, places, rate = heard(tmp_path / "excerpt.mp4")
    spoken, _, _ = heard(tone)
    part = spoken[round(0.8 * rate) : round(1.6 * rate)]
    kept = sound[(places >= 0) & (places < len(part))]
    assert abs(lag_s(part, kept, rate)) < 0.002
    assert abs(len(sound) / rate - 0.8) < 0.1


def test_an_excerpt_looks_for_faces_in_the_cells_it_touches_only(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=40, gop=10)
    speech(tmp_path / "dub.wav", 1.6)
    row = excerpt(tmp_path, 0.9, 1.1)
    assert row.code == "ok", row.message
    assert row.facts["painted"] == row.facts["frames"] == 5
    assert [path.name[:17] for path in (tmp_path / "excerpts/cache/faces").glob("*/*")] == ["00000020-00000030"]


def test_an_excerpt_without_a_frame_is_a_bad_row(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    row = excerpt(tmp_path, 5.0, 6.0, box=tuple(BOX))
    assert row.code == "bad_row"
    assert "no frame between 5 s and 6 s; the film ends at 0.40 s" in row.message


# Silent and broken sound, through a whole film.


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.astype(np.int16).tobytes())
    return path


def mouth_motion(path: Path) -> float:
    """Mean change of the mouth's pixels from frame to frame, in codes."""
    mouths = np.stack([p[0][150 : BOX[1], BOX[2] : BOX[3]] for p in decoded(path)]).astype(float)
    return float(np.abs(np.diff(mouths, axis=0)).mean())


def test_a_silent_dub_lets_the_mouth_rest(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=20, picture=still_portrait)
    write_wav(tmp_path / "dub.wav", np.zeros(12800))
    speech(tmp_path / "speech.wav", 0.8)
    resting, speaking = made(tmp_path), made(tmp_path, "speaking.mp4", audio="speech.wav")
    assert mouth_motion(resting) < 0.1 * mouth_motion(speaking)


def still_portrait(k: int) -> np.ndarray:
    from tests.films import portrait

    return portrait(0)


@pytest.mark.parametrize(("shorter", "frames"), [("keep", 10), ("trim", 1)])
def test_a_dub_of_one_sample(tmp_path: Path, shorter: str, frames: int) -> None:
    film(tmp_path / "a.mp4", frames=10)
    write_wav(tmp_path / "dub.wav", np.array([1000]))
    assert len(index_video(str(made(tmp_path, audio_shorter=shorter)))) == frames


def test_a_dub_that_starts_late_is_heard_and_seen_late(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=40)
    tone = Sound(1.0, starts_s=0.5, rate=16000, codec="pcm_s16le", hertz=300)
    late = audio(tmp_path / "late.mov", tone)
    with av.open(str(late)) as container:
        assert container.streams.audio[0].start_time > 0
    samples = np.concatenate([np.zeros(8000, np.float32), tone.samples()])
    write_wav(tmp_path / "dub.wav", np.clip(np.round(samples * 32768), -32768, 32767))
    out, plain = made(tmp_path, audio="late.mov"), made(tmp_path, "plain.mp4")
    assert ends_s(out) == Fraction(8, 5)
    one, at, rate = heard(out)
    other, _, _ = heard(plain)
    assert abs(at[0] / rate + lag_s(other, one, rate)) < 0.002
    changed = [np.abs(p[0].astype(int) - q[0]).sum() for p, q in zip(decoded(out), decoded(plain), strict=True)]
    assert max(changed) < 500, "the mouths are those of the same sound behind half a second of silence"


def test_samples_that_are_no_numbers_are_silent_and_counted(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    samples = np.sin(np.arange(6400) / 20).astype(np.float32) / 3
    samples[1000:1010], samples[2000] = np.nan, np.inf
    with av.open(str(tmp_path / "dub.wav"), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        out.mux([*stream.encode(frame), *stream.encode(None)])
    row: dict[str, object] = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4", "box": BOX}
    report = run([row], tmp_path)
    assert report.films["a"].code == "ok", report.films["a"].message
    assert "11 samples of the dub were no numbers" in report.films["a"].notes
    sound, _, _ = heard(tmp_path / "out.mp4")
    assert np.isfinite(sound).all()

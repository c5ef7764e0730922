"""The whole flow in one process: what always holds (design section 2)."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.film import Film
from pipeline.job import Job
from pipeline.keys import ShardKeys
from pipeline.report import RunReport
from pipeline.rows import Row
from pipeline.steps.composite import PaintSegment
from stages.cast.plan import Shard
from stages.cast.types import Cast
from stages.crops.crops import whole_boxes
from stages.errors import DubError
from stages.media.index import index_video
from stages.media.planes import even_region
from stages.media.timeline import Timeline
from stages.speech.mel import MelWindows
from stages.speech.samples import Samples
from stages.weights import Weights
from tests.films import BOX, decoded, film, manifest, portrait, same_pictures, slide, speech

LOSSLESS = {"encode": {"codec": "ffv1"}}


def run(rows: list[dict[str, object]], folder: Path, work: str = "work", **settings: object) -> RunReport:
    """Dub rows inline; settings are merged over a lossless, threaded config."""
    config = Config.model_validate({**LOSSLESS, **settings})
    return dub(str(manifest(folder / "films.jsonl", *rows)), config, str(folder / work))


def row(folder: Path, name: str = "a", **more: object) -> dict[str, object]:
    """A manifest row for film `name`."""
    base: dict[str, object] = {"id": name, "video": f"{name}.mp4", "audio": "dub.wav", "output": f"out/{name}.mp4"}
    return {**base, **more}


def report_json(report: RunReport) -> dict[str, list[dict[str, object]]]:
    """The file of the report."""
    loaded: dict[str, list[dict[str, object]]] = json.loads(Path(report.url).read_text())
    return loaded


def test_film_comes_out_with_every_frame_at_its_own_time(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=40)
    speech(tmp_path / "dub.wav", 1.6)
    report = run([row(tmp_path, box=BOX, language="de")], tmp_path)
    assert [f.code for f in report.all_films] == ["ok"]
    source, made = index_video(str(tmp_path / "a.mp4")), index_video(str(tmp_path / "out/a.mp4"))
    assert np.array_equal(made.pts, source.pts)
    assert made.time_base == source.time_base
    assert made.end_pts == source.end_pts


def test_only_the_face_region_is_touched(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=30)
    speech(tmp_path / "dub.wav", 1.2)
    report = run([row(tmp_path)], tmp_path)
    assert report.films["a"].painted == 30
    index = index_video(str(tmp_path / "a.mp4"))
    cast = Cast.from_bytes(next((tmp_path / "work/films").glob("*/cast.npz")).read_bytes())
    boxes = whole_boxes(cast.boxes, index.picture.width, index.picture.height)
    changed = 0
    for before, after, box in zip(decoded(tmp_path / "a.mp4"), decoded(tmp_path / "out/a.mp4"), boxes, strict=True):
        x0, y0, x1, y1 = even_region(tuple(box.tolist()), 4, index.picture.width, index.picture.height)
        for plane, (b, a) in enumerate(zip(before, after, strict=True)):
            shift = int(plane > 0)
            outside = np.ones(b.shape, bool)
            outside[y0 >> shift : y1 >> shift, x0 >> shift : x1 >> shift] = False
            assert np.array_equal(b[outside], a[outside])
            changed += int((b != a).sum())
    assert changed > 1000


@pytest.mark.parametrize("generator", ["mouthwarp", "wav2lip"])
def test_shards_leave_no_trace(tmp_path: Path, generator: str, wav2lip_file: Path) -> None:
    """One shard, half-second shards that begin between keyframes, and other cells: the same pictures."""
    film(tmp_path / "a.mp4", frames=24, gop=17)
    speech(tmp_path / "dub.wav", 0.96)
    lips = {"generator": generator, "wav2lip": {"weights": str(wav2lip_file)}}
    for number, split in enumerate([{"shard_s": 600}, {"shard_s": 0.3}, {"shard_s": 0.5, "cell_s": 0.4}]):
        rows = [row(tmp_path, output=f"out/{number}.mp4")]
        report = run(rows, tmp_path, f"work{number}", split=split, lips=lips)
        assert report.films["a"].code == "ok", report.films["a"].message
        assert report.films["a"].shards == [1, 3, 2][number]
    assert same_pictures(tmp_path / "out/0.mp4", tmp_path / "out/1.mp4")
    assert same_pictures(tmp_path / "out/0.mp4", tmp_path / "out/2.mp4")
    assert not same_pictures(tmp_path / "out/0.mp4", tmp_path / "a.mp4")


def test_landmarks_from_pixels_leave_no_trace_either(tmp_path: Path, weights_dir: Path) -> None:
    film(tmp_path / "a.mp4", frames=40)
    speech(tmp_path / "dub.wav", 1.6)
    landmarks = {"provider": "onnx", "weights": str(weights_dir / "pfld_68.onnx"), "stride": 3, "smooth_s": 0.1}
    for number, shard_s in enumerate([600, 0.5]):
        rows = [row(tmp_path, output=f"out/{number}.mp4")]
        report = run(rows, tmp_path, f"work{number}", split={"shard_s": shard_s}, crops={"landmarks": landmarks})
        assert report.films["a"].code == "ok", report.films["a"].message
        assert report.films["a"].landmarks_located > 0
    assert same_pictures(tmp_path / "out/0.mp4", tmp_path / "out/1.mp4")


def test_another_language_generator_or_shard_length_detects_nothing(tmp_path: Path, wav2lip_file: Path) -> None:
    film(tmp_path / "a.mp4", frames=30)
    speech(tmp_path / "dub.wav", 1.2)
    speech(tmp_path / "other.wav", 1.2, seed=2)
    first = run([row(tmp_path)], tmp_path)
    assert first.films["a"].cells_detected == 1
    changes: list[tuple[dict[str, object], dict[str, object]]] = [
        ({"audio": "other.wav"}, {}),
        ({}, {"split": {"shard_s": 0.4}}),
        ({}, {"lips": {"generator": "wav2lip", "wav2lip": {"weights": str(wav2lip_file)}}}),
    ]
    for number, (columns, settings) in enumerate(changes):
        again = run([row(tmp_path, **columns, output=f"out/{number}.mp4")], tmp_path, **settings)
        assert again.films["a"].code == "ok", again.films["a"].message
        assert again.films["a"].cells_detected == 0
        assert again.films["a"].shards_made >= 1


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=20)
    speech(tmp_path / "dub.wav", 0.8)
    run([row(tmp_path, box=BOX)], tmp_path)
    before = (tmp_path / "out/a.mp4").stat().st_mtime_ns
    again = run([row(tmp_path, box=BOX)], tmp_path)
    assert again.films["a"].code == "ok"
    assert again.films["a"].kept
    assert again.films["a"].shards_made == 0
    assert (tmp_path / "out/a.mp4").stat().st_mtime_ns == before


def test_a_line_recorded_anew_costs_only_the_shards_it_is_heard_in(tmp_path: Path) -> None:
    import wave

    film(tmp_path / "a.mp4", frames=75, gop=25)
    speech(tmp_path / "dub.wav", 3.0)
    settings: dict[str, object] = {"split": {"shard_s": 1.0}}
    assert run([row(tmp_path, box=BOX)], tmp_path, **settings).films["a"].shards_made == 3
    with wave.open(str(tmp_path / "dub.wav")) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).copy()
    sound[36000:40000] = 0  # 2.25 s to 2.5 s: heard in the third second only
    with wave.open(str(tmp_path / "dub.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(sound.tobytes())
    again = run([row(tmp_path, box=BOX, output="out/b.mp4")], tmp_path, **settings)
    assert again.films["a"].shards_made == 1


def test_a_new_bit_rate_of_the_dub_makes_no_segment(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=20)
    speech(tmp_path / "dub.wav", 0.8)
    run([row(tmp_path, box=BOX)], tmp_path)
    again = run([row(tmp_path, box=BOX, output="out/b.mp4")], tmp_path, mux={"audio_bitrate_kbps": 64})
    assert again.films["a"].code == "ok"
    assert again.films["a"].shards_made == 0
    assert same_pictures(tmp_path / "out/a.mp4", tmp_path / "out/b.mp4")


def test_a_stretch_without_faces_passes_through_untouched(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=45, picture=lambda k: slide(k // 50) if 15 <= k < 30 else portrait(k))
    speech(tmp_path / "dub.wav", 1.8)
    report = run([row(tmp_path)], tmp_path)
    assert report.films["a"].code == "ok"
    assert report.films["a"].painted == 30
    assert report.films["a"].shots == 3
    before, after = decoded(tmp_path / "a.mp4"), decoded(tmp_path / "out/a.mp4")
    assert len(after) == 45
    same = [all(np.array_equal(p, q) for p, q in zip(x, y, strict=True)) for x, y in zip(before, after, strict=True)]
    assert all(same[15:30])
    assert not all(same[:15])
    assert not all(same[30:])


def test_first_frame_without_a_face(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=30, picture=lambda k: slide(0) if k < 8 else portrait(k))
    speech(tmp_path / "dub.wav", 1.2)
    report = run([row(tmp_path)], tmp_path)
    assert report.films["a"].code == "ok"
    assert report.films["a"].painted == 22
    assert len(index_video(str(tmp_path / "out/a.mp4"))) == 30


def test_film_without_any_face_is_delivered_as_no_face(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=20, picture=lambda k: slide(0))
    speech(tmp_path / "dub.wav", 0.8)
    report = run([row(tmp_path)], tmp_path)
    assert report.films["a"].code == "no_face"
    assert report.exit_code("any") == 0
    assert same_pictures(tmp_path / "a.mp4", tmp_path / "out/a.mp4")


def test_text_is_spoken_and_the_row_names_its_language(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=50)
    report = run([row(tmp_path, audio=None, text="Guten Tag.", language="de", box=BOX)], tmp_path)
    assert report.films["a"].code == "ok", report.films["a"].message
    assert not same_pictures(tmp_path / "a.mp4", tmp_path / "out/a.mp4")


def test_an_output_that_somebody_else_made_is_left_alone(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.mp4").write_text("precious")
    report = run([row(tmp_path, box=BOX)], tmp_path)
    assert report.films["a"].code == "bad_row"
    assert "--overwrite" in report.films["a"].message
    assert (tmp_path / "out/a.mp4").read_text() == "precious"
    assert run([row(tmp_path, box=BOX)], tmp_path, run={"overwrite": True}).films["a"].code == "ok"


def test_report_has_a_row_per_film_and_per_shard(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=30, gop=10)
    speech(tmp_path / "dub.wav", 1.2)
    report = report_json(run([row(tmp_path)], tmp_path, split={"shard_s": 0.4}))
    [made] = report["films"]
    assert made["code"] == "ok"
    assert made["frames"] == 30
    assert made["faces"] == 7  # frames 0, 5, ... 25, and the last one
    assert set(made["seconds"]) == {"split", "faces", "cast", "crops", "lips", "composite", "mux"}  # type: ignore[call-overload]
    assert [(s["start"], s["end"], s["code"], s["frames"]) for s in report["shards"]] == [
        (0, 10, "ok", 10),
        (10, 20, "ok", 10),
        (20, 30, "ok", 10),
    ]


def test_settings_changed_and_changed_back_bring_the_first_film_again(tmp_path: Path) -> None:
    """The same film and settings, but another file lies at the output by now."""
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    lossy: dict[str, object] = {"encode": {"codec": "libx264", "preset": "ultrafast"}}
    run([row(tmp_path, box=BOX)], tmp_path, **lossy)
    first = (tmp_path / "out/a.mp4").read_bytes()
    run([row(tmp_path, box=BOX)], tmp_path, run={"overwrite": True})
    assert (tmp_path / "out/a.mp4").read_bytes() != first
    again = run([row(tmp_path, box=BOX)], tmp_path, **lossy)
    assert again.films["a"].code == "ok", again.films["a"].message
    assert not again.films["a"].kept
    assert again.films["a"].shards_made == 0
    assert index_video(str(tmp_path / "out/a.mp4")).picture.codec == "h264"


def test_what_somebody_put_where_a_film_was_delivered_is_left_alone(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    run([row(tmp_path, box=BOX)], tmp_path)
    (tmp_path / "out/a.mp4").write_text("precious")
    again = run([row(tmp_path, box=BOX)], tmp_path)
    assert again.films["a"].code == "bad_row"
    assert (tmp_path / "out/a.mp4").read_text() == "precious"
    assert run([row(tmp_path, box=BOX)], tmp_path, run={"overwrite": True}).films["a"].code == "ok"


def test_a_film_that_is_killed_while_it_is_delivered_anew_stays_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is at the output, and nobody has written down yet what it is known by."""
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    run([row(tmp_path, box=BOX)], tmp_path)
    (tmp_path / "out/a.mp4").unlink()

    def killed(*_: object, **__: object) -> None:
        (tmp_path / "out/a.mp4").write_text("delivered")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.steps.mux.mux_film", killed)
        with pytest.raises(KeyboardInterrupt):
            run([row(tmp_path, box=BOX)], tmp_path)
    assert run([row(tmp_path, box=BOX)], tmp_path).films["a"].code == "ok"


@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_a_segment_that_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    film(tmp_path / "a.mp4", frames=20, gop=10)
    speech(tmp_path / "dub.wav", 0.8)
    split: dict[str, object] = {"shard_s": 0.4}
    run([row(tmp_path, box=BOX)], tmp_path, split=split)
    wanted = decoded(tmp_path / "out/a.mp4")
    (tmp_path / "out/a.mp4").unlink()
    segment = next((tmp_path / "work/segments").glob("*/*.mp4"))
    if damage == "gone":
        segment.unlink()
    else:
        segment.write_bytes(segment.read_bytes()[:500])
        told = run([row(tmp_path, box=BOX)], tmp_path, split=split).films["a"]
        assert told.code == "internal"
        assert "run the same command again" in told.message
    healed = run([row(tmp_path, box=BOX)], tmp_path, split=split).films["a"]
    assert (healed.code, healed.shards_made) == ("ok", 1)
    made = decoded(tmp_path / "out/a.mp4")
    assert all(np.array_equal(p, q) for x, y in zip(wanted, made, strict=True) for p, q in zip(x, y, strict=True))


def test_a_store_that_is_away_when_a_film_is_joined_damages_no_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "a.mp4", frames=20, gop=10)
    speech(tmp_path / "dub.wav", 0.8)
    split: dict[str, object] = {"shard_s": 0.4}

    with monkeypatch.context() as patch:

        def away(*_: object, **__: object) -> None:
            patch.setattr("pipeline.steps.mux.localize", away)
            raise DubError("unreachable", "5 tries did not reach it")

        patch.setattr("pipeline.steps.mux.mux_film", away)
        assert run([row(tmp_path, box=BOX)], tmp_path, split=split).films["a"].code == "unreachable"
    assert len(list((tmp_path / "work/segments").glob("*/*.json"))) == 2
    told = run([row(tmp_path, box=BOX)], tmp_path, split=split).films["a"]
    assert (told.code, told.shards_made) == ("ok", 0)


def test_the_same_film_for_two_outputs_needs_one_pass(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=30, gop=10)
    speech(tmp_path / "dub.wav", 1.2)
    rows = manifest(tmp_path / "m.jsonl", row(tmp_path), row(tmp_path, id="b", output="out/b.mp4"))
    config = Config.model_validate({"split": {"shard_s": 0.4, "cell_s": 0.4}, "encode": {"preset": "ultrafast"}})
    came: list[Row] = []
    report = dub(str(rows), config, str(tmp_path / "work"), on_row=came.append)
    assert [f.code for f in report.all_films] == ["ok", "ok"]
    assert sorted(r.film for r in came if r.kind == "film" and not r.code) == ["a", "b"]


def test_a_film_delivered_elsewhere_does_not_make_a_strange_file_ours(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    run([row(tmp_path, box=BOX)], tmp_path)
    (tmp_path / "out/b.mp4").write_text("precious")
    other = run([row(tmp_path, box=BOX, output="out/b.mp4")], tmp_path)
    assert other.films["a"].code == "bad_row"
    assert (tmp_path / "out/b.mp4").read_text() == "precious"


def test_films_that_share_a_slide_encode_it_once(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=30, gop=10, picture=lambda k: slide(0) if k < 20 else portrait(k))
    speech(tmp_path / "one.wav", 1.2)
    speech(tmp_path / "two.wav", 1.2, seed=2)
    rows = [row(tmp_path, audio=f"{name}.wav") | {"id": name, "output": f"out/{name}.mp4"} for name in ("one", "two")]
    report = run(rows, tmp_path, split={"shard_s": 0.4})
    assert [f.code for f in report.all_films] == ["ok", "ok"]
    assert len(list((tmp_path / "work/segments").glob("*/*.mp4"))) == 4  # two slides for both, a face for each
    assert same_pictures(tmp_path / "out/one.mp4", tmp_path / "out/two.mp4") is False


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    run([row(tmp_path, box=BOX)], tmp_path)
    [kept] = (tmp_path / "work/cache/index").iterdir()
    kept.write_bytes(b"PK nonsense")
    again = run([row(tmp_path, box=BOX, output="out/b.mp4")], tmp_path, split={"shard_s": 0.2})
    assert again.films["a"].code == "ok", again.films["a"].message


def test_an_error_of_the_mux_is_the_film_s_and_no_shard_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)

    def fail(*_: object, **__: object) -> None:
        raise DubError("timeout", "too slow")

    monkeypatch.setattr("pipeline.steps.mux.mux_film", fail)
    report = run([row(tmp_path, box=BOX)], tmp_path)
    assert (report.films["a"].code, report.films["a"].stage) == ("timeout", "mux")
    assert [shard["code"] for shard in report_json(report)["shards"]] == ["ok"]


def test_a_cut_of_landmarks_at_a_run_s_end_is_in_the_shard_s_key(tmp_path: Path) -> None:
    """Same boxes, another run: smoothing stops elsewhere, so the pictures are others."""
    film(tmp_path / "a.mp4", frames=20)
    speech(tmp_path / "dub.wav", 0.8)
    config = Config.model_validate(LOSSLESS)
    weights = Weights(None)
    index = index_video(str(tmp_path / "a.mp4"))
    flat = np.tile(np.float32([105, 60, 215, 190]), (20, 1))
    points = np.full((20, 5, 2), np.nan, np.float32)
    shots = np.zeros(20, np.int32)
    job = Job(film=Film(id="a", video="/a.mp4", output="/o.mp4", audio="/d.wav"), run="r", generator="mouthwarp")
    windows = MelWindows(Samples(np.zeros(16000, np.float32)))
    found = set()
    for runs in (shots, (np.arange(20) >= 10).astype(np.int32)):
        cast = Cast(flat, points, shots, runs, np.ones(20, np.float32))
        found.add(ShardKeys(job, config, weights, Timeline.of(index), cast, windows).of(Shard(0, 0, 20, 20)))
    assert len(found) == 2


def test_a_segment_that_should_be_painted_is_never_made_without_its_patches(tmp_path: Path) -> None:
    """A marker that vanishes between crops and composite fails the shard instead of shipping the source's lips."""
    job = Job(film=Film(id="a", video="/a.mp4", output="/o.mp4", audio="/d.wav"), run="r", generator="mouthwarp")
    row = Row("shard", "a", job.model_dump_json(), 0, 10, 1, "key", facts={"painted": 10})
    with pytest.raises(DubError, match="run it again"):
        list(PaintSegment(Config(), str(tmp_path))(row))
    assert not list(tmp_path.rglob("*.mp4"))

"""Films dubbed by MuseTalk, from the manifest to the finished picture, with small weights that behave."""

import sys
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.clean import clean
from pipeline.film import Film
from pipeline.job import Job
from pipeline.keys import ShardKeys
from pipeline.report import RunReport
from stages.arrays import F32, U8
from stages.cast.plan import Shard
from stages.cast.types import Cast
from stages.errors import DubError
from stages.lips.musetalk import MuseTalkGenerator
from stages.lips.parsing.parser import FaceParser
from stages.media.index import index_video
from stages.media.timeline import Timeline
from stages.speech.mel import MelWindows
from stages.speech.samples import Samples
from stages.weights import Weights
from tests.films import BOX, decoded, film, manifest, portrait, same_pictures, slide, speech
from tests.pipeline import models


def run(
    folder: Path,
    settings: dict[str, Any],
    *rows: dict[str, object],
    work: str = "work",
    executor: Literal["ray", "inline"] = "inline",
) -> RunReport:
    config = Config.model_validate(settings)
    return dub(str(manifest(folder / "films.jsonl", *rows)), config, str(folder / work), executor=executor)


def row(name: str = "a", **more: object) -> dict[str, object]:
    """A manifest row for film `name`, and a dub that is longer: the shortest one with a word in it."""
    base = {"id": name, "video": f"{name}.mp4", "audio": "dub.wav", "output": f"out/{name}.mp4", "box": BOX}
    return {**base, "audio_longer": "trim", **more}


def silence(path: Path, seconds: float) -> Path:
    """A WAV that says nothing."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * round(seconds * 16000)))
    return path


def differing(source: Path, made: Path) -> list[F32]:
    """How much darker each frame's luma has become, float32 [h, w]."""
    pairs = zip(decoded(source), decoded(made), strict=True)
    return [before[0].astype(np.float32) - after[0] for before, after in pairs]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("version", "runs"),
    [
        ("1.5", [("inline", 600), ("inline", 0.08)]),
        ("1.0", [("inline", 600), ("inline", 0.08)]),
        pytest.param("1.5", [("inline", 600), ("ray", 0.08)], marks=pytest.mark.soak),
        pytest.param("1.0", [("inline", 600), ("ray", 0.08)], marks=pytest.mark.soak),
    ],
)
def test_shards_leave_no_trace_in_masks_and_mouths(
    tmp_path: Path,
    version: str,
    runs: list[tuple[Literal["ray", "inline"], float]],
    model_files: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1.5 with the mask of the jaw, 1.0 with that of the face and the speech features of its own time.

    The weights are given by relative paths, and Ray's workers have a folder of their own.
    """
    monkeypatch.chdir(model_files.parent)
    settings = models.settings(Path(model_files.name), version=version) | {"run": {"workers": 1}}
    film(tmp_path / "a.mp4", frames=4, gop=3)
    speech(tmp_path / "dub.wav", 1.0)
    for number, (executor, shard_s) in enumerate(runs):
        split = {"split": {"shard_s": shard_s}}
        one = row(output=f"out/{number}.mp4")
        report = run(tmp_path, settings | split, one, work=f"work{number}", executor=executor)
        assert report.films["a"].code == "ok", report.films["a"].message
        assert report.films["a"].shards == (1 if shard_s == 600 else 2)
        assert same_pictures(tmp_path / "out/0.mp4", tmp_path / f"out/{number}.mp4")
    top, bottom, left, right = BOX
    mouth = slice(bottom - (bottom - top) // 4, bottom), slice((3 * left + right) // 4, (left + 3 * right) // 4)
    for darker in differing(tmp_path / "a.mp4", tmp_path / "out/0.mp4"):
        assert darker[mouth].mean() > 5
        assert not darker[:top].any()


CELL = 14
CELLS = [(133, 160), (148, 160), (163, 160), (178, 160)]
"""Left, top px of each bit on the chin of `numbered`, in frame 0."""


def cell(bit: int, k: int) -> tuple[slice, slice]:
    x, y = CELLS[bit]
    x += round(0.4 * k)  # the portrait moves
    return slice(y, y + CELL), slice(x, x + CELL)


def numbered(k: int, number: int) -> U8:
    """`portrait(k)` that carries a number of four bits on its chin, in darker and brighter skin."""
    picture = portrait(k)
    for bit in range(len(CELLS)):
        part = picture[cell(bit, k)].astype(np.int16)
        picture[cell(bit, k)] = np.clip(part + (35 if number >> bit & 1 else -35), 0, 255)
    return picture


def test_faceless_stretches_stay_and_no_frame_gets_its_neighbours_mouth(tmp_path: Path, model_files: Path) -> None:
    """Slides at the start, in the middle and at the end, and a cut from one take to another."""
    takes = {**dict.fromkeys(range(3, 9), 0), **dict.fromkeys(range(12, 16), 0), **dict.fromkeys(range(16, 21), 40)}

    def picture(k: int) -> U8:
        return numbered(k + takes[k], k % 16) if k in takes else slide(k // 8)

    pts = [3 * k + k % 2 for k in range(24)]
    film(tmp_path / "a.mp4", frames=24, picture=picture, pts=pts, time_base=Fraction(1, 75))
    silence(tmp_path / "dub.wav", 1.0)
    settings = models.settings(model_files, parsing={"mask": "landmarks"}) | {"composite": {"blend": "feather"}}
    report = run(tmp_path, settings, row(box=None))
    assert report.films["a"].code == "ok", report.films["a"].message
    assert report.films["a"].shots == 6
    source, made = index_video(str(tmp_path / "a.mp4")), index_video(str(tmp_path / "out/a.mp4"))
    assert np.array_equal(made.pts, source.pts)
    assert made.time_base == source.time_base
    pairs = zip(decoded(tmp_path / "a.mp4"), decoded(tmp_path / "out/a.mp4"), strict=True)
    for k, (before, after) in enumerate(pairs):
        if k not in takes:
            assert all(np.array_equal(b, a) for b, a in zip(before, after, strict=True)), f"frame {k} was painted"
            continue
        at = k + takes[k]
        skin = cv2.cvtColor(portrait(at), cv2.COLOR_BGR2YUV_I420)[: after[0].shape[0]]
        seen = sum(1 << bit for bit in range(4) if after[0][cell(bit, at)].mean() > skin[cell(bit, at)].mean())
        assert seen == k % 16, f"frame {k} shows the chin of frame {seen}"
        assert np.mean(before[0][cell(1, at)] != after[0][cell(1, at)]) > 0.5, f"frame {k} was not painted"


def loudness(path: Path, times: np.ndarray) -> np.ndarray:
    """How loud a dub is from 80 ms before each time to 120 ms after it: what MuseTalk hears of it."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768.0
    padded = np.pad(samples, 3200)
    starts = np.rint(times * 16000).astype(int) + 3200 - 1280
    return np.array([np.sqrt(np.mean(padded[start : start + 3200] ** 2)) for start in starts])


@pytest.mark.parametrize(
    "names", [["24", "29.97"], pytest.param(["24", "25", "29.97", "50"], marks=pytest.mark.soak)], ids=["two", "all"]
)
def test_mouths_follow_the_speech_at_every_frame_rate(
    tmp_path: Path, model_files: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each frame's own time; a dub heard a tenth of a second too early or too late fits less."""
    loads: list[str] = []
    load = MuseTalkGenerator.from_settings

    def counted(*given: Any) -> MuseTalkGenerator:
        loads.append("musetalk")
        return load(*given)

    monkeypatch.setattr(MuseTalkGenerator, "from_settings", counted)
    speech(tmp_path / "dub.wav", 0.8)
    known = {"24": Fraction(24), "25": Fraction(25), "29.97": Fraction(30000, 1001), "50": Fraction(50)}
    rates = {name: known[name] for name in names}
    for name, rate in rates.items():
        film(tmp_path / f"{name}.mp4", frames=round(0.8 * rate), picture=lambda k: portrait(0), rate=rate)
    settings = models.settings(model_files, parsing={"mask": "landmarks"})
    report = run(tmp_path, settings, *(row(name) for name in rates))
    for name in rates:
        assert report.films[name].code == "ok", report.films[name].message
        source, made = tmp_path / f"{name}.mp4", tmp_path / f"out/{name}.mp4"
        darkness = [darker.mean() for darker in differing(source, made)]
        times = index_video(str(source)).times

        def fits(shift_s: float, times: np.ndarray = times, darkness: list[Any] = darkness) -> float:
            return float(np.corrcoef(loudness(tmp_path / "dub.wav", times + shift_s), darkness)[0, 1])

        assert fits(0) > 0.7, name
        assert fits(0) > max(fits(-0.1), fits(0.1)) + 0.1, name
    assert loads == ["musetalk"]


def test_two_languages_share_latents_and_masks(
    tmp_path: Path, model_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"encoded": 0, "parsed": 0}
    encode, classes = MuseTalkGenerator.encode, FaceParser.classes

    def encoded(self: MuseTalkGenerator, crops: U8) -> Any:
        seen["encoded"] += len(crops)
        return encode(self, crops)

    def parsed(self: FaceParser, pictures: U8) -> U8:
        seen["parsed"] += len(pictures)
        return classes(self, pictures)

    monkeypatch.setattr(MuseTalkGenerator, "encode", encoded)
    monkeypatch.setattr(FaceParser, "classes", parsed)
    film(tmp_path / "a.mp4", frames=3)
    rows = []
    for seed, name in enumerate(("en", "de")):
        speech(tmp_path / f"{name}.wav", 1.0, seed=seed)
        rows.append(row(name, video="a.mp4", audio=f"{name}.wav"))
    settings = models.settings(model_files)
    assert [f.code for f in run(tmp_path, settings, *rows).all_films] == ["ok", "ok"]
    assert seen == {"encoded": 3, "parsed": 3}
    assert not same_pictures(tmp_path / "out/en.mp4", tmp_path / "out/de.mp4")

    alone = run(tmp_path, settings, rows[1] | {"output": "alone.mp4"}, work="alone")
    assert alone.films["de"].code == "ok"
    assert seen == {"encoded": 3, "parsed": 6}
    assert not (tmp_path / "alone/cache/kept").exists()
    assert same_pictures(tmp_path / "out/de.mp4", tmp_path / "alone.mp4")

    latents, masks = sorted((tmp_path / "work/cache/kept").rglob("*.npz"), key=lambda path: -path.stat().st_size)
    latents.write_bytes(latents.read_bytes()[:-1000])
    damaged = bytearray(masks.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    masks.write_bytes(damaged)
    for segment in (tmp_path / "work/segments").rglob("*.json"):
        segment.unlink()
    again = [one | {"output": f"again/{one['id']}.mp4"} for one in rows]
    assert [f.code for f in run(tmp_path, settings, *again).all_films] == ["ok", "ok"]
    assert seen == {"encoded": 6, "parsed": 9}
    for name in ("en", "de"):
        assert same_pictures(tmp_path / f"out/{name}.mp4", tmp_path / f"again/{name}.mp4")

    old = latents.stat().st_mtime + 10
    assert clean(str(tmp_path / "work"), 1.0, now=old).files["kept"] == 2
    assert not latents.exists()


@pytest.mark.parametrize("given", ["a folder", "the weights folder"])
def test_missing_weights_stop_the_run_when_every_film_needs_them(tmp_path: Path, given: str, model_files: Path) -> None:
    settings, file = without_unet(tmp_path, given, model_files)
    film(tmp_path / "a.mp4", frames=3)
    speech(tmp_path / "dub.wav", 1.0)
    with pytest.raises(DubError, match=f"{file}.*dubline weights fetch musetalk-1.5") as caught:
        run(tmp_path, settings, row())
    assert caught.value.code == "weights_missing"
    assert not list((tmp_path / "work").rglob("*.mp4"))


@pytest.mark.parametrize("given", ["a folder", "the weights folder"])
def test_missing_weights_fail_only_the_films_that_need_them(tmp_path: Path, given: str, model_files: Path) -> None:
    settings, file = without_unet(tmp_path, given, model_files)
    film(tmp_path / "a.mp4", frames=3)
    speech(tmp_path / "dub.wav", 1.0)
    rows = [row("needs", video="a.mp4"), row("draws", video="a.mp4", generator="mouthwarp")]
    report = run(tmp_path, settings, *rows)
    assert {f.id: f.code for f in report.all_films} == {"needs": "weights_missing", "draws": "ok"}
    assert file in report.films["needs"].message
    assert "dubline weights fetch musetalk-1.5" in report.films["needs"].message


def without_unet(folder: Path, given: str, model_files: Path) -> tuple[dict[str, Any], str]:
    """Settings that lack the UNet, and its name in errors."""
    settings = models.settings(model_files)
    if given == "a folder":
        for part in ("musetalkV15/musetalk.json", "sd-vae"):
            (folder / "models" / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / "models" / part).symlink_to(model_files / part)
        settings["lips"]["musetalk"]["weights"] = str(folder / "models")
        return settings, "unet.pth"
    settings["lips"]["musetalk"]["weights"] = None
    return settings | {"weights_dir": str(folder)}, "musetalk-1.5"


def test_a_missing_extra_is_named_with_its_command(
    tmp_path: Path, model_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    film(tmp_path / "a.mp4", frames=3)
    speech(tmp_path / "dub.wav", 1.0)
    rows = [row(), row("b", video="a.mp4", generator="mouthwarp")]
    report = run(tmp_path, models.settings(model_files), *rows)
    assert {f.id: f.code for f in report.all_films} == {"a": "unsupported", "b": "ok"}
    assert "pip install 'dubline[musetalk]'" in report.films["a"].message


def test_rows_of_one_manifest_have_different_generators(tmp_path: Path, model_files: Path) -> None:
    """The same film drawn twice; each is as if the config had named its generator."""
    film(tmp_path / "a.mp4", frames=2)
    speech(tmp_path / "dub.wav", 1.0)
    rows = [row(name, video="a.mp4", generator=name) for name in ("mouthwarp", "musetalk")]
    report = run(tmp_path, models.settings(model_files, "wav2lip", parsing={"mask": "landmarks"}), *rows)
    assert [f.code for f in report.all_films] == ["ok", "ok"]
    for name in ("mouthwarp", "musetalk"):
        settings = models.settings(model_files, name, parsing={"mask": "landmarks"})
        assert run(tmp_path, settings, row(video="a.mp4", output="own.mp4"), work=name).films["a"].code == "ok"
        assert same_pictures(tmp_path / "own.mp4", tmp_path / f"out/{name}.mp4")
        (tmp_path / "own.mp4").unlink()


def test_only_what_hangs_on_the_parser_is_made_anew_when_its_settings_change(
    tmp_path: Path, model_files: Path, wav2lip_file: Path
) -> None:
    film(tmp_path / "a.mp4", frames=20)
    timeline = Timeline.of(index_video(str(tmp_path / "a.mp4")))
    box = np.tile(np.float32([105, 60, 215, 190]), (20, 1))
    still = np.zeros(20, np.int32)
    cast = Cast(box, np.full((20, 5, 2), np.nan, np.float32), still, still, np.ones(20, np.float32))
    windows = MelWindows(Samples(np.zeros(16000, np.float32)))

    def key(generator: str, **parsing: object) -> str:
        settings = models.settings(model_files, generator, wav2lip={"weights": str(wav2lip_file)}, parsing=parsing)
        one = Film(id="a", video="/a.mp4", output="/o.mp4", audio="/d.wav")
        job = Job(film=one, run="r", generator=generator)
        config = Config.model_validate(settings)
        return ShardKeys(job, config, Weights(None), timeline, cast, windows).of(Shard(0, 0, 20, 20))

    for generator in ("mouthwarp", "wav2lip"):
        assert key(generator) == key(generator, cheek_left=40), generator
        assert key(generator, mask="jaw") != key(generator), generator
    assert key("musetalk") != key("musetalk", cheek_left=40)
    assert key("musetalk", mask="landmarks") == key("musetalk", mask="landmarks", cheek_left=40)

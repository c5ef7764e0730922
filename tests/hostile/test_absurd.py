"""Headers that lie: no number out of a file is believed before it is checked, and none of them crashes or hangs."""

import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline import Config, dub
from pipeline.plan import plan_films
from stages.media.index import index_video
from tests.clips import Sound, clip, heard, steady
from tests.films import BOX, film, manifest, speech

CONFIG = Config.model_validate({"encode": {"preset": "ultrafast"}})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of ten frames."""
    return film(tmp_path_factory.mktemp("source") / "a.mp4", frames=10).read_bytes()


def outcome(folder: Path, **columns: object) -> tuple[str, str]:
    """How a film ends that has odd columns, within a few seconds: its code and what is said."""
    if "video" not in columns:
        film(folder / "a.mp4", frames=10)
    speech(folder / "a.wav", 0.3)
    row = {"id": "a", "video": "a.mp4", "audio": "a.wav", "output": "o.mp4", "box": BOX, **columns}
    began = time.monotonic()
    report = dub(str(manifest(folder / "m.jsonl", row)), CONFIG, str(folder / "work"))
    assert time.monotonic() - began < 20
    found = report.films["a"]
    assert found.message or found.code == "ok"
    if found.code == "ok":
        made, source = (index_video(str(folder / str(row[column]))) for column in ("output", "video"))
        gaps = [abs(p * made.time_base - q * source.time_base) for p, q in zip(made.pts, source.pts, strict=True)]
        assert max(gaps) <= (Fraction(1, 2000) if str(row["output"]).endswith(".mkv") else 0)
    return found.code, found.message


def wav(
    path: Path,
    channels: int = 1,
    rate: int = 16000,
    bits: int = 16,
    kind: int = 1,
    stated: int | None = None,
    riff: int | None = None,
    align: int | None = None,
    data: bytes = bytes(9600),
) -> None:
    """A WAV whose header says what it is told to."""
    align = channels * bits // 8 if align is None else align
    about = struct.pack("<HHIIHH", kind, channels, rate, (rate * align) & 0xFFFFFFFF, align & 0xFFFF, bits)
    size = len(data) if stated is None else stated
    body = b"WAVEfmt " + struct.pack("<I", len(about)) + about + b"data" + struct.pack("<I", size) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body)


@pytest.mark.parametrize(
    ("lie", "codes"),
    [
        ({"channels": 0}, {"decode_error", "no_audio"}),
        ({"channels": 0, "align": 2}, {"decode_error", "no_audio"}),
        ({"channels": 33}, {"unsupported"}),
        ({"channels": 65535}, {"decode_error", "unsupported"}),
        ({"rate": 0}, {"decode_error"}),
        ({"rate": 1}, {"unsupported"}),
        ({"rate": 2_000_000}, {"unsupported"}),
        ({"rate": 0xFFFFFFFF}, {"decode_error", "unsupported"}),
        ({"bits": 0, "align": 2}, {"unsupported", "decode_error"}),
        ({"bits": 255}, {"unsupported", "decode_error"}),
        ({"kind": 0}, {"unsupported", "decode_error"}),
        ({"kind": 0x55}, {"decode_error", "no_audio"}),
        ({"align": 0}, {"ok", "decode_error"}),
        ({"data": b""}, {"no_audio"}),
        ({"data": bytes(9601)}, {"ok"}),
        ({"riff": 0}, {"ok"}),
    ],
)
def test_sound_with_absurd_numbers(tmp_path: Path, lie: dict[str, int], codes: set[str]) -> None:
    wav(tmp_path / "lie.wav", **lie)
    assert outcome(tmp_path, audio="lie.wav")[0] in codes


@pytest.mark.parametrize("absurd", [np.nan, -np.inf, 1e7, -3e38])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_samples_that_are_no_sound_are_silence_in_the_film_too(tmp_path: Path, absurd: float, suffix: str) -> None:
    """At some the encoder of the film's sound gives up, at others it never comes back."""
    samples = (0.2 * np.sin(np.arange(4800) / 20)).astype("<f4")
    samples[2000:4000] = absurd
    wav(tmp_path / "lie.wav", kind=3, bits=32, data=samples.tobytes())
    assert outcome(tmp_path, audio="lie.wav", output=f"o{suffix}", audio_shorter="keep")[0] == "ok"
    sound, _, _ = heard(tmp_path / f"o{suffix}")
    assert 0.1 < np.abs(sound).max() < 0.5


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        (9600, "ok"),
        (0, "ok"),  # a recorder that was switched off, or that wrote to a pipe
        (0xFFFFFFFF, "ok"),
        (0x7FFFFFFF, "ok"),
        (9602, "decode_error"),
        (1 << 30, "decode_error"),
    ],
)
def test_a_wav_that_states_more_than_is_there_was_cut_short(tmp_path: Path, stated: int, code: str) -> None:
    wav(tmp_path / "lie.wav", stated=stated)
    found, message = outcome(tmp_path, audio="lie.wav")
    assert found == code
    assert ("cut short" in message) == (code != "ok")


def test_a_wav_of_64_bits_that_was_cut_short(tmp_path: Path) -> None:
    about = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    for size, code in ((9600, "ok"), (9_600_000, "decode_error")):
        long = b"ds64" + struct.pack("<IQQQI", 28, 0xFFFFFFFFFF, size, size // 2, 0)
        data = b"data" + struct.pack("<I", 0xFFFFFFFF) + bytes(9600)
        (tmp_path / "lie.wav").write_bytes(b"RF64\xff\xff\xff\xffWAVE" + long + about + data)
        assert outcome(tmp_path, audio="lie.wav")[0] == code


@pytest.mark.parametrize(
    ("box", "offset", "value", "codes"),
    [
        ("stsz", 12, 10_000_000, {"decode_error"}),
        ("stsz", 8, 1, {"unsupported", "decode_error"}),
        ("stts", 12, 0xFFFFFFFF, {"decode_error"}),
        ("stts", 16, 0xFFFFFF00, {"audio_longer", "unsupported", "decode_error"}),
        ("stts", 16, 0, {"unsupported"}),
        ("stts", 16, 0x7FFFFFFF, {"ok"}),
        ("ctts", 16, 0x80000000, {"ok", "unsupported"}),
        ("ctts", 16, 0x7FFFFFFF, {"ok", "unsupported"}),
        ("mdhd", 16, 0, {"no_video", "decode_error"}),
        ("mdhd", 16, 0xFFFFFFFF, {"no_video", "decode_error", "unsupported"}),
        ("mdhd", 20, 0xFFFFFFFF, {"ok"}),
        ("mvhd", 16, 0, {"ok"}),
        ("elst", 16, 0x80000000, {"no_video"}),
        ("elst", 16, 0x7FFFFFFF, {"no_video"}),
        ("elst", 8, 0xFFFFFFFF, {"ok"}),
        ("stco", 12, 0xFFFFFFF0, {"decode_error"}),
        ("stco", 8, 0xFFFFFFFF, {"ok", "decode_error"}),
        ("stsc", 8, 0x10000000, {"decode_error"}),
        ("stsc", 16, 0x7FFFFFFF, {"ok", "decode_error"}),
        ("stss", 8, 0x10000000, {"decode_error"}),
        ("avc1", 28, 0xFA00FA00, {"ok", "unsupported"}),
        ("tkhd", 80, 0xFFFFFFFF, {"ok"}),
        ("moov", -4, 0x7FFFFFFF, {"ok", "decode_error"}),
        ("mdat", -4, 0x7FFFFFFF, {"decode_error"}),
    ],
)
def test_an_mp4_with_absurd_numbers(
    tmp_path: Path, source: bytes, box: str, offset: int, value: int, codes: set[str]
) -> None:
    """Ten million frames, negative durations, offsets beyond the file: as counted from the box's name."""
    lie = bytearray(source)
    struct.pack_into(">I", lie, source.index(box.encode()) + offset, value)
    (tmp_path / "lie.mp4").write_bytes(lie)
    assert outcome(tmp_path, video="lie.mp4")[0] in codes


def test_a_header_that_asks_for_all_memory_is_one_row_s_error(
    tmp_path: Path, source: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg's answer to a table of billions of entries, also in `dubline plan`, which nothing stands around."""

    def starved(*_: object, **__: object) -> None:
        raise av.error.MemoryError(12, "Cannot allocate memory")

    (tmp_path / "lie.mp4").write_bytes(source)
    monkeypatch.setattr(av, "open", starved)
    found, message = outcome(tmp_path, video="lie.mp4")
    assert found == "oom"
    assert "its header may be damaged" in message
    [planned] = plan_films(str(tmp_path / "m.jsonl"), CONFIG)
    assert planned.problem.startswith("oom: ")


def test_ten_million_frames_of_one_byte_are_not_believed(tmp_path: Path, source: bytes) -> None:
    lie = bytearray(source)
    struct.pack_into(">II", lie, source.index(b"stts") + 12, 10_000_000, 512)
    struct.pack_into(">II", lie, source.index(b"stsz") + 8, 1, 10_000_000)
    (tmp_path / "lie.mp4").write_bytes(lie)
    assert outcome(tmp_path, video="lie.mp4")[0] in {"decode_error", "unsupported"}


def test_a_million_frames_a_second_are_delivered_at_their_times(tmp_path: Path) -> None:
    clock = Fraction(1, 1_000_000)
    film(tmp_path / "fast.mp4", frames=10, rate=1_000_000, pts=[*range(9), 400_000], time_base=clock)
    found, message = outcome(tmp_path, video="fast.mp4")
    assert found == "ok", message


@pytest.mark.parametrize(
    ("begins", "clock", "suffix", "code"),
    [
        (1 << 32, Fraction(1, 12800), ".mp4", "ok"),
        (1 << 40, Fraction(1, 12800), ".mp4", "ok"),
        (1 << 60, Fraction(1, 12800), ".mp4", "unsupported"),
        (1_700_000_000_000, Fraction(1, 1000), ".mkv", "ok"),  # a live recording on the clock of 1970
        (1 << 53, Fraction(1, 1000), ".mkv", "unsupported"),
        (1 << 62, Fraction(1, 1000), ".mkv", "unsupported"),
    ],
)
def test_clocks_that_begin_far_from_0(tmp_path: Path, begins: int, clock: Fraction, suffix: str, code: str) -> None:
    step = int(Fraction(1, 25) / clock)
    name = f"late{suffix}"
    film(tmp_path / name, frames=10, pts=[begins + k * step for k in range(10)], time_base=clock)
    found, message = outcome(tmp_path, video=name)
    assert found == code
    assert ("remux it first" in message) == (code != "ok")


def test_more_streams_than_anybody_needs(tmp_path: Path) -> None:
    clip(tmp_path / "many.mkv", steady(5), sounds=[Sound(0.05, codec="pcm_s16le")] * 65)
    assert outcome(tmp_path, video="many.mkv", box=None)[0] == "unsupported"


@pytest.mark.parametrize("column", ["video", "audio"])
def test_a_picture_bomb_is_refused_by_its_header(tmp_path: Path, column: str) -> None:
    """41 million px of one grey: some KB of file, 61 MB for every frame that is decoded."""
    clip(tmp_path / "bomb.mp4", [0], size=(6400, 6400), picture=_grey, options={"preset": "ultrafast"})
    assert (tmp_path / "bomb.mp4").stat().st_size < 500_000
    found, message = outcome(tmp_path, **{column: "bomb.mp4"})
    assert found == "unsupported"
    assert "6400x6400" in message
    assert "media.limits.max_pixels" in message


def _grey(_: int, size: tuple[int, int], pix_fmt: str) -> VideoFrame:
    frame = VideoFrame(*size, pix_fmt)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    return frame

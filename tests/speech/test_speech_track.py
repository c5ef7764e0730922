"""Any file's audio track becomes the dub: exact where the codec is exact, in time with its timestamps."""

import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import soxr

from stages.arrays import F32
from stages.errors import DubError
from stages.speech.samples import Samples, writing_samples
from stages.speech.settings import SpeechSettings
from stages.speech.track import Dub, decode_dub
from tests.speech.sounds import Sound, lag, noise, write


def decoded(path: Path, **options) -> tuple[Dub, F32]:
    out = path.with_suffix(".dub.npy")
    dub = decode_dub(path, str(out), **options)
    samples = Samples.open(out)
    assert dub.samples == len(samples)
    return dub, samples.read(0, len(samples))


def code_of(path: Path, **options) -> str:
    before = set(path.parent.iterdir())
    with pytest.raises(DubError) as caught:
        decode_dub(path, str(path.parent / "out.npy"), **options)
    assert set(path.parent.iterdir()) == before, "a failure leaves nothing behind"
    assert path.name in caught.value.message
    return caught.value.code


def one_shot(samples: F32, rate: int) -> F32:
    """The parity route of wav2lip.md 3.1: the mean of the channels, then soxr HQ over the whole."""
    mono = samples.mean(axis=1, dtype=np.float32)
    out = mono if rate == 16000 else soxr.resample(mono, rate, 16000, "HQ")
    return np.pad(out, (0, -(-len(mono) * 16000 // rate) - len(out)))


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (48000, 2), (22050, 1), (16000, 2), (48000, 6), (8000, 1)])
def test_pcm_equals_the_one_shot_route_bit_for_bit(tmp_path, rate, channels):
    whole = np.round(noise(7.013, rate, channels) * 32768).astype(np.int16)
    path = write(tmp_path / "a.wav", Sound(whole, rate, "pcm_s16le"))
    dub, heard = decoded(path)
    assert (dub.source_rate, dub.source_channels, dub.codec) == (rate, channels, "pcm_s16le")
    assert np.array_equal(heard, one_shot(whole.astype(np.float32) / 32768, rate))
    assert len(heard) == -(-len(whole) * 16000 // rate)


@pytest.mark.parametrize(
    ("codec", "kind", "to_float"),
    [
        ("pcm_u8", np.uint8, lambda x: (x.astype(np.float32) - 128) / 128),
        ("pcm_s16le", np.int16, lambda x: x.astype(np.float32) / 32768),
        ("pcm_s24le", np.int32, lambda x: ((x >> 8) << 8).astype(np.float32) / 2**31),
        ("pcm_s32le", np.int32, lambda x: x.astype(np.float32) / 2**31),
        ("pcm_f32le", np.float32, lambda x: x),
        ("pcm_f64le", np.float64, lambda x: x.astype(np.float32)),
    ],
)
def test_every_pcm_format_has_its_full_scale(tmp_path, codec, kind, to_float):
    rng = np.random.default_rng(1)
    if np.issubdtype(kind, np.integer):
        info = np.iinfo(kind)
        samples = rng.integers(info.min, info.max, (16000, 1), dtype=kind, endpoint=True)
        samples[:2, 0] = info.min, info.max
    else:
        samples = rng.uniform(-1, 1, (16000, 1)).astype(kind)
    _, heard = decoded(write(tmp_path / "a.wav", Sound(samples, 16000, codec)))
    assert np.array_equal(heard, to_float(samples)[:, 0])


@pytest.mark.parametrize(
    ("name", "codec", "rate", "slack"),
    [
        ("a.mp4", "aac", 44100, 1100),
        ("a.mkv", "libopus", 48000, 400),
        ("a.mp3", "libmp3lame", 44100, 20),
        ("a.flac", "flac", 48000, 0),
    ],
)
def test_encoder_priming_is_not_heard(tmp_path, name, codec, rate, slack):
    whole = noise(3.0, rate, 2)
    whole[:, 1] = whole[:, 0]
    dub, heard = decoded(write(tmp_path / name, Sound(whole, rate, codec)))
    meant = one_shot(whole, rate)
    assert lag(heard, meant) == 0
    assert 0 <= len(heard) - len(meant) <= slack
    assert dub.silence_s == 0


def test_a_video_file_is_a_dub(tmp_path):
    whole = noise(2.0, 48000, 2)
    path = write(tmp_path / "ünï cödé.mp4", Sound(whole, 48000, "aac"), video=True)
    dub, heard = decoded(path)
    assert dub.codec == "aac"
    assert lag(heard, one_shot(whole, 48000)) == 0


def test_tracks_by_number_title_and_language(tmp_path):
    levels = (0.1, 0.2, 0.3)
    metadata = ({"language": "eng"}, {"language": "deu", "title": "Kommentar"}, {"language": "fra"})
    tracks = [
        Sound(np.full((1600, 1), level, np.float32), 16000, metadata=known)
        for level, known in zip(levels, metadata, strict=True)
    ]
    path = write(tmp_path / "a.mkv", *tracks)
    for track, number in ((None, 0), (0, 0), (2, 2), ("deu", 1), ("Kommentar", 1), ("fra", 2)):
        dub, heard = decoded(path, track=track)
        assert dub.track == number
        assert np.allclose(heard, levels[number])
    for missing in (3, -1, "spa"):
        assert code_of(path, track=missing) == "no_audio"
    with pytest.raises(DubError, match="1 'Kommentar' 'deu'"):
        decode_dub(path, str(tmp_path / "out.npy"), track="spa")


@pytest.mark.parametrize("name", ["a.mov", "a.mkv"])
def test_a_track_that_begins_at_half_a_second_is_heard_there(tmp_path, name):
    whole = noise(1.0, 16000)
    path = write(tmp_path / name, Sound(whole, 16000, pieces=[(0, 16000, 8000)]))
    dub, heard = decoded(path)
    assert dub.silence_s == 0.5
    assert not heard[:8000].any()
    assert np.array_equal(heard[8000:], whole[:, 0])


def test_start_offset_before_resampling(tmp_path):
    whole = noise(1.0, 48000)
    path = write(tmp_path / "a.mov", Sound(whole, 48000, pieces=[(0, 48000, 24000)]))
    late = np.concatenate([np.zeros((24000, 1), np.float32), whole])
    assert np.array_equal(decoded(path)[1], one_shot(late, 48000))


@pytest.mark.parametrize("name", ["a.ts", "a.ogg"])
def test_a_clock_that_begins_anywhere_begins_the_dub(tmp_path, name):
    whole = noise(1.0, 48000)
    path = write(tmp_path / name, Sound(whole, 48000, "libopus", pieces=[(0, 48000, 480000)]))
    dub, heard = decoded(path)
    assert dub.silence_s == 0
    assert abs(lag(heard, one_shot(whole, 48000))) <= 120  # at most Opus's 312 samples of priming


def test_a_hole_keeps_its_length(tmp_path):
    whole = noise(2.0, 16000)
    path = write(tmp_path / "a.mkv", Sound(whole, 16000, pieces=[(0, 16000, 0), (16000, 32000, 20000)]))
    dub, heard = decoded(path)
    assert dub.silence_s == 0.25
    assert np.array_equal(heard, np.concatenate([whole[:16000, 0], np.zeros(4000, np.float32), whole[16000:, 0]]))


def test_timestamps_rounded_to_milliseconds_make_no_holes(tmp_path):
    whole = noise(20.0, 44100)
    dub, heard = decoded(write(tmp_path / "a.mkv", Sound(whole, 44100)))
    assert dub.silence_s == 0
    assert np.array_equal(heard, one_shot(whole, 44100))


def test_overlapping_sound_is_heard_once(tmp_path):
    whole = noise(2.0, 16000)
    path = write(tmp_path / "a.mkv", Sound(whole, 16000, pieces=[(0, 16384, 0), (15872, 32000, 15872)]))
    dub, heard = decoded(path)
    assert dub.silence_s == 0
    assert np.array_equal(heard, whole[:, 0])


def test_a_clock_set_back_loses_no_sound(tmp_path):
    wholes = [noise(3.0, 48000, seed=seed) for seed in (1, 2)]
    parts = [write(tmp_path / f"{n}.ts", Sound(w, 48000, "aac")) for n, w in enumerate(wholes)]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    dub, heard = decoded(path)
    alone = [decoded(part)[1] for part in parts]
    assert dub.silence_s == 0
    assert abs(len(heard) - sum(map(len, alone))) <= 400  # one AAC frame
    assert abs(lag(heard[len(alone[0]) :], alone[1])) <= 400


def test_sample_rate_that_changes_midway(tmp_path):
    parts = [
        write(tmp_path / f"{rate}.aac", Sound(noise(2.0, rate, seed=rate), rate, "aac")) for rate in (48000, 32000)
    ]
    path = tmp_path / "joined.aac"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    dub, heard = decoded(path)
    alone = [decoded(part)[1] for part in parts]
    assert dub.source_rate == 48000
    assert abs(len(heard) - sum(map(len, alone))) <= 1
    assert lag(heard[len(alone[0]) :], alone[1]) == 0
    # AAC fills noisy bands from a generator that goes on through the file.
    assert np.corrcoef(heard[-len(alone[1]) :], alone[1])[0, 1] > 0.6


def test_not_finite_samples_become_silence_and_are_counted(tmp_path):
    whole = noise(1.0, 44100, 2)
    whole[100, 0], whole[200:205, 1], whole[300, 0] = np.nan, np.inf, -np.inf
    dub, heard = decoded(write(tmp_path / "a.wav", Sound(whole, 44100)))
    whole[~np.isfinite(whole)] = 0
    assert dub.replaced == 7
    assert np.array_equal(heard, one_shot(whole, 44100))


def test_samples_at_the_end_of_float32_stay_finite(tmp_path):
    whole = np.full((44100, 1), np.finfo(np.float32).max)
    whole[::7] *= -1
    assert np.isfinite(decoded(write(tmp_path / "a.wav", Sound(whole, 44100)))[1]).all()


def test_damaged_packets_become_silence_of_their_length(tmp_path):
    path = write(tmp_path / "a.mp4", Sound(noise(4.0, 48000), 48000, "aac"))
    good = decoded(path)[1]
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8000] = b"\xff" * 8000
    path.write_bytes(data)
    dub, heard = decoded(path)
    assert dub.damaged > 5
    assert dub.silence_s > 0.1
    assert len(heard) == len(good)
    assert np.array_equal(heard[:16000], good[:16000])
    assert lag(heard[-16000:], good[-16000:]) == 0


def empty_wav(folder: Path) -> Path:
    with wave.open(str(folder / "empty.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    return folder / "empty.wav"


def garbage(folder: Path) -> Path:
    (folder / "garbage.wav").write_bytes(np.random.default_rng(0).bytes(100_000))
    return folder / "garbage.wav"


def nothing(folder: Path) -> Path:
    (folder / "nothing.mp3").touch()
    return folder / "nothing.mp3"


def playlist(folder: Path) -> Path:
    other = write(folder / "other.wav", Sound(noise(1.0, 16000), 16000))
    (folder / "list.wav").write_text(f"ffconcat version 1.0\nfile {other.name}\n")
    return folder / "list.wav"


def truncated_mp4(folder: Path) -> Path:
    path = write(folder / "cut.mp4", Sound(noise(2.0, 44100), 44100, "aac"))
    path.write_bytes(path.read_bytes()[:5000])
    return path


def truncated_mkv(folder: Path) -> Path:
    path = write(folder / "cut.mkv", Sound(noise(4.0, 44100), 44100, "flac"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def mostly_damaged(folder: Path) -> Path:
    path = write(folder / "worn.mp4", Sound(noise(4.0, 48000), 48000, "aac"))
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : -len(data) // 8] = b"\xff" * len(data[len(data) // 4 : -len(data) // 8])
    path.write_bytes(data)
    return path


def silent_film(folder: Path) -> Path:
    return write(folder / "film.mp4", video=True)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (empty_wav, "no_audio"),
        (silent_film, "no_audio"),
        (garbage, "decode_error"),
        (nothing, "decode_error"),
        (playlist, "decode_error"),
        (truncated_mp4, "decode_error"),
        (truncated_mkv, "decode_error"),
        (mostly_damaged, "decode_error"),
        (lambda folder: folder / "missing.wav", "not_found"),
        (lambda folder: folder, "not_found"),
    ],
)
def test_what_is_no_dub_ends_with_its_code(tmp_path, make, code):
    assert code_of(make(tmp_path)) == code


def test_too_long_is_refused_before_it_fills_the_disk(tmp_path):
    path = write(tmp_path / "a.wav", Sound(noise(3.0, 16000), 16000))
    assert code_of(path, settings=SpeechSettings(max_dub_s=2.9)) == "unsupported"
    decode_dub(path, str(tmp_path / "b.npy"), settings=SpeechSettings(max_dub_s=3.0))
    hours_of_silence = Sound(noise(1.0, 16000), 16000, pieces=[(0, 16000, 16000 * 3600 * 20)])
    assert code_of(write(tmp_path / "late.mkv", hours_of_silence)) == "unsupported"


def test_memory_does_not_grow_with_the_dub(tmp_path):
    def peak(seconds: float) -> int:
        path = write(tmp_path / f"{seconds}.wav", Sound(noise(seconds, 44100), 44100))
        tracemalloc.start()
        decode_dub(path, str(tmp_path / "out.npy"))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1.0)
    assert peak(60.0) < peak(6.0) + 500_000  # 54 s more are 3.5 MB of samples


def test_samples_read_by_range_with_silence_outside(tmp_path):
    values = noise(0.01, 16000)[:, 0]
    path = tmp_path / "a.npy"
    with writing_samples(str(path)) as writer:
        writer.append(values[:100])
        writer.append(values[100:])
    assert np.array_equal(np.load(path, allow_pickle=False), values)
    samples = Samples.open(path)
    assert len(samples) == 160
    assert np.array_equal(samples.read(-5, 165), np.pad(values, 5))
    assert np.array_equal(samples.read(10, 20), values[10:20])
    for start, end in ((-20, -3), (160, 170), (10**12, 10**12 + 3)):
        assert not samples.read(start, end).any()
        assert samples.read(start, end).shape == (end - start,)
    assert samples.read(20, 10).shape == (0,)


@pytest.mark.parametrize(
    "values",
    [np.array([{"a": 1}], object), np.zeros(5), np.zeros((2, 5), np.float32)],
    ids=["pickle", "float64", "2d"],
)
def test_a_cache_file_that_we_did_not_write_is_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(DubError) as caught:
        Samples.open(tmp_path / "a.npy")
    assert caught.value.code == "decode_error"


@pytest.mark.parametrize(("channels", "code"), [(3, "unsupported"), (4, "unsupported"), (6, None)])
def test_channels_whose_places_nobody_knows_are_refused_before_any_work(tmp_path, channels, code):
    """Their film was refused only when it was put together, all of its mouths drawn."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * channels * 16000))
    assert (code_of(path) if code else decode_dub(path, str(tmp_path / "a.npy")).source_channels) == (code or channels)


def test_an_unfinished_dub_never_appears(tmp_path):
    def break_off() -> None:
        with writing_samples(str(tmp_path / "a.npy")) as writer:
            writer.append(np.zeros(10, np.float32))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert not list(tmp_path.iterdir())


def test_real_film_as_a_dub(media_dir, tmp_path):
    dub = decode_dub(media_dir / "demo1_video.mp4", str(tmp_path / "a.npy"))
    assert (dub.source_rate, dub.source_channels, dub.damaged, dub.replaced) == (44100, 2, 0, 0)
    assert dub.duration_s == pytest.approx(10.0, abs=0.05)

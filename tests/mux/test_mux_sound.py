"""Sounds of a delivered film: each at its own time, none cut, and the dub where the mouths have it."""

from pathlib import Path

import numpy as np
import pytest

from stages.arrays import F32
from stages.media.index import index_video
from stages.speech.samples import Samples
from stages.speech.track import decode_dub
from tests.clips import STEP, Sound, audio, clip, heard, lag_s, steady, times
from tests.mux.pieces import TS, VOICE, assert_copied, deliver, dispositions


def on_clock(path: Path, track: int = 0, length_s: float = 0.0) -> tuple[F32, int]:
    """A track laid out on the file's own clock from 0: silence where it has no samples."""
    values, places, rate = heard(path, track)
    line = np.zeros(max(int(places[-1]) + 1, round(length_s * rate)), np.float32)
    line[places[places >= 0]] = values[places >= 0]
    return line, rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_picture_and_sounds_keep_their_own_times(tmp_path: Path, suffix: str) -> None:
    """A picture that comes 0.5 s after the sound: the dub begins with the film, the old sound where it was."""
    film = clip(tmp_path / "a.mp4", steady(25, 6400), sounds=[Sound(0.8), Sound(0.8, starts_s=0.3)])
    made = deliver(film, name=f"out{suffix}", audio_codec="flac")
    assert float(times(made.path)[0]) == 0.5
    dub, places, _ = heard(made.path, 0)
    assert places[0] == 0
    assert np.abs(dub[: len(VOICE.samples())] - VOICE.samples()).max() < 1e-4
    for number in (0, 1):
        assert_copied(film, number, made.path, number + 1, Sound(0.8))


def test_a_transport_stream_s_dub_begins_where_its_clock_does(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.ts", steady(25, 945_000, 3600), sounds=[Sound(1.0, 10.2)], **TS)
    zero_s = index_video(str(film)).zero_s
    assert zero_s > 10
    made = deliver(film, audio_codec="flac")
    _, places, rate = heard(made.path, 0)
    assert places[0] / rate == pytest.approx(zero_s, abs=1 / rate)
    assert_copied(film, 0, made.path, 1, Sound(1.0))
    assert f"begins at {zero_s:.3f} s" in made.notes


SOUND_CODECS = {
    ".mp4": ["aac", "libopus", "flac", "alac", "pcm_s16le"],
    ".mov": ["aac", "alac", "pcm_s16le"],
    ".mkv": ["aac", "libopus", "flac", "alac", "pcm_s16le"],
}


@pytest.mark.parametrize(
    ("suffix", "codec"), [(suffix, codec) for suffix, all_ in SOUND_CODECS.items() for codec in all_]
)
def test_no_sample_of_the_dub_is_cut(tmp_path: Path, suffix: str, codec: str) -> None:
    """Encoders add silence in front and blocks behind; what the studio sent is all there and in its place."""
    film = clip(tmp_path / "a.mp4", steady(25))
    made = deliver(film, Sound(0.987, codec="pcm_s16le"), f"out{suffix}", audio_codec=codec)
    got, places, rate = heard(made.path, 0)
    sent = Sound(0.987, rate=rate).samples()
    off = np.abs(places - places[0] - np.arange(len(places))).max()
    assert off <= (rate / 1000 if suffix == ".mkv" else 0), "a hole, or an overlap"
    assert -0.001 <= places[0] / rate <= 0.001
    assert len(got) >= len(sent)
    assert lag_s(sent, got, rate) == pytest.approx(0, abs=1e-4)
    for part in (np.s_[: rate // 20], np.s_[len(sent) - rate // 20 : len(sent)]):
        strength = np.sqrt(np.mean(got[part] ** 2) / np.mean(sent[part] ** 2))
        assert 0.85 < strength < 1.15
    if codec in ("flac", "alac", "pcm_s16le"):
        assert len(got) == len(sent)
        assert np.abs(got - sent).max() < 1e-4


def test_a_bit_rate_that_opus_does_not_take_for_one_channel(tmp_path: Path) -> None:
    """320 kbit/s are within the setting, and libopus does not open for more than 256 a channel."""
    for codec in ("libopus", "aac"):
        film = clip(tmp_path / "a.mp4", steady(25))
        made = deliver(film, name="out.mkv", audio_codec=codec, audio_bitrate_kbps=320)
        assert len(heard(made.path)[0]) >= 48000


@pytest.mark.parametrize(("trim", "length_s"), [(True, 1.0), (False, 1.5)])
@pytest.mark.parametrize("start", [0, 6400])
def test_a_longer_dub_ends_with_the_picture_only_where_that_is_asked_for(
    tmp_path: Path, trim: bool, length_s: float, start: int
) -> None:
    film = clip(tmp_path / "a.mp4", steady(25 - start // STEP, start), sounds=[Sound(0.9)])
    made = deliver(film, Sound(1.5, codec="pcm_s16le"), trim=trim, audio_codec="flac")
    _, places, rate = heard(made.path, 0)
    assert places[0] == 0
    assert (places[-1] + 1) / rate == pytest.approx(length_s + (start % STEP) / 12800, abs=0.021)
    assert times(made.path) == times(film)


def test_a_longer_dub_is_trimmed_on_a_clock_that_began_before(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.ts", steady(25, 945_000, 3600), **TS)
    index = index_video(str(film))
    for trim, expected_s in ((True, 1.0), (False, 1.5)):
        _, places, rate = heard(deliver(film, Sound(1.5, codec="pcm_s16le"), trim=trim, audio_codec="flac").path, 0)
        assert places[0] / rate == pytest.approx(index.zero_s, abs=1e-4)
        assert (places[-1] + 1 - places[0]) / rate == pytest.approx(expected_s, abs=1e-3)


DUBS = {
    "dub.wav": {"codec": "pcm_s16le"},
    "dub.flac": {"codec": "flac"},
    "dub.mp3": {"codec": "libmp3lame"},
    "dub.ogg": {"codec": "libopus"},
    "dub.m4a": {"codec": "aac"},
    "late.mp4": {"codec": "aac", "starts_s": 0.25},
    "late.mkv": {"codec": "libopus", "starts_s": 0.25},
    "hole.mkv": {"codec": "pcm_s16le", "hole_s": (0.3, 0.7)},
    "hole.mp4": {"codec": "aac", "hole_s": (0.3, 0.7)},
    "stream.ts": {"codec": "aac", "starts_s": 10.0},
}


@pytest.mark.parametrize("name", DUBS)
def test_the_film_s_sound_is_what_its_mouths_were_drawn_to(tmp_path: Path, name: str) -> None:
    """Priming, late tracks, holes, clocks that begin anywhere: the delivered sound against `decode_dub`'s samples."""
    sound = Sound(1.5, **DUBS[name])
    dub = tmp_path / name
    audio(tmp_path / name, sound)
    decode_dub(dub, str(tmp_path / "heard.npy"))
    samples = Samples.open(tmp_path / "heard.npy")
    drawn_to = samples.read(0, len(samples))
    made = deliver(clip(tmp_path / "film.mp4", steady(30)), dub, audio_codec="flac")
    line, rate = on_clock(made.path)
    assert rate % 16000 == 0
    thin = line[:: rate // 16000]
    assert len(thin) == pytest.approx(len(drawn_to), abs=16000 * 0.05)
    assert lag_s(drawn_to, np.pad(thin, (0, 16000)), 16000) == pytest.approx(0, abs=0.002)
    if "hole" in name:
        assert np.abs(line[int(0.4 * rate) : int(0.65 * rate)]).max() < 0.01
        places = heard(made.path)[1]
        assert np.array_equal(places, np.arange(len(places))), "a hole is silence: players skip what is missing"


def test_a_dub_may_be_a_track_of_the_film_itself(tmp_path: Path) -> None:
    sounds = [Sound(1.0, hertz=300, language="eng"), Sound(1.0, hertz=900, language="deu")]
    film = clip(tmp_path / "a.mp4", steady(25), sounds=sounds)
    made = deliver(film, film, track=1, language="de", audio_codec="flac")
    assert [entry[1:] for entry in dispositions(made.path)[1:]] == [("deu", True), ("eng", False), ("deu", False)]
    wanted, got = heard(film, 1)[0][:47000], heard(made.path, 0)[0][:47000]
    assert np.abs(got - wanted).max() < 1e-3

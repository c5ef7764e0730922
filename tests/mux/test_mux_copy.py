"""A dub that needs no second generation: its own packets, where its mouths have it."""

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from stages.media.index import index_video
from stages.mux.settings import MuxSettings
from stages.mux.sound import Dub, choose_way, read_packets
from stages.speech.samples import Samples
from stages.speech.track import decode_dub
from tests.clips import Sound, audio, clip, ffmpeg, heard, lag_s, steady, times
from tests.mux.pieces import MS, TS, deliver
from tests.mux.test_mux_sound import on_clock


def payloads(path: Path, track: int = 0) -> list[str]:
    """A digest of every packet of an audio track. Raw AAC's packets carry a header that other containers do without."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        header = 7 if container.format.name in ("aac", "mpegts") else 0
        if stream.codec_context.name.startswith("pcm_"):  # every container parts it as it likes
            return [hashlib.sha256(b"".join(bytes(p) for p in container.demux(stream))).hexdigest()]
        return [hashlib.sha256(bytes(p)[header:]).hexdigest() for p in container.demux(stream) if p.size]


COPIED = [
    ("dub.m4a", {"codec": "aac"}, (".mp4", ".mov", ".mkv")),
    ("dub.aac", {"codec": "aac"}, (".mp4", ".mkv")),
    ("dub.mp3", {"codec": "libmp3lame"}, (".mp4", ".mov", ".mkv")),
    ("dub.ogg", {"codec": "libopus"}, (".mp4", ".mkv")),
    ("dub.mka", {"codec": "libopus"}, (".mp4", ".mkv")),
    ("dub.mkv", {"codec": "ac3"}, (".mp4", ".mov", ".mkv")),
    ("dub.flac", {"codec": "flac"}, (".mkv",)),
    ("dub.wav", {"codec": "pcm_s16le"}, (".mov", ".mkv")),
    ("late.mp4", {"codec": "aac", "starts_s": 0.25}, (".mp4", ".mov", ".mkv")),
    ("late.mka", {"codec": "libopus", "starts_s": 0.25}, (".mp4", ".mkv")),
    ("stream.ts", {"codec": "aac", "starts_s": 10.0}, (".mp4", ".mkv")),
]


@pytest.mark.parametrize(("name", "how", "suffix"), [(n, h, s) for n, h, all_ in COPIED for s in all_])
def test_a_copied_dub_is_its_own_packets_where_its_mouths_have_it(
    tmp_path: Path, name: str, how: dict[str, object], suffix: str
) -> None:
    """Priming, edit lists, late tracks, clocks that begin anywhere: bit-exact, and in step with `decode_dub`."""
    dub = audio(tmp_path / name, Sound(1.5, **how))
    decode_dub(dub, str(tmp_path / "heard.npy"))
    samples = Samples.open(tmp_path / "heard.npy")
    drawn_to = samples.read(0, len(samples))
    film = clip(tmp_path / "film.mp4", steady(30), sounds=[Sound(1.0)])
    made = deliver(film, dub, f"out{suffix}")
    assert made.delivery.sound.startswith("copied")
    assert payloads(made.path) == payloads(dub)
    line, rate = on_clock(made.path)
    thin = line[:: rate // 16000]
    assert lag_s(drawn_to, np.pad(thin, (0, 16000)), 16000) == pytest.approx(0, abs=0.002)
    assert abs(float(times(made.path)[0])) < 1e-9
    assert float(heard(made.path, 1)[1][0]) == pytest.approx(0, abs=48)


@pytest.mark.parametrize("name", ["dub.m4a", "dub.mp3"])
def test_a_copied_dub_follows_a_clock_that_begins_anywhere(tmp_path: Path, name: str) -> None:
    film = clip(tmp_path / "a.ts", steady(25, 945_000, 3600), **TS)
    dub = audio(tmp_path / name, Sound(1.0, codec="libmp3lame" if name.endswith("mp3") else "aac"))
    zero_s = index_video(str(film)).zero_s
    for suffix in (".mp4", ".mkv"):
        made = deliver(film, dub, f"out{suffix}")
        assert payloads(made.path) == payloads(dub)
        got, places, rate = heard(made.path)
        sent = Sound(1.0).samples()
        late_s = lag_s(sent, np.pad(got, (0, 8000)), rate) + places[0] / rate
        assert late_s == pytest.approx(zero_s, abs=0.003)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("start", [0, 945_000])
def test_a_copied_dub_is_trimmed_between_packets(tmp_path: Path, suffix: str, start: int) -> None:
    film = clip(tmp_path / "a.ts", steady(25, start, 3600), **TS)
    dub = audio(tmp_path / "dub.m4a", Sound(2.0))
    made = deliver(film, dub, f"out{suffix}", trim=True)
    assert made.delivery.sound.startswith("copied")
    kept, all_ = payloads(made.path), payloads(dub)
    assert kept == all_[: len(kept)]
    _, places, rate = heard(made.path)
    assert 1.0 <= (places[-1] + 1 - places[0]) / rate <= 1.0 + 3 * 1024 / 48000


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("starts_s", [0.0, 0.3])
def test_a_late_dub_is_trimmed_where_the_picture_ends(tmp_path: Path, suffix: str, starts_s: float) -> None:
    film = clip(tmp_path / "a.mp4", steady(25))
    dub = audio(tmp_path / "dub.mp4", Sound(2.0, starts_s=starts_s))
    for codec in ("auto", "flac"):
        _, places, rate = heard(deliver(film, dub, f"out{suffix}", trim=True, audio_codec=codec).path)
        assert (places[-1] + 1) / rate == pytest.approx(1.0, abs=0.03)


ENCODED = [
    ("dub.wav", {"codec": "pcm_s16le"}, ".mp4", "do not play pcm_s16le"),
    ("dub.flac", {"codec": "flac"}, ".mp4", "do not play flac"),
    ("dub.ogg", {"codec": "libopus"}, ".mov", "do not play opus"),
    ("hole.mp4", {"codec": "aac", "hole_s": (0.3, 0.7)}, ".mp4", "do not join at 0.7"),
    ("hole.mka", {"codec": "libopus", "hole_s": (0.3, 0.7)}, ".mkv", "do not join at 0."),
]


@pytest.mark.parametrize(("name", "how", "suffix", "why"), ENCODED)
def test_what_a_copy_would_spoil_is_encoded_and_the_report_says_why(
    tmp_path: Path, name: str, how: dict[str, object], suffix: str, why: str
) -> None:
    dub = audio(tmp_path / name, Sound(1.5, **how))
    made = deliver(clip(tmp_path / "film.mp4", steady(30)), dub, f"out{suffix}")
    assert made.delivery.sound.startswith("encoded as aac: ")
    assert why in made.delivery.sound
    with av.open(str(made.path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    assert len(heard(made.path)[0]) >= 1.5 * 48000 - 1024


def test_an_edit_list_that_leaves_out_the_end_is_not_undone_by_a_copy(tmp_path: Path) -> None:
    """ffmpeg cuts by packets and hides the rest behind an edit list; a copy would bring it back."""
    whole = audio(tmp_path / "whole.m4a", Sound(2.0))
    ffmpeg("-ss", "0.51", "-i", whole, "-c", "copy", tmp_path / "cut.m4a")
    decode_dub(tmp_path / "cut.m4a", str(tmp_path / "heard.npy"))
    samples = Samples.open(tmp_path / "heard.npy")
    made = deliver(clip(tmp_path / "film.mp4", steady(50)), tmp_path / "cut.m4a")
    line, rate = on_clock(made.path)
    thin = line[:: rate // 16000]
    assert lag_s(samples.read(0, len(samples)), np.pad(thin, (0, 16000)), 16000) == pytest.approx(0, abs=0.002)


def test_whatever_has_to_be_done_to_a_sound_prevents_a_copy(tmp_path: Path) -> None:
    dub = audio(tmp_path / "dub.m4a", Sound(0.5))
    packets = read_packets(dub, 0)
    plain = {"path": dub, "track": 0, "language": None, "trim": False}
    auto = MuxSettings()
    assert choose_way(Dub(**plain), packets, ".mp4", auto).encoder == "copy"
    for more in ({"spoken": True}, {"damaged": True}, {"not_finite": True}, {"background": dub}):
        assert choose_way(Dub(**plain, **more), packets, ".mp4", auto).encoder == "aac"
    assert choose_way(Dub(**plain), packets, ".mp4", auto, changed="louder").encoder == "aac"
    assert choose_way(Dub(**plain), packets, ".webm", auto).encoder == "libopus"
    assert choose_way(Dub(**plain), packets, ".mp4", MuxSettings(audio_codec="alac")).encoder == "alac"


def test_a_source_s_run_up_does_not_move_the_film(tmp_path: Path) -> None:
    """Vorbis begins before 0, and Matroska's muxer knows of that for AAC and Opus only."""
    film, ogg = clip(tmp_path / "a.mp4", steady(25)), tmp_path / "dub.ogg"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1.5:r=48000", "-c:a", "libvorbis", ogg)
    ffmpeg("-copyts", "-i", film, "-i", ogg, "-map", 0, "-map", 1, "-c", "copy", tmp_path / "both.mp4")
    for suffix, way in ((".mkv", "encoded as aac: .mkv has no place"), (".mp4", "encoded as aac: players of .mp4")):
        made = deliver(tmp_path / "both.mp4", ogg, f"out{suffix}")
        assert times(made.path) == times(film)
        assert made.delivery.sound.startswith(way)
        assert payloads(made.path, 1) == payloads(ogg)
        for track in (0, 1):
            _, places, rate = heard(made.path, track)
            assert abs(places[0]) <= 0.004 * rate


def test_a_film_of_whole_milliseconds_keeps_its_times_beside_a_primed_dub(tmp_path: Path) -> None:
    """Matroska has no times before 0: a run-up that its muxer does not know of would move the whole film."""
    film = clip(tmp_path / "a.mkv", steady(25, step=40), **MS)
    for name, codec in (("dub.mp3", "libmp3lame"), ("dub.m4a", "aac"), ("dub.ogg", "libopus")):
        made = deliver(film, audio(tmp_path / name, Sound(1.0, codec=codec)), "out.mkv")
        assert times(made.path) == times(film)
        assert made.delivery.sound.startswith("copied")

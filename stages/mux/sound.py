"""The dub on its way into the delivery: copied packet by packet where it can be, else laid out, mixed and encoded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import ffmpeg
from av.audio.stream import AudioStream

from stages.errors import DubError
from stages.media.open import open_media
from stages.media.settings import TRUSTED, MediaLimits
from stages.media.timeline import LENGTH_SLACK_S
from stages.mux.containers import MATROSKA, audio_encoder, plays_audio
from stages.mux.ffmpeg import arguments, media_input, run
from stages.mux.settings import MuxSettings
from stages.mux.tracks import amount, codec_of
from stages.speech.samples import LOUDEST
from stages.speech.track import FROM_ZERO, JITTER_S, choose_track, layout_of

_FOREVER_S: Final = 1e9
_MIX_RATE: Final = 48_000
"""Most samples a second of a mix: what film sound is delivered in."""
_CEILING: Final = 0.891
"""Where the limiter of a mix begins: -1 dBFS, the highest peak that EBU R128 wants to see."""
_OPUS_LAYOUTS: Final = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"  # libopus knows no side speakers: 5.1(side) is refused
_OPUS_KBPS: Final = 256
"""Most bits of a channel: libopus does not open for more."""
_FINITE: Final = f"if(lt(abs(val(ch)),{LOUDEST:.0f}),val(ch),0)"  # as the mouths have it; false for NaN


@dataclass(frozen=True)
class Dub:
    """The new sound of a film."""

    path: Path
    track: int
    """Which of the file's audio streams."""
    language: str | None
    """BCP-47."""
    trim: bool
    """Cut it where the picture ends."""
    spoken: bool = False
    """Made from a text, in this project's own PCM: there is nothing to preserve by copying."""
    damaged: bool = False
    """Packets of it cannot be decoded, and are silent."""
    not_finite: bool = False
    """It has samples that are no numbers, and are silent."""
    background: Path | None = None
    """Music and effects, which the dub is mixed with; its first audio track."""


@dataclass(frozen=True)
class Clock:
    """Where on the film's own clock its sound lies, in seconds."""

    zero_s: float
    """The dub's sample 0."""
    end_s: float
    """The picture's end."""
    excerpt: bool = False
    """The film is a cut: it begins at 0, in the middle of the dub."""

    def whole(self) -> "Clock":
        """The same clock for all of the dub, whatever is delivered of it."""
        return replace(self, end_s=_FOREVER_S, excerpt=False) if self.excerpt else self


@dataclass(frozen=True)
class SoundPackets:
    """What a dub's track consists of, and whether its packets alone are the sound that the mouths were drawn to."""

    codec: str
    rate: int
    layout: str
    begins_s: float
    """The moment of the file's own clock that is its sample 0."""
    first_s: float
    """When its first packet comes on that clock: before sample 0 where an encoder needs a run-up."""
    count: int
    """As `stages.mux.tracks.amount` counts."""
    problem: str
    """Why a copy would sound different; empty where it would not."""
    length_s: float
    """From `begins_s` to the end of the last packet."""
    no_edit_list: bool
    """The run-up is in no container's terms, but in the codec's (MP3's LAME header)."""


def read_packets(path: Path, track: int) -> SoundPackets:
    """Go through a track's packets once, without decoding. Raises DubError `decode_error`, `no_audio`."""
    with open_media(path, TRUSTED) as container:
        stream = choose_track(container, path, track)
        formats = set(container.format.name.split(","))
        begins_s = 0.0 if formats & FROM_ZERO else (container.start_time or 0) / av.time_base
        walk = _Walk(stream)
        for packet in container.demux(stream):
            if packet.size:
                walk.add(packet)
        context = stream.codec_context
        return SoundPackets(
            codec=codec_of(stream),
            rate=context.rate,
            layout=layout_of(stream, path),
            begins_s=begins_s,
            first_s=float(walk.first_s),
            count=walk.count,
            problem=walk.problem,
            length_s=float(walk.end_s) - begins_s,
            no_edit_list="mp3" in formats,
        )


class _Walk:
    """Follows packets and notices where they do not join."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream, self._unit = stream, Fraction(stream.time_base or 1)
        self.first_s = self.end_s = Fraction(0)
        self.count = 0
        self.problem = ""
        self._heard = False
        self._even = codec_of(stream) != "vorbis"  # whose packets are of two lengths
        self._lasted: list[Fraction] = []

    def add(self, packet: Any) -> None:
        """The next packet with something in it."""
        begun = self.count > 0
        self.count += amount(self._stream, packet)
        if packet.pts is None:
            self.problem = self.problem or "it has packets without a time"
            return
        at_s = packet.pts * self._unit
        if not begun:
            self.first_s = self.end_s = at_s
        # An encoder's run-up is hidden, and copied; what an edit list hides later, a copy would bring back.
        if packet.is_discard and self._heard:
            self.problem = self.problem or "an edit list leaves out parts of it"
        # MP4 has no packet without a successor: where there is a hole, the one before it is said to last longer.
        stretched = len(self._lasted) == 2 and abs(self._lasted[1] - self._lasted[0]) > JITTER_S
        if abs(at_s - self.end_s) > JITTER_S or (stretched and self._even):
            self.problem = self.problem or f"its packets do not join at {float(at_s):.2f} s"
        self._heard = self._heard or not packet.is_discard
        lasts_s = (packet.duration or 0) * self._unit
        self._lasted = [*self._lasted[-1:], lasts_s]
        self.end_s = at_s + lasts_s


@dataclass(frozen=True)
class Way:
    """How the dub gets into the delivery."""

    encoder: str
    """`copy`, or ffmpeg's name of an encoder."""
    told: str
    """The same in words, for the report."""


def choose_way(dub: Dub, packets: SoundPackets, suffix: str, settings: MuxSettings, *, changed: str = "") -> Way:
    """Copy the dub, or encode it; `changed` says what else has to be done to the sound."""
    codec = packets.codec
    if settings.audio_codec != "auto":
        return Way(settings.audio_codec, f"encoded as {settings.audio_codec}, as mux.audio_codec says")
    reasons = (
        (changed, changed),
        (dub.background is not None, "it is mixed with the background"),
        (dub.spoken, "it was spoken here"),
        (dub.damaged, "damaged packets of it are silent"),
        (dub.not_finite, "samples of it were no numbers"),
        (not plays_audio(suffix, codec), f"players of {suffix} do not play {codec}"),
        (packets.problem, packets.problem),
        (
            codec == "vorbis" and suffix in MATROSKA and packets.first_s < packets.begins_s,
            f"{suffix} has no place for its run-up",
        ),
    )
    why = next((reason for holds, reason in reasons if holds), None)
    if why is None:
        return Way("copy", f"copied as it is ({codec})")
    encoder = audio_encoder(suffix)
    return Way(encoder, f"encoded as {encoder}: {why}")


def copied_input(dub: Dub, packets: SoundPackets, clock: Clock, suffix: str, scratch: Path, timeout_s: float) -> Any:
    """The dub's packets on the film's clock, as an ffmpeg-python stream."""
    audio = _on_clock(dub.path, dub.track, packets, clock)
    if not dub.trim and not (packets.no_edit_list and suffix in MATROSKA):
        return audio
    # A file of its own: only an output's end is a time of its clock, and Matroska's muxer learns of a run-up only
    # from an edit list; without one the whole film would begin later.
    alone = scratch / ("dub.mkv" if packets.codec == "truehd" else "dub.mp4")
    end = {"to": f"{clock.end_s:.6f}"} if dub.trim else {}
    run(arguments(ffmpeg.output(audio, f"file:{alone}", c="copy", **end)), timeout_s, "copying the dub")
    return media_input(alone)["a:0"]


def laid_out(dub: Dub, packets: SoundPackets, clock: Clock) -> Any:
    """The dub alone on the film's clock, holes filled with silence, as its mouths have it."""
    audio = _on_clock(dub.path, dub.track, packets, clock)
    if dub.not_finite:
        audio = audio.filter("aeval", _FINITE, channel_layout="same")
    return _trimmed(audio.filter("aresample", **{"async": "1"}), dub, clock)


def mixed(speech: Any, dub: Dub, packets: SoundPackets, background: SoundPackets, clock: Clock) -> Any:
    """`speech` (the dub, `laid_out`) and the background added up as they are, each at its own time.

    Nothing is cut: the mix lasts as long as the longer one. A limiter holds it under -1 dBFS; it looks ahead and
    touches only what would clip: a mix that stays below is the exact sum.
    """
    assert dub.background is not None
    rate = mix_rate(packets, background)
    layout = max((packets, background), key=lambda p: av.AudioLayout(p.layout).nb_channels).layout
    # What lies behind the picture's end is refused before any work, or asked to be cut.
    music = _on_clock(dub.background, 0, background, clock).filter("atrim", end=f"{clock.end_s + LENGTH_SLACK_S:.6f}")
    first = 0 if clock.excerpt else round(clock.zero_s * rate)  # amix knows no times: both have to begin at one moment
    both = [
        sound.filter("aresample", str(rate), **{"async": "1", "first_pts": str(first)}).filter(
            "aformat", sample_fmts="fltp", channel_layouts=layout
        )
        for sound in (speech, music)
    ]
    mix = ffmpeg.filter(both, "amix", inputs="2", normalize="0", duration="longest")
    return _trimmed(mix.filter("alimiter", limit=str(_CEILING), level="0", latency="1"), dub, clock)


def mix_rate(packets: SoundPackets, background: SoundPackets) -> int:
    """Samples a second of a mix."""
    return min(max(packets.rate, background.rate), _MIX_RATE)


def _on_clock(path: Path, track: int, packets: SoundPackets, clock: Clock) -> Any:
    """A file's sound with the film's times."""
    audio = media_input(path, itsoffset=f"{clock.zero_s - packets.begins_s:.6f}")[f"a:{track}"]
    # By a filter: with -copyts, -ss counts on the clock that -itsoffset has moved.
    return audio.filter("atrim", start="0", end=f"{clock.end_s:.6f}") if clock.excerpt else audio


def _trimmed(audio: Any, dub: Dub, clock: Clock) -> Any:
    return audio.filter("atrim", end=f"{clock.end_s:.6f}") if dub.trim else audio


def bit_rate_kbps(encoder: str, sounds: Sequence[SoundPackets], settings: MuxSettings) -> int:
    """The bit rate of `sounds` mixed and encoded."""
    if encoder != "libopus":  # aac takes what it can use
        return settings.audio_bitrate_kbps
    channels = min(8, max(av.AudioLayout(sound.layout).nb_channels for sound in sounds))
    return min(settings.audio_bitrate_kbps, _OPUS_KBPS * channels)


def for_encoder(audio: Any, encoder: str) -> Any:
    """The sound in a shape that the encoder takes."""
    return audio.filter("aformat", channel_layouts=_OPUS_LAYOUTS) if encoder == "libopus" else audio


def check_background(path: Path, picture_s: float, limits: MediaLimits, *, may_be_longer: bool) -> None:
    """Refuse before any work a background that cannot be mixed. `picture_s`: from the dub's beginning to the end.

    Raises DubError: `no_audio`, `decode_error`, `unsupported`, `audio_longer`.
    """
    with open_media(path, limits) as container:
        stream = choose_track(container, path)
        if next(container.decode(stream), None) is None:
            raise DubError("no_audio", f"{path}: there is no sound in the background's first audio track")
    longer_s = read_packets(path, 0).length_s - picture_s
    if longer_s > LENGTH_SLACK_S and not may_be_longer:
        raise DubError(
            "audio_longer",
            f"{path}: the background is {longer_s:.2f} s longer than the picture; shorten it or set audio_longer: trim",
        )

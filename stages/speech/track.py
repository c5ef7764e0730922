"""From any audio or video file to the dub's samples: decoded, mixed to mono, brought to 16 kHz, in flat memory.

Where the file is silent by its timestamps, the samples are silent: a track that begins at 0.5 s is heard at
0.5 s, and a hole keeps its length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from stages.arrays import F32
from stages.errors import DubError
from stages.media.language import iso639_2
from stages.media.open import open_media
from stages.media.settings import MediaLimits
from stages.media.whole import check_whole
from stages.speech.samples import LOUDEST, RATE, SampleWriter, writing_samples
from stages.speech.settings import SpeechSettings

VERSION: Final = 2
"""Raised whenever the same file gives other samples."""

# One step of the integer formats that FFmpeg decodes PCM to; wav2lip.md 3.1: 16 bit is divided by 32768.
_FULL_SCALE: Final = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}
_RATES: Final = (1_000, 768_000)
"""Sample rates in Hz that are resampled; far outside, the filter alone would fill the memory."""
JITTER_S: Final = Fraction(1, 100)
"""Timestamps this near to the running count are rounding (Matroska counts in ms); less than one AAC frame."""
_OVERLAP_S: Final = 1
"""Sound stamped up to this far before what was already heard is dropped; from further back, the clock was set
anew and the sound goes on where it is."""
_LAYOUTS: Final = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
"""What so many channels are where a file does not say it."""
FROM_ZERO: Final = frozenset({"mov", "matroska", "avi"})
"""Containers whose time 0 is the dub's; all others' clocks begin wherever their first packet does."""
_FROM_THE_START: Final = frozenset({"mpegts", "ogg"})
"""Containers whose clock begins anywhere: their earliest track begins the dub. All others (WAV, FLAC, MP3, ADTS)
store no times, FFmpeg counts them up, dropped priming and wrong rates included: they are heard without a hole."""
_LENGTH_STATED: Final = frozenset({"mov", "matroska", "flac"})
"""Containers whose length is written down, not guessed from the size of the file, as it is for a cut one."""
_CUT_SHORT_S: Final = 1
"""A track that ends this long before its stated end was cut off, as by an upload that broke."""


@dataclass(frozen=True)
class Dub:
    """What `decode_dub` found and wrote."""

    samples: int
    """Samples written, at 16 kHz."""
    source_rate: int
    """Sample rate of the track in Hz, where it begins."""
    source_channels: int
    """Channels of the track, where it begins."""
    codec: str
    """FFmpeg's name of the track's codec."""
    track: int
    """Number of the track among the file's audio tracks, from 0."""
    silence_s: float
    """Silence put in where the timestamps leave a hole or begin after 0."""
    replaced: int
    """Source samples that were no number, or an absurd one, and became 0."""
    damaged: int
    """Packets that could not be decoded: silence, or left out of a file that stores no times."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / RATE


def decode_dub(
    path: Path,
    url: str,
    track: int | str | None = None,
    settings: SpeechSettings | None = None,
    limits: MediaLimits | None = None,
) -> Dub:
    """Decode one audio track of a local file to a .npy of float32[n] at `url`, which appears whole or not at all.

    `track`: number among the file's audio tracks from 0, or a track's title or language as the file states
    it; the first by default. Channels are averaged, then resampled; n = ceil(N * 16000 / rate) for N samples.
    Raises DubError: `not_found`, `decode_error` (also: cut short, mostly damaged), `no_audio` (no such track,
    or nothing in it), `unsupported` (an odd sample rate, or longer than `settings.max_dub_s`).
    """
    settings = settings or SpeechSettings()
    with open_media(path, limits) as container:
        if container.format.name == "wav":
            check_whole(path)
        stream = choose_track(container, path, track)
        with writing_samples(url) as writer:
            decoder = _Decoder(container, stream, path, writer, settings)
            decoder.run()
        context = stream.codec_context
        return Dub(
            samples=writer.written,
            source_rate=decoder.first_rate,
            source_channels=decoder.first_channels,
            codec=context.name,
            track=container.streams.audio.index(stream),
            silence_s=float(decoder.silence_s),
            replaced=decoder.replaced,
            damaged=decoder.damaged,
        )


def choose_track(container: InputContainer, path: Path | str, track: int | str | None = None) -> AudioStream:
    """The audio track meant by a number, a title or a language; the first one by default.

    Raises DubError `no_audio` naming the tracks there are, `unsupported` when its codec cannot be decoded, or when
    nobody knows which of its channels is which.
    """
    streams = container.streams.audio
    if not streams:
        raise DubError("no_audio", f"{path}: there is no audio track in it")
    wanted = 0 if track is None else track
    # Files store deu or ger where people say de.
    letters = {iso639_2(wanted, kind) for kind in (".mp4", ".mkv")} - {None} if isinstance(wanted, str) else set()
    found = [s for n, s in enumerate(streams) if wanted in (n, *_names(s)) or s.language in letters]
    if not found:
        listing = ", ".join(" ".join([str(n), *map(repr, _names(s))]) for n, s in enumerate(streams))
        raise DubError("no_audio", f"{path}: there is no audio track {wanted!r} in it; it has {listing}")
    if found[0].codec_context is None:
        raise DubError("unsupported", f"{path}: the audio track's codec cannot be decoded here")
    if found[0].codec_context.layout.nb_channels:  # that a header states none, decoding says
        layout_of(found[0], path)
    return found[0]


def layout_of(stream: AudioStream, path: Path | str) -> str:
    """FFmpeg's name for the places of a track's channels. Raises DubError `unsupported` where nobody knows them."""
    layout = stream.codec_context.layout
    name = layout.name if "channels" not in layout.name else _LAYOUTS.get(layout.nb_channels, "")
    if not name:
        raise DubError("unsupported", f"{path}: {layout.nb_channels} channels without a layout; name their places")
    return name


def stated_length_s(container: InputContainer, stream: AudioStream) -> Fraction | None:
    """Where a track ends by its file's own word, in seconds since the dub begins; None: no word, or a guess.

    Nothing is decoded.
    """
    formats = frozenset(container.format.name.split(","))
    if not formats & (_LENGTH_STATED | {"wav"}):
        return None
    if stream.duration is None or stream.time_base is None:
        return None if container.duration is None else Fraction(container.duration, av.time_base)
    starts = (stream.start_time or 0) if formats & FROM_ZERO else 0
    return Fraction((starts + stream.duration) * stream.time_base)


def _names(stream: AudioStream) -> list[str]:
    known = (stream.metadata.get(key) for key in ("title", "handler_name", "language"))
    return [name for name in known if name]


class _Decoder:
    """Walks one track from its first packet to its last and keeps the samples in step with the timestamps."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        path: Path | str,
        writer: SampleWriter,
        settings: SpeechSettings,
    ) -> None:
        self._container, self._stream, self._path = container, stream, path
        self._writer, self._settings = writer, settings
        self._formats = frozenset(container.format.name.split(","))
        self._run: _Run | None = None
        self._run_start_s = Fraction(0)
        self._clock_s: Fraction | None = None
        """What is taken from every timestamp, once it is known."""
        self.first_rate = 0
        self.first_channels = 0
        self.silence_s = Fraction(0)
        self.replaced = 0
        self.damaged = 0

    def run(self) -> None:
        """Decode, place, write. Raises DubError as `decode_dub` says."""
        heard = False
        for frame in self._frames():
            heard = heard or frame.samples > 0
            self._take(frame)
        if self._run is None or not heard:
            if self.damaged:
                raise DubError("decode_error", f"{self._path}: no packet of its audio track can be decoded")
            raise DubError("no_audio", f"{self._path}: there is no sound in its audio track")
        self._end_run()
        self._check_whole()

    def _frames(self) -> Iterator[AudioFrame]:
        packets = 0
        for packet in self._container.demux(self._stream):
            packets += 1
            try:
                yield from packet.decode()
            except av.error.MemoryError:
                raise
            except av.error.FFmpegError:  # decoders of damaged data end with many codes, some of them unnamed
                self.damaged += 1
        if 2 * self.damaged > packets:
            raise DubError(
                "decode_error", f"{self._path}: {self.damaged} of {packets} packets of its audio are damaged"
            )

    def _take(self, frame: AudioFrame) -> None:
        mono, replaced = _mono(frame, self._path)
        self.replaced += replaced
        if self._run is None or self._run.rate != frame.sample_rate:
            self._begin_run(frame)
        run = self._run
        assert run is not None
        drift = self._drift(frame, run)
        if drift > 0:
            self._check_length(run, drift)
            for at in range(0, drift, run.rate):
                self._writer.append(run.push(np.zeros(min(run.rate, drift - at), np.float32)))
            self.silence_s += Fraction(drift, run.rate)
        self._check_length(run, mono.size)
        self._writer.append(run.push(mono[max(0, -drift) :]))

    def _drift(self, frame: AudioFrame, run: "_Run") -> int:
        """Samples of silence missing before the frame, or minus the samples of it that were heard already."""
        if frame.pts is None or frame.time_base is None or not self._formats & (FROM_ZERO | _FROM_THE_START):
            return 0
        stamp_s = frame.pts * frame.time_base
        if self._clock_s is None:
            self._clock_s = Fraction(0) if self._formats & FROM_ZERO else self._file_start_s(stamp_s)
        drift_s = stamp_s - self._clock_s - self._run_start_s - Fraction(run.taken, run.rate)
        if abs(drift_s) <= JITTER_S:
            # Near the start the stamp itself is right; later on the count is.
            return max(0, round(drift_s * run.rate)) if run.taken == 0 else 0
        if drift_s < -_OVERLAP_S:
            self._clock_s += drift_s
            return 0
        return round(drift_s * run.rate)

    def _file_start_s(self, first_s: Fraction) -> Fraction:
        start = self._container.start_time
        return first_s if start is None else min(first_s, Fraction(start, av.time_base))

    def _check_whole(self) -> None:
        stream, container = self._stream, self._container
        if not self._formats & _LENGTH_STATED:
            return
        if stream.duration is not None and stream.time_base is not None:
            stated_s = stream.duration * stream.time_base
        elif container.duration is not None and len(container.streams) == 1:
            stated_s = Fraction(container.duration, av.time_base)
        else:
            return
        heard_s = Fraction(self._writer.written, RATE)
        if heard_s < stated_s - _CUT_SHORT_S:
            raise DubError(
                "decode_error",
                f"{self._path}: cut short, its audio ends at {float(heard_s):.1f} s of {float(stated_s):.1f} s",
            )

    def _check_length(self, run: "_Run", more: int) -> None:
        if self._run_start_s + Fraction(run.taken + more, run.rate) > self._settings.max_dub_s:
            raise DubError(
                "unsupported",
                f"{self._path}: longer than {self._settings.max_dub_s:g} s of sound (speech.max_dub_s)",
            )

    def _begin_run(self, frame: AudioFrame) -> None:
        if not _RATES[0] <= frame.sample_rate <= _RATES[1]:
            raise DubError("unsupported", f"{self._path}: a sample rate of {frame.sample_rate} Hz")
        if self._run is None:
            self.first_rate, self.first_channels = frame.sample_rate, frame.layout.nb_channels
        else:
            self._end_run()
            self._run_start_s = Fraction(self._writer.written, RATE)
        self._run = _Run(frame.sample_rate, self._settings.resampler)

    def _end_run(self) -> None:
        assert self._run is not None
        self._writer.append(self._run.finish())


class _Run:
    """Samples of one rate on their way to 16 kHz. Equal to `soxr.resample` of all of them at once, bit for bit."""

    def __init__(self, rate: int, quality: str) -> None:
        self.rate = rate
        self.taken = 0
        self._given = 0
        self._waiting: list[F32] = []
        self._waiting_samples = 0
        self._soxr = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, "float32", quality)

    def push(self, mono: F32) -> F32:
        """Take float32[n] in; float32[m] that is ready."""
        self.taken += mono.size
        self._waiting.append(mono)
        self._waiting_samples += mono.size
        # Frames are 20 ms; the resampler is called once a second.
        return self._resample(last=False) if self._waiting_samples >= self.rate else np.zeros(0, np.float32)

    def finish(self) -> F32:
        """The rest, so that ceil(taken * 16000 / rate) samples came out in all (wav2lip.md 3.1)."""
        rest = self._resample(last=True)
        missing = -(-self.taken * RATE // self.rate) - self._given
        return np.pad(rest, (0, missing)) if missing >= 0 else rest[:missing]

    def _resample(self, *, last: bool) -> F32:
        mono = np.concatenate(self._waiting) if self._waiting else np.zeros(0, np.float32)
        self._waiting, self._waiting_samples = [], 0
        if self._soxr is not None:
            mono = self._soxr.resample_chunk(mono, last=last)
            # Finite samples near float32's end may overshoot it.
            mono[~np.isfinite(mono)] = 0.0
        self._given += mono.size
        return mono


def _mono(frame: AudioFrame, path: Path | str) -> tuple[F32, int]:
    """float32[n] mean of a frame's channels, and how many samples were no number or an absurd one."""
    try:
        raw = frame.to_ndarray()
    except (ValueError, KeyError) as error:
        raise DubError("unsupported", f"{path}: samples of the format {frame.format.name}") from error
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        raw = raw.reshape(-1, channels).T
    kind = frame.format.name.removesuffix("p")
    sound: F32 = raw.astype(np.float32)
    if kind in _FULL_SCALE:
        scale = np.float32(_FULL_SCALE[kind])
        sound = sound / scale if kind != "u8" else (sound - scale) / scale
    finite = np.abs(sound) < LOUDEST  # false for NaN
    replaced = sound.size - int(np.count_nonzero(finite))
    if replaced:
        sound[~finite] = 0.0
    return sound.mean(axis=0, dtype=np.float32), replaced

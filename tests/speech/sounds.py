"""Sounds and the files that carry them, made with PyAV in a few lines."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from stages.arrays import F32
from stages.speech.samples import Samples

_PCM = {
    "pcm_u8": "u8",
    "pcm_s16le": "s16",
    "pcm_s24le": "s32",
    "pcm_s32le": "s32",
    "pcm_f32le": "flt",
    "pcm_f64le": "dbl",
}


@dataclass(frozen=True)
class Sound:
    """One audio track: samples [n, channels] at a rate, and where on the clock each piece of it begins."""

    samples: NDArray[np.generic]
    rate: int
    codec: str = "pcm_f32le"
    pieces: Sequence[tuple[int, int, int]] = ()
    """(first sample, last sample, pts in samples); the whole from 0 when empty."""
    metadata: dict[str, str] = field(default_factory=dict)


def noise(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> F32:
    """float32[n, channels] of speech-like loudness, the channels unlike each other."""
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((round(seconds * rate), channels))).astype(np.float32).clip(-0.9, 0.9)


def write(path: Path, *sounds: Sound, video: bool = False, format: str | None = None) -> Path:
    """A file with these tracks; `video` puts a second of small pictures before them."""
    with av.open(str(path), "w", format=format) as container:
        picture = None
        if video:
            picture = container.add_stream("libx264", rate=25)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        streams = []
        for sound in sounds:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[sound.samples.shape[1]]
            stream = container.add_stream(sound.codec, rate=sound.rate, layout=layout)
            stream.metadata.update(sound.metadata)
            streams.append((sound, stream, layout))
        for n in range(25 if picture is not None else 0):
            image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 9 * n, np.uint8), format="rgb24")
            image.pts = n
            container.mux(picture.encode(image))
        if picture is not None:
            container.mux(picture.encode(None))
        for sound, stream, layout in streams:
            _encode(container, stream, sound, layout)
    return path


def _encode(container, stream, sound: Sound, layout: str) -> None:
    size = stream.codec_context.frame_size or 1024
    kind = _PCM.get(sound.codec, "flt")
    resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=sound.rate)
    for first, last, pts in sound.pieces or [(0, len(sound.samples), 0)]:
        for at in range(first, last, size):
            part = np.ascontiguousarray(sound.samples[at : min(at + size, last)])
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format=kind, layout=layout)
            frame.sample_rate = sound.rate
            frame.pts, frame.time_base = pts + at - first, Fraction(1, sound.rate)
            if frame.format.name != stream.codec_context.format.name:
                [frame] = resampler.resample(frame)
            container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def lag(heard: F32, meant: F32, most: int = 4000) -> int:
    """Samples by which `heard` comes after `meant`, found where they agree best."""
    n = min(len(heard), len(meant))
    size = 1 << (2 * n - 1).bit_length()
    both = np.fft.irfft(np.fft.rfft(heard[:n], size) * np.conj(np.fft.rfft(meant[:n], size)), size)
    shifts = np.r_[0 : most + 1, -most:0]
    return int(shifts[np.argmax(both[shifts])])


class Watched(Samples):
    """Samples that remember how far they were read."""

    def __init__(self, values: F32) -> None:
        super().__init__(values)
        self.read_samples = 0
        self.most_at_once = 0

    def read(self, start: int, end: int) -> F32:
        self.read_samples += end - start
        self.most_at_once = max(self.most_at_once, end - start)
        return super().read(start, end)

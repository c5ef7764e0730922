"""Small films and dubs for tests of the whole flow, made on the spot."""

import json
import wave
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from skimage import data

from stages.arrays import U8
from stages.media.decode import read_frames
from stages.media.index import index_video
from stages.media.planes import planes

SIZE = (320, 240)
BOX = [60, 190, 105, 215]
"""The face of `portrait` as a manifest's box: top, bottom, left, right px."""


def portrait(k: int) -> U8:
    """Frame k of a portrait that slowly moves, uint8 [240, 320, 3] BGR."""
    picture = data.astronaut()[:, :, ::-1]
    scale = 1.45
    shift = np.array([[scale, 0, 160 - scale * 225 + 0.4 * k], [0, scale, 120 - scale * 128]], np.float32)
    return cv2.warpAffine(np.ascontiguousarray(picture), shift, SIZE, borderMode=cv2.BORDER_REPLICATE)


def slide(k: int) -> U8:
    """A picture without a face."""
    picture = np.full((SIZE[1], SIZE[0], 3), (90, 60, 30), np.uint8)
    cv2.putText(picture, f"page {k}", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (230, 230, 230), 2)
    return picture


def film(
    path: Path,
    frames: int = 50,
    picture: Callable[[int], U8] = portrait,
    rate: Fraction | int = 25,
    pts: Iterable[int] | None = None,
    time_base: Fraction | None = None,
    gop: int = 12,
    codec: str = "libx264",
) -> Path:
    """Encode pictures; `pts` in `time_base` units for odd clocks. B-frames as the encoder likes them."""
    base = time_base or 1 / Fraction(rate)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "16", "preset": "veryfast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = stream.time_base = base
        stream.codec_context.gop_size = gop
        for k, at in zip(range(frames), pts or range(frames), strict=False):
            image = av.VideoFrame.from_ndarray(picture(k), "bgr24")
            image.pts, image.time_base = at, base
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


def speech(path: Path, seconds: float = 2.0, rate: int = 16000, seed: int = 0) -> Path:
    """A WAV that rises and falls like syllables, with a pause in the middle."""
    t = np.arange(round(seconds * rate)) / rate
    syllables = np.clip(np.sin(2 * np.pi * 3 * t + seed), 0, 1) * (np.abs(t - seconds / 2) > 0.15)
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    sound = np.round(9000 * syllables * voice / np.abs(voice).max()).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.tobytes())
    return path


def manifest(path: Path, *rows: dict[str, object]) -> Path:
    """A JSONL manifest."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def decoded(path: Path) -> list[list[np.ndarray]]:
    """Every frame's planes."""
    index = index_video(str(path))
    return [[p.copy() for p in planes(frame)] for _, frame in read_frames(path, index, 0, len(index))]


def same_pictures(one: Path, other: Path) -> bool:
    """Whether two films decode to the same planes, frame for frame."""
    a, b = decoded(one), decoded(other)
    return len(a) == len(b) and all(
        np.array_equal(p, q) for x, y in zip(a, b, strict=True) for p, q in zip(x, y, strict=True)
    )

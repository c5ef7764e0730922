"""Films for benchmarks: a portrait that moves, with grain, so that the encoder has something to do."""

from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from skimage import data

from tests.films import speech


def lecture(path: Path, seconds: float, size: tuple[int, int]) -> Path:
    """A film of a talking-head framing at 25 fps, H.264, keyframes every 2 s."""
    if path.exists():
        return path
    picture = np.ascontiguousarray(data.astronaut()[:, :, ::-1])
    random = np.random.default_rng(0)
    grain = [random.normal(0, 3, (size[1], size[0], 1)).astype(np.int16) for _ in range(8)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = 50
        for k in range(round(seconds * 25)):
            scale = size[0] / (400 + 30 * np.sin(k / 70))
            centre = (225 + 14 * np.sin(k / 45), 128 + 6 * np.cos(k / 60))
            move = np.array(
                [[scale, 0, size[0] / 2 - scale * centre[0]], [0, scale, size[1] / 2 - scale * centre[1]]], np.float32
            )
            frame = cv2.warpAffine(picture, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            frame = np.clip(frame + grain[k % 8], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "bgr24")))
        container.mux(stream.encode(None))
    return path


def voice(path: Path, seconds: float) -> Path:
    """A dub of the same length."""
    return path if path.exists() else speech(path, seconds)

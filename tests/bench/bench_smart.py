"""A film that is mostly slides, encoded in full and rendered smart: wall time, size, and whether copies are exact.

python -m tests.bench.bench_smart [SECONDS] [WIDTHxHEIGHT]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from skimage import data

from pipeline import Config, dub
from stages.media.decode import read_frames
from stages.media.index import index_video
from stages.media.planes import planes
from tests.bench.films import voice
from tests.films import manifest

RATE, GOP = 25, 50
TURN_S, SPOKEN_S = 30.0, 9.0
"""Of every 30 s the lecturer is seen for 9, and slides for 21: 70 %."""


def slides_and_face(path: Path, seconds: float, size: tuple[int, int]) -> Path:
    """A lecture: slides that change every 7 s, and a moving portrait with grain."""
    portrait = np.ascontiguousarray(data.astronaut()[:, :, ::-1])
    random = np.random.default_rng(0)
    grain = [random.normal(0, 3, (size[1], size[0], 1)).astype(np.int16) for _ in range(8)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "veryfast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = GOP
        for k in range(round(seconds * RATE)):
            turn_s = k / RATE % TURN_S
            if turn_s < TURN_S - SPOKEN_S:
                picture = _slide(int(k / RATE // 7), size)
            else:
                picture = np.clip(_portrait(portrait, k, size) + grain[k % 8], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode(None))
    return path


def _slide(number: int, size: tuple[int, int]) -> np.ndarray:
    picture = np.full((size[1], size[0], 3), (245, 245, 240), np.uint8)
    for line in range(8):
        at = (size[0] // 12, size[1] * (line + 2) // 11)
        text = f"{number}.{line}: a line that says something about it"
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, size[0] / 1100, (40, 30, 20), 1, cv2.LINE_AA)
    return picture


def _portrait(picture: np.ndarray, k: int, size: tuple[int, int]) -> np.ndarray:
    scale = size[0] / (400 + 30 * np.sin(k / 70))
    centre = (225 + 14 * np.sin(k / 45), 128 + 6 * np.cos(k / 60))
    move = np.array(
        [[scale, 0, size[0] / 2 - scale * centre[0]], [0, scale, size[1] / 2 - scale * centre[1]]], np.float32
    )
    return cv2.warpAffine(picture, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def exact_frames(source: Path, made: Path, ranges: list[tuple[int, int]]) -> int:
    """How many frames of `ranges` decode to the same samples in both films, each decoded on its own."""
    one, other = index_video(str(source)), index_video(str(made))
    count = 0
    for start, end in ranges:
        pairs = zip(read_frames(source, one, start, end), read_frames(made, other, start, end), strict=True)
        for (_, a), (_, b) in pairs:
            count += all(np.array_equal(p, q) for p, q in zip(planes(a), planes(b), strict=True))
    return count


def main() -> None:
    """Print a line for each way, and their ratios."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    width, height = (int(v) for v in (sys.argv[2] if len(sys.argv) > 2 else "640x360").split("x"))
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        folder = Path(scratch)
        source = slides_and_face(folder / "film.mp4", seconds, (width, height))
        voice(folder / "dub.wav", seconds)
        size = source.stat().st_size / 1e6
        print(f"{seconds:g} s of {width}x{height}, {1 - SPOKEN_S / TURN_S:.0%} slides, {size:.1f} MB", flush=True)
        # The face's place is given: nothing is looked for, and what is left is what rendering costs.
        box = [height // 5, height * 4 // 5, width // 3, width * 2 // 3]
        turns = np.arange(TURN_S - SPOKEN_S, seconds, TURN_S)
        where = {"box": box, "spans": [[float(at), min(float(at) + SPOKEN_S, seconds)] for at in turns]}
        found: dict[str, tuple[float, int]] = {}
        for render in ("full", "smart"):
            config = Config.model_validate({"encode": {"render": render}})
            row = {"id": "film", "video": "film.mp4", "audio": "dub.wav", "output": f"{render}.mp4", **where}
            began = time.monotonic()
            report = dub(str(manifest(folder / "m.jsonl", row)), config, str(folder / render))
            wall_s = time.monotonic() - began
            film = report.films["film"]
            assert film.code == "ok", film.message
            found[render] = wall_s, (folder / f"{render}.mp4").stat().st_size
            stages = ", ".join(f"{name} {took:.1f}" for name, took in film.seconds.items())
            told = (
                f"{found[render][1] / 1e6:.1f} MB, {film.copied} of {film.frames} frames copied, {film.painted} painted"
            )
            print(f"{render}: {wall_s:.1f} s ({stages}), {told}", film.notes, flush=True)
        [plan] = (folder / "smart/films").glob("*/plan.json")
        ranges = [(s["start"], s["end"]) for s in json.loads(plan.read_text())["shards"] if s["copied"]]
        exact = exact_frames(source, folder / "smart.mp4", ranges)
        (full_s, full), (smart_s, smart) = found["full"], found["smart"]
        print(f"smart of full: {smart_s / full_s:.2f} of the time, {smart / full:.2f} of the bytes")
        print(f"{exact} of {sum(end - start for start, end in ranges)} copied frames bit-exact, {len(ranges)} pieces")


if __name__ == "__main__":
    main()

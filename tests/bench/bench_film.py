"""A whole film against its floor: plain ffmpeg transcode with the same encoder + the bare generator.

    python -m tests.bench.bench_film [SECONDS] [WIDTHxHEIGHT]

Everything is measured in one run on the same film. The clock of a dub starts when the actors are ready: the time of
the same job on a film of a few frames, which is all start, is taken off.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from pipeline import Config, dub
from stages.lips.wav2lip import Wav2LipGenerator
from tests.bench.films import lecture, voice
from tests.films import manifest
from tests.lips.wav2lip.checkpoints import write


def transcode(film: Path, target: Path, config: Config) -> float:
    """Seconds of a plain transcode with the run's encoder settings and threads."""
    encode = config.encode
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", str(film)]
    command += ["-c:v", "libx264", "-crf", str(encode.crf), "-preset", encode.preset, "-threads", str(encode.threads)]
    began = time.perf_counter()
    subprocess.run([*command, str(target)], check=True)
    return time.perf_counter() - began


def generate(checkpoint: Path, config: Config, frames: int) -> float:
    """Seconds of the bare generator, warm, on as many frames."""
    generator = Wav2LipGenerator.from_settings(config.lips.wav2lip, checkpoint)
    random = np.random.default_rng(0)
    crops = random.integers(0, 256, (250, 96, 96, 3), np.uint8)
    mel = random.uniform(-4, 4, (250, 80, 16)).astype(np.float32)
    generator.generate(crops[:32], mel[:32])
    began = time.perf_counter()
    for start in range(0, frames, 250):
        count = min(250, frames - start)
        generator.generate(crops[:count], mel[:count])
    return time.perf_counter() - began


def main() -> None:
    """Print the ratios."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    width, height = (int(v) for v in (sys.argv[2] if len(sys.argv) > 2 else "1920x1080").split("x"))
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        folder = Path(scratch)
        checkpoint = write(folder / "wav2lip.pth", "behaves")
        film, start_film = lecture(folder / "film.mp4", seconds, (width, height)), folder / "start.mp4"
        lecture(start_film, 0.2, (width, height))
        voice(folder / "dub.wav", seconds)
        voice(folder / "start.wav", 0.2)
        frames = round(seconds * 25)

        def timed(name: str, config: Config, work: str) -> tuple[float, dict[str, float]]:
            row = {"id": name, "video": f"{name}.mp4", "audio": "start.wav" if name == "start" else "dub.wav"}
            path = manifest(folder / "m.jsonl", {**row, "output": f"{work}-{name}.mp4", "audio_longer": "trim"})
            report = dub(str(path), config, str(folder / work), executor="ray")
            assert report.films[name].code == "ok", report.films[name].message
            return report.wall_s, report.films[name].seconds

        base = Config.model_validate(
            {"lips": {"generator": "wav2lip", "wav2lip": {"weights": str(checkpoint)}}, "faces": {"detector": "auto"}}
        )
        copied, drawn = transcode(film, folder / "plain.mp4", base), generate(checkpoint, base, frames)
        floor = copied + drawn
        print(f"{frames} frames of {width}x{height}")
        print(f"transcode {copied:.1f} s, generator {drawn:.1f} s, together {floor:.1f} s = 1.00")
        for blend in ("feather", "seamless"):
            config = base.model_copy(update={"composite": base.composite.model_copy(update={"blend": blend})})
            start, _ = timed("start", config, f"start-{blend}")
            cold, stages = timed("film", config, f"work-{blend}")
            print(f"{blend}: {cold - start:.1f} s = {(cold - start) / floor:.2f} (start of Ray {start:.1f} s left out)")
            print("   worker ms a frame: " + ", ".join(f"{k} {v / frames * 1e3:.1f}" for k, v in stages.items()))
            if blend == "feather":
                lips = config.lips.wav2lip.model_copy(update={"speech_shift_s": 0.04})
                other = config.model_copy(update={"lips": config.lips.model_copy(update={"wav2lip": lips})})
                config = other.model_copy(update={"run": config.run.model_copy(update={"overwrite": True})})
                warm, _ = timed("film", config, f"work-{blend}")
                print(f"   faces in the cache: {warm - start:.1f} s = {(warm - start) / floor:.2f}")


if __name__ == "__main__":
    main()

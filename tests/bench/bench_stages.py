"""Milliseconds a frame of every stage, one after the other in one process.

python -m tests.bench.bench_stages [SECONDS] [WIDTHxHEIGHT]
"""

import sys
import tempfile
from pathlib import Path

from pipeline import Config, dub
from tests.bench.films import lecture, voice
from tests.films import manifest
from tests.lips.wav2lip.checkpoints import write


def main() -> None:
    """Print a line for every combination."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    width, height = (int(v) for v in (sys.argv[2] if len(sys.argv) > 2 else "1920x1080").split("x"))
    frames = round(seconds * 25)
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        folder = Path(scratch)
        checkpoint = write(folder / "wav2lip.pth", "behaves")
        lecture(folder / "film.mp4", seconds, (width, height))
        voice(folder / "dub.wav", seconds)
        row = {"id": "film", "video": "film.mp4", "audio": "dub.wav", "audio_longer": "trim"}
        print(f"worker ms a frame, {frames} frames of {width}x{height}")
        for generator in ("mouthwarp", "wav2lip"):
            for blend in ("feather", "seamless"):
                config = Config.model_validate(
                    {
                        "lips": {"generator": generator, "wav2lip": {"weights": str(checkpoint)}},
                        "composite": {"blend": blend},
                    }
                )
                name = f"{generator}-{blend}"
                path = manifest(folder / "m.jsonl", {**row, "output": f"{name}.mp4"})
                report = dub(str(path), config, str(folder / name))
                assert report.films["film"].code == "ok", report.films["film"].message
                stages = report.films["film"].seconds
                print(f"{name}: " + ", ".join(f"{k} {v / frames * 1e3:.2f}" for k, v in stages.items()), flush=True)


if __name__ == "__main__":
    main()

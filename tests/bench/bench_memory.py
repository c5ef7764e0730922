"""Peak memory of the workers for a short and a long film, each in a process of its own.

python -m tests.bench.bench_memory [SHORT_S] [LONG_S]
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline import Config, dub
from tests.bench.films import lecture, voice
from tests.films import manifest


def peak_mib(folder: Path, seconds: float) -> float:
    """Peak resident memory of a process that dubs a film inline: every stage, one after the other."""
    command = [sys.executable, "-m", "tests.bench.bench_memory", "one", str(folder), str(seconds)]
    return float(
        json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1])
    )


def one(folder: Path, seconds: float) -> None:
    """Dub one film in this process and print its peak."""
    name = f"{seconds:g}"
    row = {"id": "film", "video": f"{name}.mp4", "audio": f"{name}.wav", "output": f"out-{name}.mp4"}
    config = Config.model_validate({"encode": {"preset": "ultrafast"}, "composite": {"blend": "feather"}})
    report = dub(str(manifest(folder / f"{name}.jsonl", row)), config, str(folder / f"work-{name}"))
    assert report.films["film"].code == "ok", report.films["film"].message
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    """Print both peaks and their ratio."""
    if sys.argv[1:2] == ["one"]:
        one(Path(sys.argv[2]), float(sys.argv[3]))
        return
    short, long = (float(v) for v in sys.argv[1:3]) if len(sys.argv) > 2 else (60.0, 600.0)
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        folder = Path(scratch)
        peaks = []
        for seconds in (short, long):
            lecture(folder / f"{seconds:g}.mp4", seconds, (640, 360))
            voice(folder / f"{seconds:g}.wav", seconds)
            peaks.append(peak_mib(folder, seconds))
            print(f"{seconds:g} s of 640x360: peak {peaks[-1]:.0f} MiB", flush=True)
        print(f"ratio {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()

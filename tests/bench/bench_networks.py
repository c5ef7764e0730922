"""Every network at its official size, with random weights: frames a second, and of the matrix rate of the same machine.

    python -m tests.bench.bench_networks [--device cuda] [--only musetalk,gfpgan] [--dtypes float32,bfloat16]

Weights are written to a scratch folder first (4 GB for MuseTalk). Every line is a process of its own: `share` is the
network's FLOP/s as a part of what a large matrix product reaches right after it in the same arithmetic; memory is
torch's peak on a GPU, on a CPU by how much the process grew. Nothing is asserted.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from stages import networks
from stages.enhance.restorer import GfpganRestorer
from stages.lips.musetalk import MuseTalkGenerator
from stages.lips.parsing.parser import FaceParser
from stages.lips.wav2lip import Wav2LipGenerator
from stages.speech.whisper import WhisperFeatures
from tests.enhance import checkpoints as gfpgan_files
from tests.lips.musetalk import checkpoints as musetalk_files
from tests.lips.parsing import checkpoints as parsing_files
from tests.lips.wav2lip import checkpoints as wav2lip_files
from tests.speech import whisper_files

Call = Callable[[int], object]
_BATCHES = {"cpu": {"wav2lip": [8, 32], "musetalk": [1]}, "cuda": {"wav2lip": [128, 512, 2048], "whisper": [1]}}
_OTHERS = {"cpu": [1, 2], "cuda": [1, 8, 16, 32]}


@dataclass(frozen=True)
class Network:
    """One thing to time."""

    name: str
    gflop: float
    """Of an item (musetalk.md 10, wav2lip.md 0, gfpgan.md 1)."""
    make: Callable[[Path, str, str, int], Call]
    """Takes folder, device, dtype and batch; returns what works on so many items."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")


@cache
def _pictures(n: int, px: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, px, px, 3), np.uint8)


def _wav2lip(folder: Path, device: str, dtype: str, batch: int) -> Call:
    made = Wav2LipGenerator(_once(folder / "wav2lip.pth", wav2lip_files.write, "spread"), device, dtype, batch)  # type: ignore[arg-type]
    mel = np.random.default_rng(0).uniform(-4, 4, (4096, 80, 16)).astype(np.float32)
    return lambda n: made.generate(_pictures(n, 96), mel[:n])


def _musetalk(folder: Path, device: str, dtype: str, batch: int) -> MuseTalkGenerator:
    if not (folder / "musetalkV15").exists():
        musetalk_files.write(folder, "1.5", small=False, weights="random")
    return MuseTalkGenerator(folder, "1.5", device, dtype, batch)  # type: ignore[arg-type]


def _musetalk_whole(folder: Path, device: str, dtype: str, batch: int) -> Call:
    made, speech = _musetalk(folder, device, dtype, batch), np.zeros((64, 50, 384), np.float32)
    return lambda n: made.generate(_pictures(n, 256), speech[:n])


def _musetalk_known(folder: Path, device: str, dtype: str, batch: int) -> Call:
    made, speech = _musetalk(folder, device, dtype, batch), np.zeros((64, 50, 384), np.float32)
    latents = made.encode(_pictures(1, 256))
    return lambda n: made.generate_from(np.repeat(latents, n, axis=0), speech[:n])


def _parser(folder: Path, device: str, dtype: str, batch: int) -> Call:
    path = folder / "79999_iter.pth"
    if not path.exists():
        parsing_files.write(path, parsing_files.sees())
    made = FaceParser(path, device, dtype, batch)  # type: ignore[arg-type]
    return lambda n: made.classes(_pictures(n, 512))


def _gfpgan(folder: Path, device: str, dtype: str, batch: int) -> Call:
    path = folder / "GFPGANv1.4.pth"
    if not path.exists():
        gfpgan_files.write(path, "filled", narrow=1)
    made = GfpganRestorer(path, device, dtype, batch)  # type: ignore[arg-type]
    return lambda n: made.restore(_pictures(n, 512))


def _whisper(folder: Path, device: str, dtype: str, batch: int) -> Call:
    if not (folder / "whisper").exists():
        whisper_files.write(folder / "whisper", **whisper_files.TINY)
    made = WhisperFeatures(folder, device)  # type: ignore[arg-type]
    mel = np.zeros((80, 3000), np.float32)
    return lambda n: [made.encode(mel) for _ in range(n)]


def _once(path: Path, write: Callable[..., Path], *arguments: Any) -> Path:
    return path if path.exists() else write(path, *arguments)


NETWORKS = (
    Network("wav2lip", networks.WAV2LIP.gflop, _wav2lip),
    Network("musetalk", networks.MUSETALK.gflop, _musetalk_whole),
    Network("musetalk, latents kept", 800.0, _musetalk_known),
    Network("face parser", networks.FACE_PARSER.gflop, _parser),
    Network("gfpgan", networks.GFPGAN.gflop, _gfpgan, ("float32", "bfloat16")),
    Network("whisper, 30 s", networks.WHISPER_TINY.gflop, _whisper, ("float32",)),
)


def matrix_rate(device: str, dtype: str) -> float:
    """GFLOP/s of a large matrix product: the best of some."""
    side = 8192 if device == "cuda" else 2048
    a = torch.randn(side, side, device=device).to(getattr(torch, dtype))
    best = 0.0
    for _ in range(5):
        best = max(best, 2 * side**3 / 1e9 / _seconds(lambda: a @ a, device))
    return best


def _seconds(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _memory_gib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measured(name: str, folder: Path, device: str, dtype: str, batch: int) -> tuple[float, float, float]:
    """Seconds of an item, GiB, and the matrix rate in GFLOP/s beside it: machines are noisy."""
    network = next(network for network in NETWORKS if network.name == name)
    torch.set_num_threads(2)
    torch.zeros(1, device=device)
    before = _memory_gib(device) if device == "cpu" else 0.0
    call = network.make(folder, device, dtype, batch)
    call(batch)  # the first of a shape chooses its kernels
    count = batch * (8 if device == "cuda" else 1)
    call(count)
    best = min(_seconds(lambda: call(count), device) for _ in range(3 if device == "cuda" else 2))
    gib = _memory_gib(device) - before
    return best / count, gib, matrix_rate(device, dtype)


def lines(network: Network, folder: Path, device: str, dtypes: list[str]) -> Iterator[str]:
    """A line for every dtype and batch."""
    for dtype in [d for d in network.dtypes if d in dtypes]:
        for batch in _BATCHES[device].get(network.name.split(",")[0], _OTHERS[device]):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                each_s, gib, rate = alone.submit(measured, network.name, folder, device, dtype, batch).result()
            reached = network.gflop / each_s
            yield (
                f"{network.name:24}{dtype:>10}{batch:>7}{1 / each_s:>12.2f}{each_s * 1e3:>11.1f}"
                f"{reached / 1e3:>10.2f}{reached / rate:>8.0%}{gib:>9.2f}"
            )


def main(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
    only: Annotated[str, typer.Option(help="Names, with commas.")] = "",
    dtypes: Annotated[str, typer.Option(help="With commas.")] = "",
) -> None:
    """Print a table."""
    wanted = dtypes.split(",") if dtypes else ["float32", "bfloat16", *(["float16"] if device == "cuda" else [])]
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, 2 threads"
    print(f"{where}, torch {torch.__version__}")
    print(f"{'':24}{'dtype':>10}{'batch':>7}{'items/s':>12}{'ms an item':>11}{'TFLOP/s':>10}{'share':>8}{'GiB':>9}")
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        for network in NETWORKS:
            if not only or network.name.split(",")[0] in only.split(","):
                for line in lines(network, Path(scratch), device, wanted):
                    print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)

"""What a frame of Wav2Lip costs, by way of running it and by batch size.

    python -m tests.bench.bench_generator --threads 2

All ways take turns within one run, and each figure is the best of its turns: compare the ratios to `eager`, which
hardly depend on the machine's other work, rather than the times. Nothing is asserted.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from stages.arrays import F32, U8
from stages.lips.wav2lip import Wav2LipGenerator, checkpoint
from stages.lips.wav2lip.backends import TorchBackend, fold
from tests.lips.wav2lip.checkpoints import write

Make = Callable[[Path, str, int, int], Wav2LipGenerator]


def _made(**fields: Any) -> Make:
    def make(path: Path, device: str, threads: int, batch: int) -> Wav2LipGenerator:
        given: dict[str, Any] = {"device": device, "threads": threads, "batch_size": batch, **fields}
        return Wav2LipGenerator(path, **given)

    return make


def _folded(path: Path, device: str, threads: int, batch: int) -> Wav2LipGenerator:
    """Batch norm folded, the memory layout left alone: not a mode, only a step on the way to `fast`."""
    generator = _made(mode="parity")(path, device, threads, batch)
    generator._backend = TorchBackend(
        fold(checkpoint.network(path)), device=device, dtype="float32", parity=True, threads=threads
    )
    return generator


WAYS: dict[str, Make] = {
    "eager": _made(mode="parity"),
    "folded": _folded,
    "folded, channels last": _made(mode="fast"),
    "onnx": _made(mode="onnx"),
    "bfloat16": _made(mode="fast", dtype="bfloat16"),
    "float16": _made(mode="fast", dtype="float16"),
}
CPU_ONLY = {"onnx"}
GPU_ONLY = {"float16"}


def _ms_per_frame(generator: Wav2LipGenerator, crops: U8, speech: F32) -> float:
    start = time.perf_counter()
    generator.generate(crops, speech)
    return (time.perf_counter() - start) * 1000 / len(crops)


def main(
    threads: Annotated[int, typer.Option(help="CPU threads of the network.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batches: Annotated[str, typer.Option(help="Batch sizes, with commas.")] = "1,2,4,8,16,32,64,128",
    rounds: Annotated[int, typer.Option(help="Turns of each way at each batch size.")] = 3,
    frames: Annotated[int, typer.Option(help="Frames a turn takes at least (whole batches).")] = 16,
) -> None:
    """Print ms a frame and the ratio to eager at the same batch size."""
    sizes = [int(size) for size in batches.split(",")]
    ways = {k: v for k, v in WAYS.items() if k not in (GPU_ONLY if device == "cpu" else CPU_ONLY)}
    random = np.random.default_rng(0)
    best: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "spread.pth", "spread")
        for size in sizes:
            n = -(-frames // size) * size
            crops = random.integers(0, 256, (n, 96, 96, 3), dtype=np.uint8)
            speech = random.uniform(-4, 4, (n, 80, 16)).astype(np.float32)
            generators = {name: make(path, device, threads, size) for name, make in ways.items()}
            for generator in generators.values():
                generator.generate(crops[:size], speech[:size])  # the first call of a shape costs a second
            for _ in range(rounds):
                for name, generator in generators.items():
                    ms = _ms_per_frame(generator, crops, speech)
                    best[name, size] = min(ms, best.get((name, size), ms))
    where = f"{threads} threads" if device == "cpu" else torch.cuda.get_device_name()
    print(f"Wav2Lip, {where}, torch {torch.__version__}: ms a frame (times as fast as eager at that batch)")
    print(f"{'batch':24}" + "".join(f"{size:>15}" for size in sizes))
    for name in ways:
        cells = (f"{best[name, s]:.1f} ({best['eager', s] / best[name, s]:.2f}x)" for s in sizes)
        print(f"{name:24}" + "".join(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    typer.run(main)

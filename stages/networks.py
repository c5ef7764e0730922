"""What each network costs, known before it is loaded: who shares a GPU, what feeds it, and how many items a step takes.

Parameters and GFLOP from wav2lip.md 0 and 9, musetalk.md 3 and 10, gfpgan.md 1; memory and batches from
`tests/bench/bench_networks.py`.
"""

from dataclasses import dataclass
from typing import Final, Literal

Device = Literal["auto", "cpu", "cuda"]
"""Where a network runs; `auto` takes a GPU where there is one."""

CONTEXT_GIB: Final = 0.6
"""What CUDA and its libraries take in every process."""
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Network:
    """A network at its official size."""

    parameters: int
    gflop: float
    """Of one item: twice its multiplications."""
    item_mib: float
    """MiB of one item at its fullest, in float32."""
    batch_gpu: int
    batch_cpu: int
    """Items per step, unless the settings say otherwise. On a CPU larger ones are no faster, and cost more."""

    def batch(self, asked: int | None, device: str) -> int:
        """Items per step."""
        return asked or (self.batch_cpu if device == "cpu" else self.batch_gpu)

    def gib(self, dtype: str, batch: int | None = None) -> float:
        """GiB on a GPU of its weights and of what a batch needs on its way.

        Of what is kept for a stack's pictures and of the allocator's slack a fifth is added.
        """
        working = self.batch(batch, "cuda") * self.item_mib * _BYTES[dtype] / 4 * 2**20
        return 1.2 * (self.parameters * _BYTES[dtype] + working) / 2**30


WAV2LIP: Final = Network(36_298_035, 7.934, 8.0, batch_gpu=128, batch_cpu=8)
MUSETALK: Final = Network(849_947_844 + 83_653_863, 1345.5, 430.0, batch_gpu=16, batch_cpu=1)
"""UNet and VAE: one denoising step, two encodes and one decode."""
FACE_PARSER: Final = Network(13_300_416, 27.5, 80.0, batch_gpu=16, batch_cpu=4)
"""On two cores, float32: 280 ms a picture in steps of 4, 363 ms alone."""
GFPGAN: Final = Network(87_143_276, 395.6, 400.0, batch_gpu=8, batch_cpu=1)
FAN: Final = Network(23_820_176, 50.5, 60.0, batch_gpu=16, batch_cpu=4)
WHISPER_TINY: Final = Network(8_208_384, 36.9, 200.0, batch_gpu=1, batch_cpu=1)
"""Its encoder; an item is 30 s of speech."""

"""Settings of the Wav2Lip generator."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.settings import Settings


class Wav2LipSettings(Settings):
    """How mouths are redrawn by Wav2Lip."""

    weights: str = "wav2lip_gan"
    """Generator checkpoint: a name of `dubline weights list`, or the path or URL of a file in any official layout.
    `wav2lip_gan` has the sharper teeth, `wav2lip` the closer sync."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the network. `bfloat16` is far faster on GPUs since Ampere and on CPUs that list `avx512_bf16` or
    `amx_bf16`, a few grey levels off; `float16` is for older GPUs. `float32` compares with the official script."""
    batch_size: int | None = Field(None, ge=1, le=4096)
    """Frames per step of the network; a shard's last step is filled up, so that rounding does not depend on the
    shard. Empty: 128 on a GPU, 8 on a CPU. Halved, and said so in the report, where memory does not suffice."""
    mode: Literal["fast", "parity", "onnx"] = "fast"
    """`fast`: batch norm folded into the convolutions. `parity`: the layers as they are trained, to compare with the
    official script. `onnx`: ONNX Runtime on a CPU, often faster (needs `pip install 'dubline[cpu]'`). All within one
    grey level of each other in float32."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the network: the cores that a worker of the lips stage has to itself; where it shares them, more
    threads are slower than one. Another number may change single values by one grey level."""
    speech_shift_s: float = Field(0.0, ge=-1.0, le=1.0)
    """Seconds added to a frame's time before its speech is looked up. Positive: the mouth moves earlier.
    Change it only after measuring that a checkpoint leads or lags."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode != "fast" and self.dtype != "float32":
            raise ValueError(f"mode {self.mode!r} computes in float32: set dtype to float32, or mode to fast")
        return self

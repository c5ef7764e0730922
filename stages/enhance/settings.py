"""Settings of the enhancer."""

from typing import Literal

from pydantic import Field

from stages.networks import Device
from stages.settings import Settings


class EnhanceSettings(Settings):
    """Whether and how new mouths are sharpened before they are painted in."""

    model: Literal["none", "gfpgan"] = "none"
    """`gfpgan`: every painted mouth is restored at 512 px, for generators that draw it smaller than the film shows it.
    Needs `pip install 'dubline[enhance]'` and weights; without a GPU it takes seconds a frame. Only what is painted
    changes, never the rest of the face."""
    weights: str = "gfpgan-1.4"
    """Checkpoint of GFPGAN 1.2, 1.3 or 1.4: a name of `dubline weights list`, or the path or URL of such a file."""
    device: Device = "auto"
    """Where the network runs. `auto` takes a GPU where there is one, and logs what it took; `cuda` fails without."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the network. `bfloat16` is far faster on GPUs since Ampere and on CPUs that list `avx512_bf16` or
    `amx_bf16`, about a grey level off. There is no `float16`: the network overflows in it."""
    batch_size: int | None = Field(None, ge=1, le=256)
    """Faces per step of the network; a shard's last step is filled up, so that rounding does not depend on the shard.
    Empty: 8 on a GPU, 1 on a CPU. Halved, and said so in the report, where memory does not suffice."""
    strength: float = Field(1.0, ge=0.0, le=1.0)
    """How much of the restored face is taken, the rest being the generator's own. Lower it where skin gets smoother or
    whiter than the rest of the face."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the network and of the warps around it: the cores that a worker has to itself. Another number may
    change single values by one grey level."""

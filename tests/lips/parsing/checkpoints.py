"""Writes face parser checkpoints with the official names and shapes, and weights that need no training.

`sees` follows the picture: random layers, batch norms that keep every layer's values in range, so that classes vary.
"""

from pathlib import Path

import torch
from torch import Tensor

from stages.lips.parsing.network import BiSeNet

State = dict[str, Tensor]


def sees() -> State:
    """Seeded weights under the official names, whose classes depend on the picture."""
    with torch.device("meta"):
        names = BiSeNet().state_dict()
    random = torch.Generator().manual_seed(19)
    state: State = {}
    for key, like in names.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(79999)
        elif like.dim() > 1:
            inputs = like[0].numel()
            state[key] = torch.randn(like.shape, generator=random) * (2 / inputs) ** 0.5
        elif key.endswith(("running_var", "weight")):
            state[key] = torch.rand(like.shape, generator=random) * 0.6 + 0.7
        else:
            state[key] = torch.randn(like.shape, generator=random) * 0.1
    return state


def write(path: Path, state: State) -> Path:
    """The file as `torch.save` writes it."""
    torch.save(state, path)
    return path

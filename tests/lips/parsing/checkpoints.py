"""Writes face parser checkpoints with the official names and shapes, and weights that need no training.

`sees` follows the picture: random layers, batch norms that keep every layer's values in range, so that classes vary.
`skin` tells what is of the colour of skin from the rest, so that masks can be looked at; `all_skin` takes everything
for it.
"""

from pathlib import Path

import torch
from torch import Tensor

from stages.lips.parsing.network import BiSeNet

State = dict[str, Tensor]


def _names() -> State:
    with torch.device("meta"):
        return BiSeNet().state_dict()


def sees() -> State:
    """Seeded weights under the official names, whose classes depend on the picture."""
    names = _names()
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


_REDDER = 0.1
"""By how much of 0..1 red exceeds blue in skin, at least."""


def skin() -> State:
    """Class 1 where red exceeds blue by `_REDDER` in the mean over 7 by 7 pixels, class 0 elsewhere."""
    state = blank()
    for channel, std, sign in ((0, 0.229, 1), (2, 0.225, -1)):
        state["cp.resnet.conv1.weight"][0, channel] = sign * std / 49
    state["cp.resnet.bn1.bias"][0] = 0.485 - 0.406 - _REDDER / 2  # the means that were taken from red and blue
    state["cp.resnet.layer2.0.downsample.0.weight"][0, 0] = 1
    state["ffm.convblk.conv.weight"][0, 0] = 1 / 1.5  # its gate stands half open, and adds
    state["conv_out.conv.conv.weight"][0, 0, 1, 1] = 1
    state["conv_out.conv.bn.bias"][1] = _REDDER / 2
    state["conv_out.conv_out.weight"][1, 0] = state["conv_out.conv_out.weight"][0, 1] = 1
    return state


def all_skin() -> State:
    """Class 1, whatever there is to see."""
    state = blank()
    state["conv_out.conv.bn.bias"][0] = 1
    state["conv_out.conv_out.weight"][1, 0] = 1
    return state


def blank() -> State:
    """The official names and shapes, all zero but norms, which change nothing."""
    state = {key: torch.zeros(like.shape, dtype=like.dtype) for key, like in _names().items()}
    for key, value in state.items():
        if key.endswith("running_var"):
            value.fill_(1 - 1e-5)  # with batch norm's epsilon: one
        elif value.dim() == 1 and key.endswith("weight"):
            value.fill_(1)
    return state


def write(path: Path, state: State) -> Path:
    """The file as `torch.save` writes it."""
    torch.save(state, path)
    return path

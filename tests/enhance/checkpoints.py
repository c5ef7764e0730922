"""Writes GFPGAN checkpoints in the official layout, with weights that need no training.

    python -m tests.enhance.checkpoints behaves /tmp/behaves.pth 1

`filled` is random and uses every layer. `behaves` gives the face back, a little softer and with a little of the stored
noise, so that a restored film can be looked at. Width 1 is the official network (350 MB); `NARROW` is the same network
with 3/16 of the channels, whose files a test can afford.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.enhance import checkpoint

State = dict[str, Tensor]
NARROW = 3 / 16  # six channels at 512 px: three colours and their opposites
STYLES = 32
NOISE = 0.04


def _blank(narrow: float) -> State:
    styles = 512 if narrow == 1 else STYLES
    names = checkpoint.blank(narrow, styles).state_dict()
    return {key: torch.zeros(value.shape) for key, value in names.items()}


def filled(narrow: float = NARROW, seed: int = 0) -> State:
    """Random weights with pictures of about -1..1."""
    random = torch.Generator().manual_seed(seed)
    state = _blank(narrow)
    for key, value in state.items():
        if key.endswith("modulation.bias"):
            value.fill_(1)
            continue
        value.normal_(generator=random)
        if "noises" in key or "constant_input" in key:
            continue
        if value.dim() == 1 or key.endswith("bias"):
            value.mul_(0.1)
        elif "to_rgb" in key and key.endswith("modulated_conv.weight"):
            value.mul_(0.2 / value.shape[2] ** 0.5)
        elif "modulated_conv.weight" not in key:  # those are normalised by the demodulation
            # What is summed with others is made smaller, or the sums grow from level to level.
            share = 0.3 if ".skip." in key or ".conv2." in key or ".2.weight" in key else 1
            value.mul_((2 * share / value[0].numel()) ** 0.5)
        if key.startswith("final_linear") or "modulation.weight" in key:
            value.mul_(0.3)
    return state


def behaves(narrow: float = NARROW) -> State:
    """Weights that carry the colours through the U-Net's map at 256 px into the last layer's condition.

    Activations are undone by pairs: lrelu(v) - lrelu(-v) = 1.2 v.
    """
    state = _blank(narrow)
    pairs = [(colour + 3 * negative, colour, 1 - 2.0 * negative) for negative in (0, 1) for colour in range(3)]
    for unit, colour, sign in pairs:
        state["conv_body_first.weight"][unit, colour] = sign
        state["conv_body_down.0.skip.weight"][colour, unit] = sign / 1.2
        state["condition_shift.6.0.weight"][unit, colour, 1, 1] = sign
        state["condition_shift.6.2.weight"][colour, unit, 1, 1] = sign / 1.2
    for colour in range(3):
        state["conv_body_up.6.skip.weight"][colour, colour] = 1
    for key, value in state.items():
        if key.endswith("modulation.bias"):
            value.fill_(1)
        if "noises" in key:
            value.normal_(generator=torch.Generator().manual_seed(len(value.flatten())))
    last = "stylegan_decoder.style_convs.13"
    half = state[f"{last}.modulated_conv.weight"].shape[2] // 2  # the second half is the conditioned one
    for unit, colour, sign in pairs:
        state[f"{last}.modulated_conv.weight"][0, unit, half + colour, 1, 1] = sign
        state["stylegan_decoder.to_rgbs.6.modulated_conv.weight"][0, colour, unit] = sign / 1.2 / 2**0.5
    state[f"{last}.weight"].fill_(NOISE)
    return state


WEIGHTS: dict[str, Callable[[float], State]] = {"filled": filled, "behaves": behaves}
LAYOUTS: dict[str, Callable[[State, Path], None]] = {
    "params_ema": lambda s, p: torch.save({"params_ema": s}, p),
    "params": lambda s, p: torch.save({"params": s}, p),
    "params_ema, old pickle": lambda s, p: torch.save({"params_ema": s}, p, _use_new_zipfile_serialization=False),
    "flat": lambda s, p: torch.save(s, p),
    "safetensors": lambda s, p: save_file(s, p),
}


def write(path: Path, weights: str = "behaves", narrow: float = NARROW, layout: str = "params_ema") -> Path:
    """Write one checkpoint and return its path."""
    LAYOUTS[layout](WEIGHTS[weights](narrow), path)
    return path


if __name__ == "__main__":
    print(write(Path(sys.argv[2]), sys.argv[1], float(sys.argv[3])))

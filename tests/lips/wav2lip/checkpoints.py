"""Writes Wav2Lip generator checkpoints: every official layout, with weights that need no training.

    python -m tests.lips.wav2lip.checkpoints behaves /tmp/behaves.pth

Weights: `filled` is the deterministic fill of wav2lip.md 8.1 (its output stays near grey); `spread` is the same with an
output over the whole range, so that rounding shows; `behaves` returns the face it is given and opens a mouth where the
speech is loud, so that a dubbed film can be looked at.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.lips.wav2lip.network import Wav2Lip

State = dict[str, Tensor]


def u(count: int, tag: int) -> np.ndarray:
    """The sequence of wav2lip.md 8.1: float64 [count] in [-1, 1]."""
    i = np.arange(count, dtype=np.int64)
    return (((i * i % 9973) * 31 + i * 7919 + tag * 104729) % 1009) / 504.5 - 1


def blank() -> State:
    """The official names, shapes and order; convolutions of zeros, batch norms that change nothing."""
    with torch.device("meta"):
        names = Wav2Lip().state_dict()
    state = {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in names.items()}
    for key, value in state.items():
        if key.endswith("running_var"):
            value.fill_(1 - 1e-5)  # with batch norm's epsilon: one
        elif value.dim() == 1 and key.endswith("weight"):
            value.fill_(1)
    return state


def filled(dtype: torch.dtype = torch.float32) -> State:
    """The deterministic fill of wav2lip.md 8.1 (whose vectors were made in float64)."""
    state = blank()
    tag = 0
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        x = u(value.numel(), tag).reshape(value.shape)
        tag += 1
        if key.endswith("running_var"):
            x = 1 + 0.5 * x
        elif value.dim() > 1:
            x = x / np.sqrt(value.numel() / value.shape[0])
        elif key.endswith("weight"):
            x = 1 + 0.1 * x
        else:
            x = 0.1 * x
        state[key] = torch.from_numpy(x).to(dtype)
    return state


def spread() -> State:
    """`filled` with the last layer 32 times as strong: pictures from black to white."""
    state = filled()
    state["output_block.1.weight"] *= 32
    state["output_block.1.bias"] *= 32
    return state


_KNOTS = (0.5, 0.6973, 0.8238, 0.9104, 0.9683)
_SLOPES = (4.136, 1.362, 3.135, 8.549, 42.278)
"""Hinges whose sum is the inverse of the sigmoid above 0.5, to one grey level of 255."""


def behaves() -> State:
    """Weights that give the face back, with a mouth that opens as the low bands of the speech get louder.

    Picture: the full-size skip carries the unmasked pixels; ten hinges a colour undo the sigmoid. Mouth: the speech
    window's middle 75 ms are averaged to one number from 0 (silence) to 1, planted at the place of the mouth and
    enlarged to a lens round row 72, column 48, whose inside turns dark red where it exceeds a threshold.
    """
    state = blank()

    def tap(unit: str, out: int, into: int, y: int, x: int, value: float) -> None:
        state[f"{unit}.conv_block.0.weight"][out, into, y, x] = value

    def tap_t(unit: str, into: int, out: int, y: int, x: int, value: float) -> None:
        state[f"{unit}.conv_block.0.weight"][into, out, y, x] = value

    def bias(unit: str, out: int, value: float) -> None:
        state[f"{unit}.conv_block.0.bias"][out] = value

    # Loudness of the low bands, 0..1.
    tap("audio_encoder.0", 0, 0, 1, 1, 1 / 8)
    bias("audio_encoder.0", 0, 0.5)
    for y in range(3):
        tap("audio_encoder.3", 0, 0, y, 1, 1 / 3)
        for x in range(3):
            tap("audio_encoder.6", 0, 0, y, x, 1 / 9)
        for x in (1, 2):
            tap("audio_encoder.9", 0, 0, y, x, 1 / 6)
    tap("audio_encoder.11", 0, 0, 0, 1, 0.6)  # bands 0-13, halved by the padding above them
    tap("audio_encoder.11", 0, 0, 1, 1, 0.7)  # bands 14-40
    # 0 below a murmur's loudness, 1 from an open vowel's: the second channel takes away what exceeds 1.
    for channel, start in ((0, 0.22), (1, 0.47)):
        tap("audio_encoder.12", channel, 0, 0, 0, 4)
        bias("audio_encoder.12", channel, -4 * start)
    tap("face_decoder_blocks.0.0", 0, 0, 0, 0, 1)
    tap("face_decoder_blocks.0.0", 0, 1, 0, 0, -1)
    # Where the mouth is: cell (2, 1) of 3x3, (4, 3) of 6x6, (9, 5..7) of 12x12, then enlarged bilinearly.
    tap_t("face_decoder_blocks.1.0", 0, 0, 2, 1, 1)
    tap_t("face_decoder_blocks.2.0", 0, 0, 1, 2, 1)
    tent = (0.5, 1, 0.5)
    for x in range(3):
        tap_t("face_decoder_blocks.3.0", 0, 0, 2, x, (0.7, 1, 0.7)[x])
        for y in range(3):
            for block in (4, 5, 6):
                tap_t(f"face_decoder_blocks.{block}.0", 0, 0, y, x, tent[y] * tent[x])

    paint = state["output_block.1.weight"][:, :, 0, 0]
    unit = 0
    for colour in range(3):
        tap("face_encoder_blocks.0.0", colour, 3 + colour, 3, 3, 1)  # the unmasked crop
        for sign in (1, -1):
            for knot, slope in zip(_KNOTS, _SLOPES, strict=True):
                tap("output_block.0", unit, 64 + colour, 1, 1, sign)  # skips come after the 64 decoded channels
                bias("output_block.0", unit, -knot if sign > 0 else 1 - knot)
                paint[colour, unit] = sign * slope
                unit += 1
    # Inside the lens: from nothing to all within a pixel or so, and no further.
    for channel, start, sign in ((30, 0.25, -1), (31, 0.4, 1)):
        tap("output_block.0", channel, 0, 1, 1, 1 / 0.15)
        bias("output_block.0", channel, -start / 0.15)
        for colour, depth in enumerate((3.4, 3.4, 2.2)):
            paint[colour, channel] = sign * depth
    return state


WEIGHTS: dict[str, Callable[[], State]] = {"filled": filled, "spread": spread, "behaves": behaves}


def _checkpoint(state: State) -> dict[str, object]:
    """The official outer dict, with an optimiser state as Adam leaves it (one tensor's worth)."""
    first = next(iter(state.values()))
    optimizer = {
        "state": {0: {"step": 258000, "exp_avg": first * 0, "exp_avg_sq": first * 0}},
        "param_groups": [{"lr": 1e-4, "betas": (0.5, 0.999), "params": [0]}],
    }
    return {"state_dict": state, "optimizer": optimizer, "global_step": 258000, "global_epoch": 88}


def _prefixed(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


class _Wrapped(torch.nn.Module):
    """Gives every weight another name, in the same order."""

    def __init__(self, network: Wav2Lip) -> None:
        super().__init__()
        self.inner = network

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        picture: Tensor = self.inner(mel, face)
        return picture


def _script(state: State, path: Path, *, renamed: bool) -> None:
    with torch.device("meta"):
        network = Wav2Lip()
    network.load_state_dict(state, assign=True)
    module = _Wrapped(network.eval()) if renamed else network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = (torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, 96, 96))
        torch.jit.trace(module, inputs, check_trace=False).save(str(path))


LAYOUTS: dict[str, Callable[[State, Path], None]] = {
    "dict, zip": lambda s, p: torch.save(_checkpoint(s), p),
    "dict, zip, prefixed": lambda s, p: torch.save(_checkpoint(_prefixed(s)), p),
    "dict, old pickle": lambda s, p: torch.save(_checkpoint(s), p, _use_new_zipfile_serialization=False),
    "dict, old pickle, prefixed": lambda s, p: torch.save(
        _checkpoint(_prefixed(s)), p, _use_new_zipfile_serialization=False
    ),
    "flat": lambda s, p: torch.save(s, p),
    "safetensors": lambda s, p: save_file(s, p),
    "script": lambda s, p: _script(s, p, renamed=False),
    "script, other names": lambda s, p: _script(s, p, renamed=True),
}
"""Every layout the official generator has been published in (wav2lip.md 1), by name."""


def write(path: Path, weights: str = "behaves", layout: str = "dict, zip, prefixed") -> Path:
    """Write one checkpoint (145 MB) and return its path."""
    LAYOUTS[layout](WEIGHTS[weights](), path)
    return path


if __name__ == "__main__":
    print(write(Path(sys.argv[2]), sys.argv[1]))

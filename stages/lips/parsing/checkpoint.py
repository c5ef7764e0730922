"""Reads the face parser's weights: `79999_iter.pth`, in any layout of `stages.checkpoint`."""

from pathlib import Path
from typing import Final

import torch

from stages.checkpoint import State, WeightsFile
from stages.lips.parsing.network import BiSeNet

_ADVICE: Final = "Run «dubline weights fetch face-parse-bisenet», or give the path of an official 79999_iter.pth"
_FOREIGN: Final = {  # a key that gives a network away -> what it is
    # It lies in the same folder of MuseTalk's layout (musetalk.md 2).
    "layer1.0.conv1.weight": "the ResNet-18 that the parser's training began with, not the parser",
}


def load(path: Path) -> State:
    """The parser's state dict: official names and order, float32, on the CPU, read-only (mapped where possible).

    Raises DubError `weights_missing`, saying what is wrong with the file, for anything else than a whole parser.
    """
    file = WeightsFile(path, "face parser weights", _ADVICE)
    with torch.device("meta"):
        official = BiSeNet().state_dict()
    return file.conform(file.state(), official, foreign=_FOREIGN)


def network(path: Path) -> BiSeNet:
    """The parser with the weights of `path`, ready to run: eval mode, no gradients."""
    with torch.device("meta"):  # the weights replace the parameters: none is made for nothing
        net = BiSeNet()
    net.load_state_dict(load(path), strict=True, assign=True)
    return net.eval().requires_grad_(False)

"""Reads the generator's weights from every layout they are published in, and runs no code that a file carries.

Layouts (wav2lip.md 1): those of `stages.checkpoint`, and the TorchScript archives of 2025.
"""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from stages.checkpoint import State, WeightsFile, first_line, is_counter
from stages.lips.wav2lip.network import Wav2Lip

_ADVICE: Final = (
    "Give the path of an official Wav2Lip generator checkpoint; "
    "«dubline weights list» says which there are and where they come from"
)
_FOREIGN: Final = {  # a key that gives a network away -> what it is (wav2lip.md 2.3-2.6)
    "face_encoder.0.conv_block.0.weight": "the lip-sync expert (SyncNet), not the generator",
    "binary_pred.0.weight": "the visual quality discriminator, not the generator",
    "conv1_1.weight": "the S3FD face detector",
    "netcnnaud.0.weight": "the SyncNet of the evaluation",
}
_MAX_SCRIPT_BYTES: Final = 16 << 20


def load(path: Path) -> State:
    """The generator's state dict: official names and order, float32, on the CPU, read-only (mapped where possible).

    Raises DubError `weights_missing`, saying what is wrong with the file, for anything else than a whole generator.
    """
    file = WeightsFile(path, "Wav2Lip weights", _ADVICE)
    with torch.device("meta"):
        official = Wav2Lip().state_dict()
    # In a script names may differ, if order and shapes agree (wav2lip.md 1.2).
    state = _renamed(file.plain(_script(file)), official) if file.layout() == "script" else file.state()
    return file.conform(state, official, foreign=_FOREIGN)


def network(path: Path) -> Wav2Lip:
    """The generator with the weights of `path`, ready to run: eval mode, no gradients."""
    with torch.device("meta"):  # the weights replace the parameters: none is made for nothing
        net = Wav2Lip()
    net.load_state_dict(load(path), strict=True, assign=True)
    return net.eval().requires_grad_(False)


def _script(file: WeightsFile) -> State:
    """The state dict of a TorchScript archive. Its code is not called, and must not ask to be called by loading."""
    members = file.members()
    # torch finds members whatever their case, and the first of two with one name; zipfile would read the last.
    if len({name.lower() for name in members}) < len(members):
        raise file.refusal("it holds two members of one name")
    with zipfile.ZipFile(file.path) as archive:
        for name in members:
            if name.lower().endswith(".py"):
                if archive.getinfo(name).file_size > _MAX_SCRIPT_BYTES:
                    raise file.refusal(f"its script {name} is too large to be a generator's")
                if b"__setstate__" in archive.read(name):  # the one method that loading runs
                    raise file.refusal("it is a script that runs when loaded, so it was not loaded")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch wants torch.export; the files are what they are
            script: Any = torch.jit.load(file.path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise file.refusal(f"the script archive cannot be read ({first_line(error)})") from error
    state: State = script.state_dict()
    return {name: value.detach() for name, value in state.items()}


def _renamed(state: State, official: Mapping[str, Tensor]) -> State:
    """`state` under the official names where its tensors come in the same order and shapes, else unchanged."""
    if state.keys() == official.keys():
        return state
    given = [value for key, value in state.items() if not is_counter(key)]
    wanted = {key: value for key, value in official.items() if not is_counter(key)}
    if [v.shape for v in given] != [v.shape for v in wanted.values()]:
        return state
    return dict(zip(wanted, given, strict=True))

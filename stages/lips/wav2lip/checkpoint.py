"""Reads generator weights from every layout they are published in, and runs no code that a file carries.

Layouts (wav2lip.md 1): a dict with `state_dict`, `optimizer` and counters, with or without `module.` prefixes, as an
old pickle or as a zip; a bare state dict; the TorchScript archives of 2025; safetensors.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from stages.errors import DubError
from stages.lips.wav2lip.network import Wav2Lip

_FOREIGN: Final = {  # a key that gives a network away -> what it is (wav2lip.md 2.3-2.6)
    "face_encoder.0.conv_block.0.weight": "the lip-sync expert (SyncNet), not the generator",
    "binary_pred.0.weight": "the visual quality discriminator, not the generator",
    "conv1_1.weight": "the S3FD face detector",
    "netcnnaud.0.weight": "the SyncNet of the evaluation",
}
_COUNTER: Final = "num_batches_tracked"
_SHOWN: Final = 3
_MAX_SCRIPT_BYTES: Final = 16 << 20


def load(path: Path) -> dict[str, Tensor]:
    """The generator's state dict: official names and order, float32, on the CPU, read-only (mapped where possible).

    Raises DubError `weights_missing`, saying what is wrong with the file, for anything else than a whole generator.
    """
    if not path.is_file():
        raise _refusal(path, "there is no such file")
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    by_order = False
    if not head:
        raise _refusal(path, "the file is empty")
    if head.startswith(b"PK\x03\x04"):
        members = _members(path)
        by_order = any(name.endswith("/constants.pkl") for name in members)  # wav2lip.md 1.2
        found: Any = _script(path, members) if by_order else _pickled(path, mmap=True)
    elif start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise _refusal(path, "this is a web page saved under the weights' name: the download link did not give a file")
    elif start.startswith(b"version https://git-lfs"):
        raise _refusal(path, "this is a Git LFS pointer, not the file it stands for")
    elif head[8:9] == b"{":  # eight bytes of header length, then JSON
        found = _safetensors(path)
    elif head.startswith(b"\x80"):
        found = _pickled(path, mmap=False)
    else:
        raise _refusal(path, f"this is no checkpoint (it begins with {head[:8]!r})")
    return _conform(path, _state_dict(path, found), by_order=by_order)


def network(path: Path) -> Wav2Lip:
    """The generator with the weights of `path`, ready to run: eval mode, no gradients."""
    with torch.device("meta"):  # the weights replace the parameters: none is made for nothing
        net = Wav2Lip()
    net.load_state_dict(load(path), strict=True, assign=True)
    return net.eval().requires_grad_(False)


def _refusal(path: Path, what: str) -> DubError:
    return DubError(
        "weights_missing",
        f"Wav2Lip weights {path}: {what}. Give the path of an official Wav2Lip generator checkpoint; "
        "«dubline weights list» says which there are and where they come from",
    )


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile:
        raise _refusal(path, "the file is cut short or damaged") from None
    if not any(name.endswith("/data.pkl") for name in members):
        raise _refusal(path, "this is a zip archive without a checkpoint in it")
    return members


def _pickled(path: Path, *, mmap: bool) -> object:
    """What `torch.save` wrote, tensors and plain containers only. Mapping spares the optimiser's 290 MB."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class) ([\w.]+)", str(error))
        if foreign is None:
            raise _refusal(path, "the file is cut short or damaged") from error
        name = foreign[1] or foreign[2]
        what = f"it holds more than weights ({name}); loading that could run foreign code, so it was not loaded"
        raise _refusal(path, what) from None
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refusal(path, f"the file is cut short or damaged ({_line(error)})") from error


def _script(path: Path, members: list[str]) -> object:
    """The state dict of a TorchScript archive. Its code is not called, and must not ask to be called by loading."""
    # torch finds members whatever their case, and the first of two with one name; zipfile would read the last.
    if len({name.lower() for name in members}) < len(members):
        raise _refusal(path, "it holds two members of one name")
    with zipfile.ZipFile(path) as archive:
        for name in members:
            if name.lower().endswith(".py"):
                if archive.getinfo(name).file_size > _MAX_SCRIPT_BYTES:
                    raise _refusal(path, f"its script {name} is too large to be a generator's")
                if b"__setstate__" in archive.read(name):  # the one method that loading runs
                    raise _refusal(path, "it is a script that runs when loaded, so it was not loaded")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch wants torch.export; the files are what they are
            script: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise _refusal(path, f"the script archive cannot be read ({_line(error)})") from error
    state: dict[str, Tensor] = script.state_dict()
    return {name: value.detach() for name, value in state.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = safetensors.torch.load_file(path, device="cpu")
    except safetensors.SafetensorError as error:
        raise _refusal(path, f"the safetensors file is cut short or damaged ({_line(error)})") from error
    return state


def _state_dict(path: Path, found: object) -> dict[str, Tensor]:
    """The tensors of what a file held, under names without `module.` (never part of the network's own names)."""
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise _refusal(path, f"it holds a {type(found).__name__} where a state dict should be")
    state: dict[str, Tensor] = {}
    for key, value in found.items():
        if not isinstance(value, Tensor):
            raise _refusal(path, f"it holds no state dict: {key!r} is a {type(value).__name__}, not a tensor")
        state[str(key).replace("module.", "")] = value
    if not state:
        raise _refusal(path, "it holds no weights")
    return state


def _conform(path: Path, state: dict[str, Tensor], *, by_order: bool) -> dict[str, Tensor]:
    """`state` under the official names and in their order. `by_order`: names may differ, if order and shapes agree."""
    with torch.device("meta"):
        official = Wav2Lip().state_dict()
    if by_order and state.keys() != official.keys():
        state = _renamed(state, official)
    for key, what in _FOREIGN.items():
        if key in state:
            raise _refusal(path, f"this is {what}")
    # The counters take no part in inference; converters to other formats drop them.
    missing = [k for k in official if k not in state and not k.endswith(_COUNTER)]
    unknown = [k for k in state if k not in official]
    shapes = [
        f"{k} is {tuple(v.shape)} instead of {tuple(official[k].shape)}"
        for k, v in state.items()
        if k in official and v.shape != official[k].shape
    ]
    faults = [
        f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for kind, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if faults:
        raise _refusal(path, f"these are weights of another network ({'; '.join(faults)})")
    whole = {k: state.get(k, torch.zeros((), dtype=torch.int64)) for k in official}
    for key, value in whole.items():
        if not key.endswith(_COUNTER):
            whole[key] = value.to(torch.float32)
            if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
                raise _refusal(path, f"{key} holds values that are not finite numbers: the file is damaged")
    return whole


def _renamed(state: dict[str, Tensor], official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under the official names where its tensors come in the same order and shapes, else unchanged."""
    given = [value for key, value in state.items() if not key.endswith(_COUNTER)]
    wanted = {key: value for key, value in official.items() if not key.endswith(_COUNTER)}
    if [v.shape for v in given] != [v.shape for v in wanted.values()]:
        return state
    return dict(zip(wanted, given, strict=True))


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:120]

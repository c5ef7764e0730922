"""Reads weights from the layouts torch networks are published in, and runs no code that a file carries.

Layouts: a state dict, bare or in a dict beside an optimiser and counters, with or without `module.` prefixes, as an old
pickle, as a zip, or as safetensors. What is wrong with a file is said in one wording for every network.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from stages.errors import DubError

State = dict[str, Tensor]

_SHOWN: Final = 3


class WeightsFile:
    """A file of weights that is not trusted.

    `path`: the file. `what`: what it should be, as errors name it («Wav2Lip weights»). `advice`: the sentence every
    error ends with: how to come by the right file. Every method raises DubError `weights_missing`, saying what is
    wrong with the file.
    """

    def __init__(self, path: Path, what: str, advice: str) -> None:
        self.path: Final = path
        self._what = what
        self._advice = advice

    def refusal(self, fault: str) -> DubError:
        """The error for what is wrong with this file."""
        return DubError("weights_missing", f"{self._what} {self.path}: {fault}. {self._advice}")

    def layout(self) -> Literal["zip", "script", "pickle", "safetensors"]:
        """How the file is written, by its content. `script`: a TorchScript archive."""
        if not self.path.is_file():
            raise self.refusal("there is no such file")
        with self.path.open("rb") as file:
            head = file.read(512)
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if not head:
            raise self.refusal("the file is empty")
        if head.startswith(b"PK\x03\x04"):
            return "script" if any(name.endswith("/constants.pkl") for name in self.members()) else "zip"
        if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
            raise self.refusal(
                "this is a web page saved under the weights' name: the download link did not give a file"
            )
        if start.startswith(b"version https://git-lfs"):
            raise self.refusal("this is a Git LFS pointer, not the file it stands for")
        if head[8:9] == b"{":  # eight bytes of header length, then JSON
            return "safetensors"
        if head.startswith(b"\x80"):
            return "pickle"
        raise self.refusal(f"this is no checkpoint (it begins with {head[:8]!r})")

    def members(self) -> list[str]:
        """Names in a zip archive."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.namelist()
        except zipfile.BadZipFile:
            raise self.refusal("the file is cut short or damaged") from None
        if not any(name.endswith("/data.pkl") for name in members):
            raise self.refusal("this is a zip archive without a checkpoint in it")
        return members

    def state(self, within: tuple[str, ...] = ("state_dict",)) -> State:
        """The tensors, on the CPU, under names without `module.`; mapped instead of read where possible.

        `within`: names of an outer dict under which the state dict may be; the first that is there counts.
        """
        layout = self.layout()
        if layout == "script":
            raise self.refusal("this is a TorchScript archive, not a state dict")
        found = self._safetensors() if layout == "safetensors" else self._pickled(mmap=layout == "zip")
        if isinstance(found, Mapping):
            found = next((found[name] for name in within if isinstance(found.get(name), Mapping)), found)
        return self.plain(found)

    def plain(self, found: object) -> State:
        """`found` as a state dict, its names without `module.` (never part of a network's own names)."""
        if not isinstance(found, Mapping):
            raise self.refusal(f"it holds a {type(found).__name__} where a state dict should be")
        state: State = {}
        for key, value in found.items():
            if not isinstance(value, Tensor):
                raise self.refusal(f"it holds no state dict: {key!r} is a {type(value).__name__}, not a tensor")
            state[str(key).replace("module.", "")] = value
        if not state:
            raise self.refusal("it holds no weights")
        return state

    def conform(
        self,
        state: Mapping[str, Tensor],
        official: Mapping[str, Tensor],
        *,
        foreign: Mapping[str, str] | None = None,
    ) -> State:
        """`state` as float32, in the order of `official` (a network's, may be on meta), names and shapes the same.

        `foreign`: a key that gives another network away -> what it is. Counters (`is_counter`) may be missing, then
        they are zero, and keep their type.
        """
        for key, what in (foreign or {}).items():
            if key in state and key not in official:
                raise self.refusal(f"this is {what}")
        missing = [k for k in official if k not in state and not is_counter(k)]
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
            raise self.refusal(f"these are weights of another network ({'; '.join(faults)})")
        whole = {k: state.get(k, torch.zeros((), dtype=torch.int64)) for k in official}
        for key, value in whole.items():
            if not is_counter(key):
                whole[key] = value.to(torch.float32)
                if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
                    raise self.refusal(f"{key} holds values that are not finite numbers: the file is damaged")
        return whole

    def _pickled(self, *, mmap: bool) -> object:
        """What `torch.save` wrote, tensors and plain containers only. Mapping spares what is not looked at."""
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            foreign = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class) ([\w.]+)", str(error))
            if foreign is None:
                raise self.refusal("the file is cut short or damaged") from error
            name = foreign[1] or foreign[2]
            fault = f"it holds more than weights ({name}); loading that could run foreign code, so it was not loaded"
            raise self.refusal(fault) from None
        except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.refusal(f"the file is cut short or damaged ({first_line(error)})") from error

    def _safetensors(self) -> Any:
        try:
            return safetensors.torch.load_file(self.path, device="cpu")
        except safetensors.SafetensorError as error:
            raise self.refusal(f"the safetensors file is cut short or damaged ({first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """The beginning of a message, short enough to be quoted in another."""
    return str(error).strip().split("\n")[0][:120]


def is_counter(key: str) -> bool:
    """Whether a key is batch norm's count of batches: it takes no part in inference, and converters drop it."""
    return key.endswith("num_batches_tracked")

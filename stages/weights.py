"""Names of weights -> where they come from, what they must be -> a checked local file."""

import difflib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.download import DownloadError, Progress, download, file_sha256
from stages.errors import DubError
from stages.media.storage import exists, is_local, join, local_path, localize

_LIMIT: Final = 1 << 30
"""Most bytes of a download whose size is not known."""


@dataclass(frozen=True)
class Weight:
    """One file of weights that dubline knows by name."""

    name: str
    file: str
    url: str | None
    """Where its authors publish it; None: nowhere that a program can fetch from, see `note`."""
    sha256: str | None
    size: int | None
    """Bytes."""
    licence: str
    note: str = ""


_WAV2LIP_LICENCE: Final = "personal, research and non-commercial use only (trained on LRS2)"  # wav2lip.md 0
_WAV2LIP_NOTE: Final = (
    "Its authors no longer link this file. Where you have a copy, put it into the weights folder, or run "
    "`dubline weights fetch {name} --url URL`: size and sha256 are checked."
)
_FAN_URL: Final = "https://www.adrianbulat.com/downloads/python-fan"  # face_alignment 1.5, api.py

REGISTRY: Final[dict[str, Weight]] = {
    weight.name: weight
    for weight in (
        Weight(
            name="yunet",
            file="face_detection_yunet_2023mar.onnx",
            url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/"
            "face_detection_yunet/face_detection_yunet_2023mar.onnx",
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            size=232_589,
            licence="MIT",
        ),
        Weight(
            name="s3fd",
            file="s3fd-619a316812.pth",
            url=f"{_FAN_URL}/s3fd-619a316812.pth",
            sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",  # wav2lip.md 1
            size=89_843_225,
            licence="not stated (published with face-alignment, whose code is BSD-3-Clause)",
        ),
        Weight(
            name="2dfan4",
            file="2DFAN4-11f355bf06.pth.tar",
            url=f"{_FAN_URL}/2DFAN4-11f355bf06.pth.tar",
            # The file's name carries its first ten digits; the rest as public installers quote it.
            sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
            size=None,
            licence="not stated (published with face-alignment, whose code is BSD-3-Clause)",
        ),
        Weight(
            name="wav2lip",
            file="wav2lip.pth",
            url=None,
            sha256="b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",  # wav2lip.md 1
            size=435_807_851,
            licence=_WAV2LIP_LICENCE,
            note=_WAV2LIP_NOTE.format(name="wav2lip"),
        ),
        Weight(
            name="wav2lip_gan",
            file="wav2lip_gan.pth",
            url=None,
            sha256="ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",  # wav2lip.md 1
            size=435_801_865,
            licence=_WAV2LIP_LICENCE,
            note=_WAV2LIP_NOTE.format(name="wav2lip_gan"),
        ),
    )
}

_digests: dict[tuple[str, int, int], str] = {}
"""(path, bytes, mtime in ns) -> sha256: hashing wav2lip.pth takes a second, and every shard asks for it."""


@dataclass(frozen=True)
class Held:
    """A known file and whether it is in the folder; nothing is hashed to say so."""

    weight: Weight
    url: str
    """Where it is, or would be."""
    found: bool


class Weights:
    """A folder of weights: $DUBLINE_WEIGHTS, else ~/.cache/dubline/weights; a remote one can be read from.

    A spec is a name of `REGISTRY`, whose file must have the registry's sha256, or the path or fsspec URL
    of any other file, which is taken as it is.
    """

    def __init__(self, folder: str | None = None) -> None:
        given = folder or os.environ.get("DUBLINE_WEIGHTS") or "~/.cache/dubline/weights"
        self.folder: Final = str(local_path(given).expanduser()) if is_local(given) else given

    def path(self, spec: str) -> Path:
        """The local file of a spec. Raises DubError `weights_missing`: absent, or not what it should be."""
        weight = REGISTRY.get(spec)
        if weight is None:
            return self._other_path(spec)
        path = self._registered_path(weight)
        found = _cached_sha256(path)
        if weight.sha256 not in (None, found):
            raise _wrong(weight, path, found)
        return path

    def sha256(self, spec: str) -> str:
        """Hex sha256 of a spec's file, read once per process and file state. Raises as `path`."""
        return _cached_sha256(self.path(spec))

    def list(self) -> list[Held]:
        """Every known file, in the registry's order."""
        return [self._held(weight) for weight in REGISTRY.values()]

    def verify(self, name: str) -> Path:
        """The file of a known name, read and hashed anew. Raises DubError `weights_missing`."""
        weight = _known(name)
        path = self._registered_path(weight)
        found = file_sha256(path)
        if weight.sha256 not in (None, found):
            raise _wrong(weight, path, found)
        return path

    def fetch(
        self,
        name: str,
        url: str | None = None,
        progress: Progress | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> Path:
        """Download a known file from its authors, or from `url`; nothing is done when it is there and right.

        See `stages.download.download` for what is followed, resumed and tried again.
        Raises DubError `weights_missing` with the reason.
        """
        weight = _known(name)
        source = url or weight.url
        if not is_local(self.folder):
            raise DubError("weights_missing", f"{self.folder}: fetch into a local folder, then copy it there")
        target = Path(self.folder) / weight.file
        if source is None:
            if self._held(weight).found:
                return self.verify(name)
            raise DubError("weights_missing", f"{name}: there is no public address to fetch from. {weight.note}")
        try:
            return download(
                source,
                target,
                sha256=weight.sha256,
                size=weight.size,
                limit=_LIMIT,
                progress=progress,
                wait=wait,
            )
        except DownloadError as error:
            raise DubError("weights_missing", f"{name} was not fetched: {error}") from error

    def _held(self, weight: Weight) -> Held:
        url = join(self.folder, weight.file)
        return Held(weight, url, found=local_path(url).is_file() if is_local(url) else exists(url))

    def _registered_path(self, weight: Weight) -> Path:
        try:
            return localize(join(self.folder, weight.file))
        except DubError as error:
            raise DubError(
                "weights_missing",
                f"{weight.name} needs {weight.file}, which is not in {self.folder}: run "
                f"`dubline weights fetch {weight.name}`, or set DUBLINE_WEIGHTS to a folder that has it",
            ) from error

    def _other_path(self, spec: str) -> Path:
        try:
            return localize(spec)
        except (DubError, ValueError, ImportError) as error:  # the last two: a URL fsspec cannot open here
            raise DubError("weights_missing", f"{error}, and {_unknown(spec)}") from error


def _known(name: str) -> Weight:
    weight = REGISTRY.get(name)
    if weight is None:
        raise DubError("weights_missing", _unknown(name))
    return weight


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, REGISTRY, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name!r} is not a known name either: {hint}Known are {', '.join(REGISTRY)}"


def _wrong(weight: Weight, path: Path, found: str) -> DubError:
    return DubError(
        "weights_missing",
        f"{path} is not {weight.name}: expected sha256 {weight.sha256}, found {found}. Move it away and run "
        f"`dubline weights fetch {weight.name}`; to use it as it is, name it by its path",
    )


def _cached_sha256(path: Path) -> str:
    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns)
    if key not in _digests:
        _digests[key] = file_sha256(path)
    return _digests[key]

"""A folder of weights: names, paths and URLs -> checked local files; downloads into it."""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.download import DownloadError, Progress, download, file_sha256
from stages.errors import DubError
from stages.media.node_cache import localize
from stages.media.storage import exists, is_local, join, local_path
from stages.weights.registry import REGISTRY, Weight, known, unknown

_LIMIT: Final = 4 << 30
"""Most bytes of a download whose size is not known: the largest of these, a UNet, has about 3.4 GB."""

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
        """The local file of a spec.

        Raises DubError `weights_missing`: absent, or not what it should be; and as `localize` for a folder that cannot
        be reached or copied from.
        """
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

    def layout(self, names: Sequence[str]) -> Path:
        """A local folder in which these files, each checked, lie where the project they come from looks for them.

        A local weights folder is it. Of a remote one it holds links to copies on this machine. Raises as `path`.
        """
        paths = {known(name).file: self.path(name) for name in names}
        if is_local(self.folder):
            return Path(self.folder)
        told = "\n".join(f"{file}\t{path}" for file, path in sorted(paths.items()))
        # Beside the copies; hidden, so that it is not taken for one when room is made.
        folder = next(iter(paths.values())).parent / f".layout-{hashlib.sha256(told.encode()).hexdigest()[:24]}"
        for file, path in paths.items():
            link = folder / file
            link.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # of an earlier call or another process: the same, by the folder's name
                link.symlink_to(path)
        return folder

    def known(self, spec: str) -> Weight | None:
        """What is known of a spec's file: by its name, else by its content, whatever it is called; None: nothing.

        Raises as `path` for a path or URL; a name's file need not be here.
        """
        if spec in REGISTRY:
            return REGISTRY[spec]
        found = self.sha256(spec)
        return next((weight for weight in REGISTRY.values() if weight.sha256 == found), None)

    def has(self, spec: str) -> bool:
        """Whether there is a file for a spec, which is not looked into."""
        if spec in REGISTRY:
            return self._held(REGISTRY[spec]).found
        return local_path(spec).expanduser().exists() if is_local(spec) else exists(spec)

    def list(self) -> list[Held]:
        """Every known file, in the registry's order."""
        return [self._held(weight) for weight in REGISTRY.values()]

    def verify(self, name: str) -> Path:
        """The file of a known name, read and hashed anew. Raises DubError `weights_missing`."""
        weight = known(name)
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

        A file whose sha256 nobody has published is right when it is there: remove it to have it fetched again.
        See `stages.download.download` for what is followed, resumed and tried again.
        Raises DubError `weights_missing` with the reason.
        """
        weight = known(name)
        source = url or weight.url
        if not is_local(self.folder):
            raise DubError("weights_missing", f"{self.folder}: fetch into a local folder, then copy it there")
        target = Path(self.folder) / weight.file
        if (source is None or weight.sha256 is None) and self._held(weight).found:
            return self.verify(name)
        if source is None:
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
            if error.code != "not_found":  # a store that does not answer, a full disk
                raise
            raise DubError("weights_missing", self._absent(weight)) from error

    def _absent(self, weight: Weight) -> str:
        by_hand, where = ("", "") if weight.url else ("put a copy there (no public address is known), ", " --url URL")
        return (
            f"{weight.name} needs {weight.file}, which is not in {self.folder}: {by_hand}run "
            f"`dubline weights fetch {weight.name}{where}`, or set DUBLINE_WEIGHTS to a folder that has it"
        )

    def _other_path(self, spec: str) -> Path:
        try:
            return localize(spec)
        except (DubError, ValueError) as error:  # the last: a path that no file can have
            if isinstance(error, DubError) and error.code not in ("not_found", "unsupported"):
                raise
            raise DubError("weights_missing", f"{error}; and {unknown(spec)}") from error


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

"""Copies of remote files on a node's own disk: made once, shared by its processes, removed when room is needed."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from stages.errors import DubError
from stages.media.remote import persist
from stages.media.storage import check_file, file_system, identity, is_local, local_path, publishing
from stages.urls import without_secrets

_CACHE_GB = "DUBLINE_CACHE_GB"
_IN_USE_S = 3600
_BLOCK_BYTES = 512  # what st_blocks counts in, whatever the file system's own (stat(2))


@dataclass(frozen=True)
class NodeCopy:
    """Where a remote file's copy is, or will be."""

    url: str
    size: int
    """Bytes of the file."""
    stamp: str
    """What its storage changes with its content, as `storage.check_file`; empty where that tells nothing."""
    path: Path
    """Its name holds the content's identity, so a changed source is never served from an old copy, and the URL without
    its signature, so that one signed anew is not copied again."""
    limit: int
    """Bytes that all copies may take."""

    def check_unchanged(self) -> None:
        """Raises DubError `decode_error` when the remote file is another by now."""
        if check_file(self.url) != (self.size, self.stamp):
            raise changed(self.url)


def copy_of(url: str, cache: Path | None = None, cache_bytes: int | None = None) -> NodeCopy:
    """Where the copy of a remote file is, as it is now. `cache_bytes`: $DUBLINE_CACHE_GB, 100 GB by default.

    Raises DubError `not_found`.
    """
    size, stamp = check_file(url)
    named = hashlib.sha256((without_secrets(url) + identity(url, (size, stamp))).encode()).hexdigest()[:24]
    suffix = Path(url.split("?", 1)[0]).suffix[:10]
    limit = cache_limit() if cache_bytes is None else cache_bytes
    return NodeCopy(url, size, stamp, (cache or _own_cache()) / f"{named}{suffix}", limit)


def localize(url: str, cache: Path | None = None, cache_bytes: int | None = None) -> Path:
    """A local path with the content of `url`: the file itself, or a node-local copy made once.

    A lock keeps the processes of a node from downloading it side by side; what one that was killed left half is removed
    by the next. Copies that nobody asked for in the last hour make room when all together are more than `cache_bytes`.
    Raises DubError `not_found`, or `decode_error` when the source changes while it is copied.
    """
    if is_local(url):
        check_file(url)
        return local_path(url)
    return whole(copy_of(url, cache, cache_bytes))


def whole(copy: NodeCopy) -> Path:
    """The copy, made unless it is there. Raises DubError as `localize`."""
    folder, url = copy.path.parent, copy.url
    with FileLock(folder / f".{copy.path.name}.lock"):
        if not _used(copy.path):
            _remove_abandoned(folder)
            fs, remote = file_system(url)
            with publishing(str(copy.path)) as partial:
                persist(url, lambda: fs.get_file(remote, str(partial)))
                if copy_of(url, folder, copy.limit) != copy:
                    raise changed(url)
            for part in folder.glob(f"{copy.path.name}.*"):  # what was read of it by ranges
                part.unlink(missing_ok=True)
            make_room(folder, copy.limit)
    return copy.path


def _used(path: Path) -> bool:
    """Whether a copy is there; from now on it is the last to go. In one step: others make room meanwhile."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def changed(url: str) -> DubError:
    """The error for a source of which one part may be of another content than the next."""
    return DubError("decode_error", f"{url}: changed while it was read; run again")


def cache_limit() -> int:
    """Bytes that the node-local copies may take: $DUBLINE_CACHE_GB, 100 GB by default.

    Raises DubError `unsupported` where it is no number.
    """
    given = os.environ.get(_CACHE_GB) or "100"
    try:
        return int(float(given) * 1e9)
    except (ValueError, OverflowError) as error:
        raise DubError("unsupported", f"${_CACHE_GB} is {given!r}: give a number of GB, such as 100") from error


def _own_cache() -> Path:
    """This user's copies: nobody else may put a file there under a name that can be guessed."""
    folder = Path(tempfile.gettempdir()) / f"dubline-cache-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.lstat().st_uid != os.getuid() or folder.lstat().st_mode & 0o077 or folder.is_symlink():
        raise DubError("internal", f"{folder} belongs to somebody else: remove it, or set TMPDIR to another folder")
    return folder


def _remove_abandoned(folder: Path) -> None:
    """Delete what processes that were killed left half: a copy that goes on is written to all the time."""
    for half in folder.glob(".*.partial*"):
        try:
            if half.stat().st_mtime < time.time() - _IN_USE_S:
                half.unlink()
        except FileNotFoundError:  # whole by now, or removed by another
            continue


def make_room(folder: Path, limit: int) -> None:
    """Delete the copies that were asked for longest ago until the rest fit; never one that may be in use."""
    with FileLock(folder / ".room.lock"):  # two at once would stat what the other deletes
        copies = []
        for copy in folder.iterdir():
            if copy.name[0] != ".":
                with suppress(FileNotFoundError):  # its last block has come, and it has another name
                    facts = copy.stat()
                    # What is read by ranges has holes.
                    on_disk = min(facts.st_size, facts.st_blocks * _BLOCK_BYTES)
                    copies.append((facts.st_mtime, on_disk, copy))
        total = sum(size for _, size, _ in copies)
        for asked_for, size, copy in sorted(copies):
            if total <= limit or asked_for > time.time() - _IN_USE_S:
                return
            # A long one takes seconds to delete, in which others are asked for.
            with suppress(FileNotFoundError):
                if copy.stat().st_mtime > asked_for:
                    continue
                copy.unlink()
            total -= size

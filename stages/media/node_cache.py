"""Copies of remote files on a node's own disk: made once, shared by its processes, removed when room is needed."""

import hashlib
import os
import tempfile
import time
from pathlib import Path

from filelock import FileLock

from stages.errors import DubError
from stages.media.remote import persist
from stages.media.storage import check_file, file_system, identity, is_local, local_path, publishing
from stages.urls import without_secrets

_CACHE_GB = "DUBLINE_CACHE_GB"
_IN_USE_S = 3600


def localize(url: str, cache: Path | None = None, cache_bytes: int | None = None) -> Path:
    """A local path with the content of `url`: the file itself, or a node-local copy made once.

    The copy's name holds the content's identity, so a changed source is never served from an old copy, and the URL
    without its signature, so that one signed anew is not copied again. A lock keeps the processes of a node from
    downloading it side by side; what one that was killed left half is removed by the next. Copies that nobody asked for
    in the last hour make room when all together are more than `cache_bytes` ($DUBLINE_CACHE_GB, 100 GB by default).
    Raises DubError `not_found`, or `decode_error` when the source changes while it is copied.
    """
    if is_local(url):
        check_file(url)
        return local_path(url)
    folder = cache or _own_cache()
    known = identity(url)
    suffix = Path(url.split("?", 1)[0]).suffix[:10]
    target = folder / f"{hashlib.sha256((without_secrets(url) + known).encode()).hexdigest()[:24]}{suffix}"
    with FileLock(folder / f".{target.name}.lock"):
        if not target.exists():
            _remove_abandoned(folder)
            fs, remote = file_system(url)
            with publishing(str(target)) as partial:
                persist(url, lambda: fs.get_file(remote, str(partial)))
                if identity(url) != known:
                    raise DubError("decode_error", f"{url}: changed while it was read; run again")
            _make_room(folder, cache_bytes if cache_bytes is not None else cache_limit())
        os.utime(target)  # in use: the last to go
    return target


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


def _make_room(folder: Path, limit: int) -> None:
    """Delete the copies that were asked for longest ago until the rest fit; never one that may be in use."""
    with FileLock(folder / ".room.lock"):  # two at once would stat what the other deletes
        copies = sorted((c.stat().st_mtime, c.stat().st_size, c) for c in folder.iterdir() if c.name[0] != ".")
        total = sum(size for _, size, _ in copies)
        for asked_for, size, copy in copies:
            if total <= limit or asked_for > time.time() - _IN_USE_S:
                return
            copy.unlink()
            total -= size

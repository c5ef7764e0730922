"""Files at any fsspec URL: read, list, and publish whole or not at all."""

import errno
import hashlib
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import fsspec

from stages.errors import DubError
from stages.media import web
from stages.media.remote import persist
from stages.urls import without_secrets

_EDGE = 1 << 16
"""Bytes of a file's head and tail in its identity."""
_STAMPS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "created")
_MOMENTS = ("LastModified", "last_modified", "mtime", "updated", "created")
_LARGEST = 1 << 30
"""Bytes that are read at once: three times the arrays of the longest film (`MediaLimits.max_frames`)."""
_RANGE_S = 60.0
"""Longest wait for one part of a remote file, in seconds: a few MiB, or a server that has stopped answering."""
_NO_FILE = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EISDIR}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a full disk, a used-up quota and a file-size limit answer to who writes."""
SCHEMES = ("file", "s3", "gs", "gcs", "az", "abfs", "http", "https", "memory")
"""What is opened. fsspec knows some forty more that unpack archives, keep copies or run programs."""
_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure"}
"""The extra of the package that brings what a scheme needs."""
_S3_RETRIES = {"mode": "standard", "total_max_attempts": 3}
"""botocore's own, inside s3fs' five, inside `persist`'s: its default of five in the first mode makes an address that
never answers cost more than three minutes (docs/storage.md)."""


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """fsspec's file system of a URL, and the path in it. It remembers no listing.

    Raises DubError `unsupported`: not one of `SCHEMES`, or the package for it is not installed.
    """
    if is_local(url):
        return fsspec.filesystem("file"), str(local_path(url))
    scheme = url.partition("://")[0]
    if "::" in url or scheme not in SCHEMES:  # fsspec knows no capitals either
        raise DubError("unsupported", f"{url}: «{scheme[:40]}://» is not opened, only {', '.join(SCHEMES)}")
    try:
        fs, path = fsspec.core.url_to_fs(url, **_options(scheme))
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        need = f"run «pip install 'dubline[{extra}]'» on every machine" if extra else str(error)
        raise DubError("unsupported", f"{url}: what reads {scheme}:// is not installed here; {need}") from error
    fs.invalidate_cache()  # what others wrote since a folder was listed would not be there, or have its old size
    return fs, str(path)


def _options(scheme: str) -> dict[str, Any]:
    """What a file system is made with, besides fsspec's own configuration (which may say otherwise)."""
    if scheme != "s3":
        return {}
    told = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {"config_kwargs": {"retries": _S3_RETRIES, **told}}


def is_local(url: str) -> bool:
    """Whether a URL names a path of this machine."""
    return "://" not in url or url.startswith("file://")


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def local_path(url: str) -> Path:
    """The path of a local URL."""
    return Path(url.removeprefix("file://"))


def join(root: str, *names: str) -> str:
    """A URL below `root`."""
    return "/".join([root.rstrip("/"), *names])


def exists(url: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(url):
        try:
            return local_path(url).exists()
        except OSError:  # a name that no file can have
            return False
    return _info(url) is not None


def _info(url: str) -> dict[str, Any] | None:
    """What a remote file system knows of a file or folder now; None: there is none.

    fsspec's `exists` takes a server that is too busy for one without the file.
    """
    fs, path = file_system(url)
    try:
        return persist(url, lambda: dict(fs.info(path)))
    except FileNotFoundError:
        return None


def read_bytes(url: str, limit: int = _LARGEST) -> bytes:
    """The whole file.

    Raises FileNotFoundError, and ValueError for what is no file, cannot be read, or has more than `limit` bytes.
    """
    fs, path = file_system(url)
    try:
        if is_local(url) and not stat.S_ISREG(local_path(url).stat().st_mode):  # a pipe would be waited for
            raise ValueError(f"{url}: is not a file")
        return persist(url, lambda: _read(fs, path, limit))
    except OSError as error:
        if error.errno not in _NO_FILE:  # a network that fails says nothing of the file
            raise
        raise ValueError(f"{without_secrets(url)}: cannot be read: {error.strerror or error}") from error


def _read(fs: fsspec.AbstractFileSystem, path: str, limit: int) -> bytes:
    if _is_web(path):  # a server's word about a length is not taken: it may send more, or tell none
        data = web.read_up_to(fs, path, limit + 1)
        if len(data) <= limit:
            return data
    elif fs.size(path) <= limit:
        return bytes(fs.cat_file(path))
    raise ValueError(f"{without_secrets(path)}: has more than {limit} bytes")


def read_range(url: str, start: int, end: int) -> bytes | None:
    """The bytes [start, end) of a remote file, fewer where it ends before, by one request.

    None: a web server that does not give out parts of files. Raises FileNotFoundError and OSError, DubError
    `unreachable`.
    """
    fs, path = file_system(url)
    if _is_web(url):  # cat_file takes all that is sent by a server which gives out no parts
        return persist(url, lambda: web.read_range(fs, path, start, end, _RANGE_S))
    # fsspec's own argument: who makes the call gives up, whatever the library under it still tries
    return persist(url, lambda: bytes(fs.cat_file(path, start=start, end=end, timeout=_RANGE_S)))


def remove(url: str) -> None:
    """Delete a file, if it is there."""
    if is_local(url):
        local_path(url).unlink(missing_ok=True)
        return
    fs, path = file_system(url)
    if _info(url) is None:
        return
    try:
        persist(url, lambda: fs.rm_file(path))
    except FileNotFoundError:  # another one was quicker, or a try before this one was
        return


def remove_folder(url: str) -> None:
    """Delete a folder and all that is in it, if it is there."""
    fs, path = file_system(url)
    if not exists(url):
        return
    try:
        persist(url, lambda: fs.rm(path, recursive=True))
    except FileNotFoundError:
        return


def names(folder: str) -> list[str]:
    """Names in a folder, sorted, but for hidden ones; empty when there is no such folder."""
    if is_local(folder):
        here = local_path(folder)
        return sorted(p.name for p in here.iterdir() if not p.name.startswith(".")) if here.is_dir() else []
    fs, path = file_system(folder)

    def look() -> list[str]:
        found = [str(p).rstrip("/") for p in fs.ls(path, detail=False)]
        # A bucket may hold the folder itself, as an empty file that its console made.
        return [p.rsplit("/", 1)[-1] for p in found if p.strip("/") != path.strip("/")]

    try:
        return sorted(name for name in persist(folder, look) if not name.startswith("."))
    except FileNotFoundError:
        return []


def modified(url: str) -> float | None:
    """When a file was written, in seconds since 1970 by its storage's own clock; None: there is no such file.

    Raises DubError `unsupported` where nobody tells.
    """
    if is_local(url):
        try:
            return local_path(url).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
    info = _info(url)
    if info is None:
        return None
    when = written_at(info)
    if when is None:
        raise DubError("unsupported", f"{url}: its storage does not tell when it was written")
    return when


def written_at(info: Mapping[str, Any]) -> float | None:
    """The moment in what fsspec tells of a file, in seconds since 1970; None where it does not tell."""
    for name in _MOMENTS:
        stamp = info.get(name)
        if isinstance(stamp, str):
            stamp = datetime.fromisoformat(stamp)
        if isinstance(stamp, datetime):
            return stamp.timestamp()
        if isinstance(stamp, int | float):
            return float(stamp)
    return None


def write_bytes(url: str, data: bytes) -> None:
    """Publish bytes: readers see the old file or the whole new one."""
    with publishing(url) as path:
        path.write_bytes(data)


@contextmanager
def publishing(url: str, suffix: str = "") -> Iterator[Path]:
    """A local path to write; when the block ends without an error the file appears at `url`, whole.

    Local targets are written beside their final name (one rename on one file system); remote ones in a
    scratch folder and put in one call. `suffix` keeps an extension that a writer goes by.
    """
    if is_local(url):
        target = local_path(url)
        partial = target.parent / f".{uuid.uuid4().hex}.partial{suffix}"
        with naming_the_disk(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield partial
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return
    with scratch_folder() as scratch:
        partial = scratch / f"file{suffix}"
        yield partial
        partial.stat()  # nothing was written: not for want of a bucket
        fs, path = file_system(url)
        with naming_the_bucket(url):
            persist(url, lambda: fs.put_file(str(partial), path))


@contextmanager
def naming_the_bucket(url: str) -> Iterator[None]:
    """For a block that writes a remote file: a bucket that is not there is a DubError `not_found`.

    Buckets have no folders to make. fsspec's `makedirs` asks for the bucket each time, and makes one where it hears of
    none: of an address that is wrong, or from a server that is busy.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DubError("not_found", f"{url}: there is no such bucket; make it, or correct the address") from error


@contextmanager
def naming_the_disk(folder: Path) -> Iterator[None]:
    """For a block that writes into `folder`: a full disk is a DubError `disk_full` that names it."""
    try:
        yield
    except OSError as error:  # PyAV's errors are OSErrors too
        if error.errno not in NO_ROOM:
            raise
        where = f"{folder}: no room left to write ({error.strerror})"
        raise DubError("disk_full", f"{where}; make room there and run the same command again") from error


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this machine that is gone after the block. A full disk is named as in `naming_the_disk`."""
    with naming_the_disk(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="dubline-") as folder:
        yield Path(folder)


def check_writable(url: str) -> None:
    """Refuse before any work an output that cannot be written at its end; its folder is made.

    What a bucket takes is known only once it is asked to. Raises DubError `bad_row`, `disk_full`.
    """
    if not is_local(url):
        return
    target = local_path(url)
    try:
        with naming_the_disk(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                raise DubError("bad_row", f"{url}: is a folder, not a file")
            with tempfile.TemporaryFile(dir=target.parent, prefix=".dubline-"):
                pass
    except OSError as error:
        raise DubError("bad_row", f"{url}: cannot be written: {error.strerror}; choose another place") from error


def open_read(url: str) -> IO[Any]:
    """A seekable binary reader, for who reads on: of a remote file more is read than is asked for (s3fs: 50 MB).

    Raises FileNotFoundError.
    """
    if is_local(url):
        return local_path(url).open("rb")
    fs, path = file_system(url)
    file: IO[Any] = persist(url, lambda: fs.open(path, "rb"))
    return file


def identity(url: str, looked: tuple[int, str] | None = None) -> str:
    """What a file's content is known by without reading it whole: size, mtime or ETag, its head and its tail.

    `looked`: what `check_file` told a moment ago. A remote file's head and tail are read again by this process only
    when its size or its ETag is another. Raises DubError `not_found`, `unsupported` for a server that does not tell a
    file's size.
    """
    size, stamp = looked or check_file(url)
    read = _identity if is_local(url) or not stamp else _kept_identity
    try:
        return read(url, size, stamp)
    except OSError as error:
        raise DubError("decode_error", f"{url}: cannot be read: {error.strerror or error}") from error


def _identity(url: str, size: int, stamp: str) -> str:
    hasher = hashlib.sha256(f"{size}:{stamp}".encode())
    for start in (0, max(0, size - _EDGE)):
        hasher.update(_edge(url, start, min(size, start + _EDGE)))
    return hasher.hexdigest()[:20]


_kept_identity = lru_cache(maxsize=4096)(_identity)
"""Of remote files whose storage tells by `stamp` when they change."""


def _edge(url: str, start: int, end: int) -> bytes:
    """The bytes [start, end) of a file; none where its server does not give out parts."""
    if not is_local(url):
        return (read_range(url, start, end) or b"") if end > start else b""
    with local_path(url).open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _size_and_stamp(url: str) -> tuple[int, str]:
    if is_local(url):
        facts = local_path(url).stat()
        if not stat.S_ISREG(facts.st_mode):  # reading a pipe or a device might never end
            kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe or a device"
            raise DubError("not_found", f"{url}: is {kind}, not a file")
        return facts.st_size, str(facts.st_mtime_ns)
    info = _info(url)
    if info is None:
        raise FileNotFoundError(url)
    if info["type"] != "file":
        raise DubError("not_found", f"{url}: is a {info['type']}, not a file")
    if info.get("size") is None:
        raise DubError("unsupported", f"{url}: the server does not tell its size; copy it to a file or bucket first")
    # The first one that the file system keeps: buckets have an ETag, servers a date, memory:// its moment of writing.
    stamp = next((info[key] for key in _STAMPS if info.get(key)), "")
    return int(info["size"]), str(stamp)


def check_file(url: str) -> tuple[int, str]:
    """A file's size in bytes, and what changes with its content: ETag or time.

    Raises DubError `not_found` for what is no file: nothing, a folder, a pipe, a socket, a device.
    """
    try:
        return _size_and_stamp(url)
    except FileNotFoundError as error:
        raise DubError("not_found", f"{url}: there is no such file") from error
    except OSError as error:  # links in a circle, a name too long, no permission
        raise DubError("not_found", f"{url}: cannot be read: {error.strerror or error}") from error

"""Files at any fsspec URL: read, list, and publish whole or not at all."""

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from filelock import FileLock

from stages.errors import DubError

_CHUNK = 1 << 20


def is_local(url: str) -> bool:
    """Whether a URL names a path of this machine."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """The path of a local URL."""
    return Path(url.removeprefix("file://"))


def join(root: str, *names: str) -> str:
    """A URL below `root`."""
    return "/".join([root.rstrip("/"), *names])


def exists(url: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(url):
        return local_path(url).exists()
    fs, path = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return bool(fs.exists(path))


def read_bytes(url: str) -> bytes:
    """The whole file. Raises FileNotFoundError."""
    if is_local(url):
        return local_path(url).read_bytes()
    fs, path = fsspec.core.url_to_fs(url)
    return bytes(fs.cat_file(path))


def names(folder: str) -> list[str]:
    """Names of the files in a folder; empty when there is no such folder. Never a stale listing."""
    if is_local(folder):
        path = local_path(folder)
        return sorted(p.name for p in path.iterdir() if not p.name.startswith(".")) if path.is_dir() else []
    fs, path = fsspec.core.url_to_fs(folder)
    fs.invalidate_cache()
    try:
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False))
    except FileNotFoundError:
        return []


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
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f".{uuid.uuid4().hex}.partial{suffix}"
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(prefix="dubline-") as scratch:
        partial = Path(scratch) / f"file{suffix}"
        yield partial
        fs, path = fsspec.core.url_to_fs(url)
        parent = path.rsplit("/", 1)[0]
        fs.makedirs(parent, exist_ok=True)
        fs.put_file(str(partial), path)


def open_read(url: str) -> IO[Any]:
    """A seekable binary reader. Raises FileNotFoundError."""
    file: IO[Any] = fsspec.open(url, "rb").open()
    return file


def identity(url: str) -> str:
    """What a file's content is known by without reading it whole: size, mtime or ETag, its head and its tail.

    Raises DubError `not_found`.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url)
        info = fs.info(path)
    except FileNotFoundError as error:
        raise DubError("not_found", f"{url}: there is no such file") from error
    if info["type"] != "file":
        raise DubError("not_found", f"{url}: is a {info['type']}, not a file")
    size = int(info["size"])
    stamp = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
    hasher = hashlib.sha256(f"{size}:{stamp}".encode())
    with open_read(url) as file:
        hasher.update(file.read(_CHUNK // 16))
        file.seek(max(0, size - _CHUNK // 16))
        hasher.update(file.read(_CHUNK // 16))
    return hasher.hexdigest()[:20]


def localize(url: str, cache: Path | None = None) -> Path:
    """A local path with the content of `url`: the file itself, or a node-local copy made once.

    The copy's name holds the content's identity, so a changed source is never served from an old copy;
    a lock keeps the processes of a node from downloading it side by side. Raises DubError `not_found`.
    """
    if is_local(url):
        path = local_path(url)
        if not path.is_file():
            raise DubError("not_found", f"{path}: there is no such file")
        return path
    folder = cache or Path(tempfile.gettempdir()) / "dubline-cache"
    folder.mkdir(parents=True, exist_ok=True)
    suffix = Path(url.split("?", 1)[0]).suffix[:10]
    target = folder / f"{hashlib.sha256((url + identity(url)).encode()).hexdigest()[:24]}{suffix}"
    with FileLock(f"{target}.lock"):
        if not target.exists():
            fs, path = fsspec.core.url_to_fs(url)
            with publishing(str(target)) as partial:
                fs.get_file(path, str(partial))
    return target

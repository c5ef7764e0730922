"""Remote films that are read by ranges: blocks fetched as they are asked for, kept for all processes of the node.

A film's blocks lie in a file with holes beside the node's whole copies, each at its place. Behind the film's last byte
that file has a mark for every block, set once the block's bytes are on the disk: what a killed process left half is not
marked. When all are, the marks are cut off, and the file becomes the whole copy.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from stages.errors import DubError
from stages.media import storage
from stages.media.node_cache import NodeCopy, changed, copy_of, localize, make_room, whole

BLOCK: Final = 2 << 20
"""Bytes that are asked for at once. A shard reads about one block more than its own bytes, 6 MB for 10 s at 5 Mbit/s; a
bucket answers after some 30 ms, in which 50 MB/s are 1.5 MB: smaller blocks would mostly wait (docs/storage.md)."""
LEAST: Final = 64 << 20
"""Bytes from which a film is read by ranges. Smaller ones are copied in about a second, no longer than the twenty
requests take that a node's first shard of a film waits for."""
_LOCKS: Final = 64  # files that all of a node's blocks share: one for each block would stay behind
_NOT_HERE: Final = b"\0"
_HERE: Final = b"\1"


class RangedFile:
    """A remote film of which only what is read is copied to the node."""

    def __init__(self, copy: NodeCopy) -> None:
        self._copy = copy

    def __str__(self) -> str:
        """For messages."""
        return self._copy.url

    def whole(self) -> Path:
        """The whole copy, for who cannot read anything else. Raises DubError as `localize`."""
        path = localize(self._copy.url, self._copy.path.parent, self._copy.limit)
        if path != self._copy.path:
            raise changed(self._copy.url)
        return path

    @contextmanager
    def opened(self) -> Iterator["Blocks"]:
        """The film's bytes, from its beginning on. Raises DubError `disk_full`."""
        part = _Part(self._copy)
        blocks = Blocks(self, self._copy, part)
        try:
            yield blocks
        finally:
            part.close()
            if blocks.fetched:
                make_room(self._copy.path.parent, self._copy.limit)


MediaSource = Path | RangedFile
"""Where a film is read from: a file of this machine, or parts of a remote one."""


def whole_file(source: MediaSource) -> Path:
    """All of a film as a local file, for programs that take nothing else. Raises DubError as `localize`."""
    return source if isinstance(source, Path) else source.whole()


def read_from(url: str, cache: Path | None = None, cache_bytes: int | None = None) -> MediaSource:
    """Where to read a part of a film from; who needs all of it calls `localize`.

    A remote film is read by ranges unless its copy is there, or it is small, or its storage does not tell when it
    changes (a web server without ETags). Raises DubError as `localize`.
    """
    if storage.is_local(url):
        return localize(url)
    copy = copy_of(url, cache, cache_bytes)
    if copy.path.exists() or copy.size < LEAST or not copy.stamp:
        return whole(copy)
    return RangedFile(copy)


class Blocks:
    """A reader of a remote film's bytes, as a file. For one thread; there may be any number of readers.

    Reading raises DubError: `unreachable`, `not_found`, `decode_error` when the film is another by now, `disk_full`. It
    raises once and has no data after that: who reads through a library which may take that for the film's end has to
    look at `failed`.
    """

    def __init__(self, film: RangedFile, copy: NodeCopy, part: "_Part") -> None:
        self.name: Final = str(copy.path)
        """As that of a whole copy: demuxers go by its ending too."""
        self.failed: Exception | None = None
        """What reading ended with."""
        self.fetched = False
        """Whether anything came over the network."""
        self._film, self._copy, self._part = film, copy, part
        self._at = 0

    def tell(self) -> int:
        """Place of the next byte that is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place; nothing is read for it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._copy.size}[whence]
        return self._at

    def read(self, most: int) -> bytes:
        """Up to `most` bytes, and none of a next block; empty at the film's end, and after `failed`."""
        if self.failed is not None:
            return b""
        try:
            data = self._read(most)
        except Exception as error:
            self.failed = error
            raise
        self._at += len(data)
        return data

    def _read(self, most: int) -> bytes:
        number = self._at // BLOCK
        end = min(self._at + most, (number + 1) * BLOCK, self._copy.size)
        if self._at >= end:
            return b""
        if not self._part.has(number):
            with self._part.lock(number):
                self._provide(number)
        return self._part.read(self._at, end)

    def _provide(self, number: int) -> None:
        """Fetch a block, unless another process was quicker."""
        if self._part.has(number):
            return
        start = number * BLOCK
        data = None if self._copy.path.exists() else self._fetch(start, min(start + BLOCK, self._copy.size))
        if data is None:  # all of it is there by now, or there is no other way
            self._part.become(self._film.whole())
        else:
            self._part.write(number, data)

    def _fetch(self, start: int, end: int) -> bytes | None:
        """The film's bytes [start, end); None where the storage gives something else."""
        copy = self._copy
        try:
            data = storage.read_range(copy.url, start, end)
        except OSError as error:  # no such range, no such film, no permission
            copy.check_unchanged()
            raise DubError("decode_error", f"{copy.url}: cannot be read: {error.strerror or error}") from error
        copy.check_unchanged()  # after the block: it is of this content, or it is not kept
        self.fetched = True
        return data if data is not None and len(data) == end - start else None


class _Part:
    """The file with holes that a film's blocks lie in, or the whole copy."""

    def __init__(self, copy: NodeCopy) -> None:
        self._copy = copy
        self._count = -(-copy.size // BLOCK)
        self._path = copy.path.with_name(f"{copy.path.name}.{BLOCK}")  # with other blocks the marks mean others
        self._marking = FileLock(copy.path.with_name(".marks.lock"))
        try:
            self._file = os.open(copy.path, os.O_RDONLY)  # made since the film was looked at
        except FileNotFoundError:
            self._begin()

    def _begin(self) -> None:
        copy = self._copy
        with storage.naming_the_disk(self._path.parent), self._marking:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(self._file).st_size < copy.size:  # new
                    os.ftruncate(self._file, copy.size + self._count)
                os.utime(self._file)  # in use: the last to go
                self._finish()  # who set the last mark may have been killed
            except OSError:  # and nobody will close it
                self.close()
                raise

    def close(self) -> None:
        os.close(self._file)

    def has(self, number: int) -> bool:
        """Whether a block is there. A whole copy has no marks, and so none that is not set."""
        return os.pread(self._file, 1, self._copy.size + number) != _NOT_HERE

    def lock(self, number: int) -> FileLock:
        """For who fetches a block: the node fetches it once."""
        mine = zlib.crc32(f"{self._path.name}-{number}".encode()) % _LOCKS
        return FileLock(self._path.with_name(f".blocks-{mine}.lock"))

    def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end) of blocks that are there."""
        data = os.pread(self._file, end - start, start)
        if len(data) != end - start:
            raise DubError("internal", f"{self._path}: was cut short by another program; remove it and run again")
        return data

    def write(self, number: int, data: bytes) -> None:
        """Keep a block, on the disk before it is marked. Raises DubError `disk_full`."""
        with storage.naming_the_disk(self._path.parent):
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], number * BLOCK + written)
            os.fsync(self._file)
            with self._marking:
                os.pwrite(self._file, _HERE, self._copy.size + number)
                self._finish()

    def become(self, path: Path) -> None:
        """Go on with the whole copy."""
        parts, self._file = self._file, os.open(path, os.O_RDONLY)
        os.close(parts)

    def _finish(self) -> None:
        """Make it the whole copy if every block is there. With the marks locked."""
        if _NOT_HERE in os.pread(self._file, self._count, self._copy.size):
            return
        os.ftruncate(self._file, self._copy.size)
        try:
            if os.path.samestat(self._path.stat(), os.fstat(self._file)):
                self._path.replace(self._copy.path)
        except FileNotFoundError:  # removed: the copy was made meanwhile, or room was needed
            return

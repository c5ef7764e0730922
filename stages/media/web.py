"""Reading from web servers, which may send something else than they were asked for."""

import re
from collections.abc import Mapping
from typing import Any

from fsspec.asyn import AsyncFileSystem, sync

_CHUNK = 1 << 20
_PARTIAL = 206
_NO_SUCH_RANGE = 416


def read_up_to(fs: AsyncFileSystem, url: str, limit: int) -> bytes:
    """A file's first `limit` bytes, or all of one that has fewer: no more is read, whatever length the server tells.

    Raises FileNotFoundError, and aiohttp's errors for other answers and for one that is cut short.
    """
    data: bytes = sync(fs.loop, _get, fs, url, 0, limit, {})
    return data


def read_range(fs: AsyncFileSystem, url: str, start: int, end: int, timeout_s: float) -> bytes | None:
    """The bytes [start, end) of a file, fewer where it ends before; None: the server does not give out that part.

    Raises FileNotFoundError, TimeoutError, and aiohttp's errors.
    """
    asked = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    data: bytes | None = sync(fs.loop, _get, fs, url, start, end - start, asked, timeout=timeout_s)
    return data


async def _get(fs: AsyncFileSystem, url: str, start: int, most: int, headers: Mapping[str, str]) -> bytes | None:
    """Up to `most` bytes from `start` on; None for an answer that begins somewhere else."""
    session = await fs.set_session()
    options: dict[str, Any] = {**fs.kwargs, "headers": {**fs.kwargs.get("headers", {}), **headers}}
    async with session.get(fs.encode_url(url), **options) as answer:
        if answer.status == 404:
            raise FileNotFoundError(url)
        if answer.status == _NO_SUCH_RANGE:
            return None
        answer.raise_for_status()
        if _begins_at(answer.status, answer.headers) != start:
            return None
        data = bytearray()
        while len(data) < most:
            chunk = await answer.content.read(min(_CHUNK, most - len(data)))
            if not chunk:
                break
            data += chunk
        return bytes(data)


def _begins_at(status: int, headers: Mapping[str, str]) -> int | None:
    """Where in the file an answer begins; None: it does not tell."""
    if status != _PARTIAL:
        return 0
    told = re.match(r"bytes (\d{1,18})-", headers.get("Content-Range", ""))
    return int(told[1]) if told else None

"""A file from a URL, whole and checked or not at all; a cut transfer goes on where it stopped."""

import hashlib
import http.client
import ipaddress
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from filelock import FileLock

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have arrived, and the bytes of the whole file where that is known."""

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0
_ATTEMPTS = 5
_LONGEST_WAIT_S = 30
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class DownloadError(Exception):
    """A file could not be had. The message names the URL's host and file, not its query: it may be signed."""


class _BrokenOffError(Exception):
    """The transfer broke off in a way that another attempt may mend."""


class _WrongContentError(DownloadError):
    """The bytes that arrived are not the expected ones."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    size: int | None,
    limit: int,
    progress: Progress | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Bring `url` to `target`; readers see no file or the whole, checked one.

    `https://`, `http://` on this machine, and `file://` are followed, redirects included. `size` (bytes) and
    `sha256` are checked where given; never more than `size`, else `limit`, bytes are kept. Server errors and
    cut connections are tried again, up to five times in a row without a new byte, after 1, 2, 4.. s (`wait`).
    What has arrived stays beside the target and is gone on from, in this call or a later one, when there is
    a digest to check the result by. Processes that want one target take turns. Raises DownloadError.
    """
    _check_allowed(url)
    transfer = _Transfer(url, target.with_name(f".{target.name}.partial"), sha256, size, limit, progress, wait)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if sha256 is not None and target.is_file() and file_sha256(target) == sha256:
                return target
            transfer.run()
            transfer.partial.replace(target)
    except OSError as error:  # errors of the network never get here: a full or read-only disk does
        raise DownloadError(f"{target}: cannot be written: {error}") from error
    return target


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Transfer:
    """One file on its way into `partial`."""

    url: str
    partial: Path
    sha256: str | None
    size: int | None
    limit: int
    progress: Progress | None
    wait: Callable[[float], None]

    def run(self) -> None:
        """Leave the whole, checked file in `partial`."""
        if self.sha256 is None:
            self.partial.unlink(missing_ok=True)  # nothing could tell the halves of two files apart
        gone_on = self._have() > 0
        try:
            self._fill()
            self._check()
        except _WrongContentError:
            if not gone_on:
                raise
            # What an earlier run left may have come from elsewhere: once more, from nothing.
            self._fill()
            self._check()

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _fill(self) -> None:
        """Append until the transfer is complete."""
        failures = 0
        while True:
            before = self._have()
            try:
                if urlsplit(self.url).scheme == "file":
                    self._copy()
                else:
                    self._request()
                return
            except _BrokenOffError as cut:
                failures = 1 if self._have() > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise DownloadError(f"{_shown(self.url)}: gave up after {failures} attempts: {cut}") from cut
                self.wait(float(min(_LONGEST_WAIT_S, 2 ** (failures - 1))))

    def _copy(self) -> None:
        path = Path(urllib.request.url2pathname(urlsplit(self.url).path))
        try:
            with path.open("rb") as source:
                self._pour(source, 0, os.fstat(source.fileno()).st_size)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise DownloadError(f"{path}: {error.strerror}") from error

    def _request(self) -> None:
        """One HTTP request for what is missing. Raises _BrokenOffError when another may do better."""
        have = self._have()
        if self.size is not None and have == self.size:
            return
        headers = {"User-Agent": "dubline", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        handlers: list[urllib.request.BaseHandler] = [_Redirects()]
        if _is_loopback(urlsplit(self.url).hostname):
            handlers.append(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - the scheme was checked
        try:
            response = urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # what is here is no beginning of what is there
                self.partial.unlink(missing_ok=True)
                raise _BrokenOffError("the server refused the range") from error
            if error.code in _RETRIED:
                raise _BrokenOffError(f"HTTP {error.code}") from error
            raise DownloadError(f"{_shown(self.url)}: HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenOffError(str(error) or type(error).__name__) from error
        with response:
            start, total = 0, None
            if response.status == 206:
                match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if match is None or int(match[1]) != have:
                    self.partial.unlink(missing_ok=True)
                    raise _BrokenOffError("the server sent another range than asked for")
                start, total = have, None if match[3] == "*" else int(match[3])
            elif (length := response.headers.get("Content-Length", "")).isdecimal():
                total = int(length)
            self._pour(response, start, total)

    def _pour(self, source: IO[bytes], start: int, total: int | None) -> None:
        """Write `source`, bytes `start` to `total` of the file. Raises _BrokenOffError when it ends early."""
        if self.size is not None and total is not None and total != self.size:
            raise DownloadError(f"{_shown(self.url)}: another file: it has {total} bytes instead of {self.size}")
        most = self.limit if self.size is None else self.size
        done = start
        with self.partial.open("ab" if start else "wb") as file:
            while True:
                try:
                    data = source.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _BrokenOffError(str(error) or type(error).__name__) from error
                if not data:
                    break
                done += len(data)
                if done > most:
                    self.partial.unlink()
                    raise DownloadError(f"{_shown(self.url)}: another file: it has more than {most} bytes")
                file.write(data)
                if self.progress is not None:
                    self.progress(done, total or self.size)
            file.flush()
            os.fsync(file.fileno())
        wanted = total if self.size is None else self.size
        if wanted is not None and done < wanted:
            raise _BrokenOffError(f"the connection ended after {done} of {wanted} bytes")

    def _check(self) -> None:
        """Raise, and drop the file, unless it is the expected one."""
        size, found = self._have(), file_sha256(self.partial)
        if self.size in (None, size) and self.sha256 in (None, found):
            return
        self.partial.unlink()
        expected = self.sha256 or f"{self.size} bytes"
        raise _WrongContentError(
            f"{_shown(self.url)}: wrong content: expected {expected}, found {found} ({size} bytes)"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where a first request could go, and never from the network to a file."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_allowed(newurl)
        if urlsplit(newurl).scheme == "file":
            raise DownloadError(f"{_shown(req.full_url)}: redirects to a local file")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _check_allowed(url: str) -> None:
    """Raise DownloadError unless the URL is https, http on this machine, or a local file."""
    try:
        parts = urlsplit(url)
        ok = (
            (parts.scheme == "https" and bool(parts.hostname) and parts.port != 0)
            or (parts.scheme == "http" and _is_loopback(parts.hostname) and parts.port != 0)
            or (parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"))
        )
    except ValueError as error:
        raise DownloadError(f"not a URL: {error}") from error
    if not ok:
        raise DownloadError(
            f"{_shown(url)}: only https:// is followed (http:// on this machine, and file:///path, too)"
        )
    if parts.scheme != "file" and not all("!" <= c <= "~" for c in url):
        raise DownloadError(f"{_shown(url)!r}: spaces and other signs must be percent-encoded")

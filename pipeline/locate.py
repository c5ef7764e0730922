"""What a path or URL in a manifest row stands for, and which ones are refused."""

import os
import posixpath
import re
import unicodedata
from typing import Final

from stages.media.storage import is_local, local_path

WRITTEN: Final = ("file", "s3", "gs", "gcs", "az", "abfs", "memory")
"""Schemes an output may have, besides none (a local path)."""
READ: Final = (*WRITTEN, "http", "https")
"""Schemes an input may have."""
ALIASES: Final = {"gcs": "gs", "abfs": "az"}
"""Schemes that are another one's second name."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_LONGEST_BYTES: Final = 4096  # PATH_MAX of Linux


class LocationError(ValueError):
    """A path or URL that dubline does not follow; the message says why and what to write instead."""


def absolute(manifest: str) -> str:
    """A manifest's URL; a local path as an absolute one, where `~` and `..` mean what the system says."""
    return os.path.abspath(local_path(manifest)) if is_local(manifest) else manifest  # noqa: PTH100 - keeps links


def base_of(manifest: str) -> str:
    """The folder that relative paths of a manifest begin from: an absolute path, or `scheme://...`.

    Raises LocationError where there is no such folder (chained URLs).
    """
    if "::" in manifest:
        raise LocationError("chained URLs («::») are not followed")
    if is_local(manifest):
        return os.path.dirname(absolute(manifest))  # noqa: PTH120
    scheme, _, rest = manifest.partition("://")
    path = re.split(r"[?#]", rest, maxsplit=1)[0] if scheme in ("http", "https") else rest
    return f"{scheme}://{path.rpartition('/')[0]}"


def resolve(value: str, base: str, *, write: bool) -> str:
    """An absolute local path, or `scheme://...`, for what a row says, relative to `base`.

    ffmpeg and fsspec give a meaning to much more than paths (`concat:a|b`, `subfile,,..:`, `zip://a::b`):
    nothing gets through whose part before the first slash has a colon, except the schemes of `READ`, or of
    `WRITTEN` for an output. No file is looked at, except that links are followed where `..` asks for it.
    Raises LocationError.
    """
    _check_text(value)
    head, colon, _ = value.partition("/")[0].partition(":")
    if colon:
        scheme, marker, rest = value.partition("://")
        allowed = WRITTEN if write else READ
        if not marker or not _SCHEME.fullmatch(scheme) or scheme.lower() not in allowed:
            verb = "written to" if write else "read from"
            raise LocationError(
                f"«{head[:40]}:» cannot be {verb}: use a local path or {', '.join(s + '://' for s in allowed)} "
                "(a local name with a colon in it is written ./name)"
            )
        scheme = scheme.lower()
        return _local_url(rest) if scheme == "file" else _remote_url(scheme, rest)
    if value.startswith("/") or is_local(base):
        return _local(base, value)
    return _below(base, value, write=write)


class SameFile:
    """Tells whether two resolved locations are one file; remembers the folders it has looked up."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def key(self, location: str) -> str:
        """Equal for two results of `resolve` that are the same file: links followed, aliases merged.

        Also for local ones that differ only in case or in how accents are composed: on the disks of many studios
        (SMB, macOS, Windows) these are one file.
        """
        if is_local(location):
            folder, _, name = location.rpartition("/")
            if folder not in self._folders:
                self._folders[folder] = os.path.realpath(folder or "/")
            path = os.path.join(self._folders[folder], name)  # noqa: PTH118 - one link, not a Path per row
            path = os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114
            return unicodedata.normalize("NFC", path).casefold()
        scheme, _, rest = location.partition("://")
        if scheme == "memory":
            rest = rest.lstrip("/")
        return f"{ALIASES.get(scheme, scheme)}://{rest}"


def _check_text(value: str) -> None:
    if not value:
        raise LocationError("is empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise LocationError("is not valid Unicode (half of a surrogate pair)") from error
    if size > _LONGEST_BYTES:
        raise LocationError(f"is {size} bytes long; the longest path is {_LONGEST_BYTES}")
    if any(c < " " or c == "\x7f" for c in value):
        raise LocationError("has a control character in it (a line break, a tab or NUL)")
    if "::" in value:
        raise LocationError("chained URLs («::») are not followed")


def _check_names_a_file(path: str) -> None:
    if path.rpartition("/")[2] in ("", ".", ".."):
        raise LocationError("names a folder, not a file")


def _local_url(rest: str) -> str:
    if not rest.startswith("/"):
        raise LocationError("file:// takes an absolute path: file:///folder/name")
    return _local("/", rest)


def _local(base: str, value: str) -> str:
    _check_names_a_file(value)
    path = os.path.join(base, value)  # noqa: PTH118 - `..` after a link must mean what it means to the system
    folder, _, name = path.rpartition("/")
    if ".." in folder.split("/"):
        return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
    # Two leading slashes survive normpath (POSIX leaves their meaning open); they are one root here.
    return "/" + os.path.normpath(path).lstrip("/")


def _remote_url(scheme: str, rest: str) -> str:
    path = re.split(r"[?#]", rest, maxsplit=1)[0] if scheme in ("http", "https") else rest
    root, slash, _ = path.partition("/")
    if scheme != "memory" and not (root and slash):
        raise LocationError(f"{scheme}:// needs a bucket or host, and a name: {scheme}://bucket/name")
    _check_names_a_file(path)
    if any(part in (".", "..") for part in path.split("/")):
        raise LocationError("has «.» or «..» in a URL: write it without")
    return f"{scheme}://{rest}"


def _below(base: str, value: str, *, write: bool) -> str:
    """A relative path under a remote folder; `..` may climb to the bucket and no further."""
    _check_names_a_file(value)
    scheme, _, rest = base.partition("://")
    if scheme not in (WRITTEN if write else READ):
        verb = "written" if write else "read"
        raise LocationError(f"is relative to the manifest, and {scheme}:// cannot be {verb}: write it in full")
    root, _, folder = rest.lstrip("/").partition("/") if scheme != "memory" else ("", "", rest)
    key = posixpath.normpath(posixpath.join(folder.lstrip("/"), value))
    if key.startswith("../"):
        raise LocationError("climbs out of the manifest's bucket")
    return f"{scheme}://{root}/{key}" if root else f"{scheme}://{key}"

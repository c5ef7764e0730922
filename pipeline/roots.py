"""Where the files of a manifest may lie (`run.roots`), links resolved."""

import os
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from pipeline.film import LOCATIONS, Film
from pipeline.locate import ALIASES, LocationError
from stages.errors import DubError
from stages.media.storage import is_local, local_path


class Roots:
    """Folders and URL prefixes; none: no limit.

    It is asked twice, by the driver that reads a manifest and by the worker that opens its files, each with its
    own links and mounts. It is no sandbox: who may write inside a root can exchange a file for a link between
    the question and the opening, and a web server that is a root may redirect. Where that matters, workers run as a
    user who can read no more than the roots.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._shown = ", ".join(roots)
        self._local = [os.path.abspath(local_path(root)) for root in roots if is_local(root)]  # noqa: PTH100
        self._real = [os.path.realpath(root) for root in self._local]
        self._remote = [_address(root) for root in roots if not is_local(root)]

    def check(self, location: str) -> None:
        """Refuse a result of `pipeline.locate.resolve` that lies elsewhere. Raises LocationError."""
        if not self._shown:
            return
        if not is_local(location):
            inside = any(_below(_address(location), root) for root in self._remote)
        else:
            # As written and as it is: a link into a root is as foreign as a link out of it.
            written, real = os.path.abspath(location), _real(location)  # noqa: PTH100
            inside = any(_below(real, root) for root in self._real)
            inside = inside and any(_below(written, root) for root in (*self._local, *self._real))
        if not inside:
            raise LocationError(f"lies outside of run.roots ({self._shown}), as it is written or where its links lead")

    def check_film(self, film: Film) -> None:
        """The same for every file of a row, with this machine's links. Raises DubError `bad_row`."""
        for column in LOCATIONS:
            location = getattr(film, column)
            if isinstance(location, str):
                try:
                    self.check(location)
                except LocationError as error:
                    raise DubError("bad_row", f"{film.id}: {column} {error}") from error


def _below(location: str, root: str) -> bool:
    return location == root or location.startswith(root.rstrip("/") + "/")


def _real(path: str) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except FileNotFoundError:  # an output that is still to be made: as far as it is there
        return os.path.realpath(path)
    except OSError as error:  # links in a circle, a file where a folder should be, no permission
        raise LocationError(f"cannot be looked up: {error.strerror}") from error


def _address(url: str) -> str:
    """A URL in one spelling, without its query. Raises LocationError for one that a server may take for another."""
    scheme, _, rest = url.partition("://")
    scheme = ALIASES.get(scheme.lower(), scheme.lower())
    if scheme not in ("http", "https"):
        return f"{scheme}://{rest.lstrip('/')}"
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[scheme]
    except ValueError as error:
        raise LocationError(f"is not a URL: {error}") from error
    path = parts.path
    while (once := unquote(path)) != path:  # %252e is a dot to a server behind a server
        path = once
    if parts.username is not None or "\\" in path or ".." in path.split("/"):
        raise LocationError("has a user name, a backslash or a hidden «..» in its URL")
    return f"{scheme}://{parts.hostname}:{port}{path}"

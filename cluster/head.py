"""The head of a Ray cluster as somebody who submits sees it: its address, its token, what can be wrong with them."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from stages.errors import DubError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_REACHED_S: Final = 10.0
_ADDRESS: Final = "RAY_API_SERVER_ADDRESS"
_TOKEN_FILE: Final = Path("~/.ray/auth_token")  # where `ray get-auth-token --generate` writes it
_PORTS: Final = {"http": 80, "https": 443}


def dashboard_url(address: str) -> str:
    """The URL of a head's dashboard, `http://` where no scheme is given. Raises DubError `unsupported`."""
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    try:
        parts = urlsplit(url)
        good = parts.scheme in _PORTS and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is none
        good = False
    if not good:
        raise DubError("unsupported", f"{address!r} is not the URL of a head's dashboard, such as http://head:8265")
    return url


def token() -> str | None:
    """The cluster's token: $RAY_AUTH_TOKEN, the file $RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token. Never printed.

    None where there is none, or where $RAY_AUTH_MODE is `disabled`. Raises DubError `not_found`.
    """
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return None
    if given := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return given
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else _TOKEN_FILE.expanduser()
    if not named and not path.is_file():
        return None
    try:
        return path.read_text().strip() or None
    except (OSError, ValueError) as error:
        raise DubError("not_found", f"the token in {path} ($RAY_AUTH_TOKEN_PATH) cannot be read: {error}") from error


def connect(address: str) -> "JobSubmissionClient":
    """The jobs of the cluster whose head is at `address`, a URL of `dashboard_url`.

    Raises DubError `not_found` (nobody there, or no Ray), `unsupported` (the token is refused).
    """
    from ray.job_submission import JobSubmissionClient

    for name in ("sdk", "dashboard_sdk"):  # they tell of every upload and socket
        module = "ray.dashboard.modules" + (".job" if name == "sdk" else "")
        logging.getLogger(f"{module}.{name}").setLevel(logging.ERROR)
    parts = urlsplit(address)
    port = parts.port or _PORTS[parts.scheme]
    try:
        socket.create_connection((parts.hostname, port), _REACHED_S).close()
    except OSError as error:
        raise DubError(
            "not_found",
            f"{address}: no head answers there ({error}); is the cluster up, and its port {port} reachable from here?",
        ) from error
    key = token()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with asking(address), _settled_address(address):
        return JobSubmissionClient(address, headers=headers)


@contextmanager
def asking(address: str) -> Iterator[None]:
    """For a block that asks the head something: what it answers wrong is a DubError that says what to do.

    `not_found`: nobody there any more, or no Ray head. `unsupported`: the token is refused. `internal`: all else.
    """
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        known = "refuses the token given" if token() else "wants a token, and none was given"
        raise DubError(
            "unsupported",
            f"{address}: the head {known}: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it; "
            "`ray get-auth-token` on the head says which one it is",
        ) from error
    except (OSError, KeyError) as error:  # what `requests` raises is an OSError
        raise DubError("not_found", f"{address}: does not answer as a Ray head: {error}") from error
    except RuntimeError as error:
        raise DubError("internal", f"{address}: {error}") from error


@contextmanager
def _settled_address(address: str) -> Iterator[None]:
    """Ray's client prefers $RAY_API_SERVER_ADDRESS and $RAY_ADDRESS to the address that it is given."""
    before = os.environ.get(_ADDRESS)
    os.environ[_ADDRESS] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ADDRESS]
        else:
            os.environ[_ADDRESS] = before

"""Calls to storage that is reached over a network: tried again while the trouble may pass.

Storage throttles (503 SlowDown, 429), servers restart (500, 502, 504) and connections are cut. The libraries under
fsspec try some of that again by themselves, each in its own way and s3fs most of all; what they cover is measured in
docs/storage.md. Here is the one place that covers the rest, for every file system alike.
"""

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from stages.errors import DubError

TRIES: Final = 5
_FIRST_S = 1.0
_LONGEST_S = 15.0
_PASSING_STATUS: Final = {408, 425, 429, 500, 502, 503, 504}
_PASSING_CODES: Final = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException",
    "RequestLimitExceeded", "ConditionalRequestConflict", "OperationAborted", "ServerBusy", "OperationTimedOut",
}  # fmt: skip
"""What buckets answer to who should come again (S3, Azure)."""
_PASSING_ERRNO: Final = {
    errno.EBUSY, errno.EAGAIN, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EREMOTEIO,
}  # fmt: skip
_PASSING_NAMES: Final = {
    "HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseParserError",  # botocore
    "ClientConnectionError", "ClientPayloadError",  # aiohttp
    "IncompleteRead", "RemoteDisconnected",  # http.client
    "ServiceRequestError", "ServiceResponseError",  # azure
    "TransportError",  # google.auth
}  # fmt: skip
"""Errors of the libraries that are a broken connection; by name, because none of them need be installed."""
_LIBRARIES: Final = {"botocore", "aiobotocore", "aiohttp", "azure", "adlfs", "google", "gcsfs", "s3fs"}
_Told = TypeVar("_Told")


def persist(url: str, call: Callable[[], _Told], sleep: Callable[[float], None] = time.sleep) -> _Told:
    """What `call` returns, which does the whole of one thing with the storage at `url` and may be called again.

    Up to `TRIES` times, with waits of 1, 2, 4... seconds, each shortened by up to half by chance so that the workers of
    a cluster do not come back together. Errors that say something about the file (not there, not allowed) are raised as
    they are. Raises DubError `unreachable` once it gives up, and for a library's own errors.
    """
    for turn in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            if passes(error):
                if turn == TRIES:
                    told = f"{TRIES} tries did not reach it ({_said(error)})"
                    raise DubError("unreachable", f"{url}: {told}; run the same command again later") from error
            elif type(error).__module__.partition(".")[0] in _LIBRARIES and not isinstance(error, OSError):
                told = f"the storage refuses ({_said(error)}); check the address and the credentials"
                raise DubError("unreachable", f"{url}: {told}") from error
            else:
                raise
        sleep(min(_LONGEST_S, _FIRST_S * 2 ** (turn - 1)) * random.uniform(0.5, 1))  # noqa: S311 - no secret
    raise AssertionError("the last try returns or raises")


def passes(error: BaseException) -> bool:
    """Whether an error of a file system, or what it was made from, says that asking again may help."""
    return any(_passes(each) for each in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__


def _passes(error: BaseException) -> bool:
    if isinstance(error, DubError):
        return False
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    status, code = _status(error)
    if status in _PASSING_STATUS or code in _PASSING_CODES:
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_ERRNO:
        return True
    return any(
        kind.__name__ in _PASSING_NAMES and kind.__module__.partition(".")[0] in (*_LIBRARIES, "http")
        for kind in type(error).__mro__
    )


def _status(error: BaseException) -> tuple[int | None, str]:
    """The HTTP status and the storage's own code, where an error tells them."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        told: Any = response.get("Error", {}).get("Code", "")
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), str(told)
    for name in ("status_code", "status", "code"):  # azure, aiohttp, gcsfs
        value = getattr(error, name, None)
        if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            return int(value), str(getattr(error, "error_code", "") or "")
    return None, ""


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300] or 'no more is told'}"

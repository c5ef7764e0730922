"""What is a secret, and URLs as they may be shown: who reads a log, a report, a work folder or a job's command must not
get at what their owner can."""

import re

_WEB = ("http", "https")
HIDDEN = "***"
"""Stands where a password or a signature was."""

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^\s/?#\"'<>«»]*@)?(?P<path>[^\s?#\"'<>«»\\]*)"
    # Not with the punctuation of a sentence that the URL stands in.
    r"(?P<query>[?#][^\s\"'<>«»\\]*?(?=[:;,.)\]]*(?:[\s\"'<>«»\\]|$)))?"
)
_SECRET = re.compile(r"(?i)(sig|signature|token|key|secret|password|credential)[^=&]*=")
_VARIABLE = re.compile(r"(?i)secret|token(?!izer)|passw|_pwd$|credential|key(_id)?$|(^|_)sas(_|$)|connection_?string")
_FILE = re.compile(r"(?i)(path|file|dir|folder|application_credentials)$")


def without_secrets(text: str) -> str:
    """The text with every URL in it stripped of user and password, and of a query that may be a signature.

    Whole queries of web addresses go; in a bucket's URL a question mark may be part of a name (`s3://b/what?.mp4`), and
    what stands before an `@` the container (`abfs://container@account...`).
    """
    return _URL.sub(_shown, text) if "://" in text else text


def has_secrets(text: str) -> bool:
    """Whether a URL in the text has a password or token, or a query with a signature, which open it to its readers."""
    return any(_opens(match) or _SECRET.search(match["query"] or "") for match in _URL.finditer(text))


def is_secret(name: str, value: str) -> bool:
    """Whether a variable of an environment holds a secret, by its name; where a file lies that holds one is none."""
    return bool(_VARIABLE.search(name)) and not (_FILE.search(name) and value.startswith("/"))


def _opens(match: re.Match[str]) -> bool:
    user = match["user"] or ""
    return bool(user) and (match["scheme"].lower() in _WEB or ":" in user)


def _shown(match: re.Match[str]) -> str:
    scheme, user, path, query = (match[name] or "" for name in ("scheme", "user", "path", "query"))
    if _opens(match):
        user = f"{HIDDEN}@"
    if query and (scheme.lower() in _WEB or _SECRET.search(query)):
        query = f"?{HIDDEN}"
    return f"{scheme}://{user}{path}{query}"

"""URLs as they may be shown: who reads a log, a report or a work folder must not get at what a URL's owner can."""

import re

HIDDEN = "***"
"""Stands where a password or a signature was."""

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^\s/@?#\"'<>«»]*@)?(?P<path>[^\s?#\"'<>«»\\]*)"
    # Not with the punctuation of a sentence that the URL stands in.
    r"(?P<query>[?#][^\s\"'<>«»\\]*?(?=[:;,.)\]]*(?:[\s\"'<>«»\\]|$)))?"
)
_SECRET = re.compile(r"(?i)(sig|signature|token|key|secret|password|credential)[^=&]*=")


def without_secrets(text: str) -> str:
    """The text with every URL in it stripped of user and password, and of a query that may be a signature.

    Whole queries of web addresses go; in a bucket's URL a question mark may be part of a name (`s3://b/what?.mp4`), and
    what stands before an `@` the container (`abfs://container@account...`).
    """
    return _URL.sub(_shown, text) if "://" in text else text


def _shown(match: re.Match[str]) -> str:
    scheme, user, path, query = (match[name] or "" for name in ("scheme", "user", "path", "query"))
    web = scheme.lower() in ("http", "https")
    if user and (web or ":" in user):
        user = f"{HIDDEN}@"
    if query and (web or _SECRET.search(query)):
        query = f"?{HIDDEN}"
    return f"{scheme}://{user}{path}{query}"

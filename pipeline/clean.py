"""Removes from a work folder what was not used for long and what no unfinished film needs.

Only names that dubline itself writes are touched, and links are not followed: a file that somebody else put there
stays. What is removed costs the time to make it again, and nothing else: what says that an output is ours stays as
long as the output does.
"""

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pipeline.ledger import RUN_ID, read_json
from stages.errors import DubError
from stages.media import storage
from stages.media.remote import persist

_KEY: Final = r"[0-9a-f]{20}"
_RUN: Final = RUN_ID.pattern
_LAYOUT: Final = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "index": rf"cache/index/(?P<video>{_KEY})\.npz",
        "gops": rf"cache/gops/(?P<video>{_KEY})\.npz",
        "stills": rf"cache/stills/(?P<video>{_KEY})\.mp4",
        "speech": rf"cache/speech/(?P<speech>{_KEY})\.(npy|json|wav)",
        "faces": rf"cache/faces/(?P<video>{_KEY})/\d{{8,}}-\d{{8,}}-{_KEY}\.npz",
        "landmarks": rf"cache/landmarks/(?P<video>{_KEY})/\d{{8,}}-{_KEY}\.npz",
        "kept": rf"cache/kept/(?P<video>{_KEY})/{_KEY}\.npz",
        "segments": rf"segments/{_KEY}/(?P<segment>{_KEY})\.(json|mp4)",
        "films": rf"films/(?P<film>{_KEY})/(used\.json|plan\.json|cast\.npz|picture-\d{{8,}}-(before|after)\.jpg"
        rf"|claims/[a-z]+-[0-9a-f]{{12}}\.json|passed/{_RUN}/{_KEY}\.json)",
        "outputs": rf"films/(?P<film>{_KEY})/(begun|done)-{_KEY}\.json",
        "attempts": rf"attempts/{_RUN}-\d+/[^/]+/[^/]+\.json",
        "quarantine": r"quarantine/(?P<film>[^/]+)/[^/]+\.json",
        "runs": rf"runs/{_RUN}/(job\.json|alive\.json|rates\.json|report\.(json|html|parquet)|shards\.parquet)",
        "partials": r"(cache|segments|films|attempts|quarantine|runs)/([^/]+/)*\.[0-9a-f]{32}\.partial(\.\w+)?",
    }.items()
}
"""Every file of a work folder (design section 4), by kind; groups name whose it is."""
_TOPS: Final = ("cache", "segments", "films", "attempts", "quarantine", "runs")
_OURS: Final = {"films": re.compile(_KEY), "segments": re.compile(_KEY), "runs": re.compile(_RUN)}
_AGE: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass
class Cleaned:
    """What went, or would go: files and bytes by kind."""

    files: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True)
class _File:
    name: str
    """Relative to the work folder."""
    size: int
    changed: float
    """Seconds since 1970."""


@dataclass
class _Needed:
    """What the films that stay hang on, by the groups of `_LAYOUT`."""

    film: set[str] = field(default_factory=set)
    video: set[str] = field(default_factory=set)
    speech: set[str] = field(default_factory=set)
    segment: set[str] = field(default_factory=set)

    def has(self, match: re.Match[str]) -> bool:
        """Whether a file belongs to one of them."""
        return any(value in getattr(self, group) for group, value in match.groupdict().items())


def parse_age(text: str) -> float:
    """`14d`, `36h`, `2w` as seconds. Raises ValueError."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not an age like 14d, 36h or 2w")
    return float(int(match[1]) * _SECONDS[match[2]])


def clean(
    work: str, older_than_s: float, *, dry_run: bool = False, unfinished: bool = False, now: float | None = None
) -> Cleaned:
    """Remove what was last used more than `older_than_s` ago.

    A film is used whenever a run has it in its manifest, and what it hangs on with it. A film without a finished output
    keeps all it needs, however old, unless `unfinished`. `dry_run` only counts. `now`: seconds since 1970.
    Raises DubError `not_found`, or `unsupported` for a folder that is not a work folder.
    """
    _check_ours(work)
    before = (time.time() if now is None else now) - older_than_s
    needed = _needed(work, before, unfinished)
    cleaned = Cleaned()
    for top in _TOPS:
        for file in _files(work, top):
            kind, match = _kind(file.name)
            if match is None or file.changed >= before or needed.has(match):
                continue
            if kind == "outputs" and _delivered(storage.join(work, file.name)):
                continue
            if not dry_run:
                _remove(work, file.name)
            cleaned.files[kind] += 1
            cleaned.bytes[kind] += file.size
    return cleaned


def _check_ours(work: str) -> None:
    found = {top: storage.names(storage.join(work, top)) for top in _OURS}
    if any(pattern.fullmatch(name) for top, pattern in _OURS.items() for name in found[top]):
        return
    if not storage.exists(work):
        raise DubError("not_found", f"{work}: there is no such folder")
    raise DubError("unsupported", f"{work}: is not a work folder of dubline, or an empty one; nothing was touched")


def _kind(name: str) -> tuple[str, re.Match[str] | None]:
    for kind, pattern in _LAYOUT.items():
        match = pattern.fullmatch(name)
        if match is not None:
            return kind, match
    return "", None


def _needed(work: str, before: float, unfinished: bool) -> _Needed:
    used: dict[str, float] = defaultdict(float)
    done: set[str] = set()
    for file in _files(work, "films"):
        kind, match = _kind(file.name)
        if match is None or kind not in ("films", "outputs"):
            continue
        key = match["film"]
        used[key] = max(used[key], file.changed)
        if file.name.rpartition("/")[2].startswith("done-"):
            done.add(key)
    needed = _Needed()
    for key, last in used.items():
        if last < before and (unfinished or key in done):
            continue
        needed.film.add(key)
        hangs_on = read_json(storage.join(work, "films", key, "used.json"), "video", "speech") or {}
        needed.video.add(str(hangs_on.get("video", "")))
        needed.speech.add(str(hangs_on.get("speech", "")))
        plan = read_json(storage.join(work, "films", key, "plan.json"), "shards") or {"shards": []}
        for shard in plan["shards"]:
            if isinstance(shard, dict):  # else not ours, and made again
                needed.segment |= {str(shard.get("key", "")), str(shard.get("unpainted", ""))}
    return needed


def _delivered(url: str) -> bool:
    """Whether the film that a `done` or `begun` file speaks of is there: without that file it would be a stranger's."""
    told = read_json(url, "output")
    return told is not None and storage.exists(str(told["output"]))


def _files(work: str, top: str) -> Iterator[_File]:
    """The files below one folder of the work folder; links are left out."""
    if storage.is_local(work):
        root = storage.local_path(work)
        if (root / top).is_symlink():
            return
        for folder, _, names in os.walk(root / top):
            for name in sorted(names):  # a segment's marker goes before the segment
                path = Path(folder) / name
                try:
                    facts = path.lstat()
                except FileNotFoundError:  # a run is going on
                    continue
                if path.is_file() and not path.is_symlink():
                    yield _File(path.relative_to(root).as_posix(), facts.st_size, facts.st_mtime)
        return
    fs, below = storage.file_system(storage.join(work, top))
    found: dict[str, Any] = persist(work, lambda: dict(fs.find(below, detail=True)))
    for name, facts in sorted(found.items()):
        # Where nobody tells: now, so that it stays.
        changed = storage.written_at(facts) or time.time()
        inside = str(name).rpartition(below.rstrip("/"))[2]
        yield _File(top + inside, int(facts.get("size") or 0), changed)


def _remove(work: str, name: str) -> None:
    """Delete a file, and the local folders it leaves empty."""
    storage.remove(storage.join(work, name))
    if not storage.is_local(work):
        return
    for folder in (storage.local_path(work) / name).relative_to(storage.local_path(work)).parents[:-1]:
        try:
            (storage.local_path(work) / folder).rmdir()
        except OSError:  # not empty
            return

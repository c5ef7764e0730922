"""The work folder: where everything is, and who may do it.

Nothing here is a database: a file that is there is done, names hold everything the content depends on, and every
file appears whole or not at all (design section 4).
"""

import hashlib
import json
import re
from typing import Any

from stages.errors import DubError
from stages.media import storage
from stages.media.exclusive import create
from stages.settings import digest
from stages.urls import without_secrets

RUN_ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{4}")
"""What `pipeline.run` names its runs, ascending in time."""
_KEY = re.compile(r"[0-9A-Za-z_-]{1,80}")
_LARGEST_JSON = 64 << 20


class WorkFolder:
    """Names and small JSON files under one fsspec URL.

    What may be deleted: `attempts/`, `films/*/claims/`, `films/*/passed/` and hidden files (`.*.partial*`, left by a
    process that was killed while it wrote) belong to a run, and to nobody when no run is going on. `quarantine/` is
    for people, and `retry` does not need it. `cache/`, `segments/` and the rest of `films/` cost only the time to make
    them again; a `films/*/done-*` or `begun-*` file that is gone makes its output a stranger's, which is kept.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def index(self, video: str) -> str:
        """Packet index of a source."""
        return storage.join(self.root, "cache/index", f"{video}.npz")

    def still(self, video: str) -> str:
        """The film of one frame that a picture became."""
        return storage.join(self.root, "cache/stills", f"{video}.mp4")

    def gops(self, video: str) -> str:
        """Groups of pictures of a source that can be copied."""
        return storage.join(self.root, "cache/gops", f"{video}.npz")

    def speech(self, key: str, suffix: str) -> str:
        """The dub: 16 kHz samples (.npy), or a spoken text (.wav)."""
        return storage.join(self.root, "cache/speech", f"{key}{suffix}")

    def cells(self, video: str) -> str:
        """Folder of a source's detected faces."""
        return storage.join(self.root, "cache/faces", video)

    def cell(self, video: str, start: int, end: int, key: str) -> str:
        """Faces of one cell."""
        return storage.join(self.cells(video), cell_name(start, end, key))

    def landmarks(self, video: str) -> str:
        """Folder of a source's landmarks."""
        return storage.join(self.root, "cache/landmarks", video)

    def kept(self, video: str, key: str) -> str:
        """What was made of a source's pictures alone, for its other dubs (`pipeline.kept`)."""
        return storage.join(self.root, "cache/kept", video, f"{_key(key)}.npz")

    def segments(self, video: str) -> str:
        """Folder of a source's finished segments and their markers."""
        return storage.join(self.root, "segments", video)

    def segment(self, video: str, key: str) -> str:
        """A finished segment."""
        return storage.join(self.segments(video), f"{_key(key)}.mp4")

    def marker(self, video: str, key: str) -> str:
        """The JSON beside a finished segment; it is written last."""
        return storage.join(self.segments(video), f"{_key(key)}.json")

    def film(self, film: str, name: str) -> str:
        """plan.json and cast.npz of a film."""
        return storage.join(self.root, "films", film, name)

    def used(self, film: str) -> str:
        """Says: a run has this film, which hangs on this video and this speech; as old as the last use."""
        return self.film(film, "used.json")

    def begun(self, film: str, output: str) -> str:
        """Says: what is at `output` is ours, until `done` says what it is known by."""
        return self.film(film, f"begun-{digest(output)}.json")

    def done(self, film: str, output: str) -> str:
        """Says: `output` is delivered, and what it is known by."""
        return self.film(film, f"done-{digest(output)}.json")

    def delivered(self, output: str, identity: str) -> bool:
        """Whether some film of this work folder was delivered as the file that is at `output` now."""
        films = storage.names(storage.join(self.root, "films"))
        told = (read_json(self.done(film, output), "identity") for film in films)
        return any(done is not None and done["identity"] == identity for done in told)

    def passed(self, film: str, run: str) -> str:
        """Folder of what a run passed through of a film, one JSON a shard."""
        return self.film(film, f"passed/{run}")

    def tried(self, turn: str) -> str:
        """Folder of the crash ledger for one pass of a run."""
        return storage.join(self.root, "attempts", turn)

    def attempts(self, turn: str, film: str) -> str:
        """Folder of the crash ledger for one film in one pass of a run."""
        return storage.join(self.tried(turn), film)

    @property
    def runs(self) -> str:
        """Folder of all runs' folders."""
        return storage.join(self.root, "runs")

    def quarantined(self, film: str) -> str:
        """Folder of what gave up of a film."""
        return storage.join(self.root, "quarantine", film)

    def quarantine(self, film: str, name: str) -> str:
        """The record of what gave up; shards go by their key."""
        return storage.join(self.quarantined(film), f"{name}.json")

    def run(self, run: str, name: str) -> str:
        """A file of one run."""
        return storage.join(self.runs, run, name)

    def claim(self, film: str, what: str, turn: str, owner: str) -> bool:
        """Whether `owner` may do `what` for a film in this turn: the first to ask, and itself again on a retry.

        Fan-ins are level-triggered: two cells that land together both see all cells there. The claim keeps the
        film from being cast twice. It belongs to a turn of a run, so a crash leaves nothing that blocks the next one.
        """
        name = hashlib.sha256(f"{what}:{turn}".encode()).hexdigest()[:12]
        url = self.film(film, f"claims/{what}-{name}.json")
        return create(url, owner.encode())


def cell_name(start: int, end: int, key: str) -> str:
    """File name of one cell's faces."""
    return f"{start:08d}-{end:08d}-{key}.npz"


def write_json(url: str, value: Any) -> None:
    """Publish JSON. Passwords and signatures of the URLs in it are left out."""
    storage.write_bytes(url, without_secrets(json.dumps(value, indent=1, sort_keys=True)).encode())


def read_json(url: str, *needs: str) -> Any | None:
    """JSON, or None when the file is not there, not whole JSON, or no object with the keys `needs`: made again then."""
    try:
        value = json.loads(storage.read_bytes(url, _LARGEST_JSON))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return value if not needs or (isinstance(value, dict) and value.keys() >= set(needs)) else None


def _key(text: str) -> str:
    """What a JSON file of the work folder calls a key, if it is one: it names files. Raises DubError `internal`."""
    if not _KEY.fullmatch(text):
        raise DubError("internal", f"{text[:60]!r} in the work folder is no key: somebody else wrote there; remove it")
    return text

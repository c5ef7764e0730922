"""Ends a run in which nearly everything fails, before it has tried the whole library."""

from collections import deque

from pipeline.quarantine import SWALLOWED
from pipeline.rows import Row


class Breaker:
    """Watches the painted shards as they come: shards without a face tell nothing about a generator that is broken."""

    def __init__(self, last: int, share: float) -> None:
        self._share = share
        self._failed: deque[bool] = deque(maxlen=last)
        self._told = ""

    def add(self, row: Row) -> None:
        """One row of the flow."""
        if row.kind != "shard" or not row.facts.get("painted") or row.facts.get("kept"):
            return
        if row.code == "ok":
            self._failed.append(False)
        elif row.code in SWALLOWED:
            self._failed.append(True)
            self._told = f"{row.code}: {row.message}"

    @property
    def tripped(self) -> str:
        """What to tell when most of the last shards failed; empty while all is well, or none can be judged yet."""
        failed, last = sum(self._failed), self._failed.maxlen
        if not last or len(self._failed) < last or failed < self._share * last:
            return ""
        return (
            f"the run was stopped because {failed} of the last {last} painted shards failed (run.breaker_share), the "
            f"last one with {self._told}"
        )

"""How far a run is: one line, redrawn on a terminal, printed every few seconds in a log."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.rows import Row


class Progress:
    """Counts rows and says where the run stands. `clock` gives seconds."""

    def __init__(
        self, films: int, console: Console, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._films, self._console, self._every_s, self._clock = films, console, every_s, clock
        self._began = self._printed = clock()
        self._first_frame: float | None = None
        self._known: dict[str, int] = {}
        self._ended: set[str] = set()
        self._cells = self._cells_done = self._shards = self._shards_done = self._frames_done = 0
        self._planned: set[str] = set()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def add(self, row: Row) -> None:
        """One row of the flow."""
        if row.kind == "film":
            self._known[row.film] = row.facts.get("frames", 0)
            self._cells += 0 if row.code else row.facts.get("cells", 0) - row.facts.get("cells_kept", 0)
        elif row.kind == "cell":
            self._cells_done += "cache_hit" in row.facts
        elif row.kind == "shard":
            if row.film not in self._planned:
                self._planned.add(row.film)
                self._shards += row.count
            if "frames" in row.facts:
                self._shards_done += 1
                self._frames_done += row.facts["frames"]
                self._first_frame = self._first_frame or self._clock()
        if row.failed or (row.kind == "film" and row.code):
            self._ended.add(row.film)
        self._show()

    def line(self) -> str:
        """Where the run stands."""
        parts = [f"films {len(self._ended)}/{self._films}"]
        if self._cells > self._cells_done:
            parts.append(f"cells {self._cells_done}/{self._cells}")
        parts.append(f"shards {self._shards_done}/{self._shards}")
        passed = self._clock() - self._began
        if self._frames_done and passed > 0:
            rate = self._frames_done / passed
            parts.append(f"{rate:.1f} frames/s")
            # Films that are not opened yet are taken for average ones.
            known = [frames for frames in self._known.values() if frames]
            total = sum(known) / max(1, len(known)) * self._films
            left = max(0.0, total - self._frames_done) / rate
            if len(self._ended) < self._films:
                parts.append(f"about {_clock_time(left)} left")
        parts.append(f"{_clock_time(passed)} passed")
        return " · ".join(parts)

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(Text(self.line()), refresh=True)
        elif self._clock() - self._printed >= self._every_s:
            self._printed = self._clock()
            self._console.print(self.line(), highlight=False)


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

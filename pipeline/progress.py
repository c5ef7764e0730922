"""How far a run is: one line, redrawn on a terminal, printed every few seconds in a log."""

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.rows import Row


class Progress:
    """Counts rows and says where the run stands. Use as a context manager. `clock` gives seconds.

    With `say` every line goes there, whatever the console is. A thread of its own speaks, so that a long shard or the
    start of a cluster is not silence.
    """

    def __init__(
        self,
        films: int,
        console: Console,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], object] | None = None,
    ) -> None:
        self._films, self._every_s, self._clock = films, every_s, clock
        self._began = clock()
        self._working: float | None = None
        self._known: dict[str, int] = {}
        self._ended: set[str] = set()
        self._planned: set[str] = set()
        self._cells = self._cells_done = self._shards = self._shards_done = self._frames_done = 0
        self._over = threading.Event()
        self._say = say or partial(console.print, highlight=False)
        # With the context of who starts it: its lines say which run.
        self._speaker = threading.Thread(target=copy_context().run, args=[self._speak], name="progress", daemon=True)
        self._live = (
            Live(console=console, transient=True, get_renderable=lambda: Text(self.line()))
            if console.is_terminal and say is None
            else None
        )

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        else:
            self._speaker.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._over.set()
            self._speaker.join()

    def add(self, row: Row) -> None:
        """One row of the flow."""
        self._working = self._clock() if self._working is None else self._working
        if row.kind == "film":
            self._known[row.film] = row.facts.get("frames", 0)
            self._cells += 0 if row.code else row.facts.get("cells", 0) - row.facts.get("cells_kept", 0)
        elif row.kind == "cell":
            self._cells_done += "cache_hit" in row.facts
        elif row.kind == "shard":
            if row.film not in self._planned:
                self._planned.add(row.film)
                self._shards += row.count
            if row.facts.get("kept") or row.facts.get("copied"):
                # No work of this run: it would make the rest look faster than it is.
                self._shards -= bool(row.facts.get("kept"))
                self._shards_done += bool(row.facts.get("copied"))
                self._known[row.film] = self._known.get(row.film, 0) - row.facts["frames"]
            elif "frames" in row.facts:
                self._shards_done += 1
                self._frames_done += row.facts["frames"]
        if row.failed or (row.kind == "film" and row.code):
            self._ended.add(row.film)

    def line(self) -> str:
        """Where the run stands."""
        parts = [f"films {len(self._ended)}/{self._films}"]
        if self._cells > self._cells_done:
            parts.append(f"cells {self._cells_done}/{self._cells}")
        if self._planned:
            parts.append(f"shards {self._shards_done}/{self._shards}")
        elif any(list(self._known.values())) and self._cells <= self._cells_done:
            parts.append("first shards under way")  # how many there are is told by the first that ends
        passed = self._clock() - self._began
        working = 0.0 if self._working is None else self._clock() - self._working
        if self._working is None:
            parts.append("workers are starting")
        if self._frames_done and working > 0:
            rate = self._frames_done / working
            parts.append(f"{rate:.1f} frames/s")
            # Films that are not opened yet are taken for average ones.
            known = [frames for frames in list(self._known.values()) if frames]
            total = sum(known) / max(1, len(known)) * self._films
            left = max(0.0, total - self._frames_done) / rate
            if len(self._ended) < self._films:
                parts.append(f"about {_clock_time(left)} left")
        parts.append(f"{_clock_time(passed)} passed")
        return " · ".join(parts)

    def _speak(self) -> None:
        while not self._over.wait(self._every_s):
            self._say(self.line())


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

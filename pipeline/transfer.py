"""How far a download is: one line, redrawn on a terminal, printed every few seconds in a log."""

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.estimate import readable_size

_EVERY_S: Final = 5.0


class Transfer:
    """Says what has come of a file. Use as a context manager. `clock` gives seconds."""

    def __init__(self, name: str, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._console, self._clock = name, console, clock
        self._began = self._told = clock()
        self._line = ""
        self._live = (
            Live(console=console, transient=True, get_renderable=lambda: Text(self._line))
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Transfer":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, done: int, total: int | None) -> None:
        """`stages.download.Progress`: bytes that are here, and bytes of the whole file where that is known."""
        now = self._clock()
        share = f" of {readable_size(total)} ({100 * done // total} %)" if total else ""
        self._line = f"{self._name}: {readable_size(done)}{share}, {now - self._began:.0f} s"
        if self._live is None and now - self._told >= _EVERY_S:
            self._told = now
            self._console.print(self._line)

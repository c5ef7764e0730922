"""Processes that are asked for outcomes, with a deadline: one that dies or hangs costs its case and is replaced."""

import multiprocessing
from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fuzz.case import Answer, outcome, serve

DEADLINE_S = 60.0
"""Of one case, on a busy machine; a quiet one takes a tenth of a second."""
_START_S = 120.0


class Worker:
    """A process, and the seed it is at."""

    def __init__(self, folder: Path, files: dict[str, list[Path]], answer: Answer) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, folder, files, answer), daemon=True)
        self.process.start()
        theirs.close()
        self.seed: int | None = None
        if not self.pipe.poll(_START_S) or self.pipe.recv() != "ready":
            raise RuntimeError("a worker did not start")

    def ask(self, seed: int) -> None:
        self.seed = seed
        self.pipe.send(seed)

    def end(self) -> int | None:
        """Its exit status: minus the signal that ended it; None when it had to be killed."""
        self.process.join(5)
        status = self.process.exitcode
        if status is None:
            self.process.kill()
            self.process.join()
        self.pipe.close()
        return status


class Pool:
    """A context manager over a few workers, each in a folder of its own."""

    def __init__(self, folder: Path, files: dict[str, list[Path]], count: int, answer: Answer = outcome) -> None:
        self._folder, self._files, self._answer_of, self._made = folder, files, answer, 0
        self._workers = [self._start() for _ in range(count)]

    def _start(self) -> Worker:
        self._made += 1
        return Worker(self._folder / f"worker{self._made}" / "box", self._files, self._answer_of)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.end()

    def outcomes(self, seeds: Iterable[int]) -> Iterator[tuple[int, str]]:
        """(seed, outcome) as they come; `died: ...` and `HANG` for those that brought a process down."""
        left = iter(seeds)
        for worker in self._workers:
            self._next(worker, left)
        while any(worker.seed is not None for worker in self._workers):
            busy = [worker for worker in self._workers if worker.seed is not None]
            ready = wait([worker.pipe for worker in busy], timeout=DEADLINE_S)
            for worker in busy:
                assert worker.seed is not None
                if worker.pipe in ready or not ready:
                    seed, found = worker.seed, self._answer(worker, hung=not ready)
                    if found.startswith(("died", "HANG")):
                        self._workers[self._workers.index(worker)] = worker = self._start()
                    self._next(worker, left)
                    yield seed, found

    def _answer(self, worker: Worker, *, hung: bool) -> str:
        try:
            if not hung:
                return str(worker.pipe.recv())
        except (EOFError, ConnectionResetError):
            return f"died: exit status {worker.end()}"
        worker.process.kill()
        worker.end()
        return "HANG"

    def _next(self, worker: Worker, left: Iterator[int]) -> None:
        worker.seed = next(left, None)
        if worker.seed is not None:
            worker.ask(worker.seed)

"""Bounded, ordered work on threads: what decodes, blends and encodes side by side.

PyAV, OpenCV and numpy release the interpreter lock in their heavy parts, so threads really run in parallel.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items, produced by a thread of their own, at most `depth` of them waiting.

    An error of the producer is raised here, in its place. Closing the generator stops the producer and waits for it.
    """
    waiting: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(maxsize=depth)
    left = threading.Event()

    def offer(entry: tuple[str, T | BaseException | None]) -> bool:
        while not left.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not offer(("item", item)):
                    return
        except BaseException as error:  # handed over, raised by the consumer
            offer(("error", error))
        else:
            offer(("end", None))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        left.set()
        thread.join()


def map_ordered(work: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
    """`work` of every item on a pool of threads, results in the items' order, at most 2 a thread in flight.

    An error of `work` is raised in its item's place. Closing the generator waits for what is under way.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="map") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

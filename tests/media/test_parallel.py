"""Threads that keep the order, hold back, hand over errors, and end."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from stages.media.parallel import ahead, map_ordered


class Source:
    """Counts, and tells how far it was asked and whether it was closed."""

    def __init__(self, count: int, fails_at: int | None = None) -> None:
        self.count, self.fails_at = count, fails_at
        self.given = 0
        self.closed_by: str | None = None

    def items(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise OSError("the source broke")
                self.given += 1
                yield number
        finally:
            self.closed_by = threading.current_thread().name


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("ahead", "map"))}


def test_everything_comes_out_in_its_order() -> None:
    assert list(ahead(range(1000), 3)) == list(range(1000))
    assert list(ahead([], 3)) == []
    assert not threads()


def test_the_producer_runs_ahead_by_no_more_than_it_may() -> None:
    source = Source(100)
    with closing(ahead(source.items(), 3)) as items:
        for number in items:
            # In the queue, one on its way into it, and the one in hand.
            assert source.given <= number + 1 + 3 + 1
    assert source.given == 100


def test_the_producer_s_error_comes_in_its_place() -> None:
    source = Source(10, fails_at=4)
    got = []
    with pytest.raises(OSError, match="the source broke"):
        got.extend(ahead(source.items(), 2))
    assert got == [0, 1, 2, 3]
    assert source.given == 4
    assert not threads()


def test_leaving_early_stops_and_closes_the_producer() -> None:
    source = Source(1_000_000)
    with closing(ahead(source.items(), 2)) as items:
        assert next(items) == 0
        assert threads() == {"ahead"}
    assert not threads()
    assert source.given <= 5
    assert source.closed_by == "ahead", "a generator must be closed by the thread that runs it"


def test_an_error_of_the_consumer_stops_the_producer_at_once() -> None:
    source = Source(1_000_000)

    def consume() -> None:
        with closing(ahead(source.items(), 2)) as items:
            for _ in items:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        consume()
    assert not threads(), "also while somebody holds the error and its frames"
    assert caught.value.args == ("mine",)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_come_in_the_items_order_however_long_each_takes(count: int) -> None:
    released = threading.Event()

    def work(number: int) -> int:
        if number == 0 and count > 1:
            assert released.wait(10), "the others run meanwhile"
        if number == 1:
            released.set()
        return number * number

    assert list(map_ordered(work, range(50), count)) == [n * n for n in range(50)]
    assert not threads()


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_under_way_is_bounded(count: int) -> None:
    source = Source(60)
    lock, running, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return number

    for number in map_ordered(work, source.items(), count):
        assert source.given <= number + 2 * count
    assert most <= count


def test_an_error_of_the_work_comes_in_its_item_s_place() -> None:
    def work(number: int) -> int:
        if number == 5:
            raise ArithmeticError("item 5")
        return number

    source = Source(1000)
    got: list[int] = []
    with pytest.raises(ArithmeticError, match="item 5"):
        got.extend(map_ordered(work, source.items(), 2))
    assert got == [0, 1, 2, 3, 4]
    assert source.given <= 10
    assert not threads()


def test_leaving_the_results_waits_for_what_is_under_way() -> None:
    done = []
    with closing(map_ordered(done.append, iter(range(1000)), 2)) as results:
        next(results)
    assert not threads()
    assert len(done) <= 4

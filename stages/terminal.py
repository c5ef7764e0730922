"""Keeps programs that libraries start away from the user's terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_input() -> Iterator[None]:
    """While the block runs, standard input is empty, for this process and for what it starts.

    A program that sets up the terminal as ffmpeg does stops its whole process group, if that is not in the foreground:
    Ray's workers, and a command behind which a shell has been given `&`.
    """
    try:
        kept = os.dup(0)
    except OSError:  # it is closed
        yield
        return
    try:
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)

"""Encoders at the priority of everything else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def kept_priority() -> Iterator[None]:
    """No thread of the process is real-time after the block because of what was done in it; Linux alone knows such.

    Where it may, as root in a container does, SVT-AV1 makes itself and the thread that opens it real-time (SCHED_FIFO
    99), and has no option against it: nothing else of the machine runs then, a Ray node's raylet included, and threads
    that wait for each other in a spin, such as OpenMP's, wait for ever.
    """
    if sys.platform != "linux":
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in (int(task.name) for task in Path("/proc/self/task").iterdir()):
            with suppress(ProcessLookupError):  # ended meanwhile
                if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                    os.sched_setscheduler(thread, policy, priority)

"""How a stack goes through a network: in steps of one shape, on a CPU or one GPU, smaller where memory runs out.

Every step has the same shape, the last one filled up: so an item's result does not depend on what it came along with.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stages.errors import DubError
from stages.networks import Device

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_log = logging.getLogger(__name__)


class Batches:
    """The steps of one network.

    `name`: who it is, in notes and errors. `device`: `cpu` or `cuda`. `size`: items per step, as wanted.
    """

    size: int
    """Items per step, as of now."""

    def __init__(self, name: str, device: str, size: int) -> None:
        self.size = self._wanted = size
        self._name = name
        self._device = device

    def each(self, n: int, step: Callable[[int, int], None]) -> None:
        """Call `step(start, end)` along `n` items, at most `size` at a time.

        Where memory runs out, the same items come once more in steps half as long. Raises DubError `oom` where not
        even one fits; every other error is what it says, and surfaces (wav2lip.md 10.3 no 22).
        """
        done = 0
        while done < n:
            end = min(done + self.size, n)
            if self._fits(step, done, end):
                done = end

    def all_finite(self, n: int, step: Callable[[int, int], Tensor]) -> bool:
        """As `each`, and whether every number that the steps returned was finite.

        Asked once a stack: each question makes the host wait for the GPU.
        """
        finite = torch.ones((), dtype=torch.bool, device=self._device)

        def looked_at(start: int, end: int) -> None:
            finite.logical_and_(step(start, end).isfinite().all())

        self.each(n, looked_at)
        return bool(finite)

    def notes(self) -> list[str]:
        """What is different from what was wanted; empty as a rule."""
        if self.size == self._wanted:
            return []
        return [f"{self._name} batch {self.size} instead of {self._wanted}: out of memory"]

    @contextlib.contextmanager
    def fitting(self, what: str) -> Iterator[None]:
        """Names `what` where it does not fit into memory. Raises DubError `oom`."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise self._oom(what) from error

    def _fits(self, step: Callable[[int, int], None], start: int, end: int) -> bool:
        try:
            step(start, end)
            return True
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if self.size == 1:
                raise self._oom("a single frame") from error
        # After the handler, so that the failed step's tensors are no longer held by the traceback.
        if self._device == "cuda":
            torch.cuda.empty_cache()
        _log.warning("%s: out of memory at batch %d, going on with half of it", self._name, self.size)
        self.size //= 2
        return False

    def _oom(self, what: str) -> DubError:
        where = "the GPU's memory" if self._device == "cuda" else "memory"
        return DubError(
            "oom", f"{self._name} cannot fit {what} into {where}: give the worker more, or run fewer beside it"
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("DefaultCPUAllocator", "not enough memory"))


def filled(items: Tensor, length: int) -> Tensor:
    """`items` [b, ...] followed by zeros up to `length`."""
    missing = length - len(items)
    return functional.pad(items, [0, 0] * (items.dim() - 1) + [0, missing]) if missing else items


def upload(array: NDArray[np.generic], device: str) -> Tensor:
    """A whole stack, once and without waiting, so that a GPU never waits for the host."""
    host = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return host if device == "cpu" else host.pin_memory().to(device, non_blocking=True)


def download(tensor: Tensor) -> NDArray[Any]:
    """A whole stack, once; from a GPU into pinned memory, which is several times as fast."""
    if not tensor.is_cuda:
        return tensor.numpy()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor).numpy()


def device_of(part: str, wanted: Device, dtype: str) -> str:
    """`cpu` or `cuda`; a GPU that was asked for and is not there is an error, never a silent CPU run.

    `part`: whose setting it is, as errors name it. Raises DubError `unsupported`, also for float16 on a CPU.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"{part} device must be auto, cpu or cuda, not {wanted!r}")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise DubError(
            "unsupported",
            f"{part} device 'cuda' was asked for, but torch sees no GPU here: give the worker one, "
            "or set the device to auto or cpu",
        )
    device = "cuda" if there and wanted != "cpu" else "cpu"
    if dtype == "float16" and device == "cpu":
        raise DubError("unsupported", f"{part} dtype 'float16' needs a GPU: set it to float32 or bfloat16")
    return device


@contextlib.contextmanager
def running(device: str, threads: int) -> Iterator[None]:
    """What must hold while steps run: no gradients, the thread count of the settings, exact arithmetic."""
    # Set here, not when loading: the count may belong to the calling thread, and Ray sets OMP_NUM_THREADS=1
    # for small actors (media.md 7.9).
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if device != "cpu":
                # One algorithm per shape, the same in every run; and float32 that is float32, not TF32.
                stack.enter_context(
                    torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
                )
            yield
    finally:
        torch.set_num_threads(before)

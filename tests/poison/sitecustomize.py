"""Poison for the steps of processes that tests start: Python imports this by itself when its folder is on PYTHONPATH.

`$DUBLINE_TEST_POISON` is a folder. A file `<step>-<film>-<first frame>` in it says in one word what the step does when
it comes to that row; with `-after`, when it has done its work. Nothing in the product knows of it.
"""

import ctypes
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_STEPS = "pipeline.steps.base"


class AcceleratorError(RuntimeError):
    """As torch names it."""


def _act(word: str, file: Path) -> None:
    match word:
        case "raise":
            raise RuntimeError("poison")
        case "memory":
            raise MemoryError
        case "cuda":
            raise AcceleratorError("CUDA error: an illegal memory access was encountered")
        case "exit":
            os._exit(7)
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            time.sleep(3600)
        case "kill":  # once: as if somebody had killed this process
            file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill later":  # once, when what the process has counted so far is told
            file.unlink()
            time.sleep(2.5)
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":  # until somebody removes the file
            while file.exists():
                time.sleep(0.05)
        case "slow":
            time.sleep(0.5)
        case _:
            raise AssertionError(word)


def _poison(module: ModuleType) -> None:
    folder = Path(os.environ["DUBLINE_TEST_POISON"])
    real = module.Step.__call__

    def call(self: Any, row: Any) -> Iterator[Any]:
        file = folder / f"{self.name}-{row.film}-{row.start}"
        everywhere = folder / self.name
        after = file.with_name(f"{file.name}-after")
        for poison in (everywhere, file):
            if poison.exists():
                _act(poison.read_text(), poison)
        made = list(real(self, row))
        if after.exists():
            _act(after.read_text(), after)
        yield from made

    module.Step.__call__ = call


class _Finder:
    """Changes the steps' base class when it is imported, so that a process that has no steps imports nothing."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _STEPS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        real = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            real(module)
            _poison(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "DUBLINE_TEST_POISON" in os.environ:
    sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]

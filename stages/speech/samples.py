"""The dub on disk: 16 kHz mono float32 in a .npy, written piece by piece and read by range."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import numpy as np

from stages.arrays import F32
from stages.errors import DubError
from stages.media.storage import publishing

RATE: Final = 16_000
"""Samples a second of every dub, as all generators hear it (wav2lip.md 3.1)."""
LOUDEST: Final = 1e4
"""Samples at this distance from 0 and beyond are damage, like those that are no numbers: 80 dB over full scale.
FFmpeg's AAC encoder never comes back from a second of 1e6 (measured), and gives up at 1e16."""


class Samples:
    """Mono samples at 16 kHz, float32 in about [-1, 1], sample 0 at time 0 of the dub."""

    def __init__(self, values: F32) -> None:
        if values.ndim != 1 or values.dtype != np.float32:
            raise ValueError(f"samples are float32[n], not {values.dtype}{list(values.shape)}")
        self._values = values

    @classmethod
    def open(cls, path: Path | str) -> "Samples":
        """The samples in a .npy, mapped, not loaded. Raises DubError `not_found` or `decode_error`."""
        try:
            return cls(np.load(path, mmap_mode="r", allow_pickle=False))
        except FileNotFoundError as error:
            raise DubError("not_found", f"{path}: there is no such file") from error
        except (ValueError, EOFError) as error:
            raise DubError("decode_error", f"{path}: not a file of samples, delete it ({error})") from error

    def __len__(self) -> int:
        return int(self._values.shape[0])

    def read(self, start: int, end: int) -> F32:
        """float32[end - start]: a copy of the samples of a half-open range, zeros outside the dub."""
        out = np.zeros(max(0, end - start), np.float32)
        first, last = max(start, 0), min(end, len(self))
        if first < last:
            out[first - start : last - start] = self._values[first:last]
        return out


class SampleWriter:
    """Appends samples to an open .npy whose length is known only at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.written = 0
        self._header()

    def append(self, values: F32) -> None:
        """Write float32[n] behind what is there."""
        self._file.write(np.ascontiguousarray(values, "<f4").data)
        self.written += values.size

    def finish(self) -> None:
        """State the true length in the header."""
        self._file.seek(0)
        self._header()

    def _header(self) -> None:
        # numpy pads the header so that the first dimension may grow to any int64 in place.
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": "<f4", "fortran_order": False, "shape": (self.written,)}
        )


@contextmanager
def writing_samples(url: str) -> Iterator[SampleWriter]:
    """A writer of the dub at `url`; the file appears, whole, when the block ends without an error."""
    with publishing(url, ".npy") as partial, partial.open("wb") as file:
        writer = SampleWriter(file)
        yield writer
        writer.finish()

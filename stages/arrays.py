"""Array types, named once, and their only form on disk and between stages: npz without pickle."""

import io
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


def pack(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Arrays as npz bytes (stored, not deflated: crops hardly shrink and the copy is the cost)."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The arrays of `pack`. Raises ValueError on anything else, also on what would need pickle."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, TypeError) as error:
        raise ValueError(f"not npz, or damaged: {error}") from error

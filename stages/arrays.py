"""Array types, named once, and their only form on disk and between stages: npz without pickle."""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
    """The arrays of `pack`. Raises ValueError on anything else, also on what would need pickle.

    Memory is bounded by `data`: members that are deflated, that overlap, or whose header states more than is there are
    refused before anything is made of them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > len(data):
                raise ValueError("members state more bytes than there are")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("a member is compressed")
            return {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, TypeError, RuntimeError) as error:
        raise ValueError(f"not npz, or damaged: {error}") from error


def _array(data: bytes) -> NDArray[np.generic]:
    """The array of a .npy file. Raises ValueError."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not an array as it is written here")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{dtype}{list(shape)} does not fit into {len(data)} bytes, or would need pickle")
    array = np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    return array.copy()  # writable, as everybody expects of an array


def check_shapes(arrays: Mapping[str, NDArray[np.generic]], wanted: Mapping[str, tuple[DTypeLike, str]]) -> None:
    """Hold arrays out of a cache to their names, types and shapes: {"boxes": (np.float32, "n 4")}.

    A letter is any length, the same wherever it stands. Raises ValueError naming the first that differs.
    """
    if arrays.keys() != wanted.keys():
        raise ValueError(f"holds {', '.join(sorted(arrays)) or 'nothing'} instead of {', '.join(sorted(wanted))}")
    lengths: dict[str, int] = {}
    for name, (dtype, form) in wanted.items():
        array, sides = arrays[name], form.split()
        if array.dtype != dtype or array.ndim != len(sides):
            raise ValueError(f"{name} is {array.dtype}{list(array.shape)} instead of {np.dtype(dtype)} [{form}]")
        for side, length in zip(sides, array.shape, strict=True):
            if length != (int(side) if side.isdigit() else lengths.setdefault(side, length)):
                raise ValueError(f"{name} is {list(array.shape)} instead of [{form}]")

"""H.264 as far as copying it needs: NAL units, parameter sets, the decoder configuration of MP4 (ITU-T H.264, 7.3)."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SLICE, IDR, SEI, SPS, PPS, DELIMITER = 1, 5, 6, 7, 8, 9
"""`nal_unit_type` (table 7-1)."""
FOREIGN = {2, 3, 4, 13, 14, 15, 19, 20, 21}
"""Types of data partitions, auxiliary pictures, scalable and multiview streams: not one plain picture after another."""

_START = b"\0\0\1"
# Profiles whose sets say the chroma format and the bit depth (7.3.2.1.1).
_FRACTIONAL = {100, 110, 122, 244, 44, 83, 86, 118, 128, 134, 135, 138, 139}
_PLAIN_PROFILES = {66, 77, 88}  # their MP4 configuration has no chroma format and bit depth (ISO 14496-15, 5.3.3.1.2)
_SAR = (
    *((0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11)),
    *((80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1)),
)
"""Sample aspect ratios by `aspect_ratio_idc` (table E-1)."""
_OWN_SAR = 255
_UNSPECIFIED = 2
_MAX_SETS = {SPS: 31, PPS: 255}  # what MP4's configuration can count
_HIGHEST_ID = {SPS: 31, PPS: 255}  # 7.4.2.1.1, 7.4.2.2
_LONGEST_SPS = 4096  # bytes; all its lists together are some 2 KB, and reading takes the square of its length
_LONGEST_ID = 16  # bytes


@dataclass(frozen=True)
class Sps:
    """What a sequence parameter set says, as far as anybody here asks."""

    id: int
    profile: int
    constraints: int
    """The byte of `constraint_set` flags."""
    level: int
    chroma: int
    """0 none, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
    bits: tuple[int, int]
    """Of luma and chroma."""
    frames_only: bool
    """No fields in it: progressive."""
    refs: int
    sar: tuple[int, int]
    """(0, 1) when it says none."""
    full_range: bool | None
    primaries: int
    transfer: int
    matrix: int
    """As in H.273; 2 when it says none."""
    reorder: int | None
    """Frames that may be decoded before an earlier shown one; None when it does not say."""
    buffered: int | None
    """Frames a decoder holds; None when it does not say."""


class _Bits:
    """The bits of a NAL unit's payload. Raises ValueError behind its end."""

    def __init__(self, unit: bytes) -> None:
        self._payload = unit[1:].replace(b"\0\0\3", b"\0\0")  # emulation prevention (7.4.1)
        self._value, self._length, self._at = int.from_bytes(self._payload), 8 * len(self._payload), 0

    def u(self, count: int) -> int:
        self._at += count
        if self._at > self._length:
            raise ValueError("a parameter set ends in the middle")
        return self._value >> (self._length - self._at) & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 * (1 if value % 2 else -1)


def unit_type(unit: bytes) -> int:
    """`nal_unit_type`."""
    return unit[0] & 31


def read_sps(unit: bytes) -> Sps:
    """Read a sequence parameter set. Raises ValueError when it is none."""
    if len(unit) > _LONGEST_SPS:
        raise ValueError(f"a parameter set of {len(unit)} bytes")
    bits = _Bits(unit)
    profile, constraints, level, number = bits.u(8), bits.u(8), bits.u(8), bits.ue()
    chroma, depths = 1, (8, 8)
    if profile in _FRACTIONAL:
        chroma = bits.ue()
        if chroma == 3:
            bits.u(1)
        depths = (8 + bits.ue(), 8 + bits.ue())
        bits.u(1)
        if bits.u(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se(), bits.se()
        for _ in range(bits.ue()):
            bits.se()
    refs = bits.ue()
    bits.u(1)
    bits.ue(), bits.ue()
    frames_only = bool(bits.u(1))
    if not frames_only:
        bits.u(1)
    bits.u(1)
    if bits.u(1):
        for _ in range(4):
            bits.ue()
    told = _read_vui(bits) if bits.u(1) else _Vui()
    return Sps(
        id=number,
        profile=profile,
        constraints=constraints,
        level=level,
        chroma=chroma,
        bits=depths,
        frames_only=frames_only,
        refs=refs,
        sar=told.sar,
        full_range=told.full_range,
        primaries=told.colours[0],
        transfer=told.colours[1],
        matrix=told.colours[2],
        reorder=told.reorder,
        buffered=told.buffered,
    )


def _skip_scaling(bits: _Bits, lists: int) -> None:
    for number in range(lists):
        if not bits.u(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last


@dataclass(frozen=True)
class _Vui:
    sar: tuple[int, int] = (0, 1)
    full_range: bool | None = None
    colours: tuple[int, int, int] = (_UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED)
    reorder: int | None = None
    buffered: int | None = None


def _read_vui(bits: _Bits) -> _Vui:
    sar, full_range, colours = (0, 1), None, (_UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED)
    if bits.u(1):
        shape = bits.u(8)
        sar = (bits.u(16), bits.u(16)) if shape == _OWN_SAR else _SAR[shape] if shape < len(_SAR) else sar
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(3)
        full_range = bool(bits.u(1))
        if bits.u(1):
            colours = (bits.u(8), bits.u(8), bits.u(8))
    if bits.u(1):
        bits.ue(), bits.ue()
    if bits.u(1):
        bits.u(32 + 32 + 1)
    if _skip_rates(bits) | _skip_rates(bits):
        bits.u(1)
    bits.u(1)
    if not bits.u(1):
        return _Vui(sar, full_range, colours)
    bits.u(1)
    for _ in range(4):
        bits.ue()
    return _Vui(sar, full_range, colours, reorder=bits.ue(), buffered=bits.ue())


def _skip_rates(bits: _Bits) -> bool:
    """Skip `hrd_parameters` where there are any; whether there were."""
    if not bits.u(1):
        return False
    buffers = bits.ue() + 1
    bits.u(8)
    for _ in range(buffers):
        bits.ue(), bits.ue(), bits.u(1)
    bits.u(20)
    return True


def set_id(unit: bytes) -> tuple[int, int]:
    """The type and the id of a parameter set: what a later one with the same pair replaces. Raises ValueError."""
    kind = unit_type(unit)
    number = read_sps(unit).id if kind == SPS else _Bits(unit[:_LONGEST_ID]).ue()
    if number > _HIGHEST_ID[kind]:
        raise ValueError(f"a parameter set of id {number}")
    return kind, number


def split_units(data: bytes, length_bytes: int) -> list[bytes]:
    """The NAL units of a packet: each behind its length, or, with `length_bytes` 0, behind start codes (Annex B).

    Raises ValueError when it is not made like that.
    """
    if length_bytes == 0:
        return _split_start_codes(data)
    units, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_bytes])
        at += length_bytes
        if size == 0 or at + size > len(data):
            raise ValueError("a NAL unit reaches past its packet")
        units.append(data[at : at + size])
        at += size
    return units


def _split_start_codes(data: bytes) -> list[bytes]:
    first = data.find(_START)
    if first < 0 or data[:first].strip(b"\0"):
        raise ValueError("no start code")
    # A NAL unit never ends in a zero byte: those belong to the start code behind it (B.1).
    return [unit for unit in (piece.rstrip(b"\0") for piece in data[first + 3 :].split(_START)) if unit]


def join_units(units: Iterable[bytes]) -> bytes:
    """A packet of MP4: each NAL unit behind its length in 4 bytes."""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


def read_header(extradata: bytes) -> tuple[int, list[bytes]]:
    """`length_bytes` as in `split_units`, and the parameter sets of a stream's header, in its order.

    Raises ValueError when the header is neither MP4's configuration nor Annex B.
    """
    if extradata[:1] != b"\1":
        sets = _split_start_codes(extradata) if extradata else []
        return 0, [unit for unit in sets if unit_type(unit) in (SPS, PPS)]
    sets, at = [], 5
    for mask in (31, 255):
        if at >= len(extradata):
            raise ValueError("its avcC is cut short")
        count = extradata[at] & mask
        at += 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2])
            unit = extradata[at + 2 : at + 2 + size]
            if not size or len(unit) != size:
                raise ValueError("its avcC is cut short")
            sets.append(unit)
            at += 2 + size
    return (extradata[4] & 3) + 1, sets


def write_header(sets: Sequence[bytes]) -> bytes:
    """MP4's configuration (avcC) of parameter sets, for packets of `join_units`.

    Profile and level are the highest of all sets, which every one of them conforms to. Raises ValueError for more
    sets than it can count, or none.
    """
    groups = [[unit for unit in sets if unit_type(unit) == kind] for kind in (SPS, PPS)]
    told = [read_sps(unit) for unit in groups[0]]
    if not told or any(len(group) > _MAX_SETS[kind] for group, kind in zip(groups, (SPS, PPS), strict=True)):
        raise ValueError(f"{len(groups[0])} and {len(groups[1])} parameter sets do not go into an avcC")
    constraints = told[0].constraints
    for sps in told[1:]:
        constraints &= sps.constraints
    profile = max(sps.profile for sps in told)
    header = bytes([1, profile, constraints, max(sps.level for sps in told), 0xFC | 3])
    for mark, group in zip((0xE0, 0), groups, strict=True):
        header += bytes([mark | len(group)]) + b"".join(struct.pack(">H", len(unit)) + unit for unit in group)
    if profile not in _PLAIN_PROFILES:
        header += bytes([0xFC | told[0].chroma, 0xF8 | told[0].bits[0] - 8, 0xF8 | told[0].bits[1] - 8, 0])
    return header

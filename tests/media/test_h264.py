"""What H.264 says of itself: NAL units, parameter sets, MP4's configuration."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.media.h264 import (
    DELIMITER,
    IDR,
    PPS,
    SPS,
    join_units,
    read_header,
    read_sps,
    set_id,
    split_units,
    unit_type,
    write_header,
)
from tests.clips import clip, steady

TAGS = {
    "color_range": 1,
    "colorspace": 1,
    "color_primaries": 1,
    "color_trc": 1,
    "sample_aspect_ratio": Fraction(4, 3),
}


def header_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return bytes(container.streams.video[0].codec_context.extradata or b"")


@pytest.mark.parametrize(
    ("params", "pix_fmt", "wanted"),
    [
        ("preset=medium", "yuv420p", {"profile": 100, "id": 0, "frames_only": True, "reorder": 2, "buffered": 4}),
        ("bframes=0:ref=1", "yuv420p", {"reorder": 0, "buffered": 1}),
        ("bframes=3:b-pyramid=none:ref=1", "yuv420p", {"reorder": 1, "buffered": 2}),
        ("bframes=8:ref=16", "yuv420p", {"reorder": 2, "buffered": 16}),
        ("sps-id=7", "yuv420p", {"id": 7}),
        ("cqm=jvt", "yuv420p", {"profile": 100, "buffered": 4}),
        ("nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500", "yuv420p", {"reorder": 2, "buffered": 4}),
        ("interlaced=1", "yuv420p", {"frames_only": False}),
        ("keyint=1", "yuv420p", {"reorder": None, "buffered": None}),
        ("bframes=3", "yuv422p10le", {"profile": 122, "chroma": 2, "bits": (10, 10), "reorder": 2}),
        ("bframes=3:cqm=jvt", "yuv444p", {"profile": 244, "chroma": 3, "bits": (8, 8), "reorder": 2}),
    ],
)
def test_a_sequence_parameter_set_is_read_to_its_end(
    tmp_path: Path, params: str, pix_fmt: str, wanted: dict[str, object]
) -> None:
    options = {"preset": "fast", "x264-params": params.removeprefix("preset=medium")}
    film = clip(tmp_path / "a.mp4", steady(12), options=options, pix_fmt=pix_fmt, tags=TAGS)
    length_bytes, sets = read_header(header_of(film))
    assert length_bytes == 4
    assert [unit_type(unit) for unit in sets] == [SPS, PPS]
    sps = read_sps(sets[0])
    assert (sps.sar, sps.full_range, sps.primaries, sps.transfer, sps.matrix) == ((4, 3), False, 1, 1, 1)
    assert {name: getattr(sps, name) for name in wanted} == wanted
    assert [set_id(unit) for unit in sets] == [(SPS, sps.id), (PPS, sps.id)]
    assert write_header(sets) == header_of(film)


def test_pictures_without_tags_say_nothing(tmp_path: Path) -> None:
    sps = read_sps(read_header(header_of(clip(tmp_path / "a.mp4", steady(3))))[1][0])
    assert (sps.sar, sps.full_range, sps.primaries, sps.transfer, sps.matrix) == ((0, 1), None, 2, 2, 2)


def test_start_codes_and_lengths_hold_the_same_units(tmp_path: Path) -> None:
    options = {"x264-params": "slices=3:bframes=0"}
    clock = {"time_base": Fraction(1, 90000)}
    packets = []
    for name in ("a.mp4", "a.ts"):
        film = clip(tmp_path / name, steady(8, 90_000, 3600), options=options, size=(64, 96), **clock)
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            length_bytes, sets = read_header(bytes(stream.codec_context.extradata or b""))
            assert length_bytes == (4 if name == "a.mp4" else 0)
            assert len(sets) == 2
            packets.append([split_units(bytes(p), length_bytes) for p in container.demux(stream) if p.size])
    # A transport stream's muxer delimits pictures and repeats the sets.
    plain = [[unit for unit in units if unit_type(unit) not in (SPS, PPS, DELIMITER)] for units in packets[1]]
    assert packets[0] == plain
    assert [unit_type(unit) for unit in packets[0][0]][-3:] == [IDR] * 3
    assert split_units(join_units(packets[0][0]), 4) == packets[0][0]


def test_a_header_of_two_encoders_is_as_high_as_the_higher(tmp_path: Path) -> None:
    low = clip(tmp_path / "low.mp4", steady(3), options={"profile": "baseline", "level": "1.0"})
    high = clip(tmp_path / "high.mp4", steady(3), options={"x264-params": "sps-id=3:level=4.2"})
    sets = [unit for film in (low, high) for unit in read_header(header_of(film))[1]]
    header = write_header(sets)
    assert header[1] == 100
    assert header[3] == 42
    assert header[2] == 0  # what a set of the other says of itself does not hold for both
    assert sorted(read_header(header)[1]) == sorted(sets)


@given(data=st.binary(max_size=200), length_bytes=st.integers(0, 4))
def test_nonsense_is_a_value_error_or_no_more_than_was_there(data: bytes, length_bytes: int) -> None:
    for read in (
        lambda: split_units(data, length_bytes),
        lambda: read_header(data)[1],
        lambda: read_header(b"\1" + data)[1],
    ):
        with suppress(ValueError):
            assert sum(map(len, read())) <= len(data)
    with suppress(ValueError):
        assert read_sps(bytes([SPS]) + data).id < 32
    with suppress(ValueError):
        assert set_id(bytes([PPS]) + data)[0] == PPS


def test_parameter_sets_that_nobody_writes_are_refused(tmp_path: Path) -> None:
    """An id that no decoder has room for, and a set whose reading would take hours."""
    [sps, pps] = read_header(header_of(clip(tmp_path / "a.mp4", steady(3))))[1]
    assert set_id(pps) == (PPS, 0)
    with pytest.raises(ValueError, match="id 256"):
        set_id(bytes([PPS, 0b00000000, 0b10000000, 0b10000000]))
    with pytest.raises(ValueError, match="100000 bytes"):
        set_id(sps + bytes(100_000 - len(sps)))


def test_cut_short_is_told(tmp_path: Path) -> None:
    header = header_of(clip(tmp_path / "a.mp4", steady(3)))
    for length in range(1, len(header) - 4):  # the last four bytes are the chroma format and the depths
        with pytest.raises(ValueError, match="cut short"):
            read_header(header[:length])
    with pytest.raises(ValueError, match="do not go into an avcC"):
        write_header([])

"""Films of which parts are copied: the source's packets, bit for bit its pictures, in whatever container."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from av.video.frame import VideoFrame

from stages.errors import DubError
from stages.media.decode import read_frames
from stages.media.encode import EncodeSettings, SegmentWriter
from stages.media.gops import find_gops
from stages.media.h264 import read_header, split_units, write_header
from stages.media.index import index_video
from stages.media.planes import Plane, planes
from stages.media.seam import Seam, plan_seam
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline
from stages.mux import copied as copied_module
from stages.mux import join as join_module
from stages.mux.copied import Copied, Piece, Source
from stages.mux.smart import Smart, join_film
from tests.clips import clip, ffmpeg, same, shown, steady, times, uneven

SIZE = (128, 96)
LAYOUTS = {
    "middle": [(0, 12, "paint"), (12, 36, "copy"), (36, 48, "paint")],
    "ends": [(0, 12, "copy"), (12, 17, "paint"), (17, 36, "paint"), (36, 48, "copy")],
    "all": [(0, 48, "copy")],
}
SOURCES = {
    "plain": "",
    "no B-frames": "bframes=0:ref=1",
    "no pyramid": "b-pyramid=none:ref=1",
    "strict pyramid": "b-pyramid=strict",
    "many": "bframes=8:ref=16",
    "matrix": "cqm=jvt",
    "id 7": "sps-id=7",
    "slices": "slices=4",
    "limited": "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500",
    "intra only": "keyint=1",
}


def film(path: Path, params: str = "", **how: object) -> Path:
    """48 frames, an IDR picture every 12."""
    options = {"g": "12", "preset": "fast", "x264-params": f"scenecut=0:{params}".rstrip(":")}
    options |= how.pop("options", {})  # type: ignore[arg-type]
    ts: dict[str, object] = {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}}
    pts = how.pop("pts", steady(48, 90_000, 3600) if path.suffix == ".ts" else steady(48))
    more = ts if path.suffix == ".ts" else {}
    return clip(path, pts, options=options, size=SIZE, **more, **how)  # type: ignore[arg-type]


class Film:
    """A source, and how parts of it are copied and others encoded."""

    def __init__(self, path: Path, seam: Seam | None = None, preset: str = "medium") -> None:
        self.path, self.index = path, index_video(str(path))
        self.gops = find_gops(path, self.index)
        self.seam = seam or plan_seam(path, self.index, self.gops, "libx264", 18)
        self.encode = EncodeSettings(codec="libx264", preset=preset, threads=1)
        self.encoded: list[Copied] = []
        self.smart = Smart(Source(path, self.gops), self._fall_back, MediaSettings())

    def segment(self, start: int, end: int) -> Path:
        target = self.path.with_name(f"{start}.seg.mp4")
        with SegmentWriter(target, self.index.picture, self.index.time_base, self.encode, ".mp4", self.seam) as writer:
            for _, frame in read_frames(self.path, self.index, start, end):
                writer.write(painted(frame))
        return target

    def _fall_back(self, piece: Copied, target: Path) -> None:
        self.encoded.append(piece)
        with SegmentWriter(target, self.index.picture, self.index.time_base, self.encode, ".mp4", self.seam) as writer:
            for _, frame in read_frames(self.path, self.index, piece.start, piece.end):
                writer.write(frame)

    def pieces(self, layout: Sequence[tuple[int, int, str]]) -> list[Piece]:
        return [Copied(a, b) if kind == "copy" else self.segment(a, b) for a, b, kind in layout]

    def join(self, layout: Sequence[tuple[int, int, str]]) -> "Joined":
        pieces = self.pieces(layout)
        target = self.path.with_name("joined.mp4")
        count, notes = join_film(pieces, Timeline.of(self.index), target, self.smart)
        return Joined(target, pieces, count, notes)


class Joined:
    """What came out."""

    def __init__(self, path: Path, pieces: list[Piece], copied: int, notes: list[str]) -> None:
        self.path, self.pieces, self.copied, self.notes = path, pieces, copied, notes


def painted(frame: VideoFrame) -> VideoFrame:
    """A frame with something in it that the source has not."""
    frame.make_writable()
    planes(frame)[0][40:60, 40:80] = 200
    return frame


def expected(film: Film, pieces: Sequence[Piece]) -> list[list[Plane]]:
    """Copied frames as the source shows them, the others as their segments do."""
    source = [picture for _, picture in shown(film.path)]
    out = []
    for piece in pieces:
        own = source[piece.start : piece.end] if isinstance(piece, Copied) else [p for _, p in shown(piece)]
        out += own
    return out


def assert_shows(path: Path, wanted: list[list[Plane]]) -> None:
    got = [picture for _, picture in shown(path)]
    assert len(got) == len(wanted)
    assert [k for k, (a, b) in enumerate(zip(got, wanted, strict=True)) if not same(a, b)] == []


def hashes(path: Path) -> list[str]:
    """Every frame's hash, decoded by the ffmpeg binary; it may have nothing to say."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "warning", "-i", str(path), "-map", "0:v:0"]
    done = subprocess.run(
        [*command, "-fps_mode", "passthrough", "-f", "framemd5", "-"], capture_output=True, text=True, check=True
    )
    assert not done.stderr, done.stderr
    return [line.rsplit(",", 1)[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("params", SOURCES)
def test_copied_frames_are_the_source_s_bit_for_bit(tmp_path: Path, params: str, layout: str) -> None:
    made = Film(film(tmp_path / "a.mp4", SOURCES[params])).join(LAYOUTS[layout])
    source = Film(tmp_path / "a.mp4")
    assert made.notes == []
    assert made.copied == sum(b - a for a, b, kind in LAYOUTS[layout] if kind == "copy")
    assert times(made.path) == times(source.path)
    assert index_video(str(made.path)).end_pts == source.index.end_pts
    assert_shows(made.path, expected(source, made.pieces))


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
@pytest.mark.parametrize("preset", ["ultrafast", "veryslow"])
def test_whatever_the_profile_and_our_preset(tmp_path: Path, profile: str, preset: str) -> None:
    source = Film(film(tmp_path / "a.mp4", options={"profile": profile}), preset=preset)
    made = source.join(LAYOUTS["ends"])
    assert made.notes == []
    assert_shows(made.path, expected(source, made.pieces))
    with av.open(str(made.path)) as container:
        assert profile in container.streams.video[0].codec_context.profile.lower()


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuv420p10le", "yuv422p", "yuv444p"])
def test_whatever_the_pixels(tmp_path: Path, pix_fmt: str) -> None:
    tags = {"color_range": 2} if pix_fmt == "yuvj420p" else {}
    source = Film(film(tmp_path / "a.mp4", pix_fmt=pix_fmt, tags=tags))
    made = source.join(LAYOUTS["middle"])
    assert made.notes == []
    assert_shows(made.path, expected(source, made.pieces))


@pytest.mark.parametrize("name", ["a.mov", "a.mkv", "a.ts"])
@pytest.mark.parametrize("params", ["", "cqm=jvt:slices=3"])
def test_sources_of_other_containers(tmp_path: Path, name: str, params: str) -> None:
    """Matroska and transport streams, whose packets are made differently."""
    source = Film(film(tmp_path / name, params))
    for layout in LAYOUTS.values():
        made = source.join(layout)
        assert made.notes == []
        assert times(made.path) == times(source.path)
        assert_shows(made.path, expected(source, made.pieces))


def test_short_lengths_of_nal_units(tmp_path: Path) -> None:
    """An MP4 whose NAL units have lengths of two bytes, and two pairs of parameter sets in its header."""
    film(tmp_path / "long.mp4")
    second = header_sets(film(tmp_path / "other.mp4", "sps-id=5:cqm=jvt"))
    with av.open(str(tmp_path / "long.mp4")) as source, av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        sets = [*header_sets(tmp_path / "long.mp4"), *second]
        header = bytearray(write_header(sets))
        header[4] = header[4] & 0xFC | 1
        copy.codec_context.extradata = bytes(header)
        for packet in source.demux(stream):
            if packet.size:
                units = split_units(bytes(packet), 4)
                made = av.Packet(b"".join(len(unit).to_bytes(2, "big") + unit for unit in units))
                made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
                made.time_base, made.is_keyframe, made.stream = packet.time_base, packet.is_keyframe, copy
                out.mux(made)
    short = Film(tmp_path / "a.mp4")
    assert short.gops.length_bytes == 2
    assert len(short.gops.sets) == 4
    made = short.join(LAYOUTS["ends"])
    assert made.notes == []
    assert len(header_sets(made.path)) == 6
    assert_shows(made.path, expected(short, made.pieces))


def header_sets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return read_header(bytes(container.streams.video[0].codec_context.extradata or b""))[1]


@pytest.mark.parametrize(
    ("pts", "more"),
    [
        (steady(48, 1001 * 13, 1001), {"time_base": Fraction(1, 30000), "rate": Fraction(30000, 1001)}),
        (uneven(48, 6401), {}),
        ([*steady(20, 0, 200), *steady(28, 20 * 200, 2560)], {}),
        (steady(48), {"end": 48 * 512 + 64000}),
    ],
)
def test_frames_at_odd_times(tmp_path: Path, pts: list[int], more: dict[str, object]) -> None:
    source = Film(film(tmp_path / "a.mp4", pts=pts, **more))
    for layout in LAYOUTS.values():
        made = source.join(layout)
        index = index_video(str(made.path))
        assert made.notes == []
        assert times(made.path) == times(source.path)
        assert index.end_pts * index.time_base == source.index.end_pts * source.index.time_base
        assert_shows(made.path, expected(source, made.pieces))


def test_copied_packets_are_the_source_s_bytes(tmp_path: Path) -> None:
    source = Film(film(tmp_path / "a.mp4"))
    made = source.join(LAYOUTS["ends"])
    packets = []
    for path in (source.path, made.path):
        with av.open(str(path)) as container:
            packets.append([bytes(p) for p in container.demux(container.streams.video[0]) if p.size])
    before, after = packets
    assert after[:12] == before[:12]
    assert after[37:] == before[37:]
    # Behind a segment, the source's parameter sets stand in front of its first picture.
    assert split_units(after[36], 4) == [*source.gops.sets, *split_units(before[36], 4)]
    for first in (12, 17):
        assert split_units(after[first], 4)[:2] == header_sets(tmp_path / "12.seg.mp4")


def test_the_header_holds_both_sides_sets(tmp_path: Path) -> None:
    source = Film(film(tmp_path / "a.mp4"))
    made = source.join(LAYOUTS["middle"])
    own = header_sets(tmp_path / "0.seg.mp4")
    assert sorted(header_sets(made.path)) == sorted([*source.gops.sets, *own])
    assert not set(own) & set(source.gops.sets)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("params", ["", "cqm=jvt:bframes=0:ref=1"])
def test_the_delivered_copy_decodes_right_everywhere(tmp_path: Path, suffix: str, params: str) -> None:
    """After ffmpeg's own copy into each container, by PyAV's decoder, by the ffmpeg binary's, and after seeking."""
    source = Film(film(tmp_path / "a.mp4", params))
    made = source.join(LAYOUTS["middle"])
    wanted = expected(source, made.pieces)
    out = tmp_path / f"out{suffix}"
    ffmpeg("-copyts", "-i", made.path, "-c", "copy", out)
    assert_shows(out, wanted)
    original, joined = hashes(source.path), hashes(out)
    assert len(joined) == 48
    assert joined[12:36] == original[12:36]
    assert joined[:12] != original[:12]
    index = index_video(str(out))
    for start in (0, 12, 20, 30, 36, 40):
        [(number, frame)] = list(read_frames(out, index, start, start + 1))
        assert number == start
        assert same(planes(frame), wanted[start])


def without_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The joined header knows the first encoder's sets only, as a plain concatenation would have it."""
    monkeypatch.setattr(join_module, "write_header", lambda sets: write_header(sets[:2]))


def without_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    """No parameter sets in front of pictures."""
    monkeypatch.setattr(copied_module, "_announced", lambda packets, sets: packets)


def test_ids_of_their_own_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_announcement(monkeypatch)
    source = Film(film(tmp_path / "a.mp4", "cqm=jvt"))
    made = source.join(LAYOUTS["ends"])
    assert made.notes == []
    assert_shows(made.path, expected(source, made.pieces))


def one_id(path: Path) -> Film:
    """A film whose segments use the ids of the source, and its preset: one's pictures can be taken for the other's."""
    source = Film(path)
    return Film(path, source.seam.model_copy(update={"sps_id": 0}), preset="fast")


def test_sets_in_front_of_pictures_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_headers(monkeypatch)
    source = one_id(film(tmp_path / "a.mp4", "cqm=jvt"))
    made = source.join(LAYOUTS["ends"])
    assert made.notes == []
    assert_shows(made.path, expected(source, made.pieces))


def test_without_either_the_check_finds_the_wrong_pictures_and_they_are_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source's scaling matrices are taken for ours: copied frames decode wrong, and no decoder says a word."""
    without_headers(monkeypatch)
    monkeypatch.setattr(copied_module, "_announced", only_ours(copied_module._announced))
    source = one_id(film(tmp_path / "a.mp4", "cqm=jvt:stitchable=1"))
    made = source.join(LAYOUTS["ends"])
    assert source.encoded == [Copied(36, 48)], "what comes before our sets is right"
    assert made.copied == 12
    assert made.notes == ["copied frames did not decode as the source's do, and are encoded instead: 36 to 47"]
    wanted = expected(source, [*made.pieces[:-1], tmp_path / "joined-36.mp4"])
    assert_shows(made.path, wanted)


def only_ours(announced: object) -> object:
    """Parameter sets in front of segments only."""

    def announce(packets: object, sets: object) -> object:
        return announced(packets, sets if isinstance(sets, list) else ())  # type: ignore[operator]

    return announce


def test_when_a_second_film_is_not_right_either_all_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Film(film(tmp_path / "a.mp4"))
    answers = iter([[Copied(0, 12)], [Copied(36, 48)]])
    monkeypatch.setattr("stages.mux.smart.unlike", lambda *_: next(answers))
    made = source.join(LAYOUTS["ends"])
    assert made.copied == 0
    assert source.encoded == [Copied(0, 12), Copied(36, 48)]
    assert "0 to 11, 36 to 47" in made.notes[0]
    assert header_sets(made.path) == header_sets(tmp_path / "12.seg.mp4"), "nothing of the source is left"
    segments = [tmp_path / "joined-0.mp4", *made.pieces[1:3], tmp_path / "joined-36.mp4"]
    assert_shows(made.path, expected(source, segments))


@pytest.mark.parametrize("spoil", ["picture", "frame", "end"])
def test_the_check_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
    """One sample of one frame, a frame that does not come out, a film that ends early."""
    from stages.mux import verify

    source = Film(film(tmp_path / "a.mp4"))
    played = verify._played

    def spoilt(joined: Path, timeline: Timeline, media: MediaSettings):  # type: ignore[no-untyped-def]
        for number, frame in played(joined, timeline, media):
            if spoil == "picture" and number == 20:
                planes(frame)[2][3, 3] ^= 1
            if (spoil == "frame" and number == 40) or (spoil == "end" and number == 47):
                continue
            yield number, frame

    target = tmp_path / "joined.mp4"
    pieces = source.pieces(LAYOUTS["middle"])
    join_module.join_segments(pieces, Timeline.of(source.index), target, source.smart.source)
    copied = [Copied(12, 36)]
    assert verify.unlike(target, source.path, Timeline.of(source.index), copied, MediaSettings()) == []
    monkeypatch.setattr(verify, "_played", spoilt)
    assert verify.unlike(target, source.path, Timeline.of(source.index), copied, MediaSettings()) == copied


def test_a_joined_film_that_does_not_decode_is_encoded(tmp_path: Path) -> None:
    from stages.mux.verify import unlike

    source = Film(film(tmp_path / "a.mp4"))
    made = source.join(LAYOUTS["middle"])
    with av.open(str(made.path)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    data = bytearray(made.path.read_bytes())
    first, size = places[20]
    data[first + 8 : first + size] = np.random.default_rng(0).bytes(size - 8)
    made.path.write_bytes(data)
    assert unlike(made.path, source.path, Timeline.of(source.index), [Copied(12, 36)], MediaSettings()) == [
        Copied(12, 36)
    ]


def test_a_source_that_changed_meanwhile_is_no_film(tmp_path: Path) -> None:
    source = Film(film(tmp_path / "a.mp4"))
    pieces = source.pieces(LAYOUTS["middle"])
    timeline, target = Timeline.of(source.index), tmp_path / "joined.mp4"
    with pytest.raises(DubError, match="36 frames, the film 48"):
        join_film([pieces[0], Copied(12, 24), pieces[2]], timeline, target, source.smart)

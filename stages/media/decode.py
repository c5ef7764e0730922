"""Exactly the frames of a range, in order, wherever the keyframes are."""

from collections import deque
from collections.abc import Iterator
from itertools import chain

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

from stages.errors import DubError
from stages.media.index import VideoIndex
from stages.media.open import open_media, video_stream
from stages.media.planes import FORMATS
from stages.media.ranges import MediaSource
from stages.media.settings import MediaSettings
from stages.media.upright import rotation_of

_REORDERED = 16  # H.264 and HEVC move no picture further; a file that claims more must not fill the memory
_ENTRIES = 4  # keyframes tried before the film's beginning; one step back is enough for all we know (media.md 7.4)


def read_frames(
    source: MediaSource, index: VideoIndex, start: int, end: int, settings: MediaSettings | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """The decoded frames [start, end) of the film's grid, each with its number; every one exactly once.

    A keyframe flag does not promise that decoding may begin there (x264's intra refresh sets it on recovery
    points), so the first frame that comes out is checked against the one wanted, and decoding begins one
    keyframe earlier until they agree (reference media.md 7.4). Raises DubError: `decode_error` for a frame that is
    missing or that the decoder calls damaged, or that is predicted from one; `unsupported` where the size or the
    pixel format changes. Damage that a decoder does not notice (HEVC's, most of the time) cannot be seen here.
    """
    settings = settings or MediaSettings()
    if not 0 <= start < end <= len(index):
        raise ValueError(f"range [{start}, {end}) of {len(index)} frames")
    entries = index.keyframes[index.keyframes <= start][::-1][:_ENTRIES].tolist()
    with open_media(source, settings.limits) as container:
        stream = video_stream(container, source)
        stream.codec_context.thread_type = "AUTO"  # SLICE, the default, is 1.5 times slower (media.md 7.4)
        stream.codec_context.thread_count = settings.decode_threads
        for entry in [*entries, None]:
            frames = _sound(_frames_from(container, stream, index, entry, start), index)
            first = next(frames, None)
            if first is not None and first[0] == start:
                break
        else:
            raise DubError("decode_error", f"{source}: frame {start} cannot be decoded; the file is damaged there")
        wanted = start
        for number, frame in chain([first], frames):
            if number != wanted:
                break
            _check_alike(source, index, number, frame)
            _check_frame(source, number, frame)
            yield number, frame
            wanted += 1
            if wanted == end:
                return
        raise DubError("decode_error", f"{source}: frame {wanted} is missing or damaged; copy the file again")


def _frames_from(
    container: InputContainer, stream: VideoStream, index: VideoIndex, entry: int | None, start: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames from number `start` on, decoded from keyframe `entry`, or from the beginning for None.

    Ends at the first one that is damaged or missing, also before `start`: those after it are predicted from it.
    """
    if entry is None:
        container.seek(int(index.dts.min()), stream=stream)
    elif not _land_on(container, stream, index, entry):
        return
    begins, expected = index.pts[entry or 0], None
    for frame in container.decode(stream):
        if frame.pts is None or frame.pts < begins:
            continue  # before the entry: open GOPs have pictures that need what was not decoded, and nobody needs them
        number = int(np.searchsorted(index.pts, frame.pts))
        if number >= len(index) or index.pts[number] != frame.pts:
            continue  # hidden by the edit list
        if frame.is_corrupt or number != (expected or number):
            return
        expected = number + 1
        if number >= start:
            yield number, frame


def _sound(frames: Iterator[tuple[int, VideoFrame]], index: VideoIndex) -> Iterator[tuple[int, VideoFrame]]:
    """The frames once all they may be predicted from have come out undamaged: B-frames come before their references."""
    held: deque[tuple[int, VideoFrame]] = deque()
    for number, frame in frames:
        held.append((number, frame))
        while held and (index.needs[held[0][0]] <= number or len(held) > _REORDERED):
            yield held.popleft()


def _check_alike(source: MediaSource, index: VideoIndex, number: int, frame: VideoFrame) -> None:
    """A stream may change its pictures midway; the encoder and the boxes cannot."""
    picture = index.picture
    now = (frame.width, frame.height, frame.format.name, rotation_of(frame))
    before = (picture.width, picture.height, picture.pix_fmt, picture.rotation)
    if now != before:
        change = " to ".join(
            f"{width}x{height} {pix_fmt}" + (f" turned by {turn} degrees" if turn else "")
            for width, height, pix_fmt, turn in (before, now)
        )
        raise DubError("unsupported", f"{source}: the picture changes from {change} at frame {number}; split it there")


def _land_on(container: InputContainer, stream: VideoStream, index: VideoIndex, entry: int) -> bool:
    """Seek to keyframe `entry`; whether the demuxer landed on it or before it.

    By dts: by pts MPEG-TS lands behind the keyframe (media.md 7.4).
    """
    container.seek(int(index.dts[entry]), stream=stream)
    for packet in container.demux(stream):
        if packet.pts is not None:
            landed = packet.is_keyframe and packet.pts <= index.pts[entry]
            break
    else:
        landed = False
    container.seek(int(index.dts[entry]), stream=stream)
    return landed


def first_frame(source: MediaSource, index: VideoIndex, settings: MediaSettings | None = None) -> VideoFrame:
    """The film's first frame: its side data tells what the container's header does not."""
    return next(iter(read_frames(source, index, 0, 1, settings)))[1]


def check_supported(source: MediaSource, index: VideoIndex, frame: VideoFrame) -> None:
    """Refuse what would come out wrong instead of delivering it: DubError `unsupported` says what, and what to do.

    `frame` is the film's first frame. What single frames say of themselves, `read_frames` tells in the same words.
    """
    picture = index.picture
    if picture.pix_fmt not in FORMATS:
        raise DubError(
            "unsupported",
            f"{source}: pictures in {picture.pix_fmt} are not painted; encode it in one of {', '.join(FORMATS)} first",
        )
    # Dolby Vision may be tagged as SDR, and its colours mean something else.
    if any(frame.side_data.get(name) is not None for name in ("DOVI_RPU_BUFFER", "DOVI_METADATA")):
        raise DubError("unsupported", f"{source}: Dolby Vision; {_TO_SDR}")
    if picture.transfer in _HDR:
        raise DubError("unsupported", f"{source}: HDR ({_HDR[picture.transfer]}); {_TO_SDR}")
    if picture.matrix in _STRANGE_MATRICES:
        raise DubError(
            "unsupported",
            f"{source}: colours in {_STRANGE_MATRICES[picture.matrix]}; convert it to BT.709 first "
            "(ffmpeg -i IN -vf scale=out_color_matrix=bt709 -colorspace bt709 -c:a copy OUT.mp4)",
        )
    if picture.interlaced:
        raise DubError("unsupported", f"{source}: interlaced, by its header; {_TO_PROGRESSIVE}")


def _check_frame(source: MediaSource, number: int, frame: VideoFrame) -> None:
    """What one frame says of itself, whatever the header says."""
    if frame.interlaced_frame:
        raise DubError("unsupported", f"{source}: frame {number} is interlaced; {_TO_PROGRESSIVE}")
    if frame.color_trc in _HDR:
        raise DubError("unsupported", f"{source}: frame {number} is HDR ({_HDR[frame.color_trc]}); {_TO_SDR}")


_HDR = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
_STRANGE_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "YDzDx",
    12: "derived",
    13: "derived",
    14: "ICtCp",
}
"""Matrices of H.273 that no conversion here knows: a patch would come back in other colours."""
_TO_PROGRESSIVE = "deinterlace it first (ffmpeg -i IN -vf bwdif -c:a copy OUT.mp4)"
_TO_SDR = (
    "dub the SDR version, or make one first (ffmpeg -i IN -vf zscale=t=linear:npl=100,format=gbrpf32le,"
    "zscale=p=bt709,tonemap=hable,zscale=t=bt709:m=bt709:r=tv,format=yuv420p -c:a copy OUT.mp4)"
)

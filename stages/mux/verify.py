"""Whether copied frames come out of the joined film as they come out of the source."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from stages.errors import DubError
from stages.media.decode import read_frames
from stages.media.open import open_media, video_stream
from stages.media.parallel import ahead
from stages.media.planes import planes
from stages.media.settings import TRUSTED, MediaSettings
from stages.media.timeline import Timeline
from stages.mux.copied import Copied

_DECODED_AHEAD = 4


def unlike(
    joined: Path, video: Path, timeline: Timeline, copied: Sequence[Copied], media: MediaSettings
) -> list[Copied]:
    """The copied pieces whose frames are not, sample for sample, the source's.

    The joined film is decoded from its beginning, as a player does: what an encoded piece leaves in the decoder must
    not reach a copied one. A frame of it that is missing, out of its place, damaged or an error anywhere speaks
    against all pieces. The source is decoded beside it, a few frames of each are held. Raises DubError
    `decode_error` when it is the source that cannot be decoded.
    """
    wrong: list[Copied] = []
    wanted = iter(copied)
    piece = next(wanted, None)
    ranges = (read_frames(video, timeline.index, own.start, own.end, media) for own in copied)
    shown = 0
    with (
        closing(ahead(chain.from_iterable(ranges), _DECODED_AHEAD)) as originals,
        closing(ahead(_played(joined, timeline, media), _DECODED_AHEAD)) as played,
    ):
        for number, frame in played:
            if number != shown or frame is None:
                return list(copied)
            shown += 1
            if piece is None or number < piece.start:
                continue
            _, original = next(originals)
            if piece not in wrong and not _same(frame, original):
                wrong.append(piece)
            if number == piece.end - 1:
                piece = next(wanted, None)
    return wrong if shown == len(timeline) else list(copied)


def _played(joined: Path, timeline: Timeline, media: MediaSettings) -> Iterator[tuple[int, VideoFrame | None]]:
    """The joined film's frames with their numbers; -1 for one at no frame's time, None for one that is damaged."""
    shown_pts = timeline.pts * timeline.time_base.numerator
    try:
        with open_media(joined, TRUSTED) as container:
            stream = video_stream(container, joined)
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = media.decode_threads
            for frame in container.decode(stream):
                place = -1 if frame.pts is None else int(np.searchsorted(shown_pts, frame.pts))
                known = 0 <= place < len(shown_pts) and shown_pts[place] == frame.pts
                yield place if known else -1, None if frame.is_corrupt else frame
    except DubError:  # a film that does not decode is an answer, not a failure
        yield -1, None


def _same(one: VideoFrame, other: VideoFrame) -> bool:
    alike = (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name)
    return alike and all(np.array_equal(a, b) for a, b in zip(planes(one), planes(other), strict=True))

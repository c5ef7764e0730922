"""What of a film is copied instead of encoded (`encode.render`), and why not where nothing is."""

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.job import Job
from stages.arrays import Bool
from stages.cast.plan import Range, copied_ranges
from stages.media.encode import encoder_for
from stages.media.gops import Gops
from stages.media.ranges import MediaSource
from stages.media.seam import Seam, copy_problem, plan_seam
from stages.media.timeline import Timeline

_WORTH = 0.1
"""Share of the frames from which `auto` copies: the check decodes the film once more, and a frame is decoded in about
a tenth of the time in which it is encoded."""


@dataclass(frozen=True)
class Copies:
    """What is copied of a film."""

    ranges: tuple[Range, ...] = ()
    """Frames [start, end), ascending."""
    seam: Seam | None = None
    """How the rest is encoded to stand beside; None where nothing is copied."""
    note: str = ""
    """Why nothing is copied, for the report."""


def choose_copies(
    video: MediaSource, job: Job, timeline: Timeline, gops: Gops, painted: Bool, config: Config
) -> Copies:
    """Decide for a film with this cast. `painted` [m] on the output's grid.

    Raises DubError `unsupported` when the config asks for smart rendering and the film does not allow it.
    """
    encoder = encoder_for(timeline.picture.codec, config.encode, job.film.suffix)
    problem = copy_problem(timeline.picture, gops, encoder, config.encode.crf)
    if problem and config.encode.render == "auto":
        return Copies(note=f"encoded in full: {problem}")
    seam = plan_seam(video, timeline.index, gops, encoder, config.encode.crf)
    kept = [timeline.unchanged(start, end) for start, end in gops.ranges.tolist()]
    end_s = timeline.times[0] + timeline.duration_s
    ranges = copied_ranges(painted, gops.ranges[kept], timeline.times, end_s, config.encode.copy_min_s)
    share = sum(end - start for start, end in ranges) / len(timeline)
    if not ranges:
        return Copies(note="encoded in full: no stretch without paint is long enough to be copied")
    if config.encode.render == "auto" and share < _WORTH:
        return Copies(note=f"encoded in full: copying {share:.0%} of the frames is not worth the check")
    return Copies(tuple(ranges), seam)

"""How long a film becomes: its row's length policies, and a run's excerpt."""

from fractions import Fraction

from pipeline.film import Film
from stages.errors import DubError
from stages.media.index import VideoIndex
from stages.media.still import is_still
from stages.media.timeline import LENGTH_SLACK_S, Longer, Shorter, Timeline, fit, outlasts_s
from stages.speech.samples import RATE


def lay_timeline(
    film: Film, index: VideoIndex, dub_samples: int, max_frames: int, excerpt: tuple[float, float] | None = None
) -> Timeline:
    """The output's grid for a dub of `dub_samples` at 16 kHz, or the `excerpt` [start_s, end_s) of it.

    Raises DubError: `audio_longer` where the row's policy says so, `unsupported` beyond `max_frames`, `bad_row` for an
    excerpt in which there is no frame.
    """
    dub_s = Fraction(dub_samples, RATE)
    still = is_still(film.video)
    longer_s = outlasts_s(index, dub_s)
    if not still and longer_s > LENGTH_SLACK_S and film.audio_longer == "error":
        raise DubError(
            "audio_longer",
            f"{film.id}: the dub is {longer_s:.2f} s longer than the picture; shorten it or set audio_longer: trim, "
            "freeze or pingpong",
        )
    shorter: Shorter
    longer: Longer
    shorter, longer = ("trim", "freeze") if still else (film.audio_shorter, film.audio_longer)
    timeline = fit(index, dub_s, shorter, longer, max_frames)
    if excerpt is None:
        return timeline
    try:
        return timeline.cut(*excerpt)
    except ValueError as error:
        raise DubError(
            "bad_row", f"{film.id}: the range has {error}; the film ends at {_end_s(timeline):.2f} s"
        ) from error


def _end_s(timeline: Timeline) -> float:
    return float(timeline.end_pts * timeline.time_base) - timeline.zero_s

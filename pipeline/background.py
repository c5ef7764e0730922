"""A row's background is looked at before any work, by the driver's plan and by the first step alike."""

from pipeline.film import Film
from stages.media import storage
from stages.media.node_cache import localize
from stages.media.settings import MediaLimits
from stages.media.timeline import Timeline
from stages.mux.sound import check_background


def check_film_background(film: Film, timeline: Timeline, limits: MediaLimits) -> None:
    """Refuse a background that cannot be mixed, or that outlasts a picture whose row does not say what then.

    Raises DubError `not_found`, `no_audio`, `decode_error`, `unsupported`, `audio_longer`.
    """
    if film.background is None:
        return
    storage.identity(film.background)
    shortened = timeline.excerpt or timeline.end_pts < timeline.index.end_pts
    picture_s = float(timeline.end_pts * timeline.time_base) - timeline.zero_s
    longer = shortened or film.audio_longer != "error"
    check_background(localize(film.background), picture_s, limits, may_be_longer=longer)

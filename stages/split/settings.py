"""How a film is cut into pieces of work."""

from pydantic import Field

from stages.settings import Settings


class SplitSettings(Settings):
    """Lengths of pieces. No pixel of the result depends on them."""

    cell_s: float = Field(20.0, gt=0, le=600)
    """Seconds of film in one piece of face detection. Part of the face cache's file names: a change detects anew."""
    shard_s: float = Field(10.0, gt=0, le=600)
    """Seconds of film in one shard: what is lost when a worker dies, and what one row carries. Shortened by itself
    until the largest payload fits."""

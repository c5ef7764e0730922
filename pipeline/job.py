"""One film of one run: its manifest row and, once split has seen the files, the keys everything hangs on."""

from pydantic import BaseModel, ConfigDict

from pipeline.film import Film


class Job(BaseModel):
    """Travels as JSON in every row of a film."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    film: Film
    """The manifest row."""
    run: str
    """The run's id, and which pass of it."""
    generator: str
    """The film's own or the config's."""
    video_key: str = ""
    speech_key: str = ""
    film_key: str = ""
    dub: str = ""
    """URL of the dub's sound as it is muxed: the row's audio, or the spoken text."""
    dub_track: int = 0
    """Which audio track of it."""

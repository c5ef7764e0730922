"""One film of one run: its manifest row and, once split has seen the files, the keys everything hangs on."""

from pydantic import BaseModel, ConfigDict

from pipeline.film import Film
from stages.cast.spans import Span


class Job(BaseModel):
    """Travels as JSON in every row of a film."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    film: Film
    """The manifest row."""
    run: str
    """The run's id."""
    sweep: int = 0
    """Which pass of the run over its films: what one left unfinished the next one sweeps up."""
    pass_through: bool = False
    """Shards of the film that gave up in this run go on unpainted."""
    again: bool = False
    """A delivery with shards that were passed through is made anew."""
    generator: str
    """The film's own or the config's."""
    enhance: str = "none"
    """Likewise."""
    kept: bool = False
    """Other rows of the manifest dub the same video: what is made of its pictures alone is kept for them."""
    range: tuple[float, float] | None = None
    """Only this excerpt is dubbed: [start, end) in seconds since the dub began.

    The film is cut on its output's grid (`Timeline.cut`), so mouths say what they say in the whole film; only the cells
    it touches are detected, and it is delivered with its dub alone. The film key holds the range. To dub one, make the
    job with `range` and a `film` whose `output` is the excerpt's own."""
    spans: tuple[Span, ...] | None = None
    """When it is painted, ascending and apart: the row's, or out of the row's subtitle. None: all the time."""
    mkv_taken: bool = False
    """The .mkv that the film would be delivered as with `mux.container: auto` is another row's (`pipeline.placing`)."""
    notes: tuple[str, ...] = ()
    """What the report of the delivery must say of what was decided before."""
    video: str = ""
    """URL of the film as it is read: the row's video, or the film of one frame that was made of its picture."""
    video_key: str = ""
    speech_key: str = ""
    film_key: str = ""
    dub: str = ""
    """URL of the dub's sound as it is muxed: the row's audio, or the spoken text."""
    dub_samples: int = 0
    """Its length at 16 kHz: what the length policies go by."""
    dub_track: int = 0
    """Which audio track of it."""

    @property
    def turn(self) -> str:
        """This pass of this run: what one of them tries counts for no other."""
        return f"{self.run}-{self.sweep}"

    @property
    def own_turn(self) -> str:
        """This row's pass: rows with the same film and another output claim their own."""
        return f"{self.turn}/{self.film.id}"

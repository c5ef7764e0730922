"""A film of which parts are copied: joined, checked against the source, encoded after all where it is not the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline
from stages.mux.copied import Copied, Piece, Source
from stages.mux.join import join_segments
from stages.mux.verify import unlike


@dataclass(frozen=True)
class Smart:
    """What a film with copied pieces is made with."""

    source: Source
    encode: Callable[[Copied, Path], None]
    """Writes a piece as a segment like the film's others: what becomes of it when it cannot be copied."""
    media: MediaSettings


def join_film(pieces: Sequence[Piece], timeline: Timeline, target: Path, smart: Smart | None) -> tuple[int, list[str]]:
    """Join pieces to `target`; how many frames are copied in it, and notes for the report. `smart`: where any are.

    Copied frames are decoded out of the joined film and compared with the source's. Pieces that differ are encoded,
    beside `target`, and the film is joined and checked again; when it is still not right, all of them are.
    """
    pieces = list(pieces)
    given_up: list[Copied] = []
    while True:
        copied = [piece for piece in pieces if isinstance(piece, Copied)]
        if not copied or smart is None:
            join_segments(pieces, timeline, target)
            break
        join_segments(pieces, timeline, target, smart.source)
        wrong = unlike(target, smart.source.path, timeline, copied, smart.media)
        if not wrong:
            break
        wrong = copied if given_up else wrong
        given_up += wrong
        pieces = [_encoded(piece, target, smart) if piece in wrong else piece for piece in pieces]
    notes = []
    if given_up:
        ranges = ", ".join(f"{piece.start} to {piece.end - 1}" for piece in sorted(given_up, key=lambda p: p.start))
        notes.append(f"copied frames did not decode as the source's do, and are encoded instead: {ranges}")
    return sum(piece.end - piece.start for piece in copied), notes


def _encoded(piece: Piece, target: Path, smart: Smart) -> Path:
    assert isinstance(piece, Copied)
    segment = target.with_name(f"{target.stem}-{piece.start}{target.suffix}")
    smart.encode(piece, segment)
    return segment

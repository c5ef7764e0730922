"""A dub as the pieces of 30 s that Whisper hears, on the dub's own grid.

A token of the encoder knows only its piece. The official cutting puts piece beside piece, so that what tokens know
changes abruptly every 30 s (musetalk.md 9.1 no 14); here pieces overlap, and of each the middle is kept.
"""

import hashlib
from typing import Final

import numpy as np

from stages.arrays import F32, I64
from stages.speech.samples import RATE, Samples
from stages.speech.whisper.log_mel import (
    PIECE_S,
    PIECE_SAMPLES,
    Route,
    loudest_level,
    piece_mel,
    slice_mel,
    slice_reach,
)

TOKENS_PER_S: Final = 50  # musetalk.md 3.3
PIECE_TOKENS: Final = PIECE_S * TOKENS_PER_S
OVERLAP_S: Final = 10.0
"""Every token then has 5 s of the dub on both sides, those near its ends excepted."""
_TOKEN_SAMPLES: Final = RATE // TOKENS_PER_S


class Pieces:
    """Which piece and row each token of a dub is taken from, and what the encoder hears there.

    `overlap_s`: seconds that neighbouring pieces share, 0 (the official cutting) to 20. A dub of at most 30 s is one
    piece, whatever the overlap.
    """

    def __init__(self, samples: Samples, route: Route = "current", overlap_s: float = OVERLAP_S) -> None:
        if not 0 <= overlap_s <= 20:
            raise ValueError(f"pieces of {PIECE_S} s overlap by 0 to 20 s, not {overlap_s}")
        self.tokens: Final = len(samples) // _TOKEN_SAMPLES
        """Tokens of the dub: 50 a second, the last one whole, by both routes. (The official product of floats loses
        that one where the dub ends with it to the sample, for 6 % of such lengths.)"""
        self._samples = samples
        self._route = route
        self._overlap = round(overlap_s * TOKENS_PER_S)
        self._step = PIECE_TOKENS - self._overlap
        self.count: Final = 1 + max(0, -(-(self.tokens - PIECE_TOKENS) // self._step))
        self._loudest: float | None = None

    def places(self, tokens: I64) -> tuple[I64, I64]:
        """For tokens of any shape, in [0, `tokens`): the number of the piece each is taken from, and its row there."""
        pieces = np.clip((tokens - self._overlap // 2) // self._step, 0, self.count - 1)
        return pieces, tokens - pieces * self._step

    def mel(self, piece: int) -> F32:
        """float32[80, 3000]: what the encoder hears. Raises ValueError on samples that are not finite."""
        start = piece * self._step * _TOKEN_SAMPLES
        if self._route == "current":
            return piece_mel(self._samples, start)
        return slice_mel(self._samples, start, self._dubs_loudest())

    def mel_digest(self, piece: int) -> bytes:
        """32 bytes: pieces that share them sound the same to the encoder. Computes no spectrum by the current route."""
        start = piece * self._step * _TOKEN_SAMPLES
        hasher = hashlib.sha256(self._route.encode())
        low, high = start, start + PIECE_SAMPLES
        if self._route == "legacy":
            low, high = slice_reach(start)
            # Where the dub is mirrored and where its columns end, and its one floor.
            beyond = (max(0, -low), max(0, high - len(self._samples)))
            hasher.update(f" {beyond} {self._dubs_loudest().hex()}".encode())
        hasher.update(self._samples.read(low, high).astype("<f4").tobytes())
        return hasher.digest()

    def _dubs_loudest(self) -> float:
        if self._loudest is None:
            self._loudest = loudest_level(self._samples)
        return self._loudest

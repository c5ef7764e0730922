"""The ten tokens that belong to a frame's own presentation time.

A constant lead-in of 4 tokens at every frame rate: at 25 fps the official windows, at others what those are meant to
be (musetalk.md 4.4 lists what becomes of lips otherwise).
"""

import hashlib
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from stages.arrays import F32, F64, I64
from stages.speech.samples import Samples
from stages.speech.whisper.features import WhisperFeatures
from stages.speech.whisper.log_mel import Route
from stages.speech.whisper.pieces import OVERLAP_S, TOKENS_PER_S, Pieces

VERSION: Final = 1
"""Raised whenever the same samples and weights give other windows."""

WINDOW_TOKENS: Final = 10
"""Tokens one frame hears: 80 ms back, 120 ms ahead (musetalk.md 4.2)."""
TOKENS_BEFORE: Final = 4
_NOTHING: Final = -1
_PIECES_KEPT: Final = 3
"""11.5 MB each with the official weights; a shard of 10 s touches two at most."""
_TIME_SLACK: Final = 1e-6  # tokens; a frame exactly on a token must not fall before it (media.md 3.3)


def windows_at(features: F32, times: F64, route: Route = "current") -> F32:
    """What is heard at each time, without the positional encoding.

    `features`: float32[T, states, width] at 50 Hz, [T, 5, 384] with the official weights. `times`: float64[n] seconds
    of the dub, in any order and at any spacing. Returns float32[n, 10 * states, width], time-major: row
    states * t + l is state l of the window's token t (musetalk.md 11 no 6). Tokens floor(50 t) - 4 to + 5; outside the
    dub they are zeros by the current route, the nearest token by the legacy one.
    """
    if features.ndim != 3:
        raise ValueError(f"features are float32[T, states, width], not {list(features.shape)}")
    tokens = _heard(times, len(features), route)
    states, width = features.shape[1:]
    windows = np.zeros((*tokens.shape, states, width), np.float32)
    there = tokens != _NOTHING
    windows[there] = features[tokens[there]]
    return windows.reshape(len(tokens), WINDOW_TOKENS * states, width)


class WhisperWindows:
    """`windows_at` of a whole dub's features, with only the touched pieces computed and the last few kept.

    `features`: the model; without one, windows can only be told apart. Memory does not grow with the dub. By the
    legacy route the first call reads the whole dub once.
    """

    def __init__(
        self,
        samples: Samples,
        features: WhisperFeatures | None = None,
        route: Route = "current",
        overlap_s: float = OVERLAP_S,
    ) -> None:
        self._pieces = Pieces(samples, route, overlap_s)
        self._features = features
        self._route: Route = route
        self._kept: OrderedDict[int, F32] = OrderedDict()

    def at(self, times: F64) -> F32:
        """float32[n, 10 * states, width]: `windows_at(features.features(samples), times)`, bit for bit.

        Raises ValueError where there is no model, DubError `oom` where a piece does not fit into memory.
        """
        if self._features is None:
            raise ValueError("these windows have no model: they can only be told apart")
        tokens = _heard(times, self._pieces.tokens, self._route)
        states, width = self._features.states, self._features.width
        windows = np.zeros((*tokens.shape, states, width), np.float32)
        there = tokens != _NOTHING
        pieces, rows = self._pieces.places(tokens)
        for piece in np.unique(pieces[there]).tolist():
            here = there & (pieces == piece)
            windows[here] = self._kept_piece(self._features, piece)[rows[here]]
        return windows.reshape(len(tokens), WINDOW_TOKENS * states, width)

    def heard_digest(self, times: F64) -> str:
        """20 hex digits: two dubs that share them give these times the same windows, with the same weights.

        They cover what the encoder hears in the touched pieces, and where in them each token of a window lies; nothing
        else. A dub that goes on differently later keeps its early digests, by the legacy route as long as the same
        level is its loudest. Needs no model.
        """
        tokens = _heard(times, self._pieces.tokens, self._route)
        there = tokens != _NOTHING
        pieces, rows = self._pieces.places(tokens)
        touched, order = np.unique(pieces[there], return_inverse=True)
        places = np.full((*tokens.shape, 2), _NOTHING, np.int64)
        places[there] = np.stack((order, rows[there]), axis=-1)
        hasher = hashlib.sha256(f"whisper {VERSION} {len(tokens)}:".encode())
        hasher.update(places.astype("<i8").tobytes())
        for piece in touched.tolist():
            hasher.update(self._pieces.mel_digest(piece))
        return hasher.hexdigest()[:20]

    def _kept_piece(self, features: WhisperFeatures, piece: int) -> F32:
        if piece not in self._kept:
            self._kept[piece] = features.encode(self._pieces.mel(piece), self._route)
            if len(self._kept) > _PIECES_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(piece)
        return self._kept[piece]


def _heard(times: ArrayLike, tokens: int, route: Route) -> I64:
    """int64[n, 10]: the tokens of each time's window, -1 where there is none."""
    seconds = np.asarray(times, np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all():
        raise ValueError("times are float64[n] seconds, all finite")
    starts = np.floor(seconds * TOKENS_PER_S + _TIME_SLACK) - TOKENS_BEFORE
    # Windows wholly outside the dub are all alike, and int64 has an end.
    first = np.clip(starts, -WINDOW_TOKENS, tokens).astype(np.int64)
    wanted: I64 = first[:, None] + np.arange(WINDOW_TOKENS)
    if route == "legacy" and tokens:
        return wanted.clip(0, tokens - 1)
    wanted[(wanted < 0) | (wanted >= tokens)] = _NOTHING
    return wanted

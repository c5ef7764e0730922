"""`mouthwarp`, the preview generator without weights: it opens, closes and rounds the mouth that is there.

The lips part as far as the speech is loud, and turn round or wide with its formants. It is a preview: it forms no
sounds, and a mouth that talks in the source goes on talking under the dub.
"""

import cv2
import numpy as np
from pydantic import Field

from stages.arrays import F32, U8
from stages.crops.landmarks.template import place
from stages.crops.types import CropWish
from stages.lips.lipline import find_lips
from stages.lips.mouthdrive import drive
from stages.lips.mouthfield import redraw
from stages.lips.spec import GeneratorSpec
from stages.settings import Settings, digest
from stages.weights import Weights

VERSION = 1
"""Raised whenever the same settings give other pixels."""


class MouthWarpSettings(Settings):
    """The preview generator `mouthwarp`."""

    opening: float = Field(0.36, ge=0, le=0.8)
    """How far the lips part at full voice, as a share of the way from mouth to chin. Lower it for faces that speak
    calmly."""
    quiet_db: float = Field(-42.0, ge=-90, le=-25)
    """Level in dBFS up to which the mouth rests. Raise it when a noisy dub keeps the lips moving in its pauses."""
    full_db: float = Field(-12.0, ge=-24, le=0)
    """Level in dBFS of full voice. Lower it for a dub that was recorded quietly."""


class MouthWarp:
    """`Generator` that warps the lower face; each crop is worked on alone, so shards leave no trace."""

    crop_px = 256
    speech_shift_s = -0.1
    """A mel window is 200 ms long and begins at the time it is looked up by: so the frame is in its middle."""
    notes: list[str]

    def __init__(self, settings: MouthWarpSettings) -> None:
        self._settings = settings
        self.notes = []
        cv2.setNumThreads(1)  # else OpenCV takes every core of a worker's machine (media.md 7.9); crops are too small

    def generate(self, crops: U8, speech: F32, landmarks: F32 | None = None) -> U8:
        """New pixels for each crop, see `Generator.generate`.

        `crops`: uint8 [n, 256, 256, 3] BGR. `speech`: float32 [n, 80, 16] mel windows in [-4, 4] (wav2lip.md 3.1).
        `landmarks`: float32 [n, 68, 2] px of the crop; where they are not finite, or none are given, a mean face that
        fills the crop is where the mouth is looked for. At rest, and outside the lower face, pixels stay as they are.
        Returns uint8 [n, 256, 256, 3] BGR.
        """
        asked = drive(speech, self._settings.quiet_db, self._settings.full_db)
        result = crops.copy()
        for item, crop in enumerate(crops):
            opening = float(asked.opening[item]) * self._settings.opening
            if opening <= 0:
                continue
            points = None if landmarks is None else landmarks[item]
            if points is None or not np.isfinite(points).all():
                points = place(np.array([[0, 0, crop.shape[1], crop.shape[0]]], np.float32))[0]
            lips = find_lips(crop, points)
            if lips is not None:
                redraw(result[item], lips, points, opening, float(asked.rounding[item]))
        return result


class MouthWarpSpec(GeneratorSpec):
    """`mouthwarp`, the preview generator: no weights, no GPU."""

    speech_shift_s = MouthWarp.speech_shift_s
    networks = False
    crop = CropWish(px=MouthWarp.crop_px)

    def __init__(self, settings: MouthWarpSettings) -> None:
        self._settings = settings

    def key(self, weights: Weights) -> str:  # noqa: D102
        return digest(VERSION, "mouthwarp", self._settings)

    def load(self, weights: Weights) -> MouthWarp:  # noqa: D102
        return MouthWarp(self._settings)

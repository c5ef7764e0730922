"""S3FD as face_alignment ships it, fed as the official Wav2Lip script feeds it (wav2lip.md 4.1)."""

import pickle
from pathlib import Path

import numpy as np
import torch
from face_alignment.detection.sfd.sfd_detector import SFDDetector

from stages.arrays import U8
from stages.errors import DubError
from stages.faces.types import Detections

_KEEP_SCORE = 0.5  # wav2lip.md 4.1, step 7


class Sfd:
    """Finds faces with the detector that Wav2Lip's training crops were made with; gives no points.

    `official`: the network sees red and blue swapped, and only the best face comes back, cut to whole pixels
    and to the picture's left and top edge. Else: right colours, every face as it was found.
    Raises DubError `weights_missing` when the file does not hold the network's 65 tensors.
    """

    def __init__(self, weights: Path, width_px: int | None, min_score: float, official: bool, threads: int) -> None:
        self.width_px = width_px
        self._official = official
        self._threads = threads
        try:
            self._detector = SFDDetector(
                "cpu", path_to_detector=str(weights), filter_threshold=max(min_score, _KEEP_SCORE)
            )
        except (
            pickle.UnpicklingError,
            RuntimeError,
            KeyError,
            TypeError,
            AttributeError,
            EOFError,
            ValueError,
        ) as error:
            raise DubError(
                "weights_missing",
                f"{weights} does not hold S3FD's weights ({type(error).__name__}): run `dubline weights fetch s3fd`",
            ) from error

    def detect(self, picture: U8) -> Detections:
        """Find every face (`official`: the best) of a picture, uint8 [h, w, 3] BGR."""
        torch.set_num_threads(self._threads)
        # face_alignment takes its input for RGB and flips it. A BGR picture therefore reaches the network as
        # RGB: the very swap of the original, whose crops Wav2Lip learned from.
        image = picture if self._official else np.ascontiguousarray(picture[:, :, ::-1])
        found = self._detector.detect_from_image(image)
        rows = np.asarray(found, np.float64).reshape(-1, 5)
        if self._official:
            rows = rows[:1]
            rows[:, :4] = np.trunc(np.maximum(rows[:, :4], 0))
        return Detections(
            boxes=rows[:, :4].astype(np.float32),
            scores=rows[:, 4].astype(np.float32),
            points=np.full((len(rows), 5, 2), np.nan, np.float32),
        )

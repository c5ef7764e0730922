"""Any network that maps a face crop to 68 points, as an ONNX file run by OpenCV."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stages.arrays import F32, U8
from stages.crops.landmarks.square import square_round
from stages.errors import DubError


class Onnx68:
    """`Landmarker` for ONNX files like PFLD: one RGB crop in [0, 1] in, 136 numbers out, x, y in 0..1 of the crop.

    Faces go through one by one: such files often take a batch of one only (PFLD's does). Raises DubError
    `unsupported` when the file is not a network OpenCV reads, or gives something else than 136 numbers.
    """

    needs_pixels = True

    def __init__(self, path: Path, input_px: int, margin: float) -> None:
        self._path, self._input_px, self._margin = path, input_px, margin
        self.room = margin / 2 + 0.02  # and the rounding to whole pixels
        try:
            self._net = cv2.dnn.readNetFromONNX(np.fromfile(path, np.uint8))  # as bytes it has no neighbours
        except cv2.error as error:
            raise DubError("unsupported", f"landmarks.weights {path}: OpenCV cannot read it: {error.err}") from error

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        """See `Landmarker.locate`; points are not looked at."""
        found = np.empty((len(boxes), 68, 2), np.float32)
        for item, (region, box) in enumerate(zip(regions, boxes, strict=True)):
            square = square_round(box, self._margin)
            crop = square.cut(region, self._input_px)
            found[item] = self._run(crop) * square.side + (square.x, square.y)
        return found

    def _run(self, crop: U8) -> F32:
        size = (self._input_px, self._input_px)
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255, size, swapRB=True))
        try:
            answer = self._net.forward()
        except cv2.error as error:
            raise DubError(
                "unsupported",
                f"landmarks.weights {self._path} does not take 1x3x{self._input_px}x{self._input_px}: set "
                f"landmarks.input_px to the side of its input ({error.err})",
            ) from error
        if answer.size != 136:
            raise DubError(
                "unsupported", f"landmarks.weights {self._path} gives {answer.shape}, not 68 points (1, 136)"
            )
        return answer.reshape(68, 2)  # type: ignore[no-any-return]

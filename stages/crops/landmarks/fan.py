"""The FAN network of face_alignment, fed from a checkpoint file we are given: the package can only download it.

Importing this module imports torch and face_alignment (and with it numba and scikit-image).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from face_alignment.models import FAN
from face_alignment.utils import CENTER_Y_OFFSET, CROP_RESOLUTION, SCALE_FACTOR, crop

from stages.arrays import F32, U8
from stages.errors import DubError

_MODULES = 4  # stacked hourglasses of 2DFAN-4, the size face_alignment calls LARGE
_REFERENCE_SCALE = 165.0  # face_alignment's own for YuNet, whose boxes are like ours (195 is for the smaller S3FD's)


class Fan:
    """`Landmarker` over the official 2DFAN4 checkpoint (a plain state dict, `2DFAN4-11f355bf06.pth.tar`).

    As in the package, with `compile=False` and `flip_input=False` (media.md 7.7: each costs twice and more); the
    points keep the quarter of a heatmap cell that the package rounds to whole pixels. Batches are always full, the
    last one filled up with copies, so that a network's rounding does not depend on how many faces came along.
    Raises DubError `unsupported` when the file is not such a checkpoint.
    """

    needs_pixels = True
    room = 0.85  # the crop's side is 1.21 (width + height), its middle 0.12 of the height above the box's

    def __init__(self, path: Path, device: str, dtype: Literal["float32", "bfloat16"], batch_size: int) -> None:
        self._device, self._batch_size = torch.device(device), batch_size
        self._dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
        with torch.device("meta"):  # no second of random numbers that are overwritten at once
            net = FAN(_MODULES)
        net.load_state_dict(_state(path, net.state_dict()), assign=True)
        net.eval().requires_grad_(False)
        self._net = net.to(self._device, self._dtype, memory_format=torch.channels_last)

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        """See `Landmarker.locate`; points are not looked at."""
        found = np.empty((len(boxes), 68, 2), np.float32)
        for start in range(0, len(boxes), self._batch_size):
            part = slice(start, start + self._batch_size)
            frames = [_frame_of(box) for box in boxes[part]]
            crops = [_crop(region, *frame) for region, frame in zip(regions[part], frames, strict=True)]
            for item, (peaks, (centre, scale)) in enumerate(zip(self._peaks(crops), frames, strict=True)):
                side = SCALE_FACTOR * scale
                found[start + item] = peaks * side + (centre - side / 2)
        return found

    def _peaks(self, crops: list[F32]) -> F32:
        """Crops, float32 [3, 256, 256] RGB -> [len, 68, 2] in 0..1 of the crop."""
        full = crops + [crops[-1]] * (self._batch_size - len(crops))
        batch = torch.from_numpy(np.stack(full)).to(self._device, self._dtype, memory_format=torch.channels_last)
        with torch.inference_mode():
            heatmaps = self._net(batch)[-1]
        return peaks_of(heatmaps[: len(crops)].float().cpu().numpy())


def peaks_of(heatmaps: F32) -> F32:
    """[n, 68, h, w] -> float32 [n, 68, 2] x, y in 0..1: the highest cell, a quarter cell towards its higher side.

    A peak on the heatmap's border has no neighbour to lean to and stays at its cell's centre.
    """
    n, k, height, width = heatmaps.shape
    rows, columns = np.divmod(heatmaps.reshape(n, k, -1).argmax(axis=2), width)
    inside = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    r, c = rows.clip(1, height - 2), columns.clip(1, width - 2)
    i, j = np.ogrid[:n, :k]
    lean_x = np.sign(heatmaps[i, j, r, c + 1] - heatmaps[i, j, r, c - 1])
    lean_y = np.sign(heatmaps[i, j, r + 1, c] - heatmaps[i, j, r - 1, c])
    x = (columns + 0.5 + 0.25 * lean_x * inside) / width
    y = (rows + 0.5 + 0.25 * lean_y * inside) / height
    return np.stack([x, y], axis=2).astype(np.float32)


def _frame_of(box: F32) -> tuple[F32, float]:
    """The crop's centre (px) and scale (its side is 200 times that), as face_alignment derives them from a box."""
    x0, y0, x1, y1 = (float(v) for v in box)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2 - CENTER_Y_OFFSET * (y1 - y0)], np.float32)
    return centre, (x1 - x0 + y1 - y0) / _REFERENCE_SCALE


def _crop(region: U8, centre: F32, scale: float) -> F32:
    rgb = cv2.cvtColor(region, cv2.COLOR_BGR2RGB)
    picture = crop(rgb, torch.from_numpy(centre), scale, float(CROP_RESOLUTION))
    return picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)  # type: ignore[no-any-return]


def _state(path: Path, wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors, read without running any code of the file, and checked by name and shape."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint fails in whatever opcode its bytes happen to be
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DubError("unsupported", f"landmarks.weights {path} is not a plain checkpoint: {reason}") from error
    if not isinstance(loaded, dict):
        raise DubError("unsupported", f"landmarks.weights {path} holds a {type(loaded).__name__}, not a state dict")
    found = {str(k).removeprefix("module."): v for k, v in loaded.items()}
    shapes = [{k: tuple(v.shape) for k, v in state.items() if hasattr(v, "shape")} for state in (found, wanted)]
    wrong = sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
    if wrong:
        raise DubError(
            "unsupported",
            f"landmarks.weights {path} is not 2DFAN4: {len(wrong)} tensors differ, the first is {wrong[0]}",
        )
    return found

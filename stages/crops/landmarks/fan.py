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
from torch import Tensor

from stages.arrays import F32, U8
from stages.batches import DTYPES, Batches, device_of, filled, running, upload
from stages.checkpoint import WeightsFile
from stages.networks import FAN as FAN_COSTS
from stages.networks import Device

_MODULES = 4  # stacked hourglasses of 2DFAN-4, the size face_alignment calls LARGE
_REFERENCE_SCALE = 165.0  # face_alignment's own for YuNet, whose boxes are like ours (195 is for the smaller S3FD's)


class Fan:
    """`Landmarker` over the official 2DFAN4 checkpoint (a plain state dict, `2DFAN4-11f355bf06.pth.tar`).

    As in the package, with `compile=False` and `flip_input=False` (media.md 7.7: each costs twice and more); the
    points keep the quarter of a heatmap cell that the package rounds to whole pixels. Batches are always full, the
    last one filled up, so that a network's rounding does not depend on how many faces came along.

    `batch_size`: faces in one pass; None: 16 on a GPU, 4 on a CPU. `threads`: of the CPU.
    Raises DubError `weights_missing` when the file is not such a checkpoint, `unsupported` for a GPU that is not there.
    """

    needs_pixels = True
    device: str
    """Where it runs: `cpu` or `cuda`."""
    room = 0.85  # the crop's side is 1.21 (width + height), its middle 0.12 of the height above the box's

    def __init__(
        self,
        path: Path,
        device: Device,
        dtype: Literal["float32", "bfloat16"],
        batch_size: int | None = None,
        threads: int = 1,
    ) -> None:
        self.device, self._dtype, self._threads = device_of("landmarks", device, dtype), DTYPES[dtype], threads
        self._batches = Batches("fan", self.device, FAN_COSTS.batch(batch_size, self.device))
        file = WeightsFile(path, "FAN weights", "«dubline weights fetch 2dfan4» fetches the official 2DFAN4 file")
        with torch.device("meta"):  # no second of random numbers that are overwritten at once
            net = FAN(_MODULES)
        state = file.conform(file.state(), net.state_dict())
        net.load_state_dict(state, assign=True)
        net.eval().requires_grad_(False)
        with self._batches.fitting("its weights"):
            self._net = net.to(self.device, self._dtype, memory_format=torch.channels_last)
        # A GPU divides by a tensor exactly; by a number of the host, torch multiplies with its rounded reciprocal.
        self._white = torch.full((), 255.0, device=self.device)

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        """See `Landmarker.locate`; points are not looked at. Raises DubError `oom` where not one face fits."""
        frames = [_frame_of(box) for box in boxes]
        crops = [_crop(region, *frame) for region, frame in zip(regions, frames, strict=True)]
        with running(self.device, self._threads):
            with self._batches.fitting(f"{len(crops)} faces"):
                pixels = upload(np.stack(crops), self.device)
                peaks = torch.empty((len(crops), 68, 2), device=self.device)

            def step(start: int, end: int) -> None:
                peaks[start:end] = self._peaks(pixels[start:end])

            self._batches.each(len(crops), step)
            shares = peaks.cpu().numpy()
        found = np.empty((len(boxes), 68, 2), np.float32)
        for item, (share, (centre, scale)) in enumerate(zip(shares, frames, strict=True)):
            side = SCALE_FACTOR * scale
            found[item] = share * side + (centre - side / 2)
        return found

    def _peaks(self, crops: Tensor) -> Tensor:
        """uint8 [b, 256, 256, 3] RGB -> float32 [b, 68, 2] in 0..1 of the crop."""
        full = filled(crops, self._batches.size).permute(0, 3, 1, 2)  # so laid out it is channels_last already
        heatmaps = self._net((full.to(torch.float32) / self._white).to(self._dtype))[-1]
        return peaks_of(heatmaps[: len(crops)].float())


def peaks_of(heatmaps: Tensor) -> Tensor:
    """[n, 68, h, w] -> float32 [n, 68, 2] x, y in 0..1: the highest cell, a quarter cell towards its higher side.

    A peak on the heatmap's border has no neighbour to lean to and stays at its cell's centre.
    """
    height, width = heatmaps.shape[2:]
    cells = heatmaps.flatten(2)
    highest = cells.argmax(dim=2)
    rows, columns = highest // width, highest % width
    inside = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    r, c = rows.clamp(1, height - 2), columns.clamp(1, width - 2)

    def beside(down: int, across: int) -> Tensor:
        return cells.gather(2, ((r + down) * width + c + across)[..., None])[..., 0]

    lean_x = torch.sign(beside(0, 1) - beside(0, -1))
    lean_y = torch.sign(beside(1, 0) - beside(-1, 0))
    x = (columns + 0.5 + 0.25 * lean_x * inside) / width
    y = (rows + 0.5 + 0.25 * lean_y * inside) / height
    return torch.stack([x, y], dim=2)


def _frame_of(box: F32) -> tuple[F32, float]:
    """The crop's centre (px) and scale (its side is 200 times that), as face_alignment derives them from a box."""
    x0, y0, x1, y1 = (float(v) for v in box)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2 - CENTER_Y_OFFSET * (y1 - y0)], np.float32)
    return centre, (x1 - x0 + y1 - y0) / _REFERENCE_SCALE


def _crop(region: U8, centre: F32, scale: float) -> U8:
    """uint8 [256, 256, 3] RGB."""
    rgb = cv2.cvtColor(region, cv2.COLOR_BGR2RGB)
    return crop(rgb, torch.from_numpy(centre), scale, float(CROP_RESOLUTION))  # type: ignore[no-any-return]

"""From the classes of a parsed face to where a patch is seen: the official rules (musetalk.md 4.8, steps 3 to 6).

Everything here is exact arithmetic on bytes, with the operators of OpenCV and Pillow that the official script uses.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import cv2
import numpy as np
from PIL import Image

from stages.arrays import I32, U8
from stages.crops.types import CONTEXT_PX
from stages.lips.parsing.settings import ParsedMask, ParsingSettings

MASK_PX: Final = 256
"""Side of a mask: the grid of MuseTalk's patches."""

SKIN: Final = 1
NOSE: Final = 10
MOUTH: Final = (11, 12, 13)
"""Inside of the mouth, upper and lower lip."""
NECK: Final = 14
_CLASSES: Final[dict[str, tuple[int, ...]]] = {
    "raw": (SKIN, *MOUTH),
    "neck": (SKIN, *MOUTH, NECK),
    "face": tuple(range(1, 14)),  # brows, eyes, glasses, ears and nose too
}

_EXPAND: Final = {"jaw": 1.5, "raw": 1.5, "neck": 1.5, "face": 1.2}
"""Side of the parsed square over the longer side of the box. The context is 1.5 wide for all; of the first
MuseTalk 1.0, whose square was 1.2, the boundary and the blur are kept."""
_BLUR: Final = {"jaw": 0.05, "raw": 0.05, "neck": 0.05, "face": 0.1}
"""The blur's kernel over the side of that square."""


def blend_masks(
    classes: U8, context_boxes: I32, boxes: I32, mode: ParsedMask, settings: ParsingSettings, px: int = MASK_PX
) -> U8:
    """Where the patches of parsed faces are seen, on the grid of their boxes.

    `classes`: uint8 [n, 512, 512], the parse of each context. `context_boxes`: int32 [n, 4] x0, y0, x1, y1 px of the
    full frame, the squares that were parsed. `boxes`: int32 [n, 4], where the patches lie. Of `settings`, the cheeks,
    the boundary and the threads are used. Returns uint8 [n, px, px], 0 unseen to 255 painted: for boxes of px by px
    exactly the official mask, for others it is resampled (brought back to the box: up to 4 levels off).
    """
    _check(classes, context_boxes, boxes)
    cv2.setNumThreads(1)  # the parallel part is our threads
    masks = np.empty((len(classes), px, px), np.uint8)

    def make(item: int) -> None:
        painted = painted_classes(classes[item], mode, settings.cheek_left, settings.cheek_right)
        soft = box_mask(painted, context_boxes[item], boxes[item], mode, settings.upper_boundary_ratio)
        shrinks = soft.shape[0] > px or soft.shape[1] > px
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        masks[item] = cv2.resize(soft, (px, px), interpolation=how)

    with ThreadPoolExecutor(settings.threads, thread_name_prefix="mask") as pool:
        done: Iterable[None] = pool.map(make, range(len(classes)))
        for _ in done:  # an error of a thread surfaces here
            pass
    return masks


def painted_classes(classes: U8, mode: ParsedMask, cheek_left: int = 90, cheek_right: int = 90) -> U8:
    """Which pixels of a parse are painted: uint8 [512, 512], 0 or 255, from classes uint8 [512, 512].

    `cheek_left`, `cheek_right`: px from the middle out to where `jaw` no longer widens the skin but narrows it.
    """
    if mode == "jaw":
        return _jaw(classes, cheek_left, cheek_right)
    return cv2.LUT(classes, _chosen(_CLASSES[mode]))  # type: ignore[no-any-return]


def box_mask(painted: U8, context_box: I32, box: I32, mode: ParsedMask, upper_boundary_ratio: float = 0.5) -> U8:
    """The soft mask of a patch in the pixels of its box: uint8 [h, w].

    `painted`: uint8 [512, 512], 0 or 255, over `context_box`; `box`: the patch's. Both x0, y0, x1, y1 px of the full
    frame. `upper_boundary_ratio`: nothing above this share of the parsed square is painted.
    """
    side = int(context_box[2] - context_box[0])
    # Pillow's bicubic, and not OpenCV's: it averages where it shrinks.
    grown = np.asarray(Image.fromarray(painted).resize((side, side), Image.Resampling.BICUBIC))
    x0, y0, x1, y1 = (int(v) for v in box - np.tile(context_box[:2], 2))
    parsed = parsed_side(box, mode)
    top = side // 2 - parsed // 2 + int(parsed * upper_boundary_ratio)
    seen = max(y0, top, 0), max(x0, 0)
    part = grown[seen[0] : max(y1, 0), seen[1] : max(x1, 0)]
    cut = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cut[seen[0] - y0 : seen[0] - y0 + part.shape[0], seen[1] - x0 : seen[1] - x0 + part.shape[1]] = part
    width = blur_width(parsed, mode)
    # The official script blurs the whole square. Outside the box it is black there, and wider than the kernel reaches,
    # so this is the same. The sigma is OpenCV's own for the kernel.
    return cv2.GaussianBlur(cut, (width, width), 0, borderType=cv2.BORDER_CONSTANT)  # type: ignore[no-any-return]


def parsed_side(box: I32, mode: ParsedMask) -> int:
    """Side in px of the square that the official script parses round a box (musetalk.md 4.8.2)."""
    width, height = int(box[2] - box[0]), int(box[3] - box[1])
    return 2 * int((max(width, height) // 2) * _EXPAND[mode])


def blur_width(side: int, mode: ParsedMask) -> int:
    """Width in px of the Gaussian kernel for a parsed square of `side` px (musetalk.md 4.8.6)."""
    return int(_BLUR[mode] * side // 2 * 2) + 1


@cache
def jaw_kernel() -> U8:
    """uint8 [33, 33] of 0 and 1, 373 ones: what skin grows by in `jaw`, 16 px up, 10 aside, 6 down to a point.

    OpenCV does not mirror kernels: its filled lower half reaches upwards (musetalk.md 4.8.3).
    """
    kernel = np.zeros((33, 33), np.uint8)
    for row in range(10, 33):
        half = min(row - 10, 10)
        kernel[row, 16 - half : 16 + half + 1] = 1
    kernel.flags.writeable = False
    return kernel


@cache
def cheek_kernel() -> U8:
    """uint8 [3, 35]: what skin shrinks by at the cheeks, rows of 1, 35 and 1 ones."""
    kernel: U8 = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3))
    kernel.flags.writeable = False
    return kernel


def _jaw(classes: U8, cheek_left: int, cheek_right: int) -> U8:
    wide: U8 = cv2.dilate(cv2.LUT(classes, _chosen((SKIN,))), jaw_kernel())
    narrow = cv2.erode(wide, cheek_kernel(), iterations=2)
    middle = classes.shape[1] // 2
    region = wide.copy()
    for cheek in (np.s_[:, : middle - cheek_left + 1], np.s_[:, middle + cheek_right :]):
        region[cheek] = narrow[cheek]
    region[classes == NOSE] = 0
    np.maximum(region, cv2.LUT(classes, _chosen(MOUTH)), out=region)
    return region


@cache
def _chosen(classes: tuple[int, ...]) -> U8:
    """A table from class to 0 or 255."""
    table = np.zeros(256, np.uint8)
    table[list(classes)] = 255
    return table


def _check(classes: U8, context_boxes: I32, boxes: I32) -> None:
    n = len(classes)
    if classes.dtype != np.uint8 or classes.shape != (n, CONTEXT_PX, CONTEXT_PX):
        raise ValueError(f"classes must be uint8 [n, {CONTEXT_PX}, {CONTEXT_PX}], not {classes.dtype} {classes.shape}")
    for name, given in (("context_boxes", context_boxes), ("boxes", boxes)):
        if given.shape != (n, 4) or (given[:, 2:] <= given[:, :2]).any():
            raise ValueError(f"{name} must be [{n}, 4] of x0 < x1, y0 < y1, not {given.shape}")
    sides = context_boxes[:, 2:] - context_boxes[:, :2]
    if (sides[:, 0] != sides[:, 1]).any():
        raise ValueError("context_boxes must be squares")

"""Patches + their surroundings -> restored patches.

For each face: the new mouth is laid over the face's surroundings, so that the network sees it where it will be seen;
the face is warped to the network's square, restored, and warped back onto the grid of its box. Nothing else of the
restored face is used: the compositing paints where it painted before.
"""

import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Final, Protocol

import cv2
import numpy as np

from stages.arrays import F32, F64, I32, U8
from stages.composite.mask import mouth_mask, soft_mask
from stages.crops.landmarks.five import five_of
from stages.crops.types import CONTEXT_PX, FaceStack
from stages.enhance.align import FACE_PX, alignable, similarity
from stages.enhance.settings import EnhanceSettings
from stages.media.parallel import ahead, map_ordered
from stages.settings import digest
from stages.weights import Weights

STAGE_VERSION = 1
PATCH_PX: Final = 512
"""Side of the new patches, whatever the boxes and the generator: boxes fill 300 to 450 px of the network's square, and
a rule that looked at a shard's boxes would show where shards begin."""
_OUTSIDE: Final = (135, 133, 132)
"""BGR beyond the surroundings (gfpgan.md 5)."""
_RIM_PX: Final = 16
"""Over so many px at the edge of the square the restored face gives way to the generator's."""
_MASK_PX: Final = 192
"""Longer side of the masks made here; they are smooth."""
_FEATHER: Final = 0.12
"""Soft edge of those masks, the default of `composite.feather`. How a patch is shown is still the compositing's."""
_FINER: Final = 2
"""How much the restored face is enlarged before it is warped bilinearly: a box's grid is finer than the square's."""
_CHUNK: Final = 32
"""Faces in flight per stage of the work, 25 MB: memory does not grow with the shard."""

_log = logging.getLogger(__name__)
Box = tuple[float, float, float, float]


class Restorer(Protocol):
    """What restores aligned faces."""

    notes: list[str]
    """What the last stack was restored differently from the settings."""

    @property
    def batch_size(self) -> int:
        """Faces per step."""
        ...

    def restore(self, faces: U8) -> U8:
        """uint8 [n, 512, 512, 3] BGR in, the same out. A face's answer must not depend on the others."""
        ...


def enhance_key(settings: EnhanceSettings, weights: Weights) -> str:
    """What restored patches depend on besides the patches, their surroundings and landmarks.

    `settings.model` is not asked: a film's row may want what the settings do not.
    """
    # All the others: even the number of threads moves single values by one code.
    own = settings.model_dump(exclude={"model", "weights"})
    return digest(STAGE_VERSION, own, weights.sha256(settings.weights))


def enhance(stack: FaceStack, restorer: Restorer, settings: EnhanceSettings) -> FaceStack:
    """The stack with restored patches of `PATCH_PX`, without the surroundings; masks stay as they are.

    Faces whose landmarks do not say where they are keep the generator's patch, and `restorer.notes` counts them. With
    a strength of 0 the patches come back as they are. Raises ValueError where the stack has no surroundings, and what
    `restorer.restore` raises.
    """
    if stack.context is None or stack.context_boxes is None:
        raise ValueError("an enhancer needs the faces' surroundings: crops must be cut with context=True")
    restorer.notes = []
    if settings.strength == 0:
        return replace(stack, context=None, context_boxes=None)
    cv2.setNumThreads(1)  # the parallel part is our threads
    points = five_of(stack.landmarks)
    good = alignable(points)
    faces = _Faces(stack, np.flatnonzero(good), similarity(points[good]))
    pixels = np.empty((len(good), PATCH_PX, PATCH_PX, 3), np.uint8)
    for alone in np.flatnonzero(~good):
        pixels[alone] = grown(stack.pixels[alone])

    def chunks() -> Generator[U8, None, None]:
        with closing(map_ordered(faces.aligned, range(len(faces)), settings.threads)) as aligned:
            # Whole steps of the network, so that none has to be filled up but the last.
            while chunk := list(islice(aligned, max(1, _CHUNK // restorer.batch_size) * restorer.batch_size)):
                yield np.stack(chunk)

    def restored() -> Generator[tuple[int, U8], None, None]:
        done = 0
        # While the network is busy, the next faces are warped.
        with closing(ahead(chunks(), 1)) as waiting:
            for chunk in waiting:
                yield from enumerate(restorer.restore(chunk), done)
                done += len(chunk)

    def patch(numbered: tuple[int, U8]) -> tuple[int, U8]:
        return int(faces.items[numbered[0]]), faces.patch(*numbered, settings.strength)

    with closing(restored()) as work, closing(map_ordered(patch, work, settings.threads)) as patches:
        for item, new in patches:
            pixels[item] = new
    if not good.all():
        left = int((~good).sum())
        restorer.notes = [*restorer.notes, f"gfpgan left {left} of {len(good)} faces alone: no usable landmarks"]
        _log.warning("enhance: %d of %d faces have no usable landmarks", left, len(good))
    return replace(stack, pixels=pixels, context=None, context_boxes=None)


class _Faces:
    """The alignable faces of a stack, to the network's square and back, one at a time."""

    def __init__(self, stack: FaceStack, items: np.ndarray, to_square: F64) -> None:
        self._stack = stack
        self.items = items
        """Where each face is in the stack."""
        self._to_square = to_square

    def __len__(self) -> int:
        return len(self.items)

    def aligned(self, face: int) -> U8:
        """uint8 [512, 512, 3] BGR: the new mouth in its surroundings, as the network wants it."""
        item, to_square, stack = self.items[face], self._to_square[face], self._stack
        assert stack.context is not None
        assert stack.context_boxes is not None
        box = _box(stack.boxes[item])
        around = _box(stack.context_boxes[item])
        picture = _warped(stack.context[item], of_grid(to_square, around, CONTEXT_PX, CONTEXT_PX))
        mask = _mask(stack, int(item), box)
        shown = cv2.warpAffine(mask, of_grid(to_square, box, *mask.shape[::-1]), (FACE_PX, FACE_PX))
        # Grown first, by a cubic resize that takes a tenth of the time of a cubic warp; so below.
        mouth = _warped(grown(stack.pixels[item]), of_grid(to_square, box, PATCH_PX, PATCH_PX), cv2.BORDER_REPLICATE)
        return mixed(mouth, picture, shown)

    def patch(self, face: int, restored: U8, strength: float) -> U8:
        """uint8 [PATCH_PX, PATCH_PX, 3] BGR on the grid of the box."""
        item = self.items[face]
        to_square = of_grid(self._to_square[face], _box(self._stack.boxes[item]), PATCH_PX, PATCH_PX)
        to_fine = to_square * _FINER
        to_fine[:, 2] += (_FINER - 1) / 2
        fine = cv2.resize(restored, None, fx=_FINER, fy=_FINER, interpolation=cv2.INTER_CUBIC)
        size, how = (PATCH_PX, PATCH_PX), cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        new = cv2.warpAffine(fine, to_fine, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
        share = cv2.warpAffine(_inside() * np.float32(strength), to_square, size, flags=how)
        return mixed(new, grown(self._stack.pixels[item]), share)


def of_grid(matrix: F64, box: Box, columns: int, rows: int) -> F64:
    """`matrix`, which maps the full frame, for a picture that shows `box` in columns x rows pixels: float64 [2, 3].

    Maps the picture's pixel indices to pixel indices, as OpenCV counts: its pixel 0 has its centre at 0.
    """
    grid = np.array(
        [[(box[2] - box[0]) / columns, 0, box[0]], [0, (box[3] - box[1]) / rows, box[1]], [0, 0, 1]], np.float64
    )
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    found: F64 = matrix @ grid @ half
    found[:, 2] -= 0.5
    return found


def mixed(first: U8, second: U8, share: F32) -> U8:
    """`share` [h, w] in 0..1 of `first`, the rest of `second`, rounded. Both uint8 [h, w, 3]."""
    return cv2.blendLinear(first, second, share, 1 - share)  # type: ignore[no-any-return]


def grown(patch: U8) -> U8:
    """A generator's patch at the new side."""
    return cv2.resize(patch, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_CUBIC)  # type: ignore[no-any-return]


def _warped(picture: U8, matrix: F64, border: int = cv2.BORDER_CONSTANT) -> U8:
    return cv2.warpAffine(  # type: ignore[no-any-return]
        picture, matrix, (FACE_PX, FACE_PX), borderMode=border, borderValue=_OUTSIDE
    )


def _mask(stack: FaceStack, item: int, box: Box) -> F32:
    """float32 [h, w] in 0..1 on a grid of the box: where the patch is seen, by the compositing's own rules."""
    low, size = np.array(box[:2], np.float32), np.array([box[2] - box[0], box[3] - box[1]], np.float32)
    grid = np.maximum(np.rint(size * (_MASK_PX / size.max())), 2)
    whole = (0, 0, int(grid[0]), int(grid[1]))
    if stack.masks is not None:
        return soft_mask(stack.masks[item], whole, whole, _FEATHER)
    return mouth_mask(((stack.landmarks[item] - low) * (grid / size)).astype(np.float32), whole, whole, _FEATHER)


@cache
def _inside() -> F32:
    """float32 [512, 512]: 0 on the square's outermost pixels, 1 from the rim inwards."""
    at = np.arange(FACE_PX, dtype=np.float32)
    ramp: F32 = np.minimum(np.minimum(at, FACE_PX - 1 - at) / np.float32(_RIM_PX), 1)
    return np.minimum(ramp[:, None], ramp[None, :])


def _box(box: I32) -> Box:
    x0, y0, x1, y1 = (float(v) for v in box)
    return x0, y0, x1, y1

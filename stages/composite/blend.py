"""One patch into one frame, in the decoded Y, Cb, Cr planes, inside an even-aligned region round the box.

Outside the region nothing is read or written; inside it, samples where the mask is 0 keep their value.
"""

import cv2
import numpy as np
from av.video.frame import VideoFrame

from stages.arrays import F32, U8
from stages.composite.mask import chroma_mask, mouth_mask, placed_mask, soft_mask
from stages.composite.settings import CompositeSettings
from stages.media.planes import FORMATS, SEES_PX, Plane, Region, RegionColour

_MARGIN_PX = SEES_PX  # seamlessClone solves with the pixels just outside its mask, and they must be the film's
_CLONED = 0.004  # mask values below half an 8-bit code paint nothing, so they need no solving


def paint(
    frame: VideoFrame,
    patch: U8,
    box: tuple[int, int, int, int],
    landmarks: F32,
    colour: RegionColour,
    settings: CompositeSettings,
    weight: float = 1.0,
    mask: U8 | None = None,
) -> Region:
    """Paint a patch over the face in `box` and return the region that may have changed.

    `patch`: uint8 [px, px, 3] BGR, resized to the box. `box`: x0, y0, x1, y1 px inside the picture.
    `landmarks`: float32 [68, 2] px. All of them, and the region, are of the upright picture. `weight`: 0..1, opacity
    of the whole patch. `mask`: uint8 [k, k], 0 unseen to 255 painted, on a grid over the box: where the patch is seen
    instead of where the landmarks say. The frame's planes are changed in place; it is made writable first, because
    the decoder still predicts from its frames (reference media.md 7.5).
    """
    region = colour.region(box, _MARGIN_PX)
    face = resize_patch(patch, box, settings)
    pixels = _around(face, box, region)
    alpha = None
    if settings.blend == "paste" and mask is not None:
        alpha = np.rint(placed_mask(mask, box, region) * np.float32(255 * weight)).astype(np.uint8)
        pixels = composited(colour.to_bgr(frame, region), pixels, alpha)
        share = (alpha > 0).astype(np.float32)
    else:
        if settings.blend == "paste":
            share = _box_mask(box, region)
        elif mask is None:
            share = mouth_mask(landmarks, box, region, settings.feather)
        else:
            share = soft_mask(mask, box, region, settings.feather)
        if settings.blend == "seamless":
            pixels = _seamless(colour.to_bgr(frame, region), face, share, box, region)
        share = share * np.float32(weight)  # 1 changes no value of it
    _into_planes(frame, region, pixels, share, colour, mixed=alpha is not None)
    return region


def _into_planes(
    frame: VideoFrame, region: Region, pixels: U8, share: F32, colour: RegionColour, *, mixed: bool
) -> None:
    """Mix `share` [h, w] of `pixels`, uint8 [h, w, 3] BGR, both upright, into the region's Y, Cb and Cr.

    `mixed`: the pixels hold the film already, and `share` is 0 or 1.
    """
    frame.make_writable()
    share = colour.turned_back(share)
    layout = FORMATS[frame.format.name]
    sx, sy = 1 << layout.shift_x, 1 << layout.shift_y
    # At the edge of a picture of odd size the last chroma samples have half their pixels.
    whole = np.pad(share, ((0, -share.shape[0] % sy), (0, -share.shape[1] % sx)), "edge")
    chroma = chroma_mask(whole, sx, sy)
    if mixed:  # a sample is replaced as soon as one of its pixels is painted
        chroma = np.ceil(chroma)
    shares = (share, chroma, chroma)
    for target, source, by in zip(colour.planes(frame, region), colour.from_bgr(pixels), shares, strict=True):
        mix(target, source, by)


def mix(target: Plane, source: Plane, weight: F32) -> None:
    """target += weight * (source - target), in place, rounded; exact where weight is 0 or 1. All [h, w]."""
    base = target.astype(np.float32)
    target[:] = np.rint(base + weight * (source.astype(np.float32) - base)).astype(target.dtype)


def composited(base: U8, source: U8, alpha: U8) -> U8:
    """`source` over `base`, both uint8 [h, w, 3], through `alpha`, uint8 [h, w], as Pillow pastes (musetalk.md 4.8.7).

    Bit for bit what the official MuseTalk script writes.
    """
    share = alpha[..., None].astype(np.uint32)
    mixed = base * (255 - share) + source * share + np.uint32(128)
    result: U8 = ((mixed + (mixed >> 8)) >> 8).astype(np.uint8)
    return result


def resize_patch(patch: U8, box: tuple[int, int, int, int], settings: CompositeSettings) -> U8:
    """uint8 [px, px, 3] -> the box's own size."""
    width, height = box[2] - box[0], box[3] - box[1]
    shrinks = width < patch.shape[1] or height < patch.shape[0]
    kinder = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    how = cv2.INTER_LINEAR if settings.upscale == "bilinear" else kinder
    return cv2.resize(patch, (width, height), interpolation=how)  # type: ignore[no-any-return]


def _around(face: U8, box: tuple[int, int, int, int], region: Region) -> U8:
    """The patch in its region, its border pixels repeated outwards: there the mask is 0."""
    return cv2.copyMakeBorder(  # type: ignore[no-any-return]
        face, box[1] - region[1], region[3] - box[3], box[0] - region[0], region[2] - box[2], cv2.BORDER_REPLICATE
    )


def _box_mask(box: tuple[int, int, int, int], region: Region) -> F32:
    mask = np.zeros((region[3] - region[1], region[2] - region[0]), np.float32)
    mask[box[1] - region[1] : box[3] - region[1], box[0] - region[0] : box[2] - region[0]] = 1
    return mask


def _seamless(base: U8, face: U8, mask: F32, box: tuple[int, int, int, int], region: Region) -> U8:
    """seamlessClone of the face into the region's own pixels, uint8 [h, w, 3] BGR."""
    source = base.copy()
    source[box[1] - region[1] : box[3] - region[1], box[0] - region[0] : box[2] - region[0]] = face
    # A fresh mask each time: OpenCV overwrites the one it is given (media.md 7.6).
    solid = np.where(mask > _CLONED, np.uint8(255), np.uint8(0))
    x, y, width, height = cv2.boundingRect(solid)
    if width < 3 or height < 3:
        return base
    # The clone is placed by the centre of the mask's bounding box; this one keeps it where it is.
    return cv2.seamlessClone(source, base, solid, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)  # type: ignore[no-any-return]

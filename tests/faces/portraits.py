"""A portrait that an installed package carries, and pictures made of it."""

import functools

import av
import cv2
import numpy as np
import skimage.data

from stages.arrays import U8

ASTRONAUT_FACE = (177.0, 62.0, 269.0, 177.0)
"""Ear to ear, hairline to chin, of the 512x512 portrait, measured by eye."""


@functools.cache
def astronaut(px: int = 512) -> U8:
    picture = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])
    return cv2.resize(picture, (px, px), interpolation=cv2.INTER_AREA) if px != 512 else picture


def slide(width: int, height: int, grey: int = 235) -> U8:
    """A lecture slide: a light page with lines of text, no face."""
    page = np.full((height, width, 3), grey, np.uint8)
    for y in range(height // 6, height, height // 8):
        cv2.line(page, (width // 10, y), (width * 8 // 10, y), (40, 40, 40), 2)
    return page


def scene(width: int, height: int, *faces: tuple[int, int, int], ground: int = 90) -> U8:
    """A plain ground with portraits at (x, y, side px); what sticks out is cut off."""
    canvas = np.full((height, width, 3), ground, np.uint8)
    for x, y, side in faces:
        x0, y0, x1, y1 = max(0, x), max(0, y), min(width, x + side), min(height, y + side)
        if x0 < x1 and y0 < y1:
            canvas[y0:y1, x0:x1] = astronaut(side)[y0 - y : y1 - y, x0 - x : x1 - x]
    return canvas


def video_frame(picture: U8) -> av.VideoFrame:
    """A decoded-looking frame (yuv420p) of a BGR picture."""
    return av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format="yuv420p")


def overlap(a: np.ndarray, b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / float(np.prod(a[2:] - a[:2]) + np.prod(np.subtract(b[2:], b[:2])) - shared)

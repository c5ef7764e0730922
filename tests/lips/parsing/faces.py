"""Parses that are drawn instead of computed."""

import cv2
import numpy as np

from stages.arrays import U8


def drawn(shift: tuple[int, int] = (0, 0)) -> U8:
    """uint8 [512, 512] classes of a face as the context of its half-face box shows it: the nose in the middle."""
    x, y = 256 + shift[0], 256 + shift[1]
    face = np.full((512, 512), 0, np.uint8)
    cv2.rectangle(face, (x - 200, y + 180), (x + 200, 511), 16, -1)  # cloth
    cv2.rectangle(face, (x - 60, y + 60), (x + 60, 511), 14, -1)  # neck
    cv2.ellipse(face, (x, y - 60), (170, 190), 0, 0, 360, 17, -1)  # hair
    for side, ear in ((-1, 7), (1, 8)):
        cv2.ellipse(face, (x + side * 125, y - 10), (18, 40), 0, 0, 360, ear, -1)
    cv2.ellipse(face, (x, y - 10), (120, 165), 0, 0, 360, 1, -1)
    for side, brow, eye in ((-1, 2, 4), (1, 3, 5)):
        cv2.rectangle(face, (x + side * 55 - 25, y - 75), (x + side * 55 + 25, y - 65), brow, -1)
        cv2.ellipse(face, (x + side * 55, y - 45), (22, 9), 0, 0, 360, eye, -1)
    cv2.ellipse(face, (x, y - 5), (24, 45), 0, 0, 360, 10, -1)
    cv2.ellipse(face, (x, y + 80), (45, 22), 0, 0, 360, 12, -1)
    cv2.ellipse(face, (x, y + 82), (45, 22), 0, 0, 180, 13, -1)
    cv2.ellipse(face, (x, y + 80), (34, 9), 0, 0, 360, 11, -1)
    return face

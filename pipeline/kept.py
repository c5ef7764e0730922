"""What is made of a source's pictures alone, kept in the work folder while the film is dubbed into several languages.

Files are named by what they were made of, so that nothing has to be told when it changes.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.arrays import U8, check_shapes, pack, unpack
from stages.media import storage


def kept_latents(
    url: str, count: int, make: Callable[[], NDArray[np.generic]], as_asked: Callable[[], bool]
) -> NDArray[np.generic]:
    """The array at `url`, one item for each of `count` faces, or what `make` makes of them, which is then there.

    `as_asked` is asked after `make`: what was made otherwise, for want of memory, is not kept for others.
    """
    try:
        latents = unpack(storage.read_bytes(url))["latents"]
        if len(latents) == count:
            return latents
    except (FileNotFoundError, ValueError, KeyError):
        pass  # not there, or not whole: it is made anew and put in its place
    latents = make()
    if as_asked():
        storage.write_bytes(url, pack({"latents": latents}))
    return latents


def kept_masks(url: str, count: int, make: Callable[[], U8]) -> U8:
    """The same for masks, uint8 [count, px, px]: as one tall PNG, a tenth of their size."""
    try:
        png = unpack(storage.read_bytes(url))
        check_shapes(png, {"png": (np.uint8, "n")})
        tall = cv2.imdecode(png["png"].astype(np.uint8), cv2.IMREAD_GRAYSCALE)
        if tall is not None and tall.shape[0] == count * tall.shape[1]:
            return tall.reshape(count, tall.shape[1], tall.shape[1])  # type: ignore[no-any-return]
    except (FileNotFoundError, ValueError, cv2.error):
        pass  # as above
    masks = make()
    done, png_bytes = cv2.imencode(".png", masks.reshape(-1, masks.shape[2]))
    assert done
    storage.write_bytes(url, pack({"png": png_bytes}))
    return masks

"""One cell of a film: every face on its detection grid, and where its shots begin."""

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np
from av.video.frame import VideoFrame

from stages.arrays import F32, U8
from stages.errors import DubError
from stages.faces.cuts import CutFinder, cut_picture
from stages.faces.detectors import make_detector, resolve_detector, weights_digest, working_width
from stages.faces.settings import FacesSettings
from stages.faces.types import CellFaces, Detections
from stages.media.picture import Shrinker
from stages.media.upright import Upright
from stages.settings import digest
from stages.weights import Weights

STAGE_VERSION: Final = 1
"""Raise it when the same settings find something else than before."""
_MOST_FACES: Final = 64
"""Faces kept of one picture: a crowd must not fill the memory."""


class Faces:
    """Finds the faces of cells. Stateless between calls; one call is one cell, held one frame at a time.

    `untagged_matrix` is `MediaSettings.untagged_matrix`. Raises DubError `weights_missing`.
    """

    def __init__(self, settings: FacesSettings, weights: Weights, untagged_matrix: str = "auto") -> None:
        self._settings = settings
        self.detector_name: Final = resolve_detector(settings, weights)
        self._detector = make_detector(settings, weights, self.detector_name)
        self._shrinker = Shrinker(self._detector.width_px, untagged_matrix)
        self.key: Final = faces_key(settings, weights, untagged_matrix)

    def __call__(self, start: int, end: int, frames: Iterable[tuple[int, VideoFrame]]) -> CellFaces:
        """Look through the frames [start, end), which come in order and each once.

        Raises DubError `unsupported` when the picture's size changes on the way.
        """
        cv2.setNumThreads(self._settings.threads)
        finder = CutFinder(self._settings.cut_threshold)
        looks: dict[int, Detections] = {}
        cuts: list[int] = []
        size: tuple[int, int] | None = None
        first = last = before = None
        expected = start
        for number, frame in frames:
            if number != expected:
                raise ValueError(f"frame {number} came where {expected} was due")
            expected += 1
            whole = Upright.of(frame).size
            if size not in (None, whole):
                raise DubError(
                    "unsupported",
                    f"the picture's size changes at frame {number}; encode the film to one size first",
                )
            size = whole
            picture = self._shrinker.bgr(frame)
            last = cut_picture(picture)
            is_cut = finder.begins_shot(last)
            if is_cut:
                cuts.append(number)
                # The last moment of a shot is seen, not guessed.
                if before is not None and number - 1 not in looks:
                    looks[number - 1] = self._look(before, size)
            if first is None:
                first = last
            if is_cut or number == start or number % self._settings.stride == 0:
                looks[number] = self._look(picture, size)
            before = picture
        if expected != end or first is None or last is None or before is None or size is None:
            raise ValueError(f"the frames [{start}, {end}) ended at {expected}")
        if end - 1 not in looks:
            looks[end - 1] = self._look(before, size)
        return _cell(start, end, self._settings, looks, cuts, first, last)

    def _look(self, picture: U8, size: tuple[int, int]) -> Detections:
        """The faces of a small picture, in pixels of the upright frame of `size` (width, height)."""
        found = self._detector.detect(picture)
        scale = np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]], np.float32)
        return Detections(
            boxes=(found.boxes.reshape(-1, 2, 2) * scale).reshape(-1, 4)[:_MOST_FACES],
            scores=found.scores[:_MOST_FACES],
            points=(found.points * scale)[:_MOST_FACES],
        )


def faces_key(settings: FacesSettings, weights: Weights, untagged_matrix: str = "auto") -> str:
    """What a cell's faces depend on, beside the video and the cell's range: the `faces key` of the cache.

    The detector is named for what `auto` stands for here. Raises DubError `weights_missing`.
    """
    name = resolve_detector(settings, weights)
    used = {"stride", "min_score", "cut_threshold"}
    if name == "sfd":
        used |= {"sfd_official", "threads"}  # torch's sums depend on how many threads share them
    return digest(
        "faces",
        STAGE_VERSION,
        name,
        weights_digest(settings, weights, name),
        working_width(settings, name),
        untagged_matrix,
        settings.model_dump(mode="json", include=used),
    )


def _cell(
    start: int,
    end: int,
    settings: FacesSettings,
    looks: dict[int, Detections],
    cuts: list[int],
    first: U8,
    last: U8,
) -> CellFaces:
    looked = sorted(looks)
    none = np.zeros((0, 4), np.float32)
    boxes: list[F32] = [none, *(looks[n].boxes for n in looked)]
    return CellFaces(
        start=start,
        end=end,
        stride=settings.stride,
        cut_threshold=settings.cut_threshold,
        looked=np.array(looked, np.int64),
        frames=np.repeat(np.array(looked, np.int64), [len(looks[n].scores) for n in looked]),
        boxes=np.concatenate(boxes),
        scores=np.concatenate([np.zeros(0, np.float32), *(looks[n].scores for n in looked)]),
        points=np.concatenate([np.zeros((0, 5, 2), np.float32), *(looks[n].points for n in looked)]),
        cuts=np.array(cuts, np.int64),
        first=first,
        last=last,
    )

"""DWPose (`dw-ll_ucoco_384.onnx`): a whole-body pose network, asked for the 68 points of one face (musetalk.md 3.5).

What MuseTalk 1.0 and 1.5 were trained with. The official script lets it look at the whole frame, where one of its
pixels is 8 px of 1080p and whichever body is largest is found (9.1, 8-9); here it looks at one head and its shoulders.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from stages.arrays import F32, F64, U8, Bool
from stages.crops.landmarks.five import Five
from stages.errors import DubError

WIDTH, HEIGHT = 288, 384
_MEAN: Final = np.array([123.675, 116.28, 103.53], np.float32)  # RGB, as the deviation
_DEVIATION: Final = np.array([58.395, 57.12, 57.375], np.float32)
_FACE: Final = slice(23, 91)
_ANSWERS: Final = {"simcc_x": (1, 133, 2 * WIDTH), "simcc_y": (1, 133, 2 * HEIGHT)}  # two bins a px
_VIEW = 3.0  # height of what it sees, in longer sides of the box: a head and its shoulders, as its own pictures show
_BELOW = 0.5  # by how many of them the view's middle is below the box's: room for the shoulders
_PAIRS: Final = (  # left and right of the 68 points; the others are their own (musetalk.md 3.5)
    "0-16 1-15 2-14 3-13 4-12 5-11 6-10 7-9 17-26 18-25 19-24 20-23 21-22 31-35 32-34 36-45 37-44 38-43 39-42 40-47 "
    "41-46 48-54 49-53 50-52 55-59 56-58 60-64 61-63 65-67"
)


def _mirrored() -> list[int]:
    """Which of the 68 points each is in the mirror."""
    order = list(range(68))
    for pair in _PAIRS.split():
        a, b = (int(number) for number in pair.split("-"))
        order[a], order[b] = b, a
    return order


MIRRORED: Final = _mirrored()


class DWPose:
    """`Landmarker` over the ONNX file that the authors of DWPose publish, run by ONNX Runtime on one core.

    OpenCV cannot stand in: its reader (4.14) gives the network's channel attention the wrong shape.

    `flip_test`: look at the mirror image too and average, which the official file has no part in: twice the cost.
    `parity`: the bins as the official script reads them, whole, and a point that is not seen half a px outside the
    view's corner. Otherwise the peak between the bins, and the mean face's point for one that is not seen.
    Raises DubError `unsupported` when ONNX Runtime is not installed, or the file is no such network.
    """

    needs_pixels = True
    # From the box's middle the view reaches 0.5 + 1.5 longer sides down, so from the edge of a box that is at least
    # 0.8 as high as wide 1.6 of them, and less to the other sides. Beyond the region it is black.
    room = 1.6

    def __init__(self, path: Path, flip_test: bool = False, parity: bool = False) -> None:
        self._path, self._flip_test, self._parity = path, flip_test, parity
        self._session = _session(path)
        self._input = self._session.get_inputs()[0].name
        self._unseen = Five()

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        """See `Landmarker.locate`; `points` are looked at where the network does not see one."""
        found = np.empty((len(boxes), 68, 2), np.float32)
        for item, (region, box) in enumerate(zip(regions, boxes, strict=True)):
            middle, px = _view(box)
            here, seen = self._look(_warped(region, middle, px))
            found[item] = (here - (WIDTH / 2, HEIGHT / 2)) * px + middle
            if not self._parity and not seen.all():
                usual = self._unseen.locate([], boxes[item : item + 1], points[item : item + 1])[0]
                found[item] = np.where(seen[:, None], found[item], usual)
        return found

    def _look(self, picture: U8) -> tuple[F64, Bool]:
        """The points in px of the network's picture, a pixel's centre at its whole number, and which are seen."""
        x, y = self._run(picture)
        if self._flip_test:
            mirrored_x, mirrored_y = self._run(np.ascontiguousarray(picture[:, ::-1]))
            half = np.float32(0.5)
            x, y = half * (x + mirrored_x[MIRRORED, ::-1]), half * (y + mirrored_y[MIRRORED])
        seen = np.minimum(x.max(axis=1), y.max(axis=1)) > 0
        bins = np.stack([peaks(x, between=not self._parity), peaks(y, between=not self._parity)], axis=1)
        return np.where(seen[:, None], bins, -1) / 2, seen

    def _run(self, picture: U8) -> tuple[F32, F32]:
        """uint8 [384, 288, 3] BGR -> the face's bins, float32 [68, 576] across and [68, 768] down."""
        rgb = (picture[..., ::-1].astype(np.float32) - _MEAN) / _DEVIATION
        x, y = self._session.run(list(_ANSWERS), {self._input: np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])})
        if (x.shape, y.shape) != tuple(_ANSWERS.values()):
            raise DubError(
                "unsupported", f"landmarks.weights {self._path} gives {x.shape} and {y.shape}, not {_ANSWERS}"
            )
        return x[0, _FACE], y[0, _FACE]


def peaks(bins: F32, *, between: bool) -> F64:
    """[n, k] -> float64 [n]: the highest bin; `between`: the top of the parabola through it and its neighbours.

    That is never more than half a bin away. The bins are a Gaussian's logarithm, so a parabola fits. A peak at either
    end has one neighbour only and stays.
    """
    rows, last = np.arange(len(bins)), bins.shape[1] - 1
    at = bins.argmax(axis=1)
    whole: F64 = at.astype(np.float64)
    if not between:
        return whole
    near = np.clip(at, 1, last - 1)
    left, middle, right = (bins[rows, near + step].astype(np.float64) for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    inside = (at == near) & (bend < 0)
    return whole + np.where(inside, (left - right) / np.where(inside, 2 * bend, 1), 0)


def _view(box: F32) -> tuple[F64, float]:
    """What the network sees of a region: the middle, px of the region, and how many of them one of its pixels is."""
    x0, y0, x1, y1 = (float(v) for v in box)
    side = max(x1 - x0, y1 - y0, 8.0)
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2 + _BELOW * side]), _VIEW * side / HEIGHT


def _warped(region: U8, middle: F64, px: float) -> U8:
    """The view, bilinear, black outside the region (steps 1 and 2)."""
    x, y = np.array([WIDTH / 2, HEIGHT / 2]) - (middle - 0.5) / px  # OpenCV has pixels' centres at whole numbers
    to_view = np.array([[1 / px, 0, x], [0, 1 / px, y]])
    return cv2.warpAffine(region, to_view, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)  # type: ignore[no-any-return]


def _session(path: Path) -> Any:
    try:
        runtime, onnx = import_module("onnxruntime"), import_module("onnx")
    except ImportError as error:
        raise DubError(
            "unsupported",
            f"landmarks.provider 'dwpose' needs {error.name}: run «pip install 'dubline[cpu]'», or take another one",
        ) from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors arrive as exceptions; printing them as well helps nobody
    try:
        if _names_files(onnx.ModelProto.FromString(path.read_bytes()), onnx.TensorProto):
            raise DubError("unsupported", f"landmarks.weights {path} would open other files; such networks are refused")
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except DubError:
        raise
    except Exception as error:  # protobuf and ONNX Runtime have a dozen of them, without a common base
        reason = str(error).strip().split("\n")[0][:120]
        raise DubError("unsupported", f"landmarks.weights {path}: ONNX Runtime cannot read it: {reason}") from error
    taken = [value.shape for value in session.get_inputs()]
    given = {answer.name: answer.shape for answer in session.get_outputs()}
    wanted = {"input": (1, 3, HEIGHT, WIDTH), **_ANSWERS}
    found = {"input": taken[0] if len(taken) == 1 else taken, **{name: given.get(name, []) for name in _ANSWERS}}
    if not all(_may_be(found[name], shape) for name, shape in wanted.items()):
        raise DubError("unsupported", f"landmarks.weights {path} is not dw-ll_ucoco_384: {found} instead of {wanted}")
    return session


def _may_be(shape: Sequence[object], wanted: tuple[int, ...]) -> bool:
    """Whether a tensor said to be of a shape can be of another: exporters give sizes that may vary names."""
    return len(shape) == len(wanted) and all(a == b or isinstance(a, str) for a, b in zip(shape, wanted, strict=True))


def _names_files(message: Any, tensor: Any) -> bool:
    """Whether some tensor of a model, wherever it is, has its values in another file."""
    if isinstance(message, tensor) and message.data_location == tensor.EXTERNAL:
        return True
    parts = (value for field, value in message.ListFields() if field.message_type is not None)
    return any(_names_files(one, tensor) for part in parts for one in ([part] if hasattr(part, "ListFields") else part))

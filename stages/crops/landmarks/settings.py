"""Which landmarks are used, and how calm they are."""

from typing import Literal

from pydantic import Field

from stages.crops.landmarks.five import Five
from stages.crops.landmarks.onnx68 import Onnx68
from stages.crops.landmarks.template import Template
from stages.crops.landmarks.types import Landmarker
from stages.errors import DubError
from stages.networks import Device
from stages.settings import Settings
from stages.weights import Weights


class LandmarksSettings(Settings):
    """The 68 points of the chosen face: the mask follows them, `mouthwarp` its lips, MuseTalk its box."""

    provider: Literal["auto", "fan", "dwpose", "onnx", "five", "template"] = "auto"
    """`auto`: `five`. `five`: a mean face fitted to the detector's five points, to the box where it has none; costs
    nothing. `template`: the mean face in the box. `onnx`: a small network on the CPU, about 5 ms a frame. `fan`: the
    2DFAN4 network, exact and heavy (0.1-0.3 s a frame on one core): use a stride, or a GPU. `dwpose`: what MuseTalk
    was trained with, 0.12 s a frame on one core (needs `pip install 'dubline[cpu]'`): use a stride. See
    docs/landmarks.md."""
    weights: str | None = None
    """Registry name, path or URL of the file of `fan` (default `2dfan4`), `dwpose` (default `dwpose`) or `onnx` (must
    be given)."""
    stride: int = Field(1, ge=1, le=50)
    """Frames from one look of a network to the next on the film's grid; between them the points move with the box.
    Raise it to 3-5 for `fan` and `dwpose` without a GPU."""
    smooth_s: float = Field(0.05, ge=0, le=1)
    """Sigma, in seconds, of the Gaussian that calms a network's points over time; 0 switches it off. Raise it when the
    mask trembles or, with MuseTalk, the box; lower it when it lags behind quick heads."""
    margin: float = Field(0.1, ge=0, le=1)
    """`onnx`: how much longer than the box's longer side its square crop is. 0.1 is where PFLD agrees best with
    itself over margins on our clips."""
    input_px: int = Field(112, ge=16, le=1024)
    """`onnx`: side of the network's input."""
    device: Device = "auto"
    """`fan`: where the network runs. `auto` takes a GPU where the crops' workers have one; `cuda` fails without."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """`fan`: `bfloat16` is more than twice as fast on GPUs and recent CPUs, its points up to a heatmap cell off."""
    batch_size: int | None = Field(None, ge=1, le=256)
    """`fan`: faces in one pass, the last one filled up. Empty: 16 on a GPU, 4 on a CPU. Halved where memory does not
    suffice."""
    threads: int = Field(1, ge=1, le=64)
    """`fan`: CPU threads of the network; a worker of the crops stage has one core to itself."""
    flip_test: bool = False
    """`dwpose`: look at the mirror image too and average, as the official PyTorch route does (the official ONNX file
    has none); twice the cost."""
    parity: bool = False
    """`dwpose`: points in whole bins, and those it does not see outside the picture, as the official script reads
    them; to compare with it."""

    @property
    def weights_spec(self) -> str | None:
        """What `stages.weights.Weights` is asked for; None when the provider loads nothing."""
        usual = {"fan": "2dfan4", "dwpose": "dwpose", "onnx": None}
        return self.weights or usual[self.provider] if self.provider in usual else None


def build(settings: LandmarksSettings, weights: Weights) -> Landmarker:
    """The provider of the settings, its file loaded.

    Raises DubError `weights_missing` when the file is not there, `unsupported` when it is the wrong one.
    """
    if settings.provider == "template":
        return Template()
    if settings.provider in ("auto", "five"):
        return Five()
    if settings.weights_spec is None:
        raise DubError(
            "weights_missing",
            "landmarks.provider 'onnx' needs landmarks.weights: the path of a 68-point ONNX file",
        )
    path = weights.path(settings.weights_spec)
    if settings.provider == "onnx":
        return Onnx68(path, settings.input_px, settings.margin)
    if settings.provider == "dwpose":
        from stages.crops.landmarks.dwpose import DWPose

        return DWPose(path, settings.flip_test, settings.parity)
    from stages.crops.landmarks.fan import Fan  # torch only where it is needed (design section 3)

    return Fan(path, settings.device, settings.dtype, settings.batch_size, settings.threads)

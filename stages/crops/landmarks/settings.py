"""Which landmarks are used, and how calm they are."""

from typing import Literal

from pydantic import Field

from stages.crops.landmarks.five import Five
from stages.crops.landmarks.onnx68 import Onnx68
from stages.crops.landmarks.template import Template
from stages.crops.landmarks.types import Landmarker
from stages.errors import DubError
from stages.settings import Settings
from stages.weights import Weights


class LandmarksSettings(Settings):
    """The 68 points of the chosen face: they shape the mask, and `mouthwarp` moves the lips by them."""

    provider: Literal["auto", "fan", "onnx", "five", "template"] = "auto"
    """`auto`: `five`. `five`: a mean face fitted to the detector's five points, to the box where it has none; costs
    nothing. `template`: the mean face in the box. `onnx`: a small network on the CPU, about 5 ms a frame. `fan`: the
    2DFAN4 network, exact and heavy (0.1-0.3 s a frame on one core): use a stride, or a GPU."""
    weights: str | None = None
    """Registry name, path or URL of the file of `fan` (default `2dfan4`) or `onnx` (must be given)."""
    stride: int = Field(1, ge=1, le=50)
    """Frames from one look of `fan` or `onnx` to the next on the film's grid; between them the points move with the
    box. Raise it to 3-5 for `fan` without a GPU."""
    smooth_s: float = Field(0.05, ge=0, le=1)
    """Sigma, in seconds, of the Gaussian that calms the points over time; 0 switches it off. Raise it when the mask
    trembles, lower it when it lags behind quick heads."""
    margin: float = Field(0.1, ge=0, le=1)
    """`onnx`: how much longer than the box's longer side its square crop is. 0.1 is where PFLD agrees best with
    itself over margins on our clips."""
    input_px: int = Field(112, ge=16, le=1024)
    """`onnx`: side of the network's input."""
    device: str = "cpu"
    """`fan`: torch device, such as `cpu` or `cuda`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """`fan`: `bfloat16` is more than twice as fast on recent CPUs, its points up to a heatmap cell off."""
    batch_size: int = Field(4, ge=1, le=256)
    """`fan`: faces in one pass; raise it to 16-64 on a GPU."""

    @property
    def weights_spec(self) -> str | None:
        """What `stages.weights.Weights` is asked for; None when the provider loads nothing."""
        if self.provider == "fan":
            return self.weights or "2dfan4"
        return self.weights if self.provider == "onnx" else None


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
    from stages.crops.landmarks.fan import Fan  # torch only where it is needed (design section 3)

    return Fan(path, settings.device, settings.dtype, settings.batch_size)

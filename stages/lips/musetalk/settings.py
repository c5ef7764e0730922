"""Settings of the MuseTalk generator."""

from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.crops.types import HalfFace
from stages.settings import Settings

Version = Literal["1.5", "1.0"]

MARGIN_PX: Final = 10.0
"""What the official script adds below the chin with 1.5, in px of the full frame (musetalk.md 4.5)."""
MARGIN_SHARE: Final = MARGIN_PX / 128
"""The same of the way from nose to chin, in a face at the network's own 256 px: its lower half is 128 of them."""


class MuseTalkSettings(Settings):
    """How mouths are redrawn by MuseTalk."""

    weights: str | None = None
    """Folder in the official layout: `musetalkV15/` or `musetalk/`, and `sd-vae/`. Empty: the weights folder, where
    `dubline weights fetch musetalk-1.5` puts them."""
    version: Version = "1.5"
    """Which weights: `1.5` is sharper and closer in sync as a rule, `1.0` allows `bbox_shift` as it was meant."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the networks. `bfloat16` is far faster on GPUs since Ampere and halves the memory, a few grey
    levels off; `float16` is for older GPUs. `float32` compares with the official script."""
    batch_size: int | None = Field(None, ge=1, le=1024)
    """Frames per step of the network; a shard's last step is filled up, so that rounding does not depend on the
    shard. Empty: 16 on a GPU, 1 on a CPU. Halved, and said so in the report, where memory does not suffice."""
    latents: Literal["mode", "sample"] = "mode"
    """How a crop is encoded: `mode` takes the middle of what the encoder finds likely, `sample` draws from it as the
    official script does. Frames look the same; `mode` is calmer."""
    seed: int = Field(0, ge=0, lt=2**63)
    """What `sample` draws by. The draw depends on this and on the crop alone, so a run repeats itself."""
    compile: bool = False
    """Whether `torch.compile` makes one program of the network on a GPU: faster steps for a minute or two of waiting
    in every worker, and a C compiler is needed. Without effect on a CPU."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the network: the cores that a worker of the lips stage has to itself; where it shares them, more
    threads are slower than one. Another number may change single values by one grey level."""
    speech_shift_s: float = Field(0.0, ge=-1.0, le=1.0)
    """Seconds added to a frame's time before its speech is looked up. Positive: the mouth moves earlier.
    Change it only after measuring that a checkpoint leads or lags."""
    route: Literal["auto", "current", "legacy"] = "auto"
    """How speech is turned into features: `legacy` is what the weights of 1.0 were trained with, `current` what the
    official script does today for both. `auto`: legacy for 1.0, current for 1.5."""
    bbox_shift: float = 0.0
    """How far below the nose the redrawn half begins, in `box_unit`. Positive opens the mouth more as a rule, negative
    less; the official range is about 0.1 of the face either way. 1.5 was made for 0."""
    margin: float | None = Field(None, ge=0)
    """How much further down than the chin the box reaches, in `box_unit`. Empty: none for 1.0; for 1.5, 0.078 of the
    face or 10 px. The official 10 px do not grow with the face. 1.5 was trained on margins of 0 to 20 px, 10 in the
    middle, in faces of 200 px and more: 0.1 of the way from nose to chin in the smallest, and 10 / 128 in one of the
    network's own 256 px, which is taken here."""
    box_unit: Literal["face", "px"] = "face"
    """What `bbox_shift` and `margin` are counted in: shares of the way from nose to chin, or px of the picture as in
    the official script."""

    @field_validator("version", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """`version: 1.5` is a number in YAML."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"{value:.1f}" if number else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.box_unit == "face" and (abs(self.bbox_shift) > 0.5 or (self.margin or 0) > 0.5):
            raise ValueError(
                "bbox_shift and margin are shares of the way from nose to chin, up to 0.5: set box_unit to px "
                "to give them in pixels"
            )
        return self

    @property
    def half_face(self) -> HalfFace:
        """How the box follows the landmarks (musetalk.md 4.5)."""
        margin = self.margin
        if margin is None:
            margin = 0.0 if self.version == "1.0" else MARGIN_SHARE if self.box_unit == "face" else MARGIN_PX
        return HalfFace(self.bbox_shift, margin, self.box_unit)

    @property
    def speech_route(self) -> Literal["current", "legacy"]:
        """The route of speech features, decided."""
        if self.route != "auto":
            return self.route
        return "legacy" if self.version == "1.0" else "current"

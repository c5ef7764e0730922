"""Whose lips are redrawn, and how steadily the box follows the head."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.settings import Settings

_Share = Annotated[float, Field(ge=-0.5, le=2.0)]


class CastSettings(Settings):
    """The choice of the face, and its box from frame to frame."""

    start_score: float = Field(0.7, ge=0, le=1)
    """A face is painted from where its detection score reaches this. Raise it when slides or posters get lips."""
    stay_score: float = Field(0.4, ge=0, le=1)
    """A painted face stays painted while its score stays at or above this. Detections below it count as none."""
    min_face_px: float = Field(48.0, ge=0)
    """Faces whose box is lower than this, in px of the full frame, are left alone: their lips hardly show."""
    bridge_s: float = Field(0.5, ge=0)
    """A painted face that is not found for at most this long, in seconds, stays painted; its box is interpolated."""
    track_overlap: float = Field(0.3, gt=0, le=1)
    """Two detections, one look apart, are one face when their boxes, doubled in size, overlap by this share
    (intersection over union). 0.3 lets a head move by its own width between two looks."""
    smoothing: Literal["gaussian", "official", "none"] = "gaussian"
    """`gaussian` follows the head without lag. `official` is the five-box forward mean of the Wav2Lip script, on
    whole pixels, which leads the head by two frames: for parity, with `faces.stride` 1. `none` is raw."""
    position_s: float = Field(0.1, gt=0)
    """Standard deviation of the Gaussian over the box's centre and the five points, in seconds."""
    size_s: float = Field(0.3, gt=0)
    """The same for the box's width and height, which follow the talking chin where they should not."""
    pad: tuple[_Share, _Share, _Share, _Share] = (0.0, 0.06, 0.0, 0.0)
    """Top, bottom, left, right: widens the box by these shares of its height and width. The bottom leaves an
    opening jaw its room."""
    pad_px: tuple[int, int, int, int] | None = None
    """Top, bottom, left, right in px of the full frame, in place of `pad`; the Wav2Lip script's are 0, 10, 0, 0."""

    span_fade_s: float = Field(0.2, ge=0, le=10)
    """Seconds over which the paint comes and goes at the ends of a row's `spans`, inside them. 0 switches it on and off
    from one frame to the next."""

    @model_validator(mode="after")
    def _scores_in_order(self) -> "CastSettings":
        if self.stay_score > self.start_score:
            raise ValueError(f"stay_score {self.stay_score} is above start_score {self.start_score}")
        return self

"""Which detector the settings mean, and the detector itself."""

from typing import Final

from stages.errors import DubError
from stages.faces.haar import CASCADE, Haar
from stages.faces.settings import FacesSettings
from stages.faces.types import FaceDetector
from stages.faces.yunet import YuNet
from stages.weights import Weights

_WIDTHS_PX: Final = {"yunet": 320, "haar": 480}
"""Default working widths: 6-12 and 70-125 ms on one core (speed.md). YuNet finds faces of a twentieth of that width."""


def resolve_detector(settings: FacesSettings, weights: Weights) -> str:
    """`yunet`, `haar` or `sfd`: `auto` is yunet where its weights are found, else haar.

    Call it once, on the driver, and hand the workers settings that name the answer: a node without the
    weights must fail, not look with another detector.
    """
    if settings.detector != "auto":
        return settings.detector
    try:
        weights.path(settings.yunet_weights)
    except DubError as error:
        if error.code != "weights_missing":
            raise
        return "haar"
    return "yunet"


def working_width(settings: FacesSettings, name: str) -> int | None:
    """Width in px that pictures are shrunk to for detector `name`; None: full size."""
    return settings.width_px or _WIDTHS_PX.get(name)


def weights_digest(settings: FacesSettings, weights: Weights, name: str) -> str:
    """sha256 of what a detector was trained to. Raises DubError `weights_missing`."""
    if name == "haar":
        return weights.sha256(str(CASCADE))
    return weights.sha256(settings.yunet_weights if name == "yunet" else settings.sfd_weights)


def make_detector(settings: FacesSettings, weights: Weights, name: str) -> FaceDetector:
    """The detector `name` with its weights loaded. Raises DubError `weights_missing`."""
    width_px = working_width(settings, name)
    if name == "haar":
        return Haar(width_px, settings.min_score)
    if name == "yunet":
        return YuNet(weights.path(settings.yunet_weights), width_px, settings.min_score)
    # Imported here: torch costs a worker 500 MB that the other detectors do without.
    from stages.faces.sfd import Sfd

    return Sfd(
        weights.path(settings.sfd_weights),
        width_px,
        settings.min_score,
        settings.sfd_official,
        settings.threads,
    )

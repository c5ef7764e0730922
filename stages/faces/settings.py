"""How faces and shot changes are found."""

from typing import Literal

from pydantic import Field

from stages.settings import Settings


class FacesSettings(Settings):
    """Face detection and shot changes."""

    detector: Literal["auto", "yunet", "haar", "sfd"] = "auto"
    """`yunet`: fast, finds profiles and small faces, gives five points; needs 230 KB of weights. `haar`: no
    download, frontal faces only, several times slower. `sfd`: what Wav2Lip was trained on, seconds a frame on
    a CPU; for parity with the official script. `auto`: yunet where its weights are found, else haar."""
    stride: int = Field(5, ge=1, le=250)
    """Look at every n-th frame of the film, and at both sides of every shot change. Lower it for very fast
    heads; 1 for parity."""
    width_px: int | None = Field(None, ge=32)
    """Pictures are shrunk to this width before detection; None: 320 for yunet, 480 for haar, full size for
    sfd. Raise it when faces narrower than a twentieth of the picture matter. Cost grows with its square."""
    min_score: float = Field(0.3, ge=0, le=1)
    """Detections below this are not even stored. Keep it at or below `cast.stay_score`."""
    cut_threshold: float = Field(27.0, ge=0)
    """A new shot begins where two frames differ by this much (mean HSV difference, 0..255; 27 is PySceneDetect's
    default). Lower it when cuts between similar pictures are missed; 256 finds none."""
    yunet_weights: str = "yunet"
    """Weights of yunet: a registered name, or the path or URL of an ONNX file."""
    sfd_weights: str = "s3fd"
    """Weights of sfd: a registered name, or the path or URL of a state dict."""
    sfd_official: bool = True
    """Feed sfd the colour-swapped pictures of the official Wav2Lip script, and keep its whole-number box of the
    best face only. False: right colours, every face, which finds more."""
    threads: int = Field(1, ge=1, le=64)
    """Threads of one worker for OpenCV, and for torch where sfd runs."""

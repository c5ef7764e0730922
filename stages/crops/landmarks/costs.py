"""What landmarks cost: how many CPU cores have to stand behind a generator so that it never waits for them."""

from typing import Final

from stages.crops.landmarks.settings import LandmarksSettings

FRAME_MS: Final = {
    "template": 0.01,
    "five": 0.05,
    "onnx": 5.0,  # PFLD
    "dwpose": 125.0,
    "fan": 309.0,  # as bfloat16, media.md 7.7
    "fan bfloat16": 118.0,
    "fan on a GPU": 0.5,  # cutting the crop out
}
"""ms of one core for one face, on the quiet two-core machine of media.md 7.7. What is not there was measured beside FAN
in one run, on a busier machine, and is its share of FAN's time: dwpose 0.40, PFLD 0.016 (5 ms there as well)."""


def core_ms(settings: LandmarksSettings) -> float:
    """ms of one CPU core for a painted frame's landmarks, `stride` counted in. `device` auto counts as the CPU."""
    kind: str = "five" if settings.provider == "auto" else settings.provider
    if kind == "fan" and settings.device == "cuda":
        kind = "fan on a GPU"
    elif kind == "fan" and settings.dtype == "bfloat16":
        kind = "fan bfloat16"
    looks = 2 if kind == "dwpose" and settings.flip_test else 1
    looked_at = 1 if settings.weights_spec is None else settings.stride  # what needs no network looks at every frame
    return FRAME_MS[kind] * looks / looked_at

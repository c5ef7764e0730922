"""Crops + speech -> patches, by the generator a film asks for."""

from dataclasses import dataclass, replace

import numpy as np

from stages.arrays import F32
from stages.crops.types import FaceStack
from stages.lips.settings import LipsSettings
from stages.lips.types import Generator
from stages.settings import digest
from stages.weights import Weights

STAGE_VERSION = 1


@dataclass(frozen=True)
class Facts:
    """What must be known of a generator before it is loaded."""

    crop_px: int
    """Side of its crops."""
    needs_weights: bool


GENERATORS = {"mouthwarp": Facts(256, needs_weights=False), "wav2lip": Facts(96, needs_weights=True)}


def build_generator(name: str, settings: LipsSettings, weights: Weights) -> Generator:
    """The generator, loaded. Raises DubError `weights_missing` or `unsupported`."""
    if name == "wav2lip":
        from stages.lips.wav2lip.generator import Wav2LipGenerator  # torch only where it is needed

        return Wav2LipGenerator.from_settings(settings.wav2lip, weights.path(settings.wav2lip.weights))
    from stages.lips.mouthwarp import MouthWarp

    return MouthWarp(settings.mouthwarp)


def speech_shift_s(name: str, settings: LipsSettings) -> float:
    """Seconds added to a frame's time before its speech is looked up, as the loaded generator has it."""
    if name == "wav2lip":
        return settings.wav2lip.speech_shift_s
    from stages.lips.mouthwarp import MouthWarp

    return MouthWarp.speech_shift_s


def generator_key(name: str, settings: LipsSettings, weights: Weights) -> str:
    """What patches depend on besides crops, landmarks and speech."""
    if name == "wav2lip":
        # All of them: even the number of threads moves single values by one code.
        return digest(STAGE_VERSION, name, settings.wav2lip, weights.sha256(settings.wav2lip.weights))
    return digest(STAGE_VERSION, name, settings.mouthwarp)


def redraw(generator: Generator, crops: FaceStack, speech: F32) -> FaceStack:
    """The same stack with new pixels. `speech`: float32 [m, 80, 16], one window per item."""
    return replace(crops, pixels=generator.generate(crops.pixels, speech, crop_landmarks(crops)))


def crop_landmarks(stack: FaceStack) -> F32:
    """float32 [m, 68, 2] px of the crops."""
    low = stack.boxes[:, None, :2].astype(np.float32)
    size = (stack.boxes[:, 2:] - stack.boxes[:, :2])[:, None].astype(np.float32)
    return (stack.landmarks - low) * (np.float32(stack.pixels.shape[1]) / size)

"""A generator with its settings, before it is loaded: what the driver and the stages before it must know of it."""

from abc import ABC, abstractmethod

from stages.crops.types import CropWish
from stages.lips.types import Generator, MaskMode
from stages.speech.hearing import Hears
from stages.weights import Weights


class GeneratorSpec(ABC):
    """A generator with its settings, before it is loaded: what the driver and the stages before it must know.

    Cheap to make and to ask, without torch. docs/generators.md says how to add one.
    """

    hears: Hears = "mel"
    speech_shift_s: float = 0.0
    """Added to a frame's time before its speech window is looked up."""
    mask: MaskMode = "landmarks"
    """Where its patches are seen, unless `lips.parsing.mask` says otherwise."""
    networks: bool = True
    """Whether it can use a GPU."""
    gpu_gib: float = 0.0
    """GiB it takes on a GPU at its batch size (`stages.networks`): what decides who shares one."""
    gflop: float = 0.0
    """GFLOP a face costs it: how many CPU cores it takes to feed it is told by this. 0: not known."""

    @property
    @abstractmethod
    def crop(self) -> CropWish:
        """What it wants cut out."""

    def weights(self) -> tuple[str, ...]:
        """What `stages.weights.Weights` is asked for: registry names, paths or URLs."""
        return ()

    @abstractmethod
    def key(self, weights: Weights) -> str:
        """What its pixels depend on besides crops, landmarks and speech. Raises DubError `weights_missing`."""

    @abstractmethod
    def load(self, weights: Weights) -> Generator:
        """The generator, ready. Raises DubError `weights_missing` or `unsupported`."""

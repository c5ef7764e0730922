"""How a film's faces are redrawn: its generator, where the patches are seen, and who sharpens them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from pipeline.config import Config
from pipeline.film import Film
from stages.crops.types import CONTEXT_PX, CropWish
from stages.enhance.enhance import enhance_key
from stages.lips.generators import spec_of
from stages.lips.parsing.masks import MASK_PX
from stages.lips.parsing.settings import parsing_key
from stages.lips.spec import GeneratorSpec
from stages.lips.types import MaskMode
from stages.networks import CONTEXT_GIB, FACE_PARSER, FAN, GFPGAN, WHISPER_TINY, Device
from stages.settings import digest
from stages.speech.hearing import hearing_key, weights_heard_with
from stages.weights import Weights

MAX_PAYLOAD = 96 << 20
"""Bytes of a row's payload at most (design section 1): under Ray Data's 128 MiB block."""
_ITEM = 68 * 2 * 4 + 2 * 4 * 4 + 12  # landmarks, two boxes, frame and weight


@dataclass(frozen=True)
class Recipe:
    """What the steps between cast and composite do to a film's faces."""

    name: str
    """Of the generator."""
    spec: GeneratorSpec
    mask: MaskMode
    enhanced: bool

    @property
    def crop(self) -> CropWish:
        """What is cut out: the generator's wish, and the surroundings for whoever looks at them."""
        wish = self.spec.crop
        return replace(wish, context=wish.context or self.parsed or self.enhanced)

    @property
    def parsed(self) -> bool:
        """Whether a face parser says where the patches are seen."""
        return self.mask != "landmarks"

    @property
    def longest_shard(self) -> int:
        """Most frames whose faces fit a row."""
        crop = self.crop
        pixels = crop.px**2 * 3 + (CONTEXT_PX**2 * 3 if crop.context else 0) + (MASK_PX**2 if self.parsed else 0)
        return MAX_PAYLOAD // (pixels + _ITEM)

    @property
    def uses_networks(self) -> bool:
        """Whether the lips stage has something to run on a GPU."""
        return self.spec.networks or self.parsed

    @property
    def lips_gib(self) -> float:
        """GiB on a GPU of one worker of the lips stage."""
        ears = 0.0 if self.spec.hears == "mel" else WHISPER_TINY.gib("float32")
        parser = FACE_PARSER.gib("float32") if self.parsed else 0.0
        return self.spec.gpu_gib + ears + parser

    def weights(self, config: Config) -> tuple[str, ...]:
        """What must be there to draw: registry names, paths or URLs."""
        specs = [*self.spec.weights(), *weights_heard_with(self.spec.hears, config.speech)]
        if self.parsed:
            specs.append(config.lips.parsing.weights)
        if self.enhanced:
            specs.append(config.enhance.weights)
        return tuple(specs)

    def key(self, config: Config, weights: Weights) -> str:
        """What patches and masks depend on besides the film, its landmarks and the speech."""
        lips = config.lips
        parts = [self.spec.key(weights), asdict(self.crop), self.spec.speech_shift_s]
        parts.append(hearing_key(self.spec.hears, config.speech, weights, lips.device))
        if self.mask != "landmarks":
            parts.append(parsing_key(lips.parsing, self.mask, lips.device, weights))
        if self.enhanced:
            parts.append(enhance_key(config.enhance, weights))
        return digest(*parts)


def recipe_of(generator: str, enhance: str, config: Config) -> Recipe:
    """The recipe of a film. Raises DubError `unsupported` for a generator that is not installed here."""
    spec = spec_of(generator, config.lips)
    wanted = config.lips.parsing.mask
    return Recipe(generator, spec, spec.mask if wanted == "auto" else wanted, enhance != "none")


def drawn_with(film: Film, config: Config) -> tuple[str, str]:
    """The names of the film's generator and of its enhancer: the row's, else the config's."""
    return film.generator or config.lips.generator, film.enhance or config.enhance.model


def recipes_of(films: Iterable[Film], config: Config) -> list[Recipe]:
    """The different recipes of a run's films."""
    return [recipe_of(*names, config) for names in sorted({drawn_with(film, config) for film in films})]


def settle_devices(
    config: Config, recipes: Sequence[Recipe], gpu_there: Callable[[], bool]
) -> tuple[Config, dict[str, float]]:
    """The config with `auto` answered once for all workers, and the stages that run on a GPU with the GiB they take.

    `gpu_there` is asked only when a network of the run may use one: on one machine the answer costs torch's start.
    """
    landmarks, restorer = config.crops.landmarks, config.enhance
    drawn = [recipe.lips_gib for recipe in recipes if recipe.uses_networks]
    needs = {  # GiB of one worker's networks; stages without any are left out
        "crops": [FAN.gib(landmarks.dtype, landmarks.batch_size)] if landmarks.provider == "fan" else [],
        "lips": drawn,
        "enhance": [GFPGAN.gib(restorer.dtype, restorer.batch_size) for recipe in recipes if recipe.enhanced],
    }
    asked: dict[str, Device] = {"crops": landmarks.device, "lips": config.lips.device, "enhance": restorer.device}
    devices: dict[str, Device] = dict.fromkeys(asked, "cpu")
    for stage, wanted in asked.items():
        if needs[stage] and wanted != "cpu":
            devices[stage] = "cuda" if wanted == "cuda" or gpu_there() else "cpu"
    crops = config.crops.model_copy(
        update={"landmarks": landmarks.model_copy(update={"device": devices["crops"]})},
    )
    settled = config.model_copy(
        update={
            "crops": crops,
            "lips": config.lips.model_copy(update={"device": devices["lips"]}),
            "enhance": restorer.model_copy(update={"device": devices["enhance"]}),
        }
    )
    return settled, {s: CONTEXT_GIB + max(needs[s]) for s, device in devices.items() if device == "cuda"}

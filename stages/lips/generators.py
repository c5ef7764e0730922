"""The generators by name: those that dubline has, and those that installed packages bring along."""

import difflib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from stages.errors import DubError
from stages.lips.mouthwarp import MouthWarpSpec
from stages.lips.musetalk.spec import MuseTalkSpec
from stages.lips.settings import LipsSettings
from stages.lips.spec import GeneratorSpec
from stages.lips.wav2lip.spec import Wav2LipSpec
from stages.networks import Device

GROUP: Final = "dubline.generators"
"""Entry points of other packages: each loads a `Factory`."""
Factory = Callable[[Mapping[str, Any], Device], GeneratorSpec]
"""Takes the options that `lips.plugins` has for it, and `lips.device`. Raises ValueError for options it refuses."""

_OWN: Final[dict[str, Callable[[LipsSettings], GeneratorSpec]]] = {
    "mouthwarp": lambda lips: MouthWarpSpec(lips.mouthwarp),
    "wav2lip": lambda lips: Wav2LipSpec(lips.wav2lip, lips.device),
    "musetalk": lambda lips: MuseTalkSpec(lips.musetalk, lips.device),
}


@cache
def _brought() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in _OWN}


def generator_names() -> tuple[str, ...]:
    """What a row or `lips.generator` may say."""
    return (*_OWN, *sorted(_brought()))


def check_generator(name: str) -> str:
    """The name. Raises ValueError for one that nobody brings, with the nearest."""
    names = generator_names()
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"must be {' or '.join(names)}, not {name[:60]!r}{hint}")


def spec_of(name: str, settings: LipsSettings) -> GeneratorSpec:
    """A generator with its settings. Raises DubError `unsupported` for a package's that cannot be had with them."""
    own = _OWN.get(name)
    if own is not None:
        return own(settings)
    point = _brought().get(name)
    if point is None:  # a worker's machine has other packages than the driver's
        raise DubError("unsupported", f"generator {name!r} is not installed here; install its package on every machine")
    try:
        factory: Factory = point.load()
        return factory(settings.plugins.get(name, {}), settings.device)
    except Exception as error:  # code of somebody else's
        raise DubError("unsupported", f"generator {name!r} ({point.value}): {type(error).__name__}: {error}") from error

"""Which weights a run loads, under which licences they are, and whether it may be run under them."""

import logging
from collections.abc import Sequence
from typing import Final

from pipeline.config import Config
from pipeline.film import Film
from pipeline.pools import PreflightError
from pipeline.recipe import recipes_of
from stages.errors import DubError
from stages.faces.detectors import resolve_detector
from stages.urls import without_secrets
from stages.weights import Weight, Weights

_log = logging.getLogger(__name__)
_UNKNOWN: Final = "licence unknown to dubline: yours to check"


def _of_faces(films: Sequence[Film], config: Config) -> list[str]:
    if all(film.box is not None for film in films):
        return []
    faces = config.faces
    by_detector = {"yunet": [faces.yunet_weights], "sfd": [faces.sfd_weights], "haar": []}  # haar: OpenCV's own
    return by_detector[resolve_detector(faces, Weights(config.weights_dir))]


def _of_landmarks(films: Sequence[Film], config: Config) -> list[str]:
    spec = config.crops.landmarks.weights_spec
    return [] if spec is None else [spec]


def _of_recipes(films: Sequence[Film], config: Config) -> list[str]:
    specs: list[str] = []
    for recipe in recipes_of(films, config):
        try:
            specs += recipe.weights(config)
        except DubError:
            _log.warning("weights of %s: not there, so nothing can be said of them", recipe.name)
    return specs


_OF_STAGES: Final = (_of_faces, _of_landmarks, _of_recipes)


def weights_in_use(films: Sequence[Film], config: Config) -> list[str]:
    """What dubbing these films loads: names of the registry, paths, URLs; each once, in the order of the stages."""
    return list(dict.fromkeys(spec for stage in _OF_STAGES for spec in stage(films, config)))


def commercially(config: Config) -> Config:
    """The same settings for a run under `run.commercial`."""
    return config.model_copy(update={"run": config.run.model_copy(update={"commercial": True})})


def check_licences(films: Sequence[Film], config: Config) -> None:
    """Log one line for each licence that the run's weights are under, and refuse what `run.commercial` rules out.

    A name is taken at its word, for loading checks the file; any other file is known by its sha256. A file that
    dubline does not know is let pass, and named as the user's to check: it may well be their own.
    Raises PreflightError with every file that is in the way, and its licence; DubError `weights_missing` where
    `run.commercial` asks for a file that is not here to look at.
    """
    weights, commercial = Weights(config.weights_dir), config.run.commercial
    used = {spec: _looked_up(weights, spec, commercial) for spec in weights_in_use(films, config)}
    by_licence: dict[str, list[str]] = {}
    for spec, weight in used.items():
        licence = _UNKNOWN if weight is None else weight.licence
        by_licence.setdefault(licence, []).append(_shown(spec, weight))
    for licence, files in by_licence.items():
        _log.info("weights %s: %s", ", ".join(files), licence)
    if commercial:
        _refuse([(_shown(spec, weight), weight) for spec, weight in used.items() if weight], config)


def _looked_up(weights: Weights, spec: str, must_be_here: bool) -> Weight | None:
    try:
        return weights.known(spec)
    except DubError:
        if must_be_here:
            raise
        return None  # whether the films that need it can be dubbed without is not for a licence to say


def _refuse(used: Sequence[tuple[str, Weight]], config: Config) -> None:
    """Raise PreflightError when commercial work may not load one of these. `used`: what to call each, and it."""
    cleared = config.run.licences_cleared
    forbidden = [(shown, weight) for shown, weight in used if weight.commercial is False]
    unclear = [(shown, weight) for shown, weight in used if weight.commercial is None and weight.name not in cleared]
    if not forbidden and not unclear:
        return
    lines = ["run.commercial is set, and the run would load weights that are not clearly for commercial use:"]
    lines += [f"  {shown}: forbidden: {weight.licence}" for shown, weight in forbidden]
    lines += [f"  {shown}: unclear: {weight.licence}" for shown, weight in unclear]
    if unclear:
        names = ", ".join(dict.fromkeys([*cleared, *(weight.name for _, weight in unclear)]))
        lines.append(f"Where you have had the unclear ones checked: --set run.licences_cleared=[{names}]")
    raise PreflightError("\n".join(lines))


def _shown(spec: str, weight: Weight | None) -> str:
    """A spec without what a URL may be signed with, and what it is where its name does not say so."""
    spec = without_secrets(spec)
    return spec if weight is None or spec == weight.name else f"{spec} (which is {weight.name})"

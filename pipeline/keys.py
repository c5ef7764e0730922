"""What each file of the work folder depends on, as its name (design section 4).

A changed setting makes new names for what depends on it, and for nothing else. Keys hold content, never paths.
"""

import hashlib

import numpy as np

from pipeline.config import Config
from pipeline.film import LOCATIONS, Film
from pipeline.job import Job
from pipeline.recipe import recipe_of
from stages.arrays import F32
from stages.cast.plan import Shard
from stages.cast.types import Cast
from stages.composite.composite import STAGE_VERSION as COMPOSITE_VERSION
from stages.crops.crops import STAGE_VERSION as CROPS_VERSION
from stages.crops.landmarks.smooth import reach_s
from stages.faces.faces import faces_key as _faces_key
from stages.media import storage
from stages.media.encode import encoder_for
from stages.media.seam import VERSION as SMART_VERSION
from stages.media.seam import Seam
from stages.media.settings import MediaSettings
from stages.media.still import VERSION as STILL_VERSION
from stages.media.still import is_still
from stages.media.timeline import Timeline
from stages.mux.mux import STAGE_VERSION as MUX_VERSION
from stages.settings import digest
from stages.speech.hearing import Windows
from stages.speech.settings import SpeechSettings
from stages.speech.track import VERSION as TRACK_VERSION
from stages.speech.tts import VERSION as TTS_VERSION
from stages.weights import Weights

_PLAN_VERSION = 2
_RENDERING = {"render", "copy_min_s"}
_INDEX_VERSION = 1


def speech_key(film: Film, settings: SpeechSettings) -> str:
    """The dub's samples: the file's content and track, or the text, its language and its voice."""
    decoded = [TRACK_VERSION, settings.resampler]
    if film.audio is not None:
        return digest(decoded, storage.identity(film.audio), film.audio_track)
    return digest(decoded, TTS_VERSION, film.text, film.language or settings.language, film.voice)


def video_key(url: str, settings: MediaSettings) -> str:
    """A source, or the film of one frame that is made of a picture. Raises DubError `not_found`."""
    made = [STILL_VERSION, settings.still_rate] if is_still(url) else []
    return digest(_INDEX_VERSION, storage.identity(url), *made)


def faces_key(config: Config, weights: Weights) -> str:
    """Detections of any film."""
    return _faces_key(config.faces, weights, config.media.untagged_matrix)


def landmarks_key(config: Config, weights: Weights) -> str:
    """Raw landmarks, given the boxes they are looked for in."""
    settings = config.crops.landmarks
    if settings.weights_spec is None:
        return digest(CROPS_VERSION, "template" if settings.provider == "template" else "five")
    read = {
        "fan": {"device", "dtype", "batch_size", "threads"},
        "dwpose": {"flip_test", "parity"},
        "onnx": {"margin", "input_px"},
    }
    own = settings.model_dump(include={"provider", *read[settings.provider]})
    sha = weights.sha256(settings.weights_spec)
    return digest(CROPS_VERSION, own, sha, config.media.untagged_matrix, config.media.conversion)


def film_key(job: Job, config: Config, weights: Weights) -> str:
    """Everything a finished film depends on."""
    film = job.film.model_dump(mode="json", exclude={"id", *LOCATIONS, "consent"})
    recipe = recipe_of(job.generator, job.enhance, config)
    return digest(
        _PLAN_VERSION,
        MUX_VERSION,
        job.video_key,
        job.speech_key,
        storage.identity(job.film.background) if job.film.background else "",
        film,
        job.range,
        job.spans,
        job.film.suffix,
        faces_key(config, weights) if job.film.box is None else "",
        config.cast,
        config.split,
        _picture_key(config, weights),
        recipe.key(config, weights),
        config.speech.mel_padding,
        config.mux,
        [] if config.encode.render == "full" else [SMART_VERSION, config.encode.model_dump(include=_RENDERING)],
    )


def _picture_key(config: Config, weights: Weights) -> str:
    """Crops, blending and encoding."""
    media = config.media.model_dump(include={"untagged_matrix", "conversion"})
    composite = config.composite.model_dump(exclude={"threads"})
    crops = config.crops.model_dump(exclude={"landmarks"})
    landmarks = config.crops.landmarks
    calm = [landmarks.stride, landmarks.smooth_s] if landmarks.weights_spec is not None else []
    return digest(COMPOSITE_VERSION, media, composite, crops, landmarks_key(config, weights), calm, _encode_key(config))


def _encode_key(config: Config) -> str:
    """The encoder, however much of a film it makes."""
    return digest(config.encode.model_dump(mode="json", exclude=_RENDERING))


class ShardKeys:
    """Keys of one film's shards.

    A shard's picture depends on its own frames, on the chosen boxes in it and as far beyond as landmark smoothing
    looks, and on the samples its mouths hear: a line recorded anew costs the shards it is spoken in.
    """

    def __init__(
        self,
        job: Job,
        config: Config,
        weights: Weights,
        timeline: Timeline,
        cast: Cast,
        windows: Windows,
        seam: Seam | None = None,
    ) -> None:
        self._video, self._timeline, self._cast, self._windows = job.video_key, timeline, cast, windows
        self._on_source = cast.on_source(timeline.source, len(timeline.index))
        # What `auto` stands for: a film as .webm and as .mp4 has different segments.
        encoder = encoder_for(timeline.picture.codec, config.encode, job.film.suffix)
        # Beside copied packets segments have parameter sets of their own.
        beside = [] if seam is None else [SMART_VERSION, seam.model_dump()]
        recipe = recipe_of(job.generator, job.enhance, config)
        self._plain = digest(COMPOSITE_VERSION, _encode_key(config), encoder, *beside)
        self._painted = digest(
            _picture_key(config, weights),
            recipe.key(config, weights),
            encoder,
            *beside,
        )
        self._shift_s = recipe.spec.speech_shift_s
        landmarks = config.crops.landmarks
        smooths = landmarks.weights_spec is not None  # the providers that look at pixels
        self._reach_s = reach_s(landmarks.smooth_s) if smooths else 0.0
        self._stride = landmarks.stride if smooths else 0

    def unpainted(self, shard: Shard) -> str:
        """The key of the shard's frames as the source has them."""
        return digest(*self._place(shard, np.ones(0, np.float32)), self._plain)

    def of(self, shard: Shard) -> str:
        """The key of one shard; a copied one has no segment of that name."""
        if shard.copied:
            return digest(self._video, shard.start, shard.end, "copied")
        if not shard.painted:
            return self.unpainted(shard)
        times, shown = self._timeline.index.times, self._timeline.source[shard.start : shard.end]
        low = int(np.searchsorted(times, times[shown.min()] - self._reach_s)) - self._stride
        high = int(np.searchsorted(times, times[shown.max()] + self._reach_s)) + 1 + self._stride
        near = self._on_source.part(max(0, low), min(len(times), high))
        ends = np.diff(near.runs) != 0  # smoothing stops where a run does
        parts = (near.boxes, near.points, near.painted, ends)
        seen = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
        frames = np.flatnonzero(self._cast.painted[shard.start : shard.end]) + shard.start
        heard = self._windows.heard_digest(self._timeline.times[frames] + self._shift_s)
        weight = self._cast.weight[shard.start : shard.end]
        return digest(*self._place(shard, weight), self._painted, seen, heard)

    def _place(self, shard: Shard, weight: F32) -> list[str | int]:
        """Which frames of which film, and what tells them from the source's own, all painted in full."""
        place: list[str | int] = [self._video, shard.start, shard.end]
        if self._timeline.unchanged(shard.start, shard.end) and (weight == 1).all():
            return place
        own = slice(shard.start, shard.end)
        parts = (self._timeline.source[own], self._timeline.pts[own], weight)
        return [*place, hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()]

"""The demo: a small lecture film out of a portrait that scikit-image carries, and a manifest to dub it.

The picture moves (a slow camera), shows a slide without a face, and cuts back. Its own speech is English; the rows
of the manifest have it spoken in German and Spanish. Everything is made on this machine.
"""

import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from skimage import data

from stages.arrays import F32, U8
from stages.media import storage
from stages.speech.tts import speak

_SIZE = (854, 480)
_RATE = 25
_LEAD_S, _SLIDE_S, _REST_S = 0.4, 1.6, 0.6
_TEXTS = {
    "en": "Welcome to this lecture. Today we look at our planet from above. The view is one of a kind.",
    "de": "Willkommen zu dieser Vorlesung. Heute sehen wir unseren Planeten von oben. Der Blick ist einmalig.",
    "es": "Bienvenidos a esta clase. Hoy miramos nuestro planeta desde arriba. La vista es muy especial.",
}
_SHOWN, _SHOWN_PX = 5, 400


@dataclass(frozen=True)
class Demo:
    """Where the demo lies."""

    film: Path
    manifest: Path
    outputs: dict[str, Path]
    """Language -> dubbed film."""

    def compare(self) -> Path:
        """Write a picture of the film before (top row) and after dubbing, at the frames the dubs change most."""
        source = _pictures(self.film)
        dubbed = {language: _pictures(path) for language, path in self.outputs.items()}
        change = sum(np.abs(frames.astype(np.int16) - source).mean(axis=(1, 2, 3)) for frames in dubbed.values())
        # The frame that changes most of each stretch that changes at all: pictures from all over the film.
        changed = np.flatnonzero(change > 0.25 * np.max(change))
        shown = [int(part[np.argmax(change[part])]) for part in np.array_split(changed, _SHOWN) if len(part)]
        rows = [np.hstack([frames[k] for k in shown]) for frames in (source, *dubbed.values())]
        for row, name in zip(rows, ("before", *(f"after: {language}" for language in dubbed)), strict=True):
            cv2.putText(row, name, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
        target = self.film.parent / "before_after.png"
        _, png = cv2.imencode(".png", np.vstack(rows))
        storage.write_bytes(str(target), png.tobytes())
        return target


def make_demo(folder: Path) -> Demo:
    """Make the film and its manifest. Raises DubError `unsupported` when no speech can be made here."""
    folder.mkdir(parents=True, exist_ok=True)
    dubs = {language: folder / f"speech.{language}.wav" for language in _TEXTS}
    for language, path in dubs.items():
        speak(_TEXTS[language], language, None, str(path))
    length_s = _LEAD_S + max(_seconds(path) for path in dubs.values()) + _REST_S
    film, manifest = folder / "lecture.mp4", folder / "lecture.jsonl"
    with storage.publishing(str(film), ".mp4") as partial:
        _write_film(partial, dubs["en"], length_s)
    outputs = {language: folder / f"lecture.{language}.mp4" for language in _TEXTS if language != "en"}
    rows = [
        {
            "id": f"lecture-{language}",
            "video": film.name,
            "text": _TEXTS[language],
            "language": language,
            "output": path.name,
        }
        for language, path in outputs.items()
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Demo(film, manifest, outputs)


def _seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return float(file.getnframes() / file.getframerate())


def _write_film(target: Path, speech: Path, length_s: float) -> None:
    with av.open(str(target), "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=_RATE, options={"crf": "16", "preset": "fast"})
        assert isinstance(picture, VideoStream)
        picture.width, picture.height, picture.pix_fmt = *_SIZE, "yuv420p"
        with wave.open(str(speech)) as file:
            rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
        sound = container.add_stream("aac", rate=rate)
        assert isinstance(sound, AudioStream)
        sound.metadata["language"] = "eng"
        for image in _camera(round(length_s * _RATE)):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(picture.encode(None))
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux([*sound.encode(frame), *sound.encode(None)])


def _camera(count: int) -> Iterator[U8]:
    """The film's frames, uint8 [480, 854, 3] BGR: portrait, slide, portrait from nearer."""
    portrait = np.ascontiguousarray(data.astronaut()[:, :, ::-1])
    slide = _slide()
    first_slide = round(count * 0.42)
    after_slide = first_slide + round(_SLIDE_S * _RATE)
    for k in range(count):
        if first_slide <= k < after_slide:
            yield slide
        elif k < first_slide:
            way = k / max(1, first_slide - 1)
            yield _view(portrait, centre=(205 + 30 * way, 130 + 8 * way), width=400 - 40 * way)
        else:
            way = (k - after_slide) / max(1, count - 1 - after_slide)
            yield _view(portrait, centre=(238 - 24 * way, 128), width=330.0)


def _view(portrait: U8, centre: tuple[float, float], width: float) -> U8:
    """A window of the portrait, moved and sized in fractions of a pixel, scaled to the film's size."""
    scale = _SIZE[0] / width
    move: F32 = np.array(
        [[scale, 0, _SIZE[0] / 2 - scale * centre[0]], [0, scale, _SIZE[1] / 2 - scale * centre[1]]], np.float32
    )
    return cv2.warpAffine(portrait, move, _SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[no-any-return]


def _slide() -> U8:
    slide = np.full((_SIZE[1], _SIZE[0], 3), (96, 64, 32), np.uint8)
    for line, (text, size) in enumerate(
        [("The Earth from above", 1.4), ("- 90 minutes around", 1.0), ("- 16 sunrises a day", 1.0)]
    ):
        place = (60, 130 + 90 * line)
        cv2.putText(slide, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (240, 240, 240), 2, cv2.LINE_AA)
    return slide


def _pictures(path: Path) -> U8:
    """The middle of a short film's frames, where the face is: uint8 [n, 400, 400, 3] BGR."""
    left = (_SIZE[0] - _SHOWN_PX) // 2
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return np.stack([frame[:_SHOWN_PX, left : left + _SHOWN_PX] for frame in frames])

"""The demo, looked at through a landmark network: does the mouth follow the speech, and only the speech?"""

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.demo import Demo, make_demo
from stages.arrays import F32, F64, U8
from stages.cast.types import Cast
from stages.composite.mask import mouth_mask
from stages.crops.crops import whole_boxes
from stages.crops.landmarks.five import Five
from stages.crops.landmarks.onnx68 import Onnx68
from stages.media.index import index_video
from stages.media.planes import even_region
from stages.speech.samples import RATE, Samples
from tests.films import decoded, film, manifest, portrait, speech


@dataclass(frozen=True)
class Dubbed:
    """The demo and what it became."""

    demo: Demo
    work: Path


@pytest.fixture(scope="module")
def dubbed(tmp_path_factory: pytest.TempPathFactory) -> Dubbed:
    folder = tmp_path_factory.mktemp("demo")
    demo = make_demo(folder)
    report = dub(str(demo.manifest), Config(), str(folder / "work"))
    assert [film.code for film in report.all_films] == ["ok", "ok"]
    return Dubbed(demo, folder / "work")


def test_demo_ends_with_two_films_of_two_languages_and_a_picture(dubbed: Dubbed) -> None:
    for language, code in (("de", "deu"), ("es", "spa")):
        with av.open(str(dubbed.demo.outputs[language])) as container:
            sound = container.streams.audio
            assert [stream.language for stream in sound] == [code, "eng"]
            default = [bool(stream.disposition & av.stream.Disposition.default) for stream in sound]
            assert default == [True, False]
    picture = cv2.imread(str(dubbed.demo.compare()))
    assert picture is not None
    before, german, spanish = np.array_split(picture, 3)
    assert np.abs(before.astype(int) - german).max() > 40
    assert np.abs(before.astype(int) - spanish).max() > 40


def test_the_mouth_follows_the_speech_and_rests_in_its_pauses(dubbed: Dubbed, weights_dir: Path) -> None:
    look = Onnx68(weights_dir / "pfld_68.onnx", 112, 0.1)
    index = index_video(str(dubbed.demo.film))
    casts = list(dubbed.work.glob("films/*/cast.npz"))
    cast = Cast.from_bytes(casts[0].read_bytes())
    rest = _openings(dubbed.demo.film, cast, look)
    for language, path in dubbed.demo.outputs.items():
        opening = _openings(path, cast, look)
        loudness = _envelope(dubbed, language, index.times[cast.painted])
        correlation = float(np.corrcoef(opening - rest, loudness)[0, 1])
        silent = loudness < 0.02 * loudness.max()
        assert silent.sum() >= 5
        pauses = float(np.abs(opening[silent].mean() / rest[silent].mean() - 1))
        print(f"{language}: r = {correlation:.3f}, in pauses {pauses:.1%} from rest")
        assert correlation >= 0.7
        assert pauses <= 0.10


def test_the_box_is_calm_on_a_still_head(tmp_path: Path) -> None:
    """A head that does not move, under noise: from frame to frame, and over the film (detection is Haar's)."""
    random = np.random.default_rng(0)

    def noisy(_: int) -> U8:
        return np.clip(portrait(0) + random.normal(0, 4, (240, 320, 3)), 0, 255).astype(np.uint8)

    film(tmp_path / "a.mp4", frames=60, picture=noisy)
    speech(tmp_path / "dub.wav", 2.4)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4"}
    dub(str(manifest(tmp_path / "m.jsonl", row)), Config(), str(tmp_path / "work"))
    cast = Cast.from_bytes(next(tmp_path.glob("work/films/*/cast.npz")).read_bytes())
    assert cast.painted.all()
    jitter = np.sqrt((np.diff(cast.boxes, axis=0) ** 2).mean(axis=0))
    wander = cast.boxes.std(axis=0)
    print(f"from frame to frame {jitter.max():.3f} px rms, over the film {wander.max():.3f} px rms")
    assert 0 < jitter.max() <= 0.5
    assert wander.max() <= 1.0


def test_no_step_at_the_edge_of_what_is_painted(dubbed: Dubbed) -> None:
    """Lossless: along the outline of the soft mask the picture changes by at most 2 codes."""
    settings = {"encode": {"codec": "ffv1"}, "run": {"overwrite": True}}
    config = Config.model_validate(settings)
    report = dub(str(dubbed.demo.manifest), config, str(dubbed.work))
    assert not report.failed
    cast = Cast.from_bytes(next(dubbed.work.glob("films/*/cast.npz")).read_bytes())
    width, height = 854, 480
    boxes = whole_boxes(np.nan_to_num(cast.boxes), width, height)
    landmarks = Five().locate([], cast.boxes, cast.points)
    steps = []
    for path in dubbed.demo.outputs.values():
        frames = zip(decoded(dubbed.demo.film), decoded(path), strict=True)
        for k, (before, after) in enumerate(frames):
            if not cast.painted[k]:
                continue
            box = tuple(boxes[k].tolist())
            x0, y0, x1, y1 = region = even_region(box, 4, width, height)
            mask = mouth_mask(landmarks[k], box, region, config.composite.feather)
            change = np.abs(after[0].astype(int) - before[0])[y0:y1, x0:x1]
            outline = (mask > 0) & (cv2.erode((mask > 0).astype(np.uint8), np.ones((3, 3))) == 0)
            assert not change[mask == 0].any()
            steps.append(int(change[outline].max()))
    print(f"{len(steps)} masks, largest step {max(steps)} codes")
    assert max(steps) <= 2


def _openings(path: Path, cast: Cast, look: Onnx68) -> F64:
    """Distance of the inner lips as a share of the face's height, for every painted frame."""
    pictures: list[U8] = []
    with av.open(str(path)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            if cast.painted[k]:
                pictures.append(frame.to_ndarray(format="bgr24"))
    boxes: F32 = cast.boxes[cast.painted]
    points = look.locate(pictures, boxes, cast.points[cast.painted]).astype(np.float64)
    lips = np.linalg.norm(points[:, 66] - points[:, 62], axis=1)
    return np.asarray(lips / (boxes[:, 3] - boxes[:, 1]), np.float64)


def _envelope(dubbed: Dubbed, language: str, times: F64) -> F64:
    """RMS of the dub within 80 ms of each time."""
    [path] = [p for p in dubbed.work.glob("cache/speech/*.npy") if _speaks(dubbed, p, language)]
    samples = Samples.open(path)
    at = np.rint(times * RATE).astype(int)
    reach = round(0.08 * RATE)
    return np.array([np.sqrt(np.mean(samples.read(k - reach, k + reach).astype(np.float64) ** 2)) for k in at])


def _speaks(dubbed: Dubbed, samples: Path, language: str) -> bool:
    """Whether a file of samples is the language's dub: it sounds as the WAV that the demo had spoken."""
    spoken = dubbed.demo.film.parent / f"speech.{language}.wav"
    return samples.with_suffix(".wav").read_bytes() == spoken.read_bytes()

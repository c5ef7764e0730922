"""The preview generator against real speech: the lips must follow it, measured by a landmark network."""

import wave

import cv2
import numpy as np
import pytest

from stages.crops.landmarks.onnx68 import Onnx68
from stages.lips.mouthwarp import MouthWarp, MouthWarpSettings
from stages.speech.track import decode_dub
from stages.speech.tts import speak
from tests.lips.faces import BOX, PADDED, SIDE, crop, hears, landmarks

SPEECH = {
    "en": "Who moved the blue moon? Look at the map, please. We start far below, where rocks melt.",
    "de": "Wo wohnt die Kuh? Bitte schauen Sie auf die Karte. Wir beginnen tief unter der Erde.",
}


@pytest.fixture(scope="module")
def openings(weights_dir):
    """Pictures of the crop -> inner lip gap over the face's length."""
    network = Onnx68(weights_dir / "pfld_68.onnx", 112, 0.1)
    box = np.array([BOX], np.float32) - np.tile(PADDED[:2], 2)

    def measure(crops):
        gaps = []
        for picture in crops:
            face = cv2.resize(picture, (2 * SIDE).tolist(), interpolation=cv2.INTER_AREA)
            points = network.locate([face], 2 * box, np.full((1, 5, 2), np.nan, np.float32))[0]
            gaps.append(np.linalg.norm(points[66] - points[62]) / np.linalg.norm(points[8] - points[27]))
        return np.array(gaps)

    return measure


def samples_of(name, tmp_path, media_dir):
    if name == "recorded":
        with wave.open(str(media_dir / "eng.wav")) as file:
            file.setpos(4 * 16000)
            data = np.frombuffer(file.readframes(5 * 16000), np.int16)
        return np.concatenate([data / 32768, np.zeros(8000)]).astype(np.float32)
    speak(SPEECH[name], name, None, str(tmp_path / "dub.wav"))
    decode_dub(tmp_path / "dub.wav", str(tmp_path / "dub.npy"))
    return np.load(tmp_path / "dub.npy")


def rms(samples, times, half_s):
    total = np.concatenate([[0], np.cumsum(samples.astype(np.float64) ** 2)])
    low, high = (np.clip(np.round((times + s) * 16000).astype(int), 0, len(samples)) for s in (-half_s, half_s))
    return np.sqrt((total[high] - total[low]) / np.maximum(high - low, 1))


@pytest.mark.parametrize("name", ["recorded", "en", "de"])
def test_lips_follow_the_speech_and_rest_in_its_pauses(name, openings, tmp_path, media_dir):
    samples = samples_of(name, tmp_path, media_dir)
    times = np.arange(int(len(samples) / 16000 * 25)) / 25
    crops = np.repeat(crop()[None], len(times), axis=0)
    points = np.repeat(landmarks()[None], len(times), axis=0)
    result = MouthWarp(MouthWarpSettings()).generate(crops, hears(samples, times), points)
    opened, (rest,) = openings(result), openings(crops[:1])

    loudness = rms(samples, times, 0.075)
    assert np.corrcoef(opened, loudness)[0, 1] > 0.75
    decibels = np.maximum(20 * np.log10(loudness + 1e-6), -60)
    assert np.corrcoef(opened, decibels)[0, 1] > 0.7
    assert opened.max() > 1.4 * rest, "a movement one sees"
    pauses = rms(samples, times, 0.1) < 10 ** (-45 / 20)
    assert pauses.sum() >= 3
    assert np.abs(opened[pauses] / rest - 1).max() < 0.1

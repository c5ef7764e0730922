"""configs/wav2lip-parity.yaml against the official script's own steps (reference wav2lip.md 5.2), written out here."""

from pathlib import Path

import av
import cv2
import numpy as np
import torch

from pipeline import dub, load_config
from stages.arrays import F32, U8
from stages.lips.wav2lip.network import Wav2Lip
from stages.speech.mel import wav2lip_mel, windows_at
from stages.speech.samples import Samples
from tests.films import BOX, decoded, film, manifest, speech
from tests.lips.wav2lip.checkpoints import behaves, write

FRAMES = 8


def official_frames(video: Path, samples: F32, box: list[int]) -> list[U8]:
    """The frames the script hands to its writer: uint8 [h, w, 3] BGR."""
    reader = cv2.VideoCapture(str(video))
    frames = [reader.read()[1] for _ in range(FRAMES)]
    y1, y2, x1, x2 = box
    mel = wav2lip_mel(samples)
    chunks = [mel[:, int(i * 80 / 25) : int(i * 80 / 25) + 16] for i in range(FRAMES)]
    faces = np.stack([cv2.resize(frame[y1:y2, x1:x2], (96, 96)) for frame in frames])
    masked = faces.copy()
    masked[:, 48:] = 0
    stacked = np.concatenate([masked, faces], axis=3) / 255.0
    network = Wav2Lip()
    network.load_state_dict(behaves())
    network.eval()
    with torch.no_grad():
        made = network(
            torch.from_numpy(np.stack(chunks)[:, None].astype(np.float32)),
            torch.from_numpy(stacked.transpose(0, 3, 1, 2).astype(np.float32)),
        )
    patches = made.numpy().transpose(0, 2, 3, 1) * 255.0
    for frame, patch in zip(frames, patches, strict=True):
        frame[y1:y2, x1:x2] = cv2.resize(patch.astype(np.uint8), (x2 - x1, y2 - y1))
    return frames


def test_parity_preset_paints_the_official_script_s_pixels(tmp_path: Path) -> None:
    """Official BGR frames, taken to YCbCr by swscale as ffmpeg does, equal ours but for single codes."""
    video = film(tmp_path / "a.mp4", frames=FRAMES)
    speech(tmp_path / "dub.wav", 1.0)
    checkpoint = write(tmp_path / "wav2lip.pth", "behaves")
    config = load_config("configs/wav2lip-parity.yaml", [f"lips.wav2lip.weights={checkpoint}"])
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "audio_longer": "trim", "output": "o.mp4", "box": BOX}
    config = config.model_copy(update={"split": config.split.model_copy(update={"shard_s": 0.12})})
    report = dub(str(manifest(tmp_path / "m.jsonl", row)), config, str(tmp_path / "work"))
    assert report.films["a"].code == "ok", report.films["a"].message
    samples = Samples.open(next(tmp_path.glob("work/cache/speech/*.npy")))
    expected = official_frames(video, samples.read(0, len(samples)), BOX)
    top, bottom, left, right = BOX
    inside = (slice(-(-top // 2) + 1, bottom // 2 - 1), slice(-(-left // 2) + 1, right // 2 - 1))
    source = decoded(video)
    moved = 0
    for number, (picture, ours) in enumerate(zip(expected, decoded(tmp_path / "o.mp4"), strict=True)):
        frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format="yuv420p")
        luma, *chroma = (
            np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width].astype(int) for p in frame.planes
        )
        error = np.abs(ours[0][top:bottom, left:right] - luma[top:bottom, left:right])
        # A prediction may differ by 1 on 1 % of values between batch shapes (wav2lip.md 5.3).
        assert error.max() <= 1, number
        assert (error > 0).mean() <= 0.01, number
        for plane, official in zip(ours[1:], chroma, strict=True):
            assert np.abs(plane[inside] - official[inside]).max() <= 1, number
        moved += int(np.abs(ours[0].astype(int) - source[number][0]).max() > 8)
    assert moved >= FRAMES // 2


def test_parity_windows_are_the_official_chunks(tmp_path: Path) -> None:
    speech(tmp_path / "dub.wav", 1.0)
    samples = np.random.default_rng(1).standard_normal(16000).astype(np.float32) * 0.1
    mel = wav2lip_mel(samples)
    for rate in (24, 25, 30, 50):
        count = 1 + next(i for i in range(10_000) if int(i * 80.0 / rate) > mel.shape[1] - 16)
        chunks = [mel[:, int(i * 80.0 / rate) :][:, :16] for i in range(count - 1)] + [mel[:, -16:]]
        assert np.array_equal(windows_at(mel, np.arange(count) / rate), np.stack(chunks))

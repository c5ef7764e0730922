"""The preview generator: what moves, what stays, and that nothing tears."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lips.mouthwarp import MouthWarp, MouthWarpSettings
from tests.lips.faces import EE, OO, crop, hears, landmarks, mel_of

WARP = MouthWarp(MouthWarpSettings())
LOUD = -16.0


def spoken(picture, level_db=LOUD, points=None, formants=None):
    mel = mel_of(level_db) if formants is None else mel_of(level_db, formants)
    points = landmarks() if points is None else points
    return WARP.generate(picture[None], mel[None], points[None])[0]


def mouth(picture):
    """The pixels round the portrait's mouth."""
    return picture[150:215, 70:185]


def test_it_declares_what_it_wants():
    assert WARP.crop_px == 256
    assert WARP.speech_shift_s == -0.1, "the frame is in the middle of its 200 ms window"


@pytest.mark.parametrize("samples", [np.zeros(16000), np.random.default_rng(0).normal(0, 10 ** (-50 / 20), 16000)])
def test_silence_and_a_quiet_room_leave_every_pixel(samples):
    times = np.arange(25) / 25
    crops = np.repeat(crop()[None], 25, axis=0)
    result = WARP.generate(crops, hears(samples, times), np.repeat(landmarks()[None], 25, axis=0))
    assert np.array_equal(result, crops)


def test_it_does_not_take_every_core_of_a_worker_s_machine():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(4)
        MouthWarp(MouthWarpSettings())
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_the_input_is_not_painted_on():
    crops = crop()[None].copy()
    WARP.generate(crops, mel_of(LOUD)[None], landmarks()[None])
    assert np.array_equal(crops[0], crop())


def test_a_loud_vowel_opens_a_dark_mouth_between_the_lips():
    before, after = mouth(crop()).astype(int), mouth(spoken(crop())).astype(int)
    dark = (after.max(axis=2) < 90) & (before.max(axis=2) > 90)
    rows, columns = np.nonzero(dark)
    assert dark.sum() > 300
    assert np.ptp(columns) > 30, "wide"
    assert 5 < np.ptp(rows) < 50, "and low"


def test_only_the_lower_face_changes():
    changed = (spoken(crop()) != crop()).any(axis=2)
    assert changed[150:].any()
    assert not changed[:135].any(), "nose, eyes and brows"
    assert not changed[-1].any(), "the crop's bottom: the mask ends there"


def test_louder_is_wider():
    dark = [(mouth(spoken(crop(), level)).max(axis=2) < 90).sum() for level in (-36, -28, -20, -12)]
    assert dark == sorted(dark)
    assert dark[0] < dark[-1] / 3


def test_a_round_vowel_draws_the_corners_in_and_a_spread_one_does_not():
    grey = [mouth(spoken(crop(), -18, formants=f)).max(axis=2) for f in (OO, EE)]
    widths = [np.ptp(np.nonzero((g < 90).sum(axis=0) > 1)[0]) for g in grey]
    assert widths[0] < widths[1] - 5


def test_a_little_louder_is_a_little_wider():
    levels = np.arange(-44, -8, 1.0)
    frames = np.stack([spoken(crop(), float(level)) for level in levels]).astype(int)
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 1.0, "codes, over the whole crop: no jump as the mouth opens"


@given(start=st.integers(0, 7), length=st.integers(1, 8), reverse=st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_crop_s_answer_does_not_depend_on_its_neighbours(start, length, reverse):
    levels = (-60, -40, -30, -25, -20, -15, -12, -10)
    crops = np.stack([np.roll(crop(), k, axis=1) for k in range(8)])
    mels = np.stack([mel_of(level) for level in levels])
    points = np.stack([landmarks() + np.array([k, 0]) for k in range(8)]).astype(np.float32)
    whole = WARP.generate(crops, mels, points)
    part = np.arange(8)[start : start + length][:: -1 if reverse else 1]
    assert np.array_equal(WARP.generate(crops[part], mels[part], points[part]), whole[part])


def test_no_crops_give_no_patches():
    nothing = WARP.generate(np.zeros((0, 256, 256, 3), np.uint8), np.zeros((0, 80, 16), np.float32))
    assert nothing.shape == (0, 256, 256, 3)


def test_landmarks_half_a_lip_off_give_the_same_mouth():
    exact = spoken(crop())
    for shift in ((6, 0), (0, 7), (-5, -6)):
        moved = spoken(crop(), points=(landmarks() + shift).astype(np.float32))
        assert np.abs(mouth(moved).astype(int) - mouth(exact)).mean() < 8
        assert np.abs(mouth(exact).astype(int) - mouth(crop())).mean() > 15, "what the comparison is worth"


def test_without_landmarks_the_mouth_is_looked_for():
    wanted = (mouth(spoken(crop())).max(axis=2) < 90).sum()
    for points in (None, np.full((1, 68, 2), np.nan, np.float32)):
        found = WARP.generate(crop()[None], mel_of(LOUD)[None], points)[0]
        assert (mouth(found).max(axis=2) < 90).sum() > 0.5 * wanted


def test_a_face_without_colour_opens_too():
    grey = cv2.cvtColor(cv2.cvtColor(crop(), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    changed = np.abs(mouth(spoken(grey)).astype(int) - mouth(grey)).mean()
    assert changed > 10


def test_a_mouth_in_a_dark_picture_is_darker():
    dim = (crop() * 0.35).astype(np.uint8)
    bright, dark = (spoken(picture)[190:200, 115:145].mean() for picture in (crop(), dim))
    assert dark < bright + 5
    assert spoken(dim).max() <= dim.max() + 40


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((68, 2)),
        np.full((68, 2), 128),
        np.stack([np.arange(68), np.arange(68)], axis=1),
        np.stack([256 - landmarks()[:, 0], landmarks()[:, 1]], axis=1),  # a mirror image: the corners changed places
        landmarks() * 1e6,
    ],
    ids=["zero", "one place", "a line", "mirrored", "far away"],
)
def test_landmarks_that_are_no_face_leave_the_crop(points):
    assert np.array_equal(spoken(crop(), points=points.astype(np.float32)), crop())


@given(
    x=st.floats(-200, 200),
    y=st.floats(-200, 200),
    degrees=st.floats(-180, 180),
    size=st.floats(0.05, 4),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_face_anywhere_in_any_picture_gives_a_picture(x, y, degrees, size, seed):
    a = np.deg2rad(degrees)
    turn = size * np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    points = ((landmarks() - 128) @ turn + 128 + (x, y)).astype(np.float32)
    noise = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    result = spoken(crop() if seed == 0 else noise, points=points)
    assert result.shape == (256, 256, 3)
    assert result.dtype == np.uint8

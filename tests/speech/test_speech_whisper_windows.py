"""A frame hears the official tokens at 25 fps and the same lead-in at any rate; shards leave no trace."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor, WhisperModel

from stages.arrays import F32, F64
from stages.speech.samples import Samples
from stages.speech.whisper import WhisperFeatures, WhisperWindows, windows_at
from stages.speech.whisper.pieces import Pieces
from tests.speech.sounds import Watched
from tests.speech.whisper_files import write

ROUTES = ("current", "legacy")
PIECE = 480_000
LONG = (0.1 * np.random.default_rng(7).standard_normal(16000 * 75)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def model(weights: Path) -> Iterator[WhisperFeatures]:
    before = torch.get_num_threads()
    yield WhisperFeatures(weights, threads=1)
    torch.set_num_threads(before)


class Echo:
    """Stands in for the model: every token says its row, and a number that depends on all its piece hears."""

    states, width = 2, 3

    def __init__(self) -> None:
        self.pieces = 0

    def encode(self, mel: F32, route: str = "current") -> F32:
        self.pieces += 1
        out = np.empty((1500, 2, 3), np.float32)
        out[:, :, 0] = np.arange(1500)[:, None]
        out[:, :, 1] = hash(mel.tobytes()) % (1 << 20)
        out[:, :, 2] = [0, 1]
        return out


def echoing(samples: F32, route: str = "current", overlap_s: float = 10) -> WhisperWindows:
    return WhisperWindows(Samples(samples), Echo(), route, overlap_s)  # type: ignore[arg-type]


def ramp(tokens: int) -> F32:
    """Features in which every token says its own number, counted from 1, and every state its own."""
    features = np.empty((tokens, 5, 384), np.float32)
    features[:] = np.arange(1, tokens + 1)[:, None, None]
    features[:, :, 1] = np.arange(5)
    return features


def heard(windows: F32) -> list[list[int]]:
    """Numbers of the tokens in windows of `ramp`, 0 for zeros."""
    return windows[:, ::5, 0].astype(int).tolist()


def frames(start_s: float, end_s: float, fps: float = 25) -> F64:
    return np.arange(round(start_s * fps), round(end_s * fps)) / fps


def test_eight_seconds_at_25_fps():
    windows = windows_at(ramp(400), frames(0, 8))
    assert (windows.shape, windows.dtype) == ((200, 50, 384), np.float32)
    assert heard(windows[:1]) == [[0, 0, 0, 0, 1, 2, 3, 4, 5, 6]]
    assert heard(windows[100:101]) == [list(range(197, 207))]  # tokens 196..205
    assert heard(windows[199:]) == [[395, 396, 397, 398, 399, 400, 0, 0, 0, 0]]
    assert (windows[0, :20] == 0).all()


def test_row_5t_plus_l_is_state_l_of_token_t():
    features = np.random.default_rng(1).standard_normal((30, 5, 384)).astype(np.float32)
    window = windows_at(features, np.array([0.2]))[0]
    for token in range(10):
        for state in range(5):
            assert np.array_equal(window[5 * token + state], features[6 + token, state])


def test_legacy_has_202_frames_for_eight_seconds_with_replicated_ends():
    tokens, last = 400, 0
    while not int(last * 50 / 25.0) > tokens:  # musetalk.md 4.3 step 6
        last += 1
    assert last + 1 == 202
    windows = windows_at(ramp(tokens), np.arange(202) / 25, "legacy")
    for i in range(202):
        centre = int(i * 50 / 25.0)
        official = np.clip(np.arange(centre - 4, centre + 6), 0, tokens - 1) + 1
        assert heard(windows[i : i + 1]) == [official.tolist()]


RATES = [Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, Fraction(60000, 1001), 60, 12, 8]


@pytest.mark.parametrize("fps", RATES)
def test_every_rate_has_the_same_lead_in(fps):
    count = math.floor(20 * fps)
    exact = [n / Fraction(fps) for n in range(count)]
    windows = windows_at(ramp(1100), np.array([float(t) for t in exact]))
    first = [math.floor(50 * t) - 4 for t in exact]
    for window, start in zip(heard(windows), first, strict=True):
        assert window == [n + 1 if n >= 0 else 0 for n in range(start, start + 10)]


def test_a_variable_rate_is_heard_by_its_own_times():
    rng = np.random.default_rng(3)
    pts = np.cumsum(rng.integers(1, 90_000 // 8, 300))
    windows = windows_at(ramp(2000), pts / 90_000)
    for window, tick in zip(heard(windows), pts.tolist(), strict=True):
        start = tick * 50 // 90_000 - 4
        assert window == [n + 1 if 0 <= n < 2000 else 0 for n in range(start, start + 10)]


def test_exact_times_are_never_a_token_early():
    times = np.arange(500_000) / 25  # five and a half hours
    tokens = windows_at(np.arange(1, 1_000_011, dtype=np.float32).reshape(-1, 1, 1), times)[:, 4, 0]
    assert np.array_equal(tokens, 2 * np.arange(500_000) + 1)


@pytest.mark.parametrize("route", ROUTES)
def test_outside_the_dub(route):
    times = np.array([-1e300, -10, -0.13, 2.07, 2.09, 1e300])
    windows = heard(windows_at(ramp(100), times, route))
    if route == "current":
        assert [sum(map(bool, window)) for window in windows] == [0, 0, 0, 1, 0, 0]
    else:
        assert windows == [[1] * 10] * 3 + [[100] * 10] * 3


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("samples", [0, 1, 319])
def test_a_dub_of_less_than_a_token_is_zeros(route, samples):
    windows = echoing(LONG[:samples], route).at(frames(0, 1))
    assert windows.shape == (25, 20, 3)
    assert (windows == 0).all()
    assert (windows_at(ramp(0), frames(0, 1), route) == 0).all()


def test_times_and_features_of_another_shape_are_refused():
    for times in ([np.nan], [np.inf], [[0.0]]):
        with pytest.raises(ValueError, match="times"):
            windows_at(ramp(9), np.array(times))
        with pytest.raises(ValueError, match="times"):
            echoing(LONG).heard_digest(np.array(times))
    with pytest.raises(ValueError, match="features"):
        windows_at(ramp(9)[0], np.zeros(1))
    with pytest.raises(ValueError, match="overlap"):
        echoing(LONG, overlap_s=21)
    with pytest.raises(ValueError, match="float32"):
        WhisperFeatures.features(Echo(), LONG.astype(np.float64))  # type: ignore[arg-type]


def test_no_times_have_no_windows(model: WhisperFeatures):
    assert windows_at(ramp(9), np.zeros(0)).shape == (0, 50, 384)
    assert WhisperWindows(Samples(LONG), model).at(np.zeros(0)).shape == (0, 50, 16)


def official_windows(samples: F32, weights: Path, fps: float = 25) -> F32:
    """musetalk.md 4.2 step by step, with transformers' own parts."""
    extractor = WhisperFeatureExtractor()
    encoder = WhisperModel.from_pretrained(weights, local_files_only=True).eval().encoder
    pieces = []
    for at in range(0, len(samples), PIECE):
        mel = extractor(samples[at : at + PIECE], sampling_rate=16000, return_tensors="pt").input_features
        with torch.no_grad():
            pieces.append(torch.stack(encoder(mel, output_hidden_states=True).hidden_states, dim=2))
    whole = torch.cat(pieces, dim=1)
    rate = int(fps)
    m = 50 / rate
    count = math.floor(len(samples) / 16000 * rate)
    whole = whole[:, : math.floor(len(samples) / 16000 * 50)]
    k = math.ceil(m)
    padded = torch.cat([torch.zeros_like(whole[:, : 2 * k]), whole, torch.zeros_like(whole[:, : 6 * k])], dim=1)
    windows = [padded[0, math.floor(i * m) : math.floor(i * m) + 10] for i in range(count)]
    return torch.stack(windows).reshape(count, 50, -1).numpy()


@pytest.mark.parametrize(("seconds", "overlap_s"), [(8.0, 10), (29.987, 10), (64.3, 0)])
def test_windows_of_the_official_script_at_25_fps(seconds, overlap_s, model: WhisperFeatures, weights: Path):
    samples = LONG[: round(16000 * seconds)]
    official = official_windows(samples, weights)
    assert len(official) == math.floor(seconds * 25)
    times = np.arange(len(official)) / 25
    ours = WhisperWindows(Samples(samples), model, "current", overlap_s).at(times)
    np.testing.assert_allclose(ours, official, atol=2e-5, rtol=0)
    assert official.std() > 0.3


def test_real_speech_is_heard_as_by_the_official_script(model: WhisperFeatures, weights: Path, media_dir: Path):
    speech, _ = librosa.load(media_dir / "demo1_audio.wav", sr=16000)
    official = official_windows(speech, weights)
    ours = WhisperWindows(Samples(speech), model).at(np.arange(len(official)) / 25)
    np.testing.assert_allclose(ours, official, atol=5e-5, rtol=0)


def test_legacy_windows_of_the_original(model: WhisperFeatures):
    """musetalk.md 4.3 step by step, over more than one slice, from a dub whose loudest part is its last."""
    samples = LONG[: 16000 * 34 + 200] * np.where(np.arange(16000 * 34 + 200) < 16000 * 31, 1e-4, 1).astype(np.float32)
    stft = torch.stft(torch.from_numpy(samples), 400, 160, window=torch.hann_window(400), return_complex=True)
    basis = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)
    levels = np.log10(np.maximum(basis @ np.abs(stft[:, :-1].numpy()) ** 2, 1e-10))
    mel = ((np.maximum(levels, levels.max() - 8) + 4) / 4).astype(np.float32)
    kept = []
    for at in range(0, mel.shape[1], 3000):
        real = mel[:, at : at + 3000]
        slice_ = np.pad(real, ((0, 0), (0, 3000 - real.shape[1])))
        kept.append(model.encode(slice_, "legacy")[: real.shape[1] // 2])
    features = np.concatenate(kept)
    times = frames(0, 34.2, 30000 / 1001)
    centres = (np.arange(len(times)) * 50 / (30000 / 1001)).astype(int)
    tokens = np.clip(centres[:, None] + np.arange(-4, 6), 0, len(features) - 1)
    official = features[tokens].reshape(len(times), 50, -1)
    ours = WhisperWindows(Samples(samples), model, "legacy", 0).at(times)
    np.testing.assert_allclose(ours, official, atol=5e-5, rtol=0)


@pytest.mark.parametrize("route", ROUTES)
def test_windows_of_a_shard_are_those_of_the_whole_film(route, model: WhisperFeatures):
    samples = LONG[: 16000 * 47 + 99]
    whole = model.features(samples, route)
    assert whole.shape == (47 * 50, 5, 16)
    windows = WhisperWindows(Samples(samples), model, route)
    for shard in (frames(41, 47.3), frames(0, 2), frames(23, 27, 24000 / 1001)):
        assert np.array_equal(windows.at(shard), windows_at(whole, shard, route))


def test_the_middle_of_each_piece_is_kept():
    rows = [echoing(LONG[: 16000 * 75]).at(np.array([t]))[0, 8, 0] for t in (0, 10, 24.9, 25.1, 44.9, 45.1, 64, 74)]
    assert rows == [0, 500, 1245, 255, 1245, 255, 1200, 700]
    pieces = Pieces(Samples(LONG))
    assert pieces.count == 4
    numbers, places = pieces.places(np.array([0, 1249, 1250, 2249, 2250, 3249, 3250, 3749]))
    assert numbers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert places.tolist() == [0, 1249, 250, 1249, 250, 1249, 250, 749]


def test_without_overlap_pieces_lie_side_by_side():
    pieces = Pieces(Samples(LONG), overlap_s=0)
    assert pieces.count == 3
    numbers, places = pieces.places(np.array([0, 1499, 1500, 2999, 3000, 3749]))
    assert numbers.tolist() == [0, 0, 1, 1, 2, 2]
    assert places.tolist() == [0, 1499, 0, 1499, 0, 749]


@settings(max_examples=200)
@given(samples=st.integers(0, 16000 * 400), overlap=st.integers(0, 1000))
def test_every_token_is_taken_from_where_its_piece_hears_the_dub(samples, overlap):
    pieces = Pieces(Samples(np.broadcast_to(np.float32(0), (samples,))), overlap_s=overlap / 50)
    assert pieces.tokens == samples // 320
    numbers, rows = pieces.places(np.arange(pieces.tokens))
    assert ((rows >= 0) & (rows < 1500)).all()
    assert np.isin(np.diff(numbers), [0, 1]).all()
    assert pieces.count == numbers.max(initial=0) + 1
    inner = (numbers > 0) & (numbers < pieces.count - 1)
    assert ((rows[inner] >= overlap // 2) & (rows[inner] < 1500 - (overlap + 1) // 2)).all()
    if pieces.tokens <= 1500:
        assert (numbers == 0).all()


@pytest.mark.parametrize("route", ROUTES)
def test_a_clip_of_at_most_thirty_seconds_does_not_know_of_overlaps(route):
    for length in (PIECE, PIECE + 319, 16000 * 26):
        official, ours = (echoing(LONG[:length], route, overlap) for overlap in (0, 10))
        assert np.array_equal(official.at(frames(0, 31)), ours.at(frames(0, 31)))
        assert official.heard_digest(frames(20, 30)) == ours.heard_digest(frames(20, 30))


def test_features_do_not_jump_where_pieces_meet(model: WhisperFeatures):
    """What two neighbouring pieces make of the same moment differs less in their middle than at an end."""
    windows = WhisperWindows(Samples(LONG), model)
    assert windows._features is not None
    first, second = (model.encode(windows._pieces.mel(n)) for n in (0, 1))
    # State 0 knows 60 ms; its position in the piece apart, both pieces hear the same but at the second's beginning.
    positions = model.encode(np.zeros((80, 3000), np.float32))[:, 0]
    alone = [(piece[:, 0] - positions)[rows] for piece, rows in ((first, slice(1000, 1500)), (second, slice(0, 500)))]
    apart = np.abs(alone[0] - alone[1]).max(axis=1)
    assert apart[2:-2].max() < 1e-4 < min(apart[0], apart[-1])


@pytest.mark.parametrize("route", ROUTES)
def test_a_rerecorded_line_changes_what_is_within_reach(route):
    changed = LONG.copy()
    changed[16000 * 33 : 16000 * 34] *= 0.5
    before, after = (echoing(dub, route) for dub in (LONG, changed))
    shards = [frames(s, s + 5) for s in range(0, 75, 5)]
    different = [before.heard_digest(shard) != after.heard_digest(shard) for shard in shards]
    # Only piece 1, [20, 50) s, hears it: of that [25, 45) s is kept, and 120 ms before them look into it.
    assert different == [4 <= n < 10 for n in range(15)]
    for shard, other in zip(shards, different, strict=True):
        assert np.array_equal(before.at(shard), after.at(shard)) != other


def test_a_dub_that_goes_on_differently_keeps_its_early_digests():
    short, long = (echoing(LONG[: 16000 * seconds]) for seconds in (41, 75))
    for shard in (frames(0, 10), frames(15, 24.8)):
        assert short.heard_digest(shard) == long.heard_digest(shard)
        assert np.array_equal(short.at(shard), long.at(shard))
    for shard in (frames(20, 25), frames(30, 35), frames(40, 45)):
        assert short.heard_digest(shard) != long.heard_digest(shard)


def test_the_legacy_digest_holds_the_dubs_one_floor():
    louder = LONG.copy()
    louder[-16000:] *= 3
    early = frames(0, 10)
    for route in ROUTES:
        same = echoing(LONG, route).heard_digest(early) == echoing(louder, route).heard_digest(early)
        assert same == (route == "current")
    quieter = np.concatenate([LONG[:-16000], 0.1 * LONG[-16000:]])
    assert echoing(LONG, "legacy").heard_digest(early) == echoing(quieter, "legacy").heard_digest(early)


@pytest.mark.parametrize("sample", [16000 * 20 - 190, 16000 * 20 - 1, 16000 * 50, 16000 * 50 + 39])
def test_a_legacy_slice_hears_a_little_beyond_its_ends(sample):
    changed = LONG.copy()
    changed[sample] += 0.01
    middle = frames(30, 40)
    for route in ROUTES:
        one, two = (echoing(dub, route) for dub in (LONG, changed))
        same = route == "current"
        assert np.array_equal(one.at(middle), two.at(middle)) == same
        assert (one.heard_digest(middle) == two.heard_digest(middle)) == same


def test_digests_tell_routes_apart_where_something_is_heard():
    one, two = (echoing(LONG, route) for route in ROUTES)
    assert one.heard_digest(frames(0, 5)) != two.heard_digest(frames(0, 5))


def test_nothing_heard_is_the_same_nothing_everywhere():
    windows = echoing(LONG)
    digests = {w.heard_digest(np.array([t])) for w in (windows, echoing(LONG[:0])) for t in (-5.0, 80.0, 1e9)}
    assert len(digests) == 1
    assert windows.heard_digest(np.zeros(0)) == echoing(LONG[:999]).heard_digest(np.zeros(0))


@settings(max_examples=25)
@given(
    lengths=st.tuples(st.integers(0, 16000 * 36), st.integers(0, 16000 * 36)),
    near=st.integers(-400, 400),
    time=st.floats(-0.2, 37),
    route=st.sampled_from(ROUTES),
    kind=st.sampled_from(["noise", "silence", "constant"]),
    overlap_s=st.sampled_from([0.0, 10.0]),
)
def test_equal_digests_mean_equal_windows(lengths, near, time, route, kind, overlap_s):
    signal = {"noise": LONG, "silence": np.zeros_like(LONG), "constant": np.full_like(LONG, 0.1)}[kind]
    times = np.array([time, time + 0.04])
    ends = (lengths[0], max(0, lengths[0] + near) if near % 2 else lengths[1])
    one, two = (echoing(signal[:end], route, overlap_s) for end in ends)
    if one.heard_digest(times) == two.heard_digest(times):
        assert np.array_equal(one.at(times), two.at(times))


@settings(max_examples=25)
@given(token=st.integers(0, len(LONG) // 320 - 1), time=st.floats(0, 75), route=st.sampled_from(ROUTES))
def test_a_changed_sample_changes_digest_and_windows_alike(token, time, route):
    changed = LONG.copy()
    changed[320 * token + 160] += 0.01  # never at a piece's very end, where the spectrum's window is next to zero
    times = np.array([time, time + 0.02])
    one, two = (echoing(dub, route) for dub in (LONG, changed))
    if one.heard_digest(times) == two.heard_digest(times):
        assert np.array_equal(one.at(times), two.at(times))
    else:
        assert not np.array_equal(one.at(times), two.at(times))


def test_without_a_model_windows_can_be_told_apart_only():
    windows = WhisperWindows(Samples(LONG))
    assert windows.heard_digest(frames(0, 5)) == echoing(LONG).heard_digest(frames(0, 5))
    with pytest.raises(ValueError, match="no model"):
        windows.at(frames(0, 5))


def test_memory_and_work_are_those_of_the_shard_not_of_the_dub(tmp_path: Path):
    hour = np.lib.format.open_memmap(tmp_path / "hour.npy", "w+", np.float32, (16000 * 3600,))
    hour[16000 * 3000 : 16000 * 3010] = LONG[:160_000]
    hour.flush()
    samples, echo = Watched(np.load(tmp_path / "hour.npy", mmap_mode="r")), Echo()
    windows = WhisperWindows(samples, echo)  # type: ignore[arg-type]
    windows.at(frames(3000, 3010))
    assert echo.pieces == 2
    windows.at(frames(3001, 3009))
    assert echo.pieces == 2, "the last pieces are kept"
    assert samples.read_samples == 2 * PIECE
    for minute in range(0, 60, 10):
        windows.at(frames(60 * minute, 60 * minute + 1))
    assert samples.most_at_once <= PIECE
    assert list(windows._kept) == [89, 119, 149]
    windows.at(frames(1801, 1802))  # piece 89 again, so that it is 119 that goes
    windows.at(frames(10, 11))
    assert list(windows._kept) == [149, 89, 0]


def test_the_legacy_floor_is_looked_for_once():
    samples = Watched(LONG)
    windows = WhisperWindows(samples, None, "legacy")
    windows.heard_digest(frames(0, 1))
    once = samples.read_samples
    windows.heard_digest(frames(0, 1))
    assert samples.read_samples - once < 1.01 * PIECE < once - PIECE
    assert samples.most_at_once < 1.01 * PIECE

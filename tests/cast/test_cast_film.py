"""Whose lips, and where, frame by frame."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.cast.cast import cast_film
from stages.cast.settings import CastSettings
from stages.cast.types import Cast
from stages.errors import DubError
from tests.cast.scripted import SIZE, Script, box_of, cells_of, points_of

BARE = CastSettings(pad=(0, 0, 0, 0))


def cast_of(script: Script, count: int, cuts=(), config: CastSettings = BARE, times=None, stride: int = 5) -> Cast:
    times = np.arange(count) / 25 if times is None else times
    return cast_film(cells_of(script, count, cuts=cuts, stride=stride), times, SIZE, config)


def painted(cast: Cast) -> list[tuple[int, int]]:
    """First and last frame of each run."""
    return [(int(f[0]), int(f[-1])) for f in (np.flatnonzero(cast.runs == r) for r in range(cast.runs.max() + 1))]


def still(x: float = 500, y: float = 400, side: float = 200, score: float = 0.9) -> Script:
    return lambda frame: [(x, y, side, score)]


def test_one_still_face_is_painted_on_every_frame_where_it_is():
    cast = cast_of(still(), 23)
    assert painted(cast) == [(0, 22)]
    np.testing.assert_allclose(cast.boxes, np.tile([400, 300, 600, 500], (23, 1)))
    np.testing.assert_allclose(cast.points, np.tile(points_of((500, 400, 200, 0.9)), (23, 1, 1)))
    assert (cast.boxes.dtype, cast.points.dtype, cast.shots.dtype, cast.runs.dtype) == (
        np.float32,
        np.float32,
        np.int32,
        np.int32,
    )


def test_film_without_a_face_paints_nothing():
    cast = cast_of(lambda frame: [], 40, cuts=[20])
    assert (cast.runs == -1).all()
    assert np.isnan(cast.boxes).all()
    assert np.isnan(cast.points).all()
    assert cast.shots.tolist() == [0] * 20 + [1] * 20


def test_faceless_first_frames_pass_through():
    cast = cast_of(lambda frame: still()(frame) if frame >= 30 else [], 60)
    assert painted(cast) == [(30, 59)]


def test_one_frame_film():
    assert painted(cast_of(still(), 1)) == [(0, 0)]


def test_cut_parts_the_runs_and_nothing_slides_across_it():
    script: Script = lambda frame: [(500, 400, 200, 0.9) if frame < 23 else (1300, 600, 320, 0.9)]  # noqa: E731
    cast = cast_of(script, 50, cuts=[23])
    assert painted(cast) == [(0, 22), (23, 49)]
    np.testing.assert_allclose(cast.boxes[:23], np.tile([400, 300, 600, 500], (23, 1)))
    np.testing.assert_allclose(cast.boxes[23:], np.tile([1140, 440, 1460, 760], (27, 1)))


def test_face_at_the_same_place_after_a_cut_is_another_run():
    cast = cast_of(still(), 50, cuts=[23])
    assert painted(cast) == [(0, 22), (23, 49)]


def test_face_that_blurs_into_a_cut_is_painted_up_to_it():
    cast = cast_of(lambda frame: [] if frame in (22, 23) else still()(frame), 50, cuts=[23])
    assert painted(cast) == [(0, 22), (23, 49)]


def test_face_gone_long_before_a_cut_is_not_painted_up_to_it():
    cast = cast_of(lambda frame: [] if frame > 10 else still()(frame), 50, cuts=[23])
    assert painted(cast) == [(0, 10)]


def test_face_that_leaves_and_returns_is_unpainted_in_between():
    cast = cast_of(lambda frame: [] if 20 < frame < 60 else still()(frame), 100)
    assert painted(cast) == [(0, 20), (60, 99)]


def test_face_that_returns_elsewhere_is_painted_too():
    def script(frame: int) -> list:
        return [(300, 400, 200, 0.9)] if frame <= 20 else [(1500, 500, 180, 0.9)] if frame >= 60 else []

    assert painted(cast_of(script, 100)) == [(0, 20), (60, 99)]


def test_short_gap_is_bridged_in_time():
    def script(frame: int) -> list:
        return [] if 20 < frame < 30 else [(500 + 4 * frame, 400, 200, 0.9)]

    cast = cast_of(script, 60, config=BARE.model_copy(update={"smoothing": "none"}))
    assert painted(cast) == [(0, 59)]
    centre = (cast.boxes[:, 0] + cast.boxes[:, 2]) / 2
    np.testing.assert_allclose(centre, 500 + 4 * np.minimum(np.arange(60), 59), atol=1e-3)


def test_bridge_is_in_seconds_not_in_frames():
    def script(frame: int) -> list:
        return [] if 20 < frame < 30 else still()(frame)

    fast = cast_of(script, 60, times=np.arange(60) / 25)
    slow = cast_of(script, 60, times=np.arange(60) / 10)
    assert painted(fast) == [(0, 59)]
    assert painted(slow) == [(0, 20), (30, 59)]


def test_looks_far_apart_at_a_low_frame_rate_are_one_run():
    times = np.arange(60) / 2  # a look every 2.5 s
    assert painted(cast_of(still(), 60, times=times)) == [(0, 59)]
    assert painted(cast_of(lambda frame: [] if frame == 25 else still()(frame), 60, times=times)) == [(0, 20), (30, 59)]


def test_box_is_interpolated_over_presentation_times_of_a_variable_rate():
    # 0.01 s apart, then 0.08 s apart, changing between two looks; the face moves 100 px a second.
    times = np.concatenate([np.arange(18) * 0.01, 0.18 + np.arange(22) * 0.08])
    for smoothing in ("none", "gaussian"):
        config = BARE.model_copy(update={"smoothing": smoothing})
        cast = cast_of(lambda frame: [(500 + 100 * times[frame], 400, 200, 0.9)], 40, times=times, config=config)
        centre = (cast.boxes[:, 0] + cast.boxes[:, 2]) / 2
        np.testing.assert_allclose(centre, 500 + 100 * times, atol=1e-2)


def test_largest_face_is_chosen_and_the_other_left_alone():
    cast = cast_of(lambda frame: [(400, 400, 150, 0.95), (1300, 500, 300, 0.8)], 40)
    assert painted(cast) == [(0, 39)]
    np.testing.assert_allclose(cast.boxes[:, 0], 1150)


def test_choice_does_not_follow_the_order_of_the_detector():
    def script(frame: int) -> list:
        pair = [(400, 400, 150, 0.95), (1300, 500, 300, 0.8)]
        return pair[::-1] if frame % 10 else pair

    np.testing.assert_allclose(cast_of(script, 40).boxes[:, 0], 1150)


def test_area_counts_with_time_on_screen():
    # The passer-by is larger, for a tenth of the time.
    def script(frame: int) -> list:
        passing = [(1300, 500, 300, 0.9)] if 40 <= frame < 50 else []
        return [(400, 400, 200, 0.9), *passing]

    np.testing.assert_allclose(cast_of(script, 100).boxes[:, 0], 300)


def test_chosen_face_does_not_jump_to_a_bystander_while_it_is_away():
    def script(frame: int) -> list:
        speaker = [] if 30 <= frame < 60 else [(400, 400, 300, 0.9)]
        return [*speaker, (1300, 500, 200, 0.9)]

    cast = cast_of(script, 100)
    assert painted(cast) == [(0, 25), (60, 99)]
    np.testing.assert_allclose(cast.boxes[cast.painted, 0], 250)


def test_small_face_in_the_background_is_not_painted_after_the_speaker_left():
    cast = cast_of(lambda frame: [(400, 400, 300, 0.9)] if frame < 50 else [(1300, 500, 100, 0.9)], 100)
    assert painted(cast) == [(0, 45)]


def test_each_shot_has_its_own_face():
    def script(frame: int) -> list:
        return [(400, 400, 300, 0.9), (1300, 500, 200, 0.9)] if frame < 40 else [(1300, 500, 200, 0.9)]

    cast = cast_of(script, 80, cuts=[40])
    np.testing.assert_allclose(cast.boxes[:40, 0], 250)
    np.testing.assert_allclose(cast.boxes[40:, 0], 1200)


def test_two_faces_that_cross_keep_their_names():
    # They pass each other on different heights; the larger one is followed all the way.
    def script(frame: int) -> list:
        return [(400 + 10 * frame, 300, 200, 0.9), (1400 - 10 * frame, 560, 190, 0.95)]

    cast = cast_of(script, 100, config=BARE.model_copy(update={"smoothing": "none"}))
    np.testing.assert_allclose((cast.boxes[:, 0] + cast.boxes[:, 2]) / 2, 400 + 10 * np.arange(100), atol=1e-2)


def test_painting_starts_at_a_sure_face_and_goes_on_while_it_is_likely():
    scores = {0: 0.5, 5: 0.6, 10: 0.72, 15: 0.45, 20: 0.41, 25: 0.39}
    cast = cast_of(lambda frame: still(score=scores.get(frame, 0.1))(frame), 60)
    assert painted(cast) == [(10, 20)]


def test_unsure_face_is_never_painted():
    assert (cast_of(still(score=0.69), 40).runs == -1).all()


def test_unsure_moment_is_bridged_when_the_face_is_likely_again():
    scores = {20: 0.1, 25: 0.45, 30: 0.45}
    cast = cast_of(lambda frame: still(score=scores.get(frame, 0.9))(frame), 60)
    assert painted(cast) == [(0, 59)]


def test_after_a_long_gap_a_likely_face_must_be_sure_again():
    def script(frame: int) -> list:
        return [] if 20 < frame < 60 else still(score=0.9 if frame <= 20 or frame >= 80 else 0.5)(frame)

    assert painted(cast_of(script, 100)) == [(0, 20), (80, 99)]


def test_small_faces_are_left_alone():
    assert (cast_of(still(side=47), 40).runs == -1).all()
    assert painted(cast_of(still(side=54), 40)) == [(0, 39)]


def test_face_at_the_size_limit_does_not_flicker():
    sides = [49, 47, 49, 52, 47.5, 49, 48.5]
    cast = cast_of(lambda frame: still(side=sides[frame // 5 % 7])(frame), 200)
    assert (cast.runs == -1).all()
    # It comes nearer, then stays at the limit: painted to the end of what is large enough.
    cast = cast_of(lambda frame: still(side=60 if frame < 20 else 49)(frame), 60)
    assert painted(cast) == [(0, 59)]


def test_boxes_stay_inside_the_picture():
    cast = cast_of(lambda frame: [(1900, 20, 200, 0.9)], 20, config=CastSettings(pad=(0.5, 0.5, 0.5, 0.5)))
    np.testing.assert_allclose(cast.boxes, np.tile([1700, 0, 1920, 220], (20, 1)))


def test_pad_is_shares_of_the_box_and_pad_px_replaces_it():
    shares = cast_of(still(), 10, config=CastSettings(pad=(0.1, 0.2, 0.05, 0.0)))
    np.testing.assert_allclose(shares.boxes[0], [390, 280, 600, 540])
    pixels = cast_of(still(), 10, config=CastSettings(pad=(0.1, 0.2, 0.05, 0.0), pad_px=(0, 10, 0, 0)))
    np.testing.assert_allclose(pixels.boxes[0], [400, 300, 600, 510])


def test_official_smoothing_is_the_scripts_on_padded_whole_numbers():
    # wav2lip.md 4.3: x1 = 0, 10, ..., 70 -> 20, 30, 40, 50, 54, 56, 58, 57; fractions are cut off first.
    def script(frame: int) -> list:
        return [(100.7 + 10 * frame, 1000.9, 200, 0.9)]

    config = CastSettings(smoothing="official", pad_px=(0, 10, 0, 0))
    cast = cast_of(script, 8, config=config, stride=1)
    x0 = np.array([20, 30, 40, 50, 54, 56, 58, 57])
    np.testing.assert_array_equal(cast.boxes[:, 0], x0)
    np.testing.assert_array_equal(cast.boxes[:, 2], x0 + 200)
    np.testing.assert_array_equal(cast.boxes[:, 1], 900)
    np.testing.assert_array_equal(cast.boxes[:, 3], 1080)


def test_points_that_a_detector_does_not_give_stay_unknown():
    cells = [dataclasses.replace(c, points=np.full_like(c.points, np.nan)) for c in cells_of(still(), 40, (17,))]
    cast = cast_film(cells, np.arange(40) / 25, SIZE, BARE)
    assert np.isfinite(cast.boxes).all()
    assert np.isnan(cast.points).all()


def test_fixed_box_is_painted_as_it_is_on_every_frame_one_run_a_shot():
    cells = cells_of(still(), 40, (17,), cuts=[25])
    cast = cast_film(cells, np.arange(40) / 25, SIZE, CastSettings(), box=(100, 400, 200, 500))
    np.testing.assert_array_equal(cast.boxes, np.tile([200, 100, 500, 400], (40, 1)))
    assert cast.runs.tolist() == cast.shots.tolist() == [0] * 25 + [1] * 15
    without_cells = cast_film([], np.arange(40) / 25, SIZE, CastSettings(), box=(100, 400, 200, 500))
    np.testing.assert_array_equal(without_cells.boxes, cast.boxes)
    assert without_cells.runs.tolist() == [0] * 40


@pytest.mark.parametrize(
    "box", [(400, 100, 200, 500), (100, 400, 200, 200), (-1, 9, 0, 9), (0, 1081, 0, 9), (0, 9, 0, 1921)]
)
def test_fixed_box_outside_the_picture_is_a_bad_row(box):
    with pytest.raises(DubError, match="1920x1080") as caught:
        cast_film([], np.arange(4) / 25, SIZE, CastSettings(), box=box)
    assert caught.value.code == "bad_row"


def test_cells_that_do_not_make_up_the_film_are_refused():
    cells, times = cells_of(still(), 40, (17,)), np.arange(40) / 25
    for wrong in (cells[1:], cells[:1], cells[::-1], [cells[0], cells[0]], []):
        with pytest.raises(ValueError, match="cell"):
            cast_film(wrong, times, SIZE, BARE)
    with pytest.raises(ValueError, match="different settings"):
        cast_film([cells[0], dataclasses.replace(cells[1], stride=4)], times, SIZE, BARE)


def test_settings_whose_scores_are_out_of_order_are_refused():
    with pytest.raises(ValueError, match="above start_score"):
        CastSettings(stay_score=0.8)


def test_cast_survives_its_file():
    cast = cast_of(lambda frame: [] if 20 < frame < 60 else still()(frame), 100, cuts=[30])
    again = Cast.from_bytes(cast.to_bytes())
    for name in ("boxes", "points", "shots", "runs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cast, name))


@st.composite
def films(draw):
    """A film with wandering, flickering faces, cuts and uneven times, and a way to cut it into cells."""
    count = draw(st.integers(2, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    places = rng.uniform([200, 200, 60, 0.2], [1700, 900, 300, 1.0], (rng.integers(0, 4), 4))
    wander = rng.normal(0, 4, (count, len(places), 4)).cumsum(axis=0) * (1, 1, 0.5, 0.02)
    seen = rng.random((count, len(places))) < draw(st.sampled_from([0.6, 0.95]))

    def script(frame: int) -> list:
        faces = places + wander[frame]
        rows = [(x, y, max(side, 20), float(np.clip(score, 0, 1))) for x, y, side, score in faces[seen[frame]]]
        return sorted(rows, key=lambda row: -row[3])

    inner = st.sets(st.integers(1, count - 1), max_size=6).map(sorted)
    times = np.cumsum(rng.choice([0.01, 0.04, 0.2], count))
    return script, count, draw(inner), draw(inner), times, draw(st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(films(), st.sampled_from(["gaussian", "official", "none"]))
def test_cast_is_the_same_however_the_film_is_cut_into_cells(film, smoothing):
    script, count, cuts, bounds, times, stride = film
    config = CastSettings(smoothing=smoothing)
    whole = cast_film(cells_of(script, count, (), cuts, stride), times, SIZE, config)
    cut = cast_film(cells_of(script, count, bounds, cuts, stride), times, SIZE, config)
    for name in ("boxes", "points", "shots", "runs"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))


@settings(max_examples=60, deadline=None)
@given(films())
def test_runs_are_whole_stretches_of_one_shot_with_boxes_inside_the_picture(film):
    script, count, cuts, bounds, times, stride = film
    cast = cast_film(cells_of(script, count, bounds, cuts, stride), times, SIZE, CastSettings())
    assert np.isfinite(cast.boxes[cast.painted]).all()
    assert np.isnan(cast.boxes[~cast.painted]).all()
    boxes = cast.boxes[cast.painted]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= SIZE).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert np.flatnonzero(np.diff(cast.shots)).tolist() == [c - 1 for c in cuts]
    for run in range(cast.runs.max() + 1):
        frames = np.flatnonzero(cast.runs == run)
        assert np.array_equal(frames, np.arange(frames[0], frames[-1] + 1))
        assert len(set(cast.shots[frames].tolist())) == 1


def test_script_helper_draws_the_box_it_says():
    assert box_of((500, 400, 200, 0.9)) == [400, 300, 600, 500]

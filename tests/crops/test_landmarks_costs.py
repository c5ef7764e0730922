"""How many cores landmarks take."""

from typing import get_args

import pytest

from stages.crops.landmarks.costs import FRAME_MS, core_ms
from stages.crops.landmarks.settings import LandmarksSettings

PROVIDERS = get_args(LandmarksSettings.model_fields["provider"].annotation)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_its_cost(provider: str) -> None:
    assert core_ms(LandmarksSettings(provider=provider)) > 0


def test_a_stride_divides_the_cost_of_networks_alone() -> None:
    assert core_ms(LandmarksSettings(provider="fan", stride=5)) == FRAME_MS["fan"] / 5
    assert core_ms(LandmarksSettings(provider="five", stride=5)) == FRAME_MS["five"]


def test_bfloat16_and_a_gpu_are_cheaper_and_a_flip_test_is_twice_as_dear() -> None:
    whole = core_ms(LandmarksSettings(provider="fan"))
    half = core_ms(LandmarksSettings(provider="fan", dtype="bfloat16"))
    gpu = core_ms(LandmarksSettings(provider="fan", dtype="bfloat16", device="cuda"))
    assert whole > 2 * half > 20 * gpu
    flipped = LandmarksSettings(provider="dwpose", flip_test=True)
    assert core_ms(flipped) == 2 * core_ms(LandmarksSettings(provider="dwpose"))


def test_fan_without_a_stride_takes_eight_cores_for_a_film_at_25_frames_a_second() -> None:
    """media.md 7.7."""
    assert 25 * core_ms(LandmarksSettings(provider="fan")) / 1000 == pytest.approx(7.7, abs=0.05)

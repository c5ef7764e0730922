"""What is told at the start of who waits for whom."""

import pytest

from pipeline import Config
from pipeline.feeding import bottleneck, feed, gflop, told, told_measured
from pipeline.rates import Measured
from pipeline.recipe import recipe_of


def test_a_gpu_s_cores_are_those_that_make_as_many_frames_as_it_draws() -> None:
    config = Config.model_validate({"lips": {"generator": "musetalk"}, "faces": {"detector": "yunet"}})
    need = feed(recipe_of("musetalk", "none", config), config)
    # musetalk.md 10: 1,345.5 GFLOP a frame and the parser's 27.5, at 35 % of 790 TFLOP/s.
    assert need.frames_per_s == pytest.approx(0.35 * 790e3 / (1345.5 + 27.5))
    assert need.cores == pytest.approx(need.frames_per_s * (2 + 12 + 0.05 + 160) / 1000, rel=0.01)


def test_landmarks_by_a_heavy_network_need_more_cores_than_everything_else() -> None:
    light = Config.model_validate({"lips": {"generator": "musetalk"}})
    heavy = Config.model_validate(
        {"lips": {"generator": "musetalk"}, "crops": {"landmarks": {"provider": "fan", "device": "cpu"}}}
    )
    recipe = recipe_of("musetalk", "none", light)
    assert feed(recipe, heavy).cores > 2 * feed(recipe, light).cores


@pytest.mark.parametrize(("cores", "who"), [(8, "GPUs will wait for CPUs"), (1000, "CPUs will wait for GPUs")])
def test_the_side_that_waits_is_named(cores: float, who: str) -> None:
    config = Config()
    (line,) = told([recipe_of("musetalk", "gfpgan", config)], config, ["lips", "enhance"], cores, gpus=2)
    assert line.startswith("musetalk with gfpgan: a GPU draws about 156 frames/s")
    assert line.endswith(f"there are {cores / 2:,.0f} a GPU: {who}")


def test_what_is_slow_without_a_gpu_is_said_and_what_is_not_is_not() -> None:
    config = Config()
    heavy, light = recipe_of("musetalk", "none", config), recipe_of("wav2lip", "none", config)
    lines = told([heavy, light, recipe_of("mouthwarp", "none", config)], config, [], 2, 0)
    assert [line for line in lines if "slow" in line and "slowest" not in line] == [
        "musetalk without a GPU: about 14 s of a CPU core a frame (estimated), which is slow"
    ]
    assert gflop(light) == 7.934


def test_without_a_gpu_the_slowest_stage_is_named() -> None:
    config = Config.model_validate({"faces": {"detector": "yunet"}})
    (light,) = told([recipe_of("mouthwarp", "none", config)], config, [], 16, 0)
    assert light == (
        "mouthwarp: a painted frame takes about 179 ms of a CPU core (1080p, estimated), 160 of them in composite, the "
        "slowest stage; 16 cores paint about 89.4 frames/s at best"
    )
    heavy = told([recipe_of("musetalk", "none", config)], config, [], 16, 0)[-1]
    assert "13,730 of them in lips, the slowest stage" in heavy


def test_what_an_earlier_run_measured_is_told_instead() -> None:
    measured = Measured("20260314-220501-000318-3f9a", {"faces": 0.02, "lips": 0.1, "composite": 0.05})
    line = told_measured(measured, 16, {})
    assert "faces 20.0, lips 100.0, composite 50.0; here about 50.0 frames/s at best" in line
    assert line.endswith("CPU cores hold it up, lips takes most of them")
    on_gpu = {"faces": 0.02, "lips": 0.01, "composite": 0.05}
    assert bottleneck(2, {"lips": 1}, on_gpu).endswith("composite takes most of them; GPUs will wait for CPUs")
    assert bottleneck(1000, {"lips": 1}, on_gpu).startswith("lips on the GPUs holds the rest up")

"""Pool sizes leave Ray Data the CPU it needs, or the job is refused with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pools import TASK_CPUS, Node, PreflightError, plan_pools, share_gpus

NODES = st.lists(st.builds(Node, cpus=st.floats(0, 256), gpus=st.just(0.0)), min_size=1, max_size=20)


@given(nodes=NODES, workers=st.none() | st.integers(1, 64))
def test_wherever_the_actors_land_one_machine_has_a_cpu_free(nodes: list[Node], workers: int | None) -> None:
    usable = sum(max(0.0, node.cpus - 1) for node in nodes)
    if usable < 1 or (workers is not None and 0.04 * workers > usable + 1e-6):
        with pytest.raises(PreflightError):
            plan_pools(nodes, workers)
        return
    pools = plan_pools(nodes, workers)
    # To leave less than one CPU on every machine, the actors would have to reserve more than this.
    assert sum(pool.cpus * pool.min_size for pool in pools.values()) <= usable + 1e-6
    for pool in pools.values():
        assert 0 < pool.cpus <= max(node.cpus for node in nodes)
        assert 1 <= pool.min_size <= pool.max_size
        assert pool.cpus != TASK_CPUS
        if workers is not None:
            assert pool.min_size == pool.max_size == workers


@pytest.mark.parametrize("optional", [(), ("enhance",)])
@pytest.mark.parametrize("cores", range(2, 65))
def test_the_last_stage_gets_cpus_however_few_there_are(cores: int, optional: tuple[str, ...]) -> None:
    """Ray Data sets CPUs aside from the first stage to the last (its `resource_manager.py`)."""
    pools = plan_pools([Node(cores, 0)], optional=optional)
    least = {stage: pool.cpus * pool.min_size for stage, pool in pools.items()}
    stages = ["split", "faces", "cast", "crops", "lips", *optional, "composite"]
    equal = 0.5 * cores / (len(stages) + 1)
    room = cores - 0.25  # what Ray Data's own actors may have taken
    for stage in stages:
        aside = max(equal, least.get(stage, TASK_CPUS))
        room -= aside if aside <= room else 0
    assert room >= max(equal, TASK_CPUS)


def test_the_workers_fit_on_one_machine_less() -> None:
    """The actors of a lost machine start again on the others; there, too, one CPU stays free for Ray Data's own."""
    pools = plan_pools([Node(2, 0)] * 3)
    assert sum(pool.cpus * pool.min_size for pool in pools.values()) <= 2


@pytest.mark.parametrize("nodes", [[Node(1, 0)], [Node(1, 0)] * 8, []])
def test_machines_of_one_cpu_are_refused_with_a_way_out(nodes: list[Node]) -> None:
    with pytest.raises(PreflightError, match="--executor inline"):
        plan_pools(nodes)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(PreflightError, match="lips would run on a GPU, but the cluster has none"):
        plan_pools([Node(16, 0)], on_gpu={"lips": 4.0})


def test_lips_take_the_gpus() -> None:
    pools = plan_pools([Node(32, 4, gpu_gib=80), Node(32, 0)], on_gpu={"lips": 79.0})
    assert pools["lips"].gpus == 1
    assert pools["lips"].max_size == 4
    assert pools["composite"].gpus == 0


def test_a_head_without_cpus_counts_for_nothing() -> None:
    workers = [Node(8, 0), Node(8, 0), Node(8, 1, gpu_gib=24)]
    assert plan_pools([Node(0, 0), *workers], on_gpu={"lips": 8.0}) == plan_pools(workers, on_gpu={"lips": 8.0})


def test_who_draws_on_a_gpu_needs_no_core_that_cpu_workers_may_have_taken() -> None:
    nodes = [Node(64, 0), Node(64, 0), Node(8, 1, gpu_gib=80)]
    pools = plan_pools(nodes, optional=["enhance"], on_gpu={"crops": 4.0, "lips": 8.0, "enhance": 4.0})
    assert pools["lips"].cpus == pools["enhance"].cpus == 0
    assert pools["crops"].cpus == 1  # it decodes
    assert pools["composite"].cpus == 2


def test_the_enhancer_has_workers_only_where_a_film_asks_for_it() -> None:
    assert "enhance" not in plan_pools([Node(16, 0)])
    assert plan_pools([Node(16, 0)], optional=["enhance"])["enhance"].gpus == 0


def test_two_models_share_a_gpu_when_both_fit_into_its_memory() -> None:
    pools = plan_pools([Node(32, 2, gpu_gib=24)], optional=["enhance"], on_gpu={"lips": 12.0, "enhance": 5.9})
    assert (pools["lips"].gpus, pools["enhance"].gpus) == (0.68, 0.32)
    assert (pools["lips"].max_size, pools["enhance"].max_size) == (2, 2)


def test_two_of_one_kind_never_fit_on_one_gpu() -> None:
    """Ray fills the first GPU before it looks at the next one."""
    shares = share_gpus([Node(32, 2, gpu_gib=24)], {"lips": 6.0, "enhance": 6.0})
    assert shares["lips"][0] > 0.5
    assert shares["lips"][0] + shares["enhance"][0] == 1


@pytest.mark.parametrize("gib", [0.0, 16.0])
def test_models_that_do_not_fit_or_may_not_have_gpus_of_their_own(gib: float) -> None:
    pools = plan_pools([Node(64, 3, gpu_gib=gib)], optional=["enhance"], on_gpu={"lips": 12.0, "enhance": 6.0})
    assert (pools["lips"].gpus, pools["enhance"].gpus) == (1, 1)
    assert (pools["lips"].max_size, pools["enhance"].max_size) == (2, 1)


def test_the_smallest_gpu_decides() -> None:
    pools = plan_pools(
        [Node(32, 1, gpu_gib=80), Node(32, 1, gpu_gib=16)], optional=["enhance"], on_gpu={"lips": 12.0, "enhance": 6.0}
    )
    assert (pools["lips"].gpus, pools["enhance"].gpus) == (1, 1)


def test_one_gpu_is_shared_even_where_it_is_tight() -> None:
    pools = plan_pools([Node(32, 1, gpu_gib=8)], optional=["enhance"], on_gpu={"lips": 12.0, "enhance": 6.0})
    assert 0 < pools["enhance"].gpus < 0.5 < pools["lips"].gpus


@given(
    gpus=st.integers(1, 16),
    gib=st.sampled_from([0.0, 8.0, 24.0, 80.0]),
    needs=st.dictionaries(st.sampled_from(["crops", "lips", "enhance"]), st.floats(0.1, 100), min_size=1),
)
def test_one_worker_of_each_stage_always_fits_on_the_gpus(gpus: int, gib: float, needs: dict[str, float]) -> None:
    shares = share_gpus([Node(8, gpus, gpu_gib=gib)], needs)
    assert shares.keys() == needs.keys()
    assert sum(share for share, _ in shares.values()) <= gpus + 1e-9
    assert all(0 < share <= 1 and most >= 1 for share, most in shares.values())


def test_measured_costs_keep_every_pool_near_its_share() -> None:
    costs = {"faces": 0.02, "crops": 0.02, "lips": 0.1, "composite": 0.1}
    before, after = plan_pools([Node(65, 0)]), plan_pools([Node(65, 0)], costs=costs)
    assert before["faces"].max_size == 64
    # 64 cores over 0.02 + 0.02 + 0.2 + 0.2 core seconds a frame: 145 frames/s want 2.9 workers of faces, 14.5 of lips.
    assert {stage: pool.max_size for stage, pool in after.items()} == {
        "faces": 5,
        "crops": 5,
        "lips": 22,
        "composite": 22,
    }
    assert {stage: pool.cpus for stage, pool in after.items()} == {stage: pool.cpus for stage, pool in before.items()}


def test_measured_costs_leave_stages_alone_of_which_nothing_is_known_and_pools_that_were_fixed() -> None:
    assert plan_pools([Node(65, 0)], costs={"lips": 0.1})["faces"].max_size == 64
    assert plan_pools([Node(65, 0)], 3, costs={"lips": 0.1}) == plan_pools([Node(65, 0)], 3)


def test_gpus_decide_how_many_cpu_workers_can_be_of_use() -> None:
    costs = {"faces": 0.02, "crops": 0.02, "lips": 0.01, "composite": 0.1}
    pools = plan_pools([Node(513, 1)], on_gpu={"lips": 10.0}, costs=costs)
    assert (pools["composite"].max_size, pools["faces"].max_size, pools["lips"].max_size) == (15, 3, 1)


def test_several_crops_workers_share_a_gpu_for_their_landmarks() -> None:
    """One that decodes and cuts out on a core of its own would let the GPU wait."""
    nodes = [Node(64, 2, gpu_gib=80)]
    pools = plan_pools(nodes, on_gpu={"crops": 4.0, "lips": 20.0})
    assert pools["crops"].max_size == 8
    assert pools["crops"].gpus * 4 + pools["lips"].gpus <= 1


def test_the_largest_share_begins_on_every_gpu_before_smaller_ones_fill_them() -> None:
    pools = plan_pools([Node(64, 4, gpu_gib=80)], optional=["enhance"], on_gpu={"lips": 20.0, "enhance": 8.0})
    assert (pools["lips"].min_size, pools["lips"].max_size) == (4, 4)
    assert pools["enhance"].min_size == 1

"""Pool sizes leave Ray Data the CPU it needs, or the job is refused with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pools import Node, PreflightError, plan_pools

NODES = st.lists(st.builds(Node, cpus=st.floats(0, 256), gpus=st.just(0.0)), min_size=1, max_size=20)


@given(nodes=NODES, workers=st.none() | st.integers(1, 64))
def test_wherever_the_actors_land_one_machine_has_a_cpu_free(nodes: list[Node], workers: int | None) -> None:
    usable = sum(max(0.0, node.cpus - 1) for node in nodes)
    if usable < 1 or (workers is not None and 0.04 * workers > usable + 1e-6):
        with pytest.raises(PreflightError):
            plan_pools(nodes, workers, lips_on_gpu=False)
        return
    pools = plan_pools(nodes, workers, lips_on_gpu=False)
    # To leave less than one CPU on every machine, the actors would have to reserve more than this.
    assert sum(pool.cpus * pool.min_size for pool in pools.values()) <= usable + 1e-6
    for pool in pools.values():
        assert 0 < pool.cpus <= max(node.cpus for node in nodes)
        assert 1 <= pool.min_size <= pool.max_size
        if workers is not None:
            assert pool.min_size == pool.max_size == workers


def test_the_workers_fit_on_one_machine_less() -> None:
    """The actors of a lost machine start again on the others; there, too, one CPU stays free for Ray Data's own."""
    pools = plan_pools([Node(2, 0)] * 3, None, lips_on_gpu=False)
    assert sum(pool.cpus * pool.min_size for pool in pools.values()) <= 2


@pytest.mark.parametrize("nodes", [[Node(1, 0)], [Node(1, 0)] * 8, []])
def test_machines_of_one_cpu_are_refused_with_a_way_out(nodes: list[Node]) -> None:
    with pytest.raises(PreflightError, match="--executor inline"):
        plan_pools(nodes, None, lips_on_gpu=False)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(PreflightError, match="no GPU"):
        plan_pools([Node(16, 0)], None, lips_on_gpu=True)


def test_lips_take_the_gpus() -> None:
    pools = plan_pools([Node(32, 4), Node(32, 0)], None, lips_on_gpu=True)
    assert pools["lips"].gpus == 1
    assert pools["lips"].max_size == 4
    assert pools["composite"].gpus == 0

"""Pool sizes leave Ray Data the CPU it needs, or the job is refused with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pools import FREE_CPUS, PreflightError, plan_pools


@given(cpus=st.floats(2, 4096), workers=st.none() | st.integers(1, 64))
def test_one_cpu_is_always_kept_free(cpus: float, workers: int | None) -> None:
    if workers is not None and 0.04 * workers > cpus - FREE_CPUS + 1e-6:  # four stages at the smallest share, 0.01
        with pytest.raises(PreflightError, match=r"run\.workers"):
            plan_pools(cpus, 0, workers, lips_on_gpu=False)
        return
    pools = plan_pools(cpus, 0, workers, lips_on_gpu=False)
    assert sum(pool.cpus * pool.min_size for pool in pools.values()) <= cpus - FREE_CPUS + 1e-6
    for pool in pools.values():
        assert pool.cpus > 0
        assert 1 <= pool.min_size <= pool.max_size
        if workers is not None:
            assert pool.min_size == pool.max_size == workers


def test_one_cpu_is_refused_with_a_way_out() -> None:
    with pytest.raises(PreflightError, match="--executor inline"):
        plan_pools(1, 0, None, lips_on_gpu=False)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(PreflightError, match="no GPU"):
        plan_pools(16, 0, None, lips_on_gpu=True)


def test_lips_take_the_gpus() -> None:
    pools = plan_pools(64, 4, None, lips_on_gpu=True)
    assert pools["lips"].gpus == 1
    assert pools["lips"].max_size == 4
    assert pools["composite"].gpus == 0

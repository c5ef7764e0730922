"""How much of a GPU's memory a network takes: what decides who shares one, before anything is loaded."""

from typing import Final

CONTEXT_GIB: Final = 0.6
"""What CUDA and its libraries take in every process."""
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


def network_gib(parameters: int, dtype: str, batch: int, item_mib: float) -> float:
    """GiB of a network's weights and of what a batch needs on its way.

    `item_mib`: MiB of one item at its fullest, in float32 (`tests/bench/bench_networks.py` measures it). Of what is
    kept for a stack's pictures and of the allocator's slack a fifth is added.
    """
    share = _BYTES[dtype] / 4
    return 1.2 * (parameters * _BYTES[dtype] + batch * item_mib * share * 2**20) / 2**30

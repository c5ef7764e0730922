"""Joins this process to a Ray cluster, or starts one on this machine."""

import logging
import os
import warnings

from pipeline.doctor import usable_cores
from pipeline.pools import Node


def connect(address: str | None) -> list[Node]:
    """The machines of the cluster that this process is now connected to.

    `address`: of a running cluster, such as `auto`; None: $RAY_ADDRESS (a submitted job has it), else a cluster is
    started here. A process that is connected stays so. Raises ConnectionError.
    """
    import ray

    _quieten()
    if not ray.is_initialized():
        address = address or os.environ.get("RAY_ADDRESS")
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            # Ray Data needs two CPUs to keep its own operators going; on one core they share it.
            cores = max(2, int(usable_cores()))
            ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in alive]


def _quieten() -> None:
    """Progress and problems reach the user as ours; Ray's own lines stay in its log files."""
    import ray.data  # sets its own log levels when it is imported  # noqa: F401

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A manifest of three films does not need eight tasks at once, and need not be told so.
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks")

"""Joins this process to a Ray cluster, or starts one on this machine."""

import logging
import os
import signal
import socket
import threading
import warnings
from dataclasses import replace
from typing import Final

from pipeline.doctor import usable_cores
from pipeline.pools import Node

_log = logging.getLogger(__name__)
_ASKED_S: Final = 120.0  # a machine's first task starts a process and loads torch
_CONNECTS_S: Final = 20.0
_LONGEST_FOLDER: Final = 107 - len("/ray/session_2026-03-14_22-05-01_000318_4194304/sockets/plasma_store.1")
"""Bytes of a temporary folder that leave room for Ray's sockets in it: Linux has 107 for a socket's whole path."""
WORKERS_STAY: Final = {"idle_worker_killing_time_threshold_ms": 60_000}
"""Ray's own settings, for every cluster that is ours: one that is started here, and the machines of `dubline manifest`.
Where there are more workers than CPUs, which share them, Ray ends those of tasks after a second without one; the next
shard or film then waits for a new process, two seconds of a core."""


def connect(address: str | None) -> list[Node]:
    """The machines of the cluster that this process is now connected to.

    `address`: of a running cluster, such as `auto`; None: $RAY_ADDRESS (a submitted job has it), else a cluster is
    started here. A process that is connected stays so. Raises ConnectionError.
    """
    import ray

    _quieten()
    if not ray.is_initialized():
        stopped = signal.getsignal(signal.SIGTERM)
        address = address or os.environ.get("RAY_ADDRESS")
        if address:
            _answers(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            # `plan_pools` wants one beside the workers'; on one core they share it.
            cores = max(2, int(usable_cores()))
            quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
            # `local`: without it Ray takes any cluster that somebody runs on this machine.
            ray.init("local", num_cpus=cores, _system_config=WORKERS_STAY, _temp_dir=session_folder(), **quiet)
        if stopped is not None and threading.current_thread() is threading.main_thread():
            # Ray's core has put a handler before it that prints its stack: nothing for whoever stops a run to see.
            signal.signal(signal.SIGTERM, stopped)
    alive = [(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [Node(resources.get("CPU", 0.0), resources.get("GPU", 0.0), name) for name, resources in alive]


def _answers(address: str) -> None:
    """Raise ConnectionError where nothing listens at `[ray://]host:port`: Ray asks there for a quarter of an hour."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto` and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECTS_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"{address}: no Ray cluster answers there ({error}); is it up, and its port {port} reachable from here?"
        ) from error


def session_folder() -> str | None:
    """Where a Ray that is started here keeps its sockets and logs; None: where it likes, which is in $TMPDIR.

    Raises ConnectionError where $RAY_TMPDIR is too long for its sockets; with a $TMPDIR that is, it is /tmp.
    """
    for name in ("RAY_TMPDIR", "TMPDIR"):
        folder = os.environ.get(name)
        if folder is None:
            continue
        if len(os.fsencode(folder)) <= _LONGEST_FOLDER:
            return None
        if name == "RAY_TMPDIR":
            raise ConnectionError(
                f"RAY_TMPDIR is {len(os.fsencode(folder))} bytes long, and Ray's sockets have room for a folder of "
                f"{_LONGEST_FOLDER}: set it to a shorter one, such as /tmp"
            )
        _log.info("Ray keeps its session in /tmp/ray: TMPDIR is too long for its sockets")
        return "/tmp/ray"  # noqa: S108 - Ray's own place, where no TMPDIR is set
    return None


def with_gpu_memory(nodes: list[Node]) -> list[Node]:
    """The machines with the memory of their GPUs: asked of each of them that has one, by a task that runs there.

    It is not known of a machine whose GPUs are all somebody else's for longer than that is waited for, nor of one that
    goes meanwhile.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, num_gpus=0.01)(_gpu_gib)
    there = {
        node: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.name, soft=False)).remote()
        for node in nodes
        if node.gpus
    }
    if not there:  # a GPU is asked for and there is none: for who plans the workers to say
        return nodes
    _, late = ray.wait(list(there.values()), num_returns=len(there), timeout=_ASKED_S)
    for question in late:
        ray.cancel(question)
    if late:
        _log.warning("%d machine(s) did not say how much memory their GPUs have: they are busy", len(late))
    told: dict[Node, float] = {}
    for node, question in there.items():
        if question in late:
            continue
        try:
            told[node] = ray.get(question)
        except ray.exceptions.RayError as error:  # the machine went meanwhile, or its GPU does not work
            _log.warning("%s did not say how much memory its GPUs have: %s", node.name, str(error).partition("\n")[0])
    return [replace(node, gpu_gib=told.get(node, 0.0)) for node in nodes]


def _gpu_gib() -> float:
    """Memory of this process's GPU in GiB; 0 where torch does not see one."""
    import torch

    return float(torch.cuda.mem_get_info()[1] / 2**30) if torch.cuda.is_available() else 0.0


def _quieten() -> None:
    """Progress and problems reach the user as ours; Ray's own lines stay in its log files."""
    import ray.data  # sets its own log levels when it is imported  # noqa: F401

    # Says one line, that it is set. Without it the core tells of every pool that its actors' arguments are large.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    data = logging.getLogger("ray.data")
    data.setLevel(logging.ERROR)
    for handler in data.handlers:
        if isinstance(handler, logging.StreamHandler):  # its last line is in the films' messages: `ClusterError`
            handler.setLevel(logging.CRITICAL)
    # A manifest of three films does not need eight tasks at once, and need not be told so.
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks")

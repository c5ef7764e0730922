"""What the driver asks a cluster before it sizes its workers."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import connect

_SCRIPT = """
import ray
from pipeline import connect
from pipeline.pools import Node

ray.init("local", num_cpus=1, num_gpus=1, include_dashboard=False, logging_level="ERROR")
gone = Node(1, 1, "ab" * 28)
nodes = [Node(1, 1, ray.nodes()[0]["NodeID"]), Node(4, 0, "without a GPU"), gone]

@ray.remote(num_gpus=1, num_cpus=0)
class Busy:
    def ping(self):
        return True

busy = Busy.remote()
ray.get(busy.ping.remote())
connect._ASKED_S = 2.0
print(connect.with_gpu_memory(nodes) == nodes)
"""

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.soak
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_ray_that_somebody_else_has_on_this_machine_is_left_alone() -> None:
    """Without an address Ray takes the first cluster it finds, and then refuses to be told how many cores to use."""
    import ray

    (other,) = ray.nodes()
    ended = subprocess.run(
        [sys.executable, "-c", "from pipeline import connect\nprint([node.name for node in connect.connect(None)])"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert len(ended.stdout.strip("[]\n' ")) == len(other["NodeID"])
    assert other["NodeID"] not in ended.stdout


@pytest.mark.soak
def test_a_gpu_that_is_another_job_s_or_went_with_its_machine_does_not_keep_a_run_from_beginning() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout.strip() == "True", ended.stderr[-2000:]


def test_a_long_tmpdir_is_no_place_for_ray_s_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    assert connect.session_folder() is None
    monkeypatch.setenv("TMPDIR", "/scratch/short")
    assert connect.session_folder() is None
    monkeypatch.setenv("TMPDIR", "/scratch/projects/localisation/lectures/tmp")
    assert connect.session_folder() == "/tmp/ray"
    monkeypatch.setenv("RAY_TMPDIR", "/scratch")
    assert connect.session_folder() is None, "Ray prefers it"
    monkeypatch.setenv("RAY_TMPDIR", "/scratch/projects/localisation/lectures/ray")
    with pytest.raises(ConnectionError, match="set it to a shorter one"):
        connect.session_folder()


def test_ray_accepts_the_sockets_of_the_longest_folder_that_is_let_pass() -> None:
    from ray._private.utils import validate_socket_filepath

    session = "/ray/session_2026-03-14_22-05-01_000318_4194304/sockets/plasma_store.1"
    validate_socket_filepath("/" + "t" * (connect._LONGEST_FOLDER - 1) + session)
    with pytest.raises(OSError, match="AF_UNIX"):
        validate_socket_filepath("/" + "t" * connect._LONGEST_FOLDER + session)


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://localhost:{port}", "127.0.0.1:70000"])
def test_an_address_at_which_nobody_listens_is_told_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # whatever other tests left connected
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="no Ray cluster answers there"):
            connect.connect(address.format(port=taken.getsockname()[1]))
    assert time.monotonic() - began < 15


def test_what_ray_data_says_when_it_gives_up_is_not_printed() -> None:
    """Where workers lack a module, hundreds of lines for each of four passes stood before the film's message."""
    code = """
import logging
from pipeline import connect
connect._quieten()
logging.getLogger("ray.data.exceptions").error("Full stack trace:")
logging.getLogger("ray.data").warning("The maximum number of concurrent tasks")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout + ended.stderr == ""

"""A real Ray head in processes of its own: dashboard and token authentication, private ports and folder.

It runs what is submitted to it with this interpreter, in an environment that knows nothing of the checkout: what a job
needs of the project comes with its upload.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_STORE_BYTES: Final = 100 << 20
_START_S: Final = 120.0
_OWN: Final = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "PYTHONPATH")
"""What a head must not take over from whoever starts it."""


@dataclass(frozen=True)
class Head:
    """A running head."""

    address: str
    """Of its dashboard, as `dubline submit --address` takes it."""
    token: str
    folder: Path
    """Ray's temporary folder: sessions and their logs."""

    def dubline(self, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The whole command, as somebody who may submit types it."""
        return self._typed("cluster", command, "--address", self.address, *map(str, arguments))

    def ray_job_submit(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Ray's own command in a checkout: `ray job submit --working-dir . -- COMMAND`."""
        submit = ["ray.scripts.scripts", "job", "submit", "--address", self.address, "--working-dir", "."]
        over = time.monotonic() + _START_S
        while True:
            done = self._typed(*submit, "--", *command)
            if "No available agent" not in done.stderr or time.monotonic() > over:
                return done
            time.sleep(1)  # as it asks for: the head has just been started

    def _typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        own = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, env=own, cwd=_ROOT, capture_output=True, text=True, check=False)


@contextmanager
def ray_head(cpus: int = 4, environment: Mapping[str, str] | None = None) -> Iterator[Head]:
    """A head that lives as long as the block. `environment`: what its jobs and workers find in theirs, besides."""
    token = secrets.token_hex(32)
    with ExitStack() as stack:
        # A socket's path has 107 characters at most, which pytest's folders leave little of.
        folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port, dashboard, agent, client, metrics = _free_ports(5)
        own = {name: value for name, value in os.environ.items() if name not in _OWN}
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "PYTHONDONTWRITEBYTECODE": "1"}
        own["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # nothing is worth waiting for at its end
        own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}", f"--num-cpus={cpus}"]
        command += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        command += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
        command += [f"--metrics-export-port={metrics}", "--min-worker-port=0", "--max-worker-port=0"]
        command += [f"--object-store-memory={_STORE_BYTES}"]
        log = folder / "start.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env={**own, **(environment or {})}, stdout=file, stderr=subprocess.STDOUT, cwd=folder
            )
        stack.callback(_end, process)
        head = Head(f"http://127.0.0.1:{dashboard}", token, folder)
        _wait(head, process, log)
        yield head


def _wait(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the head takes jobs: when it has answered what jobs there are."""
    asked = urllib.request.Request(f"{head.address}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"})
    over = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < over:
        try:
            with urllib.request.urlopen(asked, timeout=10):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"no head at {head.address}:\n{log.read_text(errors='replace')}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """`ray start --block` ends what it started when it is told to end."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

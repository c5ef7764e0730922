"""Following a job over connections that break, to a head that goes away: nothing twice, nothing lost, an end."""

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import cluster.jobs_cli
from cluster.cli import joined
from cluster.jobs import Jobs
from cluster.upload import Upload
from stages.errors import DubError

LOG = "".join(f"line {number}\n" for number in range(10))


class Client:
    """A head whose log's connections break after so many characters each, and that may be gone."""

    def __init__(self, breaks: list[int], gone: int = 0) -> None:
        self.breaks, self.gone = breaks, gone

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        until = self.breaks.pop(0) if self.breaks else len(LOG) - 7  # Ray closes before it has read the last line
        for at in range(0, until, 5):
            yield LOG[at : min(at + 5, until)]
        if self.breaks:
            raise ConnectionResetError("the proxy has waited for long enough")

    def get_job_info(self, job: str) -> Any:
        if self.gone:
            self.gone -= 1
            raise ConnectionError("nobody there")
        over = not self.breaks
        return SimpleNamespace(
            submission_id=job, metadata=None, entrypoint="x", message="", start_time=0, end_time=None,
            status="FAILED" if over else "RUNNING", driver_exit_code=2 if over else None,
        )  # fmt: skip

    def get_job_logs(self, job: str) -> str:
        return LOG

    def list_jobs(self) -> list[Any]:
        return []

    def submit_job(self, **_: object) -> None:
        if self.gone:
            self.gone -= 1
            raise RuntimeError("Request failed with status code 500: No available agent to submit job")


def jobs(client: Client, seconds: Iterator[float]) -> Jobs:
    return Jobs("http://head:8265", client=client, clock=lambda: next(seconds), pause=lambda s: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("breaks", [[], [3, 0], [12, 12, 40, 20], [69, 69]])
def test_each_line_is_said_once_whatever_breaks(breaks: list[int]) -> None:
    said: list[str] = []
    assert jobs(Client(breaks), iter(range(1000))).follow("night", said.append) == 2
    assert "".join(said) == LOG


def test_a_head_that_is_restarted_is_waited_for() -> None:
    said: list[str] = []
    assert jobs(Client([], gone=20), iter(range(1000))).follow("night", said.append) == 2
    assert "".join(said) == LOG


def test_a_head_that_stays_away_ends_it() -> None:
    with pytest.raises(DubError, match="does not answer") as raised:
        jobs(Client([], gone=10_000), iter(range(0, 10_000, 10))).follow("night", len)
    assert raised.value.code == "not_found"


def test_a_head_that_was_just_started_is_waited_for_to_submit() -> None:
    job = Upload("python -m pipeline run night.jsonl", {}, "digest")
    assert jobs(Client([], gone=3), iter(range(1000))).submit("night", job).how == "new"
    with pytest.raises(DubError, match="No available agent"):
        jobs(Client([], gone=10_000), iter(range(0, 10_000, 10))).submit("night", job)


def test_to_follow_no_job_is_a_usage_error() -> None:
    done = CliRunner().invoke(joined(), ["status", "--follow"])
    assert done.exit_code == 2  # 1 as a process: `pipeline.cli.main`
    assert "which job?" in done.output


def test_ctrl_c_stops_following_and_says_how_to_stop_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Client):
        def list_jobs(self) -> list[Any]:
            return [self.get_job_info("night")]

        def get_job_logs(self, job: str) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(cluster.jobs_cli, "Jobs", lambda address: jobs(Interrupted([]), iter(range(1000))))
    done = CliRunner().invoke(joined(), ["status", "night", "--follow"])
    assert done.exit_code == 130
    assert "it goes on" in done.output
    assert "dubline stop night --address http://head:8265" in done.output

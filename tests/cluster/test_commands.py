"""The command `dubline` is the job's commands and the cluster's, joined; `python -m pipeline` is the job's alone."""

import subprocess
import sys

import pytest
import typer.main

from cluster.cli import app, joined
from pipeline.cli import app as job


def _names(commands):
    return list(typer.main.get_group(commands).commands)


def test_the_whole_command_has_what_a_job_has_and_what_clusters_need():
    assert {*_names(joined())} == {*_names(job), *_names(app)}
    assert not {*_names(job)} & {"submit", "status", "stop"}


@pytest.mark.parametrize("module", ["cluster", "pipeline"])
def test_a_usage_error_is_1_not_2(module):
    done = subprocess.run([sys.executable, "-m", module, "run", "--nope"], capture_output=True, text=True, check=False)
    assert (done.returncode, "No such option" in done.stderr) == (1, True)

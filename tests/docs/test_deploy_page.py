"""docs/deploy.md can be followed by copying: its commands run, its options are there, its numbers are the code's."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from cluster.cli import joined
from cluster.deploy import sizes
from cluster.deploy.files import load_options
from cluster.deploy.page import page
from tests.cluster.deployed import ROOT

_TEXT = (ROOT / "docs" / "deploy.md").read_text()
_FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", _TEXT, re.DOTALL | re.MULTILINE)
_BLOCKS = [text.replace("\\\n", "") for kind, text in _FENCED if not kind]
_COMMANDS = [line for block in _BLOCKS for line in block.splitlines() if line.startswith("dubline manifest")]


def test_the_page_of_options_is_what_the_code_says():
    assert (ROOT / "docs" / "deploy-options.md").read_text() == page(), "python -m cluster.deploy.page > docs/..."


@pytest.mark.parametrize("line", _COMMANDS)
def test_a_command_of_the_page_writes_the_files_that_the_page_goes_on_with(line, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # where configs/ is
    words = shlex.split(line)
    folder = words.index("--out") + 1
    words[folder] = str(tmp_path)
    done = CliRunner().invoke(joined(), words[1:])
    assert done.exit_code == 0, done.output
    named = re.findall(r"deploy/([\w.-]+)", next(block for block in _BLOCKS if line in block))
    written = {path.name for path in tmp_path.iterdir()}
    assert written & set(named) or words[2] == "docker"


def test_the_options_of_the_page_are_options(tmp_path):
    (example,) = [text for kind, text in _FENCED if kind == "yaml"]
    (tmp_path / "deploy.yaml").write_text(example)
    chosen = load_options(tmp_path / "deploy.yaml", [])
    assert (chosen.name, chosen.cluster.gpu.most, chosen.cluster.gpu.gpus) == ("lectures", 4, 1)
    for key in re.findall(r"`((?:job|schedule|cluster|access|weights|image|launcher|systemd)\.[\w.]+)[`=]", _TEXT):
        assert f"`{key}`" in page() or key.startswith("weights.urls."), key


def test_the_numbers_of_the_page_are_the_code_s():
    assert sizes.WORKER_GIB == 2.0
    assert round(sizes.PAYLOADS * 96 / 1024 / sizes.STORE_SHARE, 2) == 0.56
    assert (sizes.GPU_HOST_GIB, sizes.RAY_GIB, sizes.CACHE_SHARE) == (4.0, 1.0, 0.6)
    assert (sizes.MOST_CPU, sizes.ALONE_CPU) == (16, 4)

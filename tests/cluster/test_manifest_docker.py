"""The image: what opencv-python links is in it, everything is pinned, nobody is root; and the command's own ways."""

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement

from cluster.deploy.files import render
from cluster.deploy.image import DOCKERIGNORE, constraints, dockerfile
from pipeline.config import Config
from pipeline.overrides import ConfigError
from tests.cluster.deployed import ROOT, options

_INSTRUCTIONS = {"FROM", "SHELL", "RUN", "COPY", "ENV", "USER", "WORKDIR", "CMD"}


def _steps(text):
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [line.partition(" ")[::2] for line in joined.splitlines() if line]


def test_the_dockerfile_is_one_that_hadolint_has_nothing_against():
    steps = _steps(dockerfile(options()))
    assert {name for name, _ in steps} <= _INSTRUCTIONS
    bases = [what for name, what in steps if name == "FROM"]
    here = re.escape(".".join(platform.python_version_tuple()[:2]))  # constraints.txt has what is installed here
    assert all(re.match(rf"python:{here}-slim-bookworm( AS wheel)?$", base) for base in bases)
    last = len(steps) - 1 - [name for name, _ in reversed(steps)].index("FROM")
    users = [what for name, what in steps[last:] if name == "USER"]
    assert users == ["1000:1000"]
    for name, what in steps:
        if name == "RUN" and "apt-get install" in what:
            assert all(
                part in what for part in ("apt-get update", "--no-install-recommends", "rm -rf /var/lib/apt/lists")
            )
        if name == "RUN" and "pip install" in what:
            assert "--no-cache-dir" in what
            assert "--requirement" in what or "--no-deps" in what  # nothing but what is pinned
        assert "sudo" not in what
        assert not (name == "ENV" and re.search(r"SECRET|TOKEN|PASSW", what))


@pytest.mark.parametrize("library", ["libgl1", "libglib2.0-0", "libxcb1"])
def test_what_opencv_links_is_in_the_image(library):
    assert f" {library} " in re.sub(r"\s+", " ", dockerfile(options()))


@pytest.mark.soak
def test_what_librosa_compiles_is_compiled_in_the_image_by_the_command_it_has(tmp_path):
    """Else by every container's first worker, for 25 s: its user may not write beside the packages."""
    steps = _steps(dockerfile(options()))
    at = next(k for k, (name, what) in enumerate(steps) if name == "RUN" and "librosa" in what)
    assert steps[at - 1] == ("ENV", "NUMBA_CPU_NAME=generic")  # who builds has another CPU than who runs
    command = [sys.executable, *shlex.split(steps[at][1])[1:]]
    told = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CPU_NAME": "generic"}
    subprocess.run(command, env=told, check=True)
    made = sorted(tmp_path.rglob("*.nbc"))
    hear = "import numpy, stages.speech.mel as m; m.wav2lip_mel(numpy.zeros(1600, numpy.float32))"
    subprocess.run([sys.executable, "-c", hear], env=told, check=True)
    assert made
    assert sorted(tmp_path.rglob("*.nbc")) == made


def test_kuberay_s_probes_find_what_they_ask_with():
    text = dockerfile(options())
    assert "wget" in text
    assert "/bin/bash" in text


def test_what_is_copied_is_there_and_let_into_the_build():
    allowed = {line[1:] for line in DOCKERIGNORE.splitlines() if line.startswith("!")}
    for name, what in _steps(dockerfile(options())):
        if name == "COPY" and not what.startswith("--from"):
            for source in what.split()[:-1]:
                assert source in allowed
                assert source == "constraints.txt" or (ROOT / source).exists()


def test_constraints_pin_all_that_the_image_installs_to_what_is_installed_here():
    lines = constraints(options(image={"extras": ["speech"], "packages": ["ray[data]"]})).splitlines()[1:]
    pinned = dict(line.split("==") for line in lines)
    assert {"ray", "torch", "av", "opencv-python", "espeakng-loader", "pyarrow"} <= pinned.keys()
    assert pinned["ray"] == importlib.metadata.version("ray")
    assert "pytest" not in pinned
    for name in pinned:
        for text in importlib.metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None:
                assert need.name.lower().replace("_", "-").replace(".", "-") in pinned, (name, text)


def test_a_version_of_this_machine_alone_is_pinned_as_registries_know_it(monkeypatch):
    real = importlib.metadata.distribution

    class Local:
        version, requires = "2.15.0+cpu", ()

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Local() if name == "torch" else real(name))
    assert "torch==2.15.0" in constraints(options()).splitlines()


def test_an_extra_or_a_package_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="no-such-extra"):
        constraints(options(image={"extras": ["no-such-extra"]}))
    with pytest.raises(ConfigError, match="no-such-package"):
        constraints(options(image={"packages": ["no-such-package"]}))


def test_every_kind_writes_its_files_and_yaml_reads_as_what_it_was_made_from():
    chosen = options()
    kinds = {
        "kuberay": {"rayjob.yaml", "raycronjob.yaml", "raycluster.yaml", "cronjob.yaml"},
        "launcher": {"launcher-aws.yaml"},
        "systemd": {"dubline-nightly.service", "dubline-nightly.timer"},
        "docker": {"Dockerfile", ".dockerignore", "constraints.txt"},
    }
    for kind, names in kinds.items():
        files = render(kind, chosen, Config())
        assert files.keys() == names
        for name, text in files.items():
            assert text.endswith("\n")
            if name.endswith(".yaml"):
                assert all(yaml.safe_load_all(text))
                assert "&id" not in text


def test_another_python_is_one_that_dubline_runs_with():
    assert "FROM python:3.12-slim-bookworm" in dockerfile(options(image={"python": "3.12"}))
    with pytest.raises(ConfigError, match=r"dubline runs with >=3\.11"):
        dockerfile(options(image={"python": "3.13"}))


@pytest.mark.parametrize("kind", ["kuberay", "launcher", "docker"])
def test_an_image_that_nobody_named_is_asked_for(kind):
    with pytest.raises(ConfigError, match=r"image\.name must be said"):
        render(kind, options(image={"name": ""}), Config())

"""The container image: Dockerfile, what is kept out of its build, and the exact versions that go in."""

import importlib.metadata
import platform
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from cluster.deploy.commands import HOME, SCRATCH, WEIGHTS
from cluster.deploy.options import DeployOptions
from cluster.deploy.pods import USER
from pipeline.overrides import ConfigError

_PROJECT: Final = Path(__file__).resolve().parents[2] / "pyproject.toml"
_LIBRARIES: Final = (
    "ca-certificates",  # https
    "libgl1",
    "libglib2.0-0",
    "libxcb1",  # opencv-python links them (media.md 7.9)
    "openssh-client",
    "rsync",  # Ray's launcher goes from the head to the workers
    "wget",  # KubeRay's probes ask with it whether a node is well
)

DOCKERIGNORE: Final = """\
# Only what the image is built from.
*
!pyproject.toml
!README.md
!LICENSE
!constraints.txt
!pipeline
!stages
!cluster
!configs
**/__pycache__
**/*.py[cod]
"""


def dockerfile(options: DeployOptions) -> str:
    """Built in the repository's root: `docker build -t NAME .`

    Raises ConfigError outside of a checkout, and for a Python that dubline does not run with.
    """
    image = options.image
    base = f"python:{_python(options)}-slim-bookworm"
    libraries = " \\\n        ".join(_LIBRARIES)
    return f"""\
# Made by `dubline manifest docker`. Build it in the repository's root: docker build -t {image.name} .
FROM {base} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY stages stages
COPY cluster cluster
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM {base}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The base image is pinned by its tag; its distribution keeps only the newest version of a package.
# hadolint ignore=DL3008
RUN apt-get update \\
    && apt-get install -y --no-install-recommends \\
        {libraries} \\
    && rm -rf /var/lib/apt/lists/* \\
    && groupadd --gid {USER} dubline \\
    && useradd --uid {USER} --gid {USER} --create-home --shell /bin/bash dubline \\
    && install -d -o {USER} -g {USER} {HOME} {WEIGHTS} {SCRATCH}
# Versions before code: a change of the code does not fetch torch anew.
COPY constraints.txt {HOME}/constraints.txt
RUN pip install --no-cache-dir --requirement {HOME}/constraints.txt
# Compiled once here, for any CPU: a user who may not write to the packages would compile it in every container, 25 s.
ENV NUMBA_CPU_NAME=generic
RUN python -c "import librosa, numpy; librosa.stft(numpy.zeros(4096)); librosa.filters.mel(sr=16000, n_fft=800)"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/dubline-*.whl && pip check
COPY configs {HOME}/configs
ENV PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1 \\
    DUBLINE_WEIGHTS={WEIGHTS}
USER {USER}:{USER}
WORKDIR {HOME}
CMD ["dubline", "--help"]
"""


def constraints(options: DeployOptions) -> str:
    """Exact versions of all that the image installs: those of this environment, which passed its tests.

    Raises ConfigError outside of a checkout, for an extra that there is not, and for a package that is not installed
    here.
    """
    extras, python = options.image.extras, _python(options)
    found: dict[str, tuple[str, set[str]]] = {}
    wanted = [*_own(extras), *(Requirement(each) for each in options.image.packages)]
    _collect(wanted, {"python_version": python, "python_full_version": f"{python}.0"}, found, asked=True)
    lines = [f"{name}=={version}" for name, (version, _) in sorted(found.items())]
    return "# Made by `dubline manifest docker`.\n" + "\n".join(lines) + "\n"


def _python(options: DeployOptions) -> str:
    """The image's Python as major.minor: that of this environment, whose packages are the image's, if not said."""
    python = options.image.python or ".".join(platform.python_version_tuple()[:2])
    wanted = _project()["requires-python"]
    if not SpecifierSet(wanted).contains(f"{python}.0"):
        raise ConfigError(f"image.python: {python}: dubline runs with {wanted}")
    return python


def _own(extras: Sequence[str]) -> list[Requirement]:
    project = _project()
    optional = project["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in optional]
    if unknown:
        raise ConfigError(f"image.extras: {', '.join(unknown)}: there are {', '.join(optional)}")
    return [Requirement(text) for text in [*project["dependencies"], *(n for e in extras for n in optional[e])]]


def _project() -> dict[str, Any]:
    if not _PROJECT.is_file():
        raise ConfigError("the image is built from a checkout of dubline: run this in one")
    project: dict[str, Any] = tomllib.loads(_PROJECT.read_text())["project"]
    return project


def _collect(
    requirements: Iterable[Requirement],
    environment: Mapping[str, str],
    found: dict[str, tuple[str, set[str]]],
    asked: bool = False,
) -> None:
    """Put what is installed of `requirements`, and of all they need, into `found`: version, extras gone through."""
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        try:
            there = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            if asked:
                raise ConfigError(
                    f"image: {requirement} is not installed here, so its version cannot be pinned: pip install it, or "
                    "take it out of image.extras and image.packages"
                ) from error
            continue  # for another system or Python
        # A local version («+cpu») is in no registry.
        _, seen = found.setdefault(name, (there.version.partition("+")[0], set()))
        for extra in {"", *requirement.extras} - seen:
            seen.add(extra)
            needs = [Requirement(text) for text in there.requires or []]
            wanted = [n for n in needs if n.marker is None or n.marker.evaluate({**environment, "extra": extra})]
            _collect(wanted, environment, found)

"""What this machine has of what dubline needs, one line each, with what to do where something is missing."""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.specifiers import SpecifierSet

from stages.errors import DubError
from stages.weights import Weights

PYTHON: Final = SpecifierSet(">=3.11,<3.13")
RAY: Final = SpecifierSet(">=2.60,<2.61")
"""The range that the graph was tested with; both as in pyproject.toml."""
ENCODERS: Final = ("libx264", "libx265", "ffv1", "aac")

_GIB: Final = 1 << 30
_LEAST_MEMORY: Final = 4 * _GIB  # decode, detect and composite workers of one shard, and Ray's store
_LEAST_SCRATCH: Final = 2 * _GIB  # a long film's segments and its muxed copy


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    """False: something does not work, or will not; optional things that are absent are ok."""
    detail: str
    """What was found."""
    advice: str = ""
    """What to do; empty where there is nothing to do."""


def checks(weights: Weights) -> list[Check]:
    """Every check. Takes some seconds: libraries are loaded, and weights that are there are hashed."""
    av = "reinstall PyAV from its wheel: pip install --force-reinstall 'av>=18.1,<19'"
    return [
        _python(),
        _ray(),
        _resources(Path("/")),
        _scratch(Path(tempfile.gettempdir())),
        _guarded("opencv", _opencv, "reinstall it: pip install 'opencv-python>=4.10,<5'"),
        _guarded("ffmpeg", _ffmpeg, "reinstall it: pip install --force-reinstall imageio-ffmpeg"),
        _guarded("encoders", _encoders, av),
        _guarded("gpu", _gpu, "reinstall it: pip install torch torchvision"),
        *_weights(weights),
    ]


def _guarded(name: str, check: Callable[[], Check], advice: str) -> Check:
    """A check whose libraries may fail to load in any way: that is a finding, too."""
    try:
        return check()
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}", advice)


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = PYTHON.contains(version, prereleases=True)
    return Check("python", ok, version, "" if ok else f"dubline is tested with Python {PYTHON}")


def _ray() -> Check:
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return Check("ray", False, "not installed", f"pip install 'ray[data,default]{RAY}'")
    ok = RAY.contains(version, prereleases=True)
    return Check("ray", ok, version, "" if ok else f"the graph is tested with ray {RAY}; run it with --executor inline")


def _opencv() -> Check:
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        # The wheel links these of the system (media.md 7.9); slim images lack them.
        advice = "apt-get install libgl1 libglib2.0-0 libxcb1 (Debian, Ubuntu)"
        return Check("opencv", False, str(error), advice if ".so" in str(error) else "pip install opencv-python")
    cascade = Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"
    if not cascade.is_file():
        return Check(
            "opencv", False, f"{cv2.__version__}, without Haar cascades", "pip install 'opencv-python>=4.10,<5'"
        )
    return Check("opencv", True, str(cv2.__version__))


def _ffmpeg() -> Check:
    imageio_ffmpeg = importlib.import_module("imageio_ffmpeg")
    executable = imageio_ffmpeg.get_ffmpeg_exe()
    done = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=30, check=True)
    return Check("ffmpeg", True, f"{done.stdout.partition(' Copyright')[0]} ({executable})")


def _encoders() -> Check:
    av = importlib.import_module("av")
    absent = []
    for name in ENCODERS:
        try:
            av.Codec(name, "w")
        except av.FFmpegError:
            absent.append(name)
    detail = f"PyAV {av.__version__}: " + ", ".join(name for name in ENCODERS if name not in absent)
    if absent:
        advice = "install PyAV from its wheel, which has them: pip install --force-reinstall 'av>=18.1,<19'"
        return Check("encoders", False, f"{detail}; lacks {', '.join(absent)}", advice)
    return Check("encoders", True, detail)


def _gpu() -> Check:
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        advice = "generators run on the CPU here: fine for previews, slow for a night"
        return Check("gpu", True, f"none that torch {torch.__version__} can use", advice)
    found = []
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        found.append(f"{gpu.name}, {gpu.total_memory / _GIB:.0f} GiB")
    return Check("gpu", True, f"torch {torch.__version__}: {'; '.join(found)}")


def _resources(root: Path) -> Check:
    cores, memory = usable_cores(root), usable_memory(root)
    ok = memory >= _LEAST_MEMORY
    advice = "" if ok else f"a shard's workers want {_LEAST_MEMORY / _GIB:.0f} GiB; less may end in `oom`"
    return Check("cpu and memory", ok, f"{cores:g} cores, {memory / _GIB:.1f} GiB", advice)


def _scratch(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    ok = free >= _LEAST_SCRATCH
    advice = "" if ok else "remote films and finished segments are kept there a while: set TMPDIR to a larger disk"
    return Check("scratch disk", ok, f"{free / _GIB:.1f} GiB free in {folder}", advice)


def _weights(weights: Weights) -> Iterator[Check]:
    absent = []
    for held in weights.list():
        if not held.found:
            absent.append(held.weight.name)
            continue
        name = f"weights {held.weight.name}"
        try:
            path = weights.verify(held.weight.name)
        except DubError as error:
            yield Check(name, False, error.message, f"dubline weights fetch {held.weight.name}")
        else:
            yield Check(name, True, f"{path}, sha256 as expected; licence: {held.weight.licence}")
    if absent:
        detail = f"{', '.join(absent)}; `dubline weights fetch` gets what a config asks for"
        yield Check("weights", True, f"not in {weights.folder}: {detail}")


def usable_cores(root: Path = Path("/")) -> float:
    """Cores that this process may use: the scheduler's set, and the cgroup's quota (v2, v1) where it is less."""
    cores = float(len(os.sched_getaffinity(0)))
    for folder in _cgroups(root, ""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            cores = min(cores, int(quota) / int(period))
    for folder in _cgroups(root, "cpu"):
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:  # -1: no quota
            cores = min(cores, int(quota) / int(period))
    return cores


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, and the cgroup's limit where it is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = [folder / "memory.max" for folder in _cgroups(root, "")]
    files += [folder / "memory.limit_in_bytes" for folder in _cgroups(root, "memory")]
    limits = [int(text) for text in map(_read, files) if text.isdecimal()]  # v2 says `max` for none
    return min([memory, *limits])


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """This process's group and those above it, up to the mount, of the v2 tree (no name) or of a v1 controller.

    In a container the mount is usually the group itself, while /proc/self/cgroup may give the host's path.
    """
    mount = root / "sys/fs/cgroup" / controller
    inside = ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            inside = path
    parts = [part for part in inside.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        folder = mount.joinpath(*parts[:length])
        if folder.is_dir():
            yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # another kind of cgroup, or none: no limit from here

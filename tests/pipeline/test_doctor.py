"""The doctor finds what is there, and says what to do about what is not."""

import importlib
import os
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline import doctor
from stages.weights import REGISTRY, Weights


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts something else in the place of a module that a check imports."""
    stand_ins: dict[str, Any] = {}
    real = importlib.import_module

    def import_module(name: str) -> Any:
        if isinstance(stand_ins.get(name), Exception):
            raise stand_ins[name]
        return stand_ins[name] if name in stand_ins else real(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    return stand_ins


def test_this_machine_passes_and_every_check_says_what_it_found(tmp_path: Path):
    found = doctor.checks(Weights(str(tmp_path)))
    names = [check.name for check in found]
    assert names[:8] == ["python", "ray", "cpu and memory", "scratch disk", "opencv", "ffmpeg", "encoders", "gpu"]
    assert names[8:] == ["weights"]
    by_name = {check.name: check for check in found}
    for name in ("python", "ray", "opencv", "ffmpeg", "encoders"):
        assert by_name[name].ok, by_name[name]
        assert by_name[name].advice == ""
    assert by_name["ffmpeg"].detail.startswith("ffmpeg version ")
    assert by_name["encoders"].detail.endswith(": libx264, libx265, ffv1, aac")
    assert "GiB free" in by_name["scratch disk"].detail
    assert all(name in by_name["weights"].detail for name in REGISTRY)
    assert by_name["weights"].ok, "no run needs them unless a config says so"


def test_ranges_are_those_of_pyproject():
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    requirements = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    assert requirements["ray"] == doctor.RAY
    assert SpecifierSet(project["requires-python"]) == doctor.PYTHON
    assert requirements["opencv-python"] == SpecifierSet(">=4.10,<5"), "as the advice says"
    assert requirements["av"] == SpecifierSet(">=18.1,<19"), "as the advice says"


def test_library_that_opencv_links_but_a_slim_image_lacks(fake: Any):
    fake["cv2"] = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    check = doctor._opencv()
    assert not check.ok
    assert "libGL.so.1" in check.detail
    assert "libgl1 libglib2.0-0 libxcb1" in check.advice


def test_opencv_without_cascades(fake: Any, tmp_path: Path):
    fake["cv2"] = SimpleNamespace(__version__="5.0.0", data=SimpleNamespace(haarcascades=str(tmp_path)))
    check = doctor._opencv()
    assert not check.ok
    assert check.detail == "5.0.0, without Haar cascades"


def test_missing_encoder_is_named(fake: Any):
    class FFmpegError(Exception):
        pass

    def codec(name: str, mode: str) -> None:
        if name == "libx265":
            raise FFmpegError(name)

    fake["av"] = SimpleNamespace(__version__="0", Codec=codec, FFmpegError=FFmpegError)
    check = doctor._encoders()
    assert not check.ok
    assert check.detail == "PyAV 0: libx264, ffv1, aac; lacks libx265"


def test_ffmpeg_that_does_not_start_is_a_finding(fake: Any, tmp_path: Path):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    fake["imageio_ffmpeg"] = SimpleNamespace(get_ffmpeg_exe=lambda: str(broken))
    check = {c.name: c for c in doctor.checks(Weights("/nowhere"))}["ffmpeg"]
    assert not check.ok
    assert "exit status 3" in check.detail
    assert "imageio-ffmpeg" in check.advice


def test_gpus_are_named_with_their_memory(fake: Any):
    properties = SimpleNamespace(name="NVIDIA H100", total_memory=80 << 30)
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_properties=lambda index: properties
    )
    fake["torch"] = SimpleNamespace(__version__="2.15", cuda=cuda)
    assert doctor._gpu().detail == "torch 2.15: NVIDIA H100, 80 GiB; NVIDIA H100, 80 GiB"


def test_no_gpu_is_no_failure_but_said(fake: Any):
    fake["torch"] = SimpleNamespace(__version__="2.15", cuda=SimpleNamespace(is_available=lambda: False))
    check = doctor._gpu()
    assert check.ok
    assert "CPU" in check.advice


@pytest.mark.parametrize(("version", "ok"), [("2.60.0", True), ("2.60.3", True), ("2.59.1", False), ("3.0.0", False)])
def test_ray_outside_the_tested_range(monkeypatch: pytest.MonkeyPatch, version: str, ok: bool):
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    check = doctor._ray()
    assert check.ok is ok
    assert bool(check.advice) is not ok


def test_weights_with_wrong_content_fail_and_right_ones_pass(tmp_path: Path, weights_dir: Path):
    name = REGISTRY["yunet"].file
    (tmp_path / name).symlink_to(weights_dir / name)
    (tmp_path / REGISTRY["s3fd"].file).write_bytes(b"<html>")
    found = {check.name: check for check in doctor._weights(Weights(str(tmp_path)))}
    assert found["weights yunet"].ok
    assert "sha256 as expected; licence: MIT" in found["weights yunet"].detail
    assert not found["weights s3fd"].ok
    assert "expected sha256 619a3168" in found["weights s3fd"].detail


# Limits of a container, on a made-up file system


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_cgroup_v2_limits_of_every_level_count(tmp_path: Path):
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/worker",
            "sys/fs/cgroup/cpu.max": "max 100000",
            "sys/fs/cgroup/pod/cpu.max": "50000 100000",
            "sys/fs/cgroup/pod/worker/cpu.max": "150000 100000",
            "sys/fs/cgroup/pod/memory.max": "max",
            "sys/fs/cgroup/pod/worker/memory.max": "1073741824",
        },
    )
    assert doctor.usable_cores(root) == 0.5
    assert doctor.usable_memory(root) == 1 << 30


def test_container_whose_mount_is_its_own_group(tmp_path: Path):
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../kubepods/pod7",
            "sys/fs/cgroup/cpu.max": "25000 100000",
            "sys/fs/cgroup/memory.max": "536870912",
        },
    )
    assert doctor.usable_cores(root) == 0.25
    assert doctor.usable_memory(root) == 1 << 29


def test_cgroup_v1_limits(tmp_path: Path):
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "7:memory:/job\n3:cpu,cpuacct:/job\n0::/",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "75000",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "268435456",
        },
    )
    assert doctor.usable_cores(root) == 0.75
    assert doctor.usable_memory(root) == 1 << 28


def test_no_cgroup_is_the_whole_machine(tmp_path: Path):
    assert doctor.usable_cores(tmp_path) == len(os.sched_getaffinity(0))
    assert doctor.usable_memory(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_too_little_memory_or_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": str(1 << 30)})
    check = doctor._resources(root)
    assert not check.ok
    assert check.detail.endswith(" cores, 1.0 GiB")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1 << 20))
    check = doctor._scratch(tmp_path)
    assert not check.ok
    assert "TMPDIR" in check.advice

"""Disks that are full or cannot be written: named, with what to do; nothing is left half, and the next run goes on."""

import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import Config, dub
from pipeline.report import FilmReport, RunReport
from stages.errors import DubError
from stages.media import storage
from stages.media.index import index_video
from tests.films import BOX, film, manifest, speech

CONFIG = Config.model_validate({"encode": {"preset": "ultrafast", "crf": 1}, "split": {"shard_s": 0.5}})
FRAMES = 40
Disk = Callable[[Path, str], Path]


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Mounts a small disk of its own at a folder: `disk(folder, "size=64k")`; again for other options."""
    mounted: list[Path] = []

    def mount(folder: Path, options: str) -> Path:
        folder.mkdir(exist_ok=True)
        again = ["-o", f"remount,{options}"] if folder in mounted else ["-o", options]
        command = ["mount", "-t", "tmpfs", *again, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs the right to mount a disk: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in dict.fromkeys(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    film(tmp_path / "a.mp4", frames=FRAMES)
    speech(tmp_path / "a.wav", 1.5)
    return tmp_path


def run(folder: Path, output: str = "out/a.mp4", work: str = "work") -> tuple[RunReport, FilmReport]:
    rows = manifest(folder / "m.jsonl", {"id": "a", "video": "a.mp4", "audio": "a.wav", "output": output, "box": BOX})
    report = dub(str(rows), CONFIG, str(folder / work))
    return report, report.films["a"]


def left(folder: Path) -> list[str]:
    """Files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_full_disk_at_the_output_leaves_nothing_half_and_the_next_run_goes_on(folder: Path, disk: Disk) -> None:
    out = disk(folder / "out", "size=64k")
    _, first = run(folder)
    assert (first.code, first.stage) == ("disk_full", "mux")
    assert str(out) in first.message
    assert "No space left" in first.message
    assert "make room there and run the same command again" in first.message
    assert left(out) == []
    disk(out, "size=64m")
    _, second = run(folder)
    assert second.code == "ok", second.message
    assert left(out) == ["a.mp4"]
    assert len(index_video(str(out / "a.mp4"))) == FRAMES
    segments = list((folder / "work/segments").rglob("*.mp4"))
    assert all(path.stat().st_mtime < (out / "a.mp4").stat().st_mtime for path in segments)


@pytest.mark.parametrize("size", ["16k", "100k", "400k"])
def test_a_full_disk_under_the_work_folder_is_named_and_the_next_run_goes_on(
    folder: Path, disk: Disk, size: str
) -> None:
    work = disk(folder / "work", f"size={size}")
    try:
        said = run(folder)[1].message
    except DubError as error:  # not even the report has room
        said = error.message
    assert str(work) in said
    assert "No space left" in said
    assert "make room there and run the same command again" in said
    assert not any(".partial" in name for name in left(work))
    assert not (folder / "out/a.mp4").exists()
    disk(work, "size=64m")
    _, second = run(folder)
    assert second.code == "ok", second.message
    assert len(index_video(str(folder / "out/a.mp4"))) == FRAMES


def test_a_full_scratch_disk_is_named(folder: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = disk(folder / "scratch", "size=64k")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    _, first = run(folder)
    assert first.code == "disk_full", first.message
    assert str(scratch) in first.message
    assert "make room" in first.message
    assert left(scratch) == []
    assert not (folder / "out/a.mp4").exists()


def test_a_file_larger_than_the_system_allows_is_the_same_error(tmp_path: Path) -> None:
    """RLIMIT_FSIZE needs no right to mount."""
    script = (
        "import resource, sys\n"
        "from stages.errors import DubError\n"
        "from stages.media.storage import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_bytes(sys.argv[1], bytes(100_000))\n"
        "except DubError as error: print(error.code, error)\n"
    )
    target = tmp_path / "a.npz"
    said = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(f"disk_full {tmp_path}: no room left to write")
    assert left(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_an_output_folder_that_cannot_be_written_is_refused_before_any_work(folder: Path, disk: Disk) -> None:
    disk(folder / "out", "size=1m")
    disk(folder / "out", "ro")
    _, refused = run(folder)
    assert (refused.code, refused.stage) == ("bad_row", "split")
    assert str(folder / "out/a.mp4") in refused.message
    assert "Read-only file system" in refused.message
    _, refused = run(folder, output="out/new/folder/a.mp4")
    assert refused.code == "bad_row"
    assert not (folder / "work/segments").exists()


def test_an_output_below_a_file_or_onto_a_folder_is_refused_before_any_work(folder: Path) -> None:
    (folder / "dir.mp4").mkdir()
    for output in ("a.wav/a.mp4", "dir.mp4"):
        _, refused = run(folder, output=output)
        assert (refused.code, refused.stage) == ("bad_row", "split")
    assert not (folder / "work/segments").exists()


def test_asking_whether_an_output_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    storage.check_writable(str(tmp_path / "new/a.mp4"))
    assert left(tmp_path) == []
    shutil.rmtree(tmp_path / "new")

"""One broken file through probe, plan and first shard, in a process of its own."""

import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.config import Config
from pipeline.flow import STEPS
from pipeline.job import Job
from pipeline.manifest import read_manifest
from pipeline.plan import plan_films
from pipeline.rows import Row
from stages.errors import CODES, DubError
from stages.media.index import index_video
from tests.films import manifest
from tests.fuzz.mutate import mutate

BOX = [20, 100, 40, 120]
GROWTH = 3 << 30
"""Bytes of address space that a process may take for its cases, beside what its libraries have taken."""
CONFIG = Config.model_validate({"encode": {"preset": "ultrafast"}, "run": {"overwrite": True}})


Answer = Callable[[int, Path, dict[str, list[Path]]], str]


def serve(pipe: Connection, folder: Path, files: dict[str, list[Path]], answer: Answer) -> None:
    """Answer seeds with outcomes until the pipe is closed. Nothing may be written outside of `folder / "work"`."""
    for name in ("work", "files", "home", "here", "tmp"):
        (folder / name).mkdir(parents=True)
    os.environ["HOME"] = str(folder / "home")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    os.chdir(folder / "here")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # FFmpeg's remarks on what is broken
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + GROWTH, size + GROWTH))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            return
        pipe.send(answer(seed, folder, files))


def misbehave(seed: int, folder: Path, files: dict[str, list[Path]]) -> str:
    """What the processes around the cases are tested with: 1 crashes, 3 hangs."""
    if seed == 1:
        os.abort()
    if seed == 3:
        time.sleep(600)
    return "ok"


def broken(seed: int, folder: Path, files: dict[str, list[Path]]) -> tuple[str, Path]:
    """The file of a seed, and the column of a row that it stands for."""
    dice = random.Random(seed)
    column = dice.choices(("video", "audio"), (3, 1))[0]
    source = dice.choice(files[column])
    other = dice.choice(files[column])
    path = folder / f"broken{source.suffix}"
    path.write_bytes(mutate(source.read_bytes(), other.read_bytes(), seed))
    return column, path


def outcome(seed: int, folder: Path, files: dict[str, list[Path]]) -> str:
    """`ok`, one of the codes, or `BUG: ...`."""
    column, path = broken(seed, folder / "files", files)
    columns = {"video": str(files["video"][0]), "audio": str(files["audio"][0]), column: str(path)}
    around = _seen(folder)
    try:
        found = _dubbed(columns, folder)
    except DubError as error:
        found = error.code if error.code in CODES and error.message else f"BUG: {error.code} without a message"
        if error.code == "internal":
            found = f"BUG: internal: {error}"
    except MemoryError:
        found = "oom"  # what `pipeline.flow.guarded` makes of it
    except Exception as error:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else ""
        found = f"BUG: {type(error).__name__}: {error} at {where}"
    if _seen(folder) != around:
        found = f"BUG: wrote outside of the work folder: {_seen(folder) ^ around}"
    shutil.rmtree(folder / "work")
    path.unlink()
    return found


def _dubbed(columns: dict[str, str], folder: Path) -> str:
    """Plan a film and make its first shard. Raises what the steps raise."""
    row = {"id": "a", **columns, "output": str(folder / "work/out/a.mkv"), "box": BOX, "audio_longer": "trim"}
    (folder / "work").mkdir(exist_ok=True)
    rows = manifest(folder / "work/m.jsonl", row)
    [planned] = plan_films(str(rows), CONFIG)
    [film] = read_manifest(str(rows)).films
    index_video(columns["video"], CONFIG.media.limits)
    job = Job(film=film, run="fuzz", generator="mouthwarp").model_dump_json()
    going = [Row(kind="film", film="a", job=job)]
    for kind in STEPS[:-1]:
        step = kind(CONFIG, str(folder / "work"))
        out = [made for one in going for made in (step(one) if step.takes(one) else [one])]
        shards = [one for one in out if one.kind == "shard" and one.code == ""]
        going = shards[:1] or [one for one in out if one.kind != "shard"]
    segments = list((folder / "work/segments").rglob("*.json"))
    if not segments:
        return f"BUG: no segment: {planned.problem}"
    return "ok"


def _seen(folder: Path) -> set[tuple[str, int, int]]:
    """Everything beside the work folder, and the folder's neighbours."""
    facts = set()
    for path in [*folder.parent.iterdir(), *folder.rglob("*")]:
        if "work" not in path.relative_to(folder.parent).parts:
            if path.is_dir():
                facts.add((str(path), 0, 0))
            else:
                facts.add((str(path), path.stat().st_size, path.stat().st_mtime_ns))
    return facts

"""Processes whose steps can be poisoned (tests/poison/sitecustomize.py), and films for them."""

import os
from collections.abc import Mapping
from pathlib import Path

from tests.films import BOX, film, speech

_ROOT = Path(__file__).resolve().parent.parent


def environment(folder: Path) -> dict[str, str]:
    """What a process needs in its environment to be poisoned by the files in `folder`."""
    paths = [str(_ROOT / "tests/poison"), str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "DUBLINE_TEST_POISON": str(folder)}


def poison(folder: Path, words: Mapping[str, str]) -> None:
    """Put `words` into the files of their keys."""
    folder.mkdir(exist_ok=True)
    for name, word in words.items():
        (folder / name).write_text(word)


def two_shards(folder: Path, names: list[str], found: bool = False) -> list[dict[str, object]]:
    """Rows of films of two shards, frames 0-10 and 10-20, no two with the same keys; `found`: faces are looked for."""
    speech(folder / "dub.wav", 0.8)
    rows: list[dict[str, object]] = []
    for number, name in enumerate(names):
        film(folder / f"{name}.mp4", frames=20, gop=10)
        top, bottom, left, right = BOX
        box = None if found else [top, bottom, left - number, right - number]
        rows.append({"id": name, "video": f"{name}.mp4", "audio": "dub.wav", "output": f"out/{name}.mp4", "box": box})
    return rows

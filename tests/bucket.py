"""Films and manifests in the bucket s3://night of a server of `tests.faulty`."""

import json
from pathlib import Path

import fsspec

from stages.media import storage
from tests.films import BOX, film, portrait, speech

NIGHT = "s3://night"


def row(name: str, folder: Path, frames: int = 12, **more: object) -> dict[str, object]:
    """A manifest row of a film that is put into the bucket; no two show the same pictures."""
    shift = 5 * len(list(folder.glob("*.mp4")))
    fs = fsspec.filesystem("s3")
    made = film(folder / f"{name}.mp4", frames=frames, picture=lambda k: portrait(k + shift))
    fs.put_file(str(made), f"night/in/{name}.mp4")
    fs.put_file(str(speech(folder / f"{name}.wav", frames / 25)), f"night/in/{name}.wav")
    given = {"id": name, "video": f"in/{name}.mp4", "audio": f"in/{name}.wav", "output": f"out/{name}.mp4", "box": BOX}
    return {**given, **more}


def put_manifest(rows: list[dict[str, object]]) -> str:
    """Put it into the bucket, in place of the one before; its URL."""
    url = f"{NIGHT}/films.jsonl"
    storage.write_bytes(url, "".join(json.dumps(each) + "\n" for each in rows).encode())
    return url

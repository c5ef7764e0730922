"""Files of the work folder that somebody else wrote: made again or an error in words, never run, never believed."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.ledger import WorkFolder, read_json
from stages.arrays import pack, unpack
from stages.cast.types import Cast
from stages.errors import DubError
from stages.faces.types import CellFaces
from stages.media.index import VideoIndex, index_video
from stages.media.storage import read_bytes
from tests.clips import clip, steady
from tests.films import film, manifest, same_pictures, speech
from tests.fuzz.mutate import mutate


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (self.path,)


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def pickled(path: Path) -> bytes:
    """A whole npz with an array of objects in it."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, boxes=np.array([Payload(path)], dtype=object))
    return buffer.getvalue()


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(npz({"boxes.npy": npy(HUGE)}), id="a terabyte in the header"),
        pytest.param(npz({"boxes.npy": npy(HUGE.replace("1000000000000", "-1, -4"), bytes(16))}), id="negative sides"),
        pytest.param(npz({"boxes.npy": npy(HUGE.replace("'<f4'", "'|O'"), pickle.dumps([1]))}), id="objects"),
        pytest.param(npz({"boxes.npy": npy("{'descr': __import__('os')}")}), id="code in the header"),
        pytest.param(npz({"a.npy": npy(HUGE) + bytes(1 << 24)}, zipfile.ZIP_DEFLATED), id="a zip bomb"),
        pytest.param(npz({"a.npy": b""}), id="an empty member"),
        pytest.param(npz({"a.npy": pickle.dumps({})}), id="a pickle as a member"),
        pytest.param(pickle.dumps({"a": 1}), id="a pickle"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"PK\x03\x04" + bytes(100), id="half a zip"),
    ],
)
def test_arrays_that_lie_are_refused_before_anything_is_allocated(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack(data)


def test_members_that_share_their_bytes_are_refused() -> None:
    """A directory may name one stretch of the file a thousand times."""
    one = bytearray(npz({"a.npy": npy(HUGE.replace("1000000000000", "250000"), bytes(1_000_000))}))
    directory = one.index(b"PK\x01\x02")
    entry, end = bytes(one[directory : one.index(b"PK\x05\x06")]), bytearray(one[one.index(b"PK\x05\x06") :])
    count = 1000
    end[8:10] = end[10:12] = count.to_bytes(2, "little")
    end[12:16] = (len(entry) * count).to_bytes(4, "little")
    bomb = bytes(one[:directory]) + entry * count + bytes(end)
    assert len(zipfile.ZipFile(io.BytesIO(bomb)).infolist()) == count
    with pytest.raises(ValueError, match="more bytes than there are"):
        unpack(bomb)


def test_a_pickle_in_a_cache_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    data = pickled(trap)
    with pytest.raises(ValueError, match="pickle"):
        unpack(data)
    for kind in (CellFaces, Cast, VideoIndex):
        with pytest.raises(ValueError, match=r"."):
            kind.from_bytes(data)
    assert not trap.exists()
    with np.load(io.BytesIO(data), allow_pickle=True) as file:  # the trap is real
        assert len(file["boxes"]) == 1
    assert trap.exists()


def test_arrays_come_back_as_they_were() -> None:
    arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.zeros((0, 4), np.float32), "c": np.array(1.5)}
    back = unpack(pack({**arrays, "d": np.asfortranarray(arrays["a"])}))
    assert all(np.array_equal(back[name], value) and back[name].dtype == value.dtype for name, value in arrays.items())
    assert np.array_equal(back["d"], arrays["a"])
    back["a"][0, 0] = 7  # writable


def cell(**changed: object) -> bytes:
    parts = {
        "grid": np.array([0, 10, 2], np.int64),
        "cut_threshold": np.array(20.0),
        "looked": np.array([0, 2], np.int64),
        "frames": np.array([0, 2], np.int64),
        "boxes": np.zeros((2, 4), np.float32),
        "scores": np.zeros(2, np.float32),
        "points": np.zeros((2, 5, 2), np.float32),
        "cuts": np.zeros(0, np.int64),
        "first": np.zeros((4, 4, 3), np.uint8),
        "last": np.zeros((4, 4, 3), np.uint8),
    }
    return pack({name: value for name, value in {**parts, **changed}.items() if value is not None})


@pytest.mark.parametrize(
    "changed",
    [
        {"boxes": np.full((2, 4), np.nan, np.float32)},
        {"boxes": np.zeros((3, 4), np.float32)},
        {"boxes": np.zeros((2, 4), np.float64)},
        {"points": None},
        {"more": np.zeros(1)},
        {"frames": np.array([2, 0], np.int64)},
        {"frames": np.array([0, 99], np.int64)},
        {"grid": np.array([0, 0, 2], np.int64)},
        {"grid": np.array([0, 10, 0], np.int64)},
        {"first": np.zeros((4, 4), np.uint8)},
    ],
)
def test_a_face_cache_of_wrong_shape_type_or_sense_is_refused(changed: dict[str, object]) -> None:
    assert CellFaces.from_bytes(cell()).end == 10
    with pytest.raises(ValueError, match=r"."):
        CellFaces.from_bytes(cell(**changed))


def test_an_index_of_no_film_is_refused(tmp_path: Path) -> None:
    data = index_video(str(clip(tmp_path / "a.mp4", steady(4)))).to_bytes()
    good = unpack(data)
    facts = json.loads(good["facts"].tobytes())

    def told(**changed: object) -> np.ndarray:
        return np.frombuffer(json.dumps({**facts, **changed}).encode(), np.uint8)

    for changed in (
        {"pts": good["pts"][::-1].copy()},
        {"pts": good["pts"][:2]},
        {"coded": np.zeros(4, np.int64)},
        {"duration": -good["duration"]},
        {"facts": told(time_base=[1, 0])},
        {"facts": told(time_base=["x", "y"])},
        {"facts": told(zero_s="nan")},
        {"facts": told(picture={**facts["picture"], "width": "wide"})},
        {"facts": np.frombuffer(b"[" * 100_000, np.uint8)},
        dict.fromkeys(("pts", "dts", "coded", "duration"), np.zeros(0, np.int64)) | {"keyframe": np.zeros(0, np.bool_)},
    ):
        with pytest.raises(ValueError, match=r"."):
            VideoIndex.from_bytes(pack({**good, **changed}))
    assert len(VideoIndex.from_bytes(data)) == 4


def test_json_that_is_too_large_too_deep_or_of_another_kind_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("[" * 100_000, "{}", "[1]", '"text"', "\0", ""):
        path.write_text(text)
        assert read_json(str(path), "frames") is None
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte of zeros
    assert read_json(str(path)) is None
    with pytest.raises(ValueError, match="has more than"):
        read_bytes(str(path))
    path.unlink()
    os.mkfifo(path)
    assert read_json(str(path)) is None
    path.unlink()
    path.symlink_to(path.name)
    assert read_json(str(path)) is None
    assert read_json(str(tmp_path / ("x" * 300))) is None


def test_a_key_out_of_a_plan_never_leaves_the_work_folder(tmp_path: Path) -> None:
    work = WorkFolder(str(tmp_path))
    for key in ("../../secret", "/etc/passwd", "a/b", "", "a\0", "..", "x" * 100):
        for place in (work.segment, work.marker):
            with pytest.raises(DubError, match="is no key"):
                place("0" * 20, key)


def test_every_cache_exchanged_for_a_payload_runs_nothing(tmp_path: Path) -> None:
    """A run whose whole work folder was replaced by pickles delivers the same film, or says what to do."""
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "a.wav", 0.3)
    rows = manifest(tmp_path / "m.jsonl", {"id": "a", "video": "a.mp4", "audio": "a.wav", "output": "o.mp4"})
    config = Config.model_validate({"encode": {"preset": "ultrafast"}, "run": {"overwrite": True}})
    assert dub(str(rows), config, str(tmp_path / "work")).films["a"].code == "ok"
    first, trap = tmp_path / "first.mp4", tmp_path / "ran"
    (tmp_path / "o.mp4").rename(first)
    planted = 0
    for path in (tmp_path / "work").rglob("*"):
        if path.suffix in (".npz", ".json", ".npy") and "segments" not in path.parts:
            path.write_bytes(pickled(trap) if path.suffix == ".npz" else pickle.dumps(Payload(trap)))
            planted += 1
    assert planted > 5
    codes = []
    for _ in range(3):
        report = dub(str(rows), config, str(tmp_path / "work"))
        codes.append(report.films["a"].code)
        assert codes[-1] == "ok" or report.films["a"].message
    assert codes[-1] == "ok", report.films["a"].message
    assert same_pictures(first, tmp_path / "o.mp4")
    assert not trap.exists()


def test_damaged_caches_are_themselves_or_a_value_error(tmp_path: Path) -> None:
    """A thousand accidents to a face cache and an index: never another error, never more memory than the file has."""
    index = index_video(str(clip(tmp_path / "a.mp4", steady(30)))).to_bytes()
    survived = 0
    for seed in range(500):
        for kind, whole, other in ((CellFaces, cell(), index), (VideoIndex, index, cell())):
            try:
                kind.from_bytes(mutate(whole, other, seed))
            except ValueError:
                continue
            survived += 1
    assert survived < 400, "zip's checksums see what happens inside an array"

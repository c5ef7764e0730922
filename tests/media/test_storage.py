"""Files appear whole or not at all, are known by their content, and are copied to a node once."""

import multiprocessing
import os
import stat
from pathlib import Path

import fsspec
import pytest

from stages.errors import DubError
from stages.media import node_cache, remote, storage
from stages.media.node_cache import localize


@pytest.fixture
def memory() -> str:
    """The root of an empty file system in memory, as a URL."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    return "memory://bucket"


@pytest.fixture(params=["local", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path, memory: str) -> str:
    return {"local": str(tmp_path), "file": f"file://{tmp_path}", "memory": memory}[request.param]


def fail_while_publishing(url: str) -> None:
    with storage.publishing(url, ".mp4") as path:
        path.write_bytes(b"half")
        raise KeyError("mine")


def test_published_bytes_are_read_back(root: str) -> None:
    url = storage.join(root, "a", "b", "c.bin")
    assert not storage.exists(url)
    storage.write_bytes(url, b"one")
    assert storage.exists(url)
    storage.write_bytes(url, b"another")
    assert storage.read_bytes(url) == b"another"
    with storage.open_read(url) as file:
        file.seek(2)
        assert file.read(3) == b"oth"


def test_what_is_not_there_says_so(root: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(root, "none"))
    with pytest.raises(FileNotFoundError):
        storage.open_read(storage.join(root, "none"))
    assert storage.names(storage.join(root, "none")) == []


def test_an_error_leaves_the_old_file_and_nothing_else(root: str, tmp_path: Path) -> None:
    storage.write_bytes(storage.join(root, "a.mp4"), b"old")
    for name in ("a.mp4", "new.mp4"):
        with pytest.raises(KeyError, match="mine"):
            fail_while_publishing(storage.join(root, name))
    assert storage.names(root) == ["a.mp4"]
    assert storage.read_bytes(storage.join(root, "a.mp4")) == b"old"
    assert not [p for p in tmp_path.rglob("*") if "partial" in p.name]


def test_readers_see_nothing_until_the_block_ends(root: str) -> None:
    url = storage.join(root, "a.mp4")
    with storage.publishing(url, ".mp4") as path:
        path.write_bytes(b"whole")
        assert path.suffix == ".mp4"
        assert not storage.exists(url)
        assert storage.names(root) == []
    assert storage.names(root) == ["a.mp4"]


def test_a_block_that_writes_nothing_publishes_nothing(root: str) -> None:
    with pytest.raises(FileNotFoundError), storage.publishing(storage.join(root, "a.mp4")):
        pass
    assert storage.names(root) == []


def test_a_published_file_has_the_usual_rights(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "a"), b"")
    (tmp_path / "b").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_names_are_sorted_and_never_a_stale_listing(root: str) -> None:
    for name in ("b.json", "a.json", "c.json"):
        storage.write_bytes(storage.join(root, "seg", name), b"{}")
    assert storage.names(storage.join(root, "seg")) == ["a.json", "b.json", "c.json"]
    storage.write_bytes(storage.join(root, "seg", "d.json"), b"{}")
    assert storage.names(storage.join(root, "seg"))[-1] == "d.json"


def test_identity_follows_content_and_time(root: str) -> None:
    url = storage.join(root, "a.mp4")
    storage.write_bytes(url, b"x" * 200_000)
    known = storage.identity(url)
    assert storage.identity(url) == known
    storage.write_bytes(url, b"x" * 199_999 + b"y")
    assert storage.identity(url) != known
    storage.write_bytes(url, b"x" * 100_000 + b"y" + b"x" * 99_999)
    assert storage.identity(url) != known, "the same size, head and tail"


def test_identity_of_local_files_is_their_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one.mp4", tmp_path / "o::t h%41.mp4"
    for path in (one, other):
        path.write_bytes(b"same")
        os.utime(path, ns=(0, 10**18))
    assert storage.identity(str(one)) == storage.identity(str(other)) == storage.identity(f"file://{one}")
    os.utime(one, ns=(0, 10**18 + 1))
    assert storage.identity(str(one)) != storage.identity(str(other))
    (tmp_path / "link.mp4").symlink_to(one)
    assert storage.identity(str(tmp_path / "link.mp4")) == storage.identity(str(one))


def test_folders_and_missing_files_have_no_identity(root: str) -> None:
    storage.write_bytes(storage.join(root, "folder", "a"), b"")
    for name in ("none", "folder"):
        with pytest.raises(DubError) as caught:
            storage.identity(storage.join(root, name))
        assert caught.value.code == "not_found"
        assert name in caught.value.message


def test_local_files_are_used_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    assert localize(str(tmp_path / "a.mp4")) == tmp_path / "a.mp4"
    assert localize(f"file://{tmp_path}/a.mp4") == tmp_path / "a.mp4"
    for name in ("none.mp4", "."):
        with pytest.raises(DubError) as caught:
            localize(str(tmp_path / name))
        assert caught.value.code == "not_found"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are downloaded from here on."""
    fs = fsspec.filesystem("memory")
    fetched: list[str] = []
    real = fs.get_file

    def get_file(path: str, local: str, **options: object) -> None:
        fetched.append(path)
        real(path, local, **options)

    monkeypatch.setattr(fs, "get_file", get_file)
    return fetched


def test_a_remote_file_is_copied_once_and_again_when_it_changed(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{memory}/films/a.mp4"
    storage.write_bytes(url, b"first")
    fetched = counted(monkeypatch)
    copies = {localize(url, tmp_path) for _ in range(3)}
    assert (len(copies), len(fetched)) == (1, 1)
    first = copies.pop()
    assert (first.suffix, first.read_bytes()) == (".mp4", b"first")
    storage.write_bytes(url, b"other")
    second = localize(url, tmp_path)
    assert (second.read_bytes(), first.read_bytes()) == (b"other", b"first")
    assert len(fetched) == 2


def test_a_source_that_changes_while_it_is_copied_is_not_kept(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{memory}/a.mp4"
    storage.write_bytes(url, b"first")
    fs = fsspec.filesystem("memory")
    real = fs.get_file

    def slow(path: str, local: str, **options: object) -> None:
        storage.write_bytes(url, b"newer")
        real(path, local, **options)

    monkeypatch.setattr(fs, "get_file", slow)
    with pytest.raises(DubError, match="changed while it was read"):
        localize(url, tmp_path)
    assert storage.names(str(tmp_path)) == []
    monkeypatch.undo()
    assert localize(url, tmp_path).read_bytes() == b"newer"


def test_a_copy_that_fails_leaves_nothing(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(f"{memory}/a.mp4", b"film")

    def broken(_: str, local: str, **__: object) -> None:
        Path(local).write_bytes(b"fi")
        raise ConnectionError("the network went away")

    monkeypatch.setattr(fsspec.filesystem("memory"), "get_file", broken)
    monkeypatch.setattr(remote, "_FIRST_S", 0)
    with pytest.raises(DubError, match="the network went away") as caught:
        localize(f"{memory}/a.mp4", tmp_path)
    assert caught.value.code == "unreachable"
    assert not [p for p in tmp_path.rglob("*") if "partial" in p.name]
    assert storage.names(str(tmp_path)) == []


def test_the_cache_makes_room_by_what_nobody_asked_for_longest(memory: str, tmp_path: Path) -> None:
    copies = []
    for number in range(4):
        storage.write_bytes(f"{memory}/{number}.mp4", bytes([number]) * 1000)
        copies.append(localize(f"{memory}/{number}.mp4", tmp_path, 10_000))
    for age, copy in zip((9000, 8000, 7000, 10), copies, strict=True):
        os.utime(copy, (copy.stat().st_mtime - age,) * 2)
    localize(f"{memory}/0.mp4", tmp_path, 10_000)  # asked for again: no longer the oldest
    storage.write_bytes(f"{memory}/new.mp4", b"n" * 1000)
    new = localize(f"{memory}/new.mp4", tmp_path, 3000)
    assert [copy.exists() for copy in copies] == [True, False, False, True]
    assert new.exists()
    storage.write_bytes(f"{memory}/more.mp4", b"m" * 1000)
    localize(f"{memory}/more.mp4", tmp_path, 1000)
    assert [copy.exists() for copy in copies] == [True, False, False, True], "in use within the hour: never deleted"


def test_a_copy_that_is_asked_for_while_room_is_made_stays(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To delete a long film takes seconds, in which others come for what is to go next."""
    copies = []
    for number in range(2):
        storage.write_bytes(f"{memory}/{number}.mp4", bytes([number]) * 1000)
        copies.append(localize(f"{memory}/{number}.mp4", tmp_path, 10_000))
        os.utime(copies[-1], (number + 1, number + 1))
    delete = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        delete(path, missing_ok)
        if path == copies[0]:
            assert localize(f"{memory}/1.mp4", tmp_path) == copies[1]

    monkeypatch.setattr(Path, "unlink", unlink)
    node_cache.make_room(tmp_path, 0)
    assert [copy.exists() for copy in copies] == [False, True]


def test_a_copy_that_goes_while_it_is_asked_for_is_made_again(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(f"{memory}/a.mp4", b"film")
    copy = localize(f"{memory}/a.mp4", tmp_path)
    os.utime(copy, (1, 1))
    touch = os.utime

    def utime(path: Path) -> None:
        monkeypatch.setattr(os, "utime", touch)
        node_cache.make_room(tmp_path, 0)  # another process, just before
        touch(path)

    monkeypatch.setattr(os, "utime", utime)
    assert localize(f"{memory}/a.mp4", tmp_path).read_bytes() == b"film"


def _localize(url: str, cache: Path, log: Path, barrier: object) -> None:
    """In a process of its own: copy, and note every download."""
    fs = fsspec.filesystem("memory")
    storage.write_bytes(url, b"film" * 1000)
    fs.store["/bucket/a.mp4"].created = "then"  # one and the same file for both processes
    real = fs.get_file

    def get_file(path: str, local: str, **options: object) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        real(path, local, **options)

    fs.get_file = get_file
    barrier.wait()
    assert localize(url, cache).read_bytes() == b"film" * 1000


def test_two_processes_of_a_node_copy_once(memory: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # forking a process with threads may hang it
    barrier = context.Barrier(2)
    log, cache = tmp_path / "log", tmp_path / "cache"
    workers = [context.Process(target=_localize, args=(f"{memory}/a.mp4", cache, log, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(log.read_text().split()) == 1
    assert len(storage.names(str(cache))) == 1

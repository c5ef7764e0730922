"""A remote film read by ranges is the film: the same frames, from few bytes, whatever the storage does meanwhile."""

import errno
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from stages.errors import DubError
from stages.media import node_cache, ranges, remote, storage
from stages.media.decode import read_frames
from stages.media.index import VideoIndex, index_video
from stages.media.node_cache import localize
from stages.media.open import open_media
from stages.media.planes import planes
from stages.media.ranges import MediaSource, RangedFile, read_from, whole_file
from stages.media.settings import MediaLimits
from tests.clips import Sound, clip, noise, steady
from tests.faulty import Faults, s3_server
from tests.web import Site, web_server

BLOCK = 16384
FRAMES = 300
KINDS: dict[str, dict[str, Any]] = {
    "index behind.mp4": {"sounds": [Sound(12)]},
    "index in front.mp4": {"sounds": [Sound(12)], "mux": {"movflags": "faststart"}},
    "matroska.mkv": {"sounds": [Sound(12)]},
    "transport.ts": {"sounds": [Sound(12)]},
    "web.webm": {"codec": "libvpx-vp9"},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Films of a MB are large here."""
    monkeypatch.setattr(ranges, "BLOCK", BLOCK)
    monkeypatch.setattr(ranges, "LEAST", 2 * BLOCK)
    monkeypatch.setattr(remote, "_FIRST_S", 0.01)


@pytest.fixture
def site() -> Iterator[Site]:
    with web_server() as site:
        yield site


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    told = {"picture": noise, "options": {"g": "12"}}
    return {name: clip(folder / name.replace(" ", "-"), steady(FRAMES), **told, **KINDS[name]) for name in KINDS}


@pytest.fixture
def film(films: dict[str, Path]) -> Path:
    return films["index behind.mp4"]


def put(site: Site, film: Path) -> str:
    site.files[f"/{film.name}"] = film.read_bytes()
    return f"{site.url}/{film.name}"


def ranged(url: str, cache: Path) -> RangedFile:
    source = read_from(url, cache)
    assert isinstance(source, RangedFile)
    return source


def pictures(source: MediaSource, index: VideoIndex, start: int = 0, end: int = FRAMES) -> list[np.ndarray]:
    return [plane.copy() for _, frame in read_frames(source, index, start, end) for plane in planes(frame)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def read_all(source: RangedFile) -> bytes:
    with source.opened() as blocks:
        return b"".join(iter(lambda: blocks.read(10_000), b""))


@pytest.mark.parametrize("kind", KINDS)
def test_the_frames_are_the_films_and_a_shard_asks_for_little(
    site: Site, films: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    film = films[kind]
    size, index, url = film.stat().st_size, index_video(str(film)), put(site, film)
    assert size > 40 * BLOCK
    source = ranged(url, tmp_path)
    before = site.sent
    assert same(pictures(source, index, 140, 160), pictures(film, index, 140, 160))
    assert site.sent - before < size / 2, f"{site.sent - before} of {size}"
    before = site.sent
    assert same(pictures(ranged(url, tmp_path), index, 140, 160), pictures(film, index, 140, 160))
    assert site.sent == before, "the node has what it read"
    assert same(pictures(source, index), pictures(film, index))


def test_what_is_read_to_the_last_block_is_the_whole_copy(site: Site, film: Path, tmp_path: Path) -> None:
    url = put(site, film)
    source = ranged(url, tmp_path)
    before = site.sent
    assert read_all(source) == film.read_bytes()
    assert site.sent - before == film.stat().st_size
    copy = read_from(url, tmp_path)
    assert isinstance(copy, Path)
    assert copy.read_bytes() == film.read_bytes()
    assert localize(url, tmp_path) == copy
    assert storage.names(str(tmp_path)) == [copy.name]
    assert read_all(source) == film.read_bytes(), "who still had it in parts"
    assert site.sent - before == film.stat().st_size


def test_a_whole_copy_takes_the_place_of_the_parts(site: Site, film: Path, tmp_path: Path) -> None:
    url = put(site, film)
    source = ranged(url, tmp_path)
    with source.opened() as blocks:
        head = blocks.read(BLOCK)
        copy = whole_file(source)
        assert copy.read_bytes() == film.read_bytes()
        sent = site.sent
        assert head + b"".join(iter(lambda: blocks.read(BLOCK), b"")) == film.read_bytes()
    assert site.sent == sent
    assert storage.names(str(tmp_path)) == [copy.name]


def test_a_reader_goes_where_it_is_sent(site: Site, film: Path, tmp_path: Path) -> None:
    data = film.read_bytes()
    with ranged(put(site, film), tmp_path).opened() as blocks:
        assert blocks.seek(-5, os.SEEK_END) == len(data) - 5
        assert blocks.read(100) == data[-5:]
        assert blocks.read(100) == b""
        assert blocks.seek(BLOCK - 3) == BLOCK - 3
        assert blocks.read(100) == data[BLOCK - 3 : BLOCK], "what is asked for may be in one block"
        assert blocks.seek(2, os.SEEK_CUR) == blocks.tell() == BLOCK + 2


def test_who_reads_what_is_decided_by_size_and_storage(site: Site, film: Path, tmp_path: Path) -> None:
    assert read_from(str(film), tmp_path) == film
    site.files["/small.mp4"] = bytes(2 * BLOCK - 1)
    assert isinstance(read_from(f"{site.url}/small.mp4", tmp_path), Path)
    site.etags = False
    assert isinstance(read_from(put(site, film), tmp_path), Path), "nobody would tell when it changes"
    with pytest.raises(DubError) as caught:
        read_from(f"{site.url}/none.mp4", tmp_path)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [3, 20])
def test_storage_that_fails_is_never_the_films_end(
    site: Site, films: dict[str, Path], tmp_path: Path, kind: str, after: int
) -> None:
    film = films[kind]
    url, index = put(site, film), index_video(str(film))
    source = ranged(url, tmp_path)
    site.busy_after = sum(each[:3] == "GET" for each in site.asked) + after
    frames: list[int] = []
    with pytest.raises(DubError) as caught:
        frames.extend(number for number, _ in read_frames(source, index, 0, FRAMES))
    assert caught.value.code == "unreachable"
    assert len(frames) < FRAMES
    with pytest.raises(DubError) as caught, open_media(source) as container:
        list(container.demux(video=0))
    assert caught.value.code == "unreachable"
    site.busy_after = None
    with open_media(film) as container:  # nothing is left behind for who comes next
        assert len(list(container.demux(video=0))) > FRAMES


def test_a_failure_that_nobody_noticed_ends_the_block(site: Site, film: Path, tmp_path: Path) -> None:
    def take_it_for_the_end(source: RangedFile) -> None:
        with open_media(source) as container:
            site.busy_after = 0
            with suppress(DubError):
                list(container.demux(video=0))
            assert not list(container.decode(video=0))

    with pytest.raises(DubError) as caught:
        take_it_for_the_end(ranged(put(site, film), tmp_path))
    assert caught.value.code == "unreachable"


def test_a_storage_that_hangs_is_unreachable(
    site: Site, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ranged(put(site, film), tmp_path)
    site.hangs = True
    monkeypatch.setattr(storage, "_RANGE_S", 0.1)
    with pytest.raises(DubError) as caught, open_media(source, MediaLimits(open_timeout_s=0.01)):
        pass
    assert caught.value.code == "unreachable"


def test_slow_storage_is_no_timeout(site: Site, film: Path, tmp_path: Path) -> None:
    index = index_video(str(film))
    with open_media(ranged(put(site, film), tmp_path), MediaLimits(open_timeout_s=1e-9)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == len(index)


def test_a_film_that_changes_is_an_error_and_never_a_mix(site: Site, film: Path, tmp_path: Path) -> None:
    old = film.read_bytes()
    new = bytes(reversed(old))
    url = put(site, film)
    with ranged(url, tmp_path).opened() as blocks:
        assert blocks.read(100) == old[:100]
        site.files[f"/{film.name}"] = new
        assert blocks.read(100) == old[100:200], "of the block that is there"
        blocks.seek(5 * BLOCK)
        with pytest.raises(DubError, match="changed while it was read") as caught:
            blocks.read(100)
        assert caught.value.code == "decode_error"
        assert blocks.failed is caught.value
        assert blocks.read(100) == b""
    assert read_all(ranged(url, tmp_path)) == new
    site.files[f"/{film.name}"] = old
    assert read_all(ranged(url, tmp_path)) == old


@pytest.mark.parametrize("becomes", ["shorter", "gone"])
def test_a_film_that_gets_shorter_or_goes_is_said(site: Site, film: Path, tmp_path: Path, becomes: str) -> None:
    url = put(site, film)
    with ranged(url, tmp_path).opened() as blocks:
        blocks.seek(-10, os.SEEK_END)
        data = site.files.pop(f"/{film.name}")
        if becomes == "shorter":
            site.files[f"/{film.name}"] = data[:BLOCK]
        with pytest.raises(DubError) as caught:
            blocks.read(10)
    assert caught.value.code == ("decode_error" if becomes == "shorter" else "not_found")


@pytest.mark.parametrize("answer", ["all of it", "too little"])
def test_a_server_that_gives_something_else_is_read_whole(site: Site, film: Path, tmp_path: Path, answer: str) -> None:
    url, index = put(site, film), index_video(str(film))
    source = ranged(url, tmp_path)
    if answer == "all of it":
        site.ranges = False
    else:
        site.shorter = 100
    assert same(pictures(source, index), pictures(film, index))
    copy = read_from(url, tmp_path)
    assert isinstance(copy, Path)
    assert copy.read_bytes() == film.read_bytes()


def _read(url: str, cache: Path, film: Path, barrier: object) -> None:
    ranges.BLOCK, ranges.LEAST = BLOCK, 2 * BLOCK  # type: ignore[misc]
    source = ranged(url, cache)
    barrier.wait()
    assert read_all(source) == film.read_bytes()


def _die(url: str, cache: Path, moment: str) -> None:
    """Read until a block of the film is half written, or the last one is there and marked."""
    ranges.BLOCK, ranges.LEAST = BLOCK, 2 * BLOCK  # type: ignore[misc]
    write, written = os.pwrite, [0]

    def pwrite(file: int, data: bytes, at: int) -> int:
        written[0] += 1
        if written[0] == 9 and moment == "in a block":
            write(file, data[: len(data) // 2], at)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(file, data, at)

    def ftruncate(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    source = ranged(url, cache)
    with source.opened() as blocks:
        os.pwrite = pwrite
        if moment == "at the end":
            os.ftruncate = ftruncate
        while blocks.read(BLOCK):
            pass


def test_two_processes_of_a_node_fetch_each_block_once(site: Site, film: Path, tmp_path: Path) -> None:
    url = put(site, film)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    readers = [context.Process(target=_read, args=(url, tmp_path, film, barrier)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert [reader.exitcode for reader in readers] == [0, 0]
    fetched = [each for each in site.asked if each.startswith("GET bytes=")]
    edges = 2 * 2
    assert len(fetched) == -(-film.stat().st_size // BLOCK) + edges
    assert isinstance(read_from(url, tmp_path), Path)


@pytest.mark.parametrize("moment", ["in a block", "at the end"])
def test_a_reader_that_is_killed_leaves_whole_blocks(site: Site, film: Path, tmp_path: Path, moment: str) -> None:
    url = put(site, film)
    reader = multiprocessing.get_context("spawn").Process(target=_die, args=(url, tmp_path, moment))
    reader.start()
    reader.join(60)
    assert reader.exitcode == -signal.SIGKILL
    sent = site.sent
    assert read_all(ranged(url, tmp_path)) == film.read_bytes()
    size = film.stat().st_size
    assert site.sent - sent == (2 << 16) + (size - 4 * BLOCK if moment == "in a block" else 0)
    assert isinstance(read_from(url, tmp_path), Path)


def test_a_full_disk_is_named(site: Site, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = ranged(put(site, film), tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DubError) as caught, open_media(source):
        pass
    assert caught.value.code == "disk_full"
    assert str(tmp_path) in caught.value.message


def test_a_disk_that_takes_no_file_so_long_costs_no_descriptors(
    site: Site, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: object) -> None:
        raise OSError(errno.EFBIG, "File too large")

    source = ranged(put(site, film), tmp_path)
    monkeypatch.setattr(os, "ftruncate", too_long)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(DubError) as caught, open_media(source):
            pass
        assert caught.value.code == "disk_full"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_holes_take_no_room_and_the_oldest_parts_go(site: Site, tmp_path: Path) -> None:
    for name in ("a", "b"):
        site.files[f"/{name}.mp4"] = os.urandom(100 * BLOCK)
    limit = 10 * BLOCK
    for name in ("a", "b"):
        with ranged(f"{site.url}/{name}.mp4", tmp_path).opened() as blocks:
            for number in range(3):
                blocks.seek(number * 30 * BLOCK)
                blocks.read(10)
    node_cache.make_room(tmp_path, limit)
    first, second = sorted((path for path in tmp_path.iterdir() if path.name[0] != "."), key=os.path.getmtime)
    os.utime(first, (1, 1))
    node_cache.make_room(tmp_path, limit)
    assert first.exists(), "both have three blocks"
    with ranged(f"{site.url}/b.mp4", tmp_path).opened() as blocks:
        held = blocks
        for number in range(8):
            blocks.seek(number * 11 * BLOCK)
            held.read(10)
    node_cache.make_room(tmp_path, limit)
    assert not first.exists()
    assert second.exists(), "in use"


def test_only_self_contained_media_within_the_limits_is_opened(site: Site, film: Path, tmp_path: Path) -> None:
    local = f"file://{film}"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{local}\n#EXT-X-ENDLIST\n".encode()
    script = f"ffconcat version 1.0\nfile {film}\n".encode()
    for name, content in {"list.mp4": playlist, "list.m3u8": playlist, "script.mp4": script}.items():
        site.files[f"/{name}"] = content + b"\n" * (3 * BLOCK)
        with pytest.raises(DubError) as caught, open_media(ranged(f"{site.url}/{name}", tmp_path)):
            pass
        assert caught.value.code == "decode_error"
        assert f"{site.url}/{name}" in caught.value.message
    with pytest.raises(DubError) as caught, open_media(ranged(put(site, film), tmp_path), MediaLimits(max_pixels=100)):
        pass
    assert caught.value.code in ("unsupported", "decode_error")


def test_a_film_in_a_bucket_that_is_busy_and_hangs_up(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, faults = fsspec.get_filesystem_class("s3"), Faults(busy=0, cut=0)
    kind.clear_instance_cache()
    monkeypatch.setattr(ranges, "BLOCK", 4 * BLOCK)  # s3fs' own waits are long
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"retries": {"total_max_attempts": 1}}})
    index = index_video(str(film))
    with s3_server(monkeypatch, faults):
        bucket = fsspec.filesystem("s3")
        bucket.mkdir("night")
        bucket.put_file(str(film), "night/film.mp4")
        faults.busy, faults.cut = 0.1, 0.05
        source = ranged("s3://night/film.mp4", tmp_path)
        assert same(pictures(source, index, 140, 160), pictures(film, index, 140, 160))
        assert faults.read["/night/film.mp4"] < film.stat().st_size
        assert read_all(source) == film.read_bytes()
        assert faults.done["busy"] > 1
        faults.busy = faults.cut = 0
        bucket.pipe_file("night/film.mp4", b"x" * film.stat().st_size)
        changed = ranged("s3://night/film.mp4", tmp_path)
        bucket.put_file(str(film), "night/film.mp4")
        with pytest.raises(DubError, match="changed while it was read"):
            read_all(changed)
    kind.clear_instance_cache()

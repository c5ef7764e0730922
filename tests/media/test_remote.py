"""Storage over a network: what is tried again, what is not, and what is said when nothing helps."""

import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from stages.errors import DubError
from stages.media import node_cache, remote, storage
from stages.media.exclusive import create
from stages.media.node_cache import localize
from stages.media.remote import TRIES, passes, persist
from stages.urls import without_secrets
from tests.faulty import Faults, s3_server


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """A bucket s3://night whose server is as faulty as it is told to be."""
    faults = Faults(busy=0, cut=0)
    fs_type = fsspec.get_filesystem_class("s3")
    fs_type.clear_instance_cache()
    monkeypatch.setattr(remote, "_FIRST_S", 0.01)
    with s3_server(monkeypatch, faults):
        storage.file_system("s3://night/a")[0].mkdir("night")
        yield faults
    fs_type.clear_instance_cache()


def test_every_call_comes_through_a_server_that_is_busy_and_hangs_up(busy: Faults, tmp_path: Path) -> None:
    busy.busy, busy.cut = 0.1, 0.1
    for number in range(8):
        url = f"s3://night/in/{number}"
        data = bytes([number]) * 100_000
        storage.write_bytes(url, data)
        assert storage.exists(url)
        assert storage.read_bytes(url) == data
        assert storage.identity(url) == storage.identity(url)
        assert localize(url, tmp_path).read_bytes() == data
        assert create(f"s3://night/claims/{number}", b"me")
        assert create(f"s3://night/claims/{number}", b"me")
        assert not create(f"s3://night/claims/{number}", b"you")
    assert storage.names("s3://night/in") == [str(number) for number in range(8)]
    for number in range(8):
        storage.remove(f"s3://night/in/{number}")
    assert storage.names("s3://night/in") == []
    assert busy.done["busy"] > 5
    assert busy.done["cut before"] + busy.done["cut after"] > 5


def test_of_a_large_file_its_identity_reads_head_and_tail_alone_and_once(busy: Faults) -> None:
    """Every worker asks for the identity of a film for every shard."""
    storage.write_bytes("s3://night/film", bytes(range(256)) * 8192)
    before = busy.read["/night/film"]
    known = storage.identity("s3://night/film")
    assert busy.read["/night/film"] - before == 2 << 16
    busy.done.clear()
    assert storage.identity("s3://night/film") == known
    assert busy.done == {"fine": 1}
    assert busy.read["/night/film"] - before == 2 << 16
    storage.write_bytes("s3://night/film", bytes(range(256)) * 4096 + b"x" * 256 + bytes(range(256)) * 4095)
    assert storage.identity("s3://night/film") != known


def test_a_server_that_stays_away_is_named_without_its_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def away() -> None:
        raise ConnectionResetError(errno.ECONNRESET, "reset by https://me:hidden@host/a?sig=hidden")

    with pytest.raises(DubError) as caught:
        persist("https://me:hidden@host/a.mp4?X-Amz-Signature=hidden", away, waits.append)
    assert caught.value.code == "unreachable"
    assert "https://***@host/a.mp4?***" in caught.value.message
    assert "hidden" not in str(caught.value) + repr(caught.value.args)
    assert len(waits) == TRIES - 1
    assert all(2**turn / 2 <= wait <= 2**turn for turn, wait in enumerate(waits))


def test_what_says_something_about_the_file_is_not_tried_again() -> None:
    for error in (FileNotFoundError("a"), PermissionError("a"), ValueError("a"), KeyError("a"), OSError(28, "full")):
        calls = []

        def call(error: Exception = error, calls: list[int] = calls) -> None:
            calls.append(1)
            raise error

        with pytest.raises(type(error)):
            persist("s3://b/a", call)
        assert len(calls) == 1


class Answer(Exception):
    """As aiohttp, azure and gcsfs have one."""

    def __init__(self, status: object) -> None:
        self.status = self.status_code = self.code = status


def test_busy_servers_are_known_by_their_answers() -> None:
    assert all(passes(Answer(status)) for status in (429, 500, 502, 503, 504, "503"))
    assert not any(passes(Answer(status)) for status in (200, 400, 401, 403, 404, 412, "stat"))
    hidden = FileNotFoundError("http://host/a")  # what fsspec makes of any answer of a web server
    hidden.__cause__ = Answer(503)
    assert passes(hidden)
    assert passes(TimeoutError())
    assert not passes(FileNotFoundError())


def test_a_server_that_is_too_busy_is_not_taken_for_one_without_the_file(busy: Faults) -> None:
    storage.write_bytes("s3://night/a", b"film")
    busy.busy = 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "TRIES", 1)
        for ask in (storage.exists, storage.names, storage.read_bytes, storage.check_file):
            with pytest.raises(DubError) as caught:
                ask("s3://night/a")
            assert caught.value.code == "unreachable"


def test_writing_to_a_bucket_that_is_not_there_makes_none(busy: Faults) -> None:
    for write in (storage.write_bytes, create):
        with pytest.raises(DubError, match="no such bucket") as caught:
            write("s3://nihgt/work/a.json", b"{}")
        assert caught.value.code == "not_found"
    assert storage.file_system("s3://night/a")[0].ls("") == ["night"]
    busy.done.clear()
    storage.write_bytes("s3://night/work/a.json", b"{}")
    assert sum(busy.done.values()) == 1


def test_a_folder_that_a_console_made_is_not_in_itself(busy: Faults) -> None:
    bucket = storage.file_system("s3://night/a")[0]
    bucket.pipe_file("night/runs/", b"")
    storage.write_bytes("s3://night/runs/one/a.json", b"{}")
    assert storage.names("s3://night/runs") == ["one"]


def test_what_others_wrote_since_a_folder_was_listed_is_there(busy: Faults) -> None:
    other = fsspec.filesystem("s3", skip_instance_cache=True)
    storage.write_bytes("s3://night/segments/a.json", b"{}")
    assert storage.names("s3://night/segments") == ["a.json"]
    other.pipe_file("night/segments/a.json", b"{longer}")
    other.pipe_file("night/segments/b.json", b"{}")
    assert storage.read_bytes("s3://night/segments/b.json") == b"{}"
    storage.names("s3://night/segments")
    other.pipe_file("night/segments/a.json", b"{longer still}")
    with storage.open_read("s3://night/segments/a.json") as file:
        assert file.read() == b"{longer still}"


def test_a_claim_that_was_given_up_in_between_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.lease-1"
    target.write_bytes(b"other")

    def link(_: Path, there: Path) -> None:
        there.unlink()
        raise FileExistsError

    monkeypatch.setattr("os.link", link)
    assert create(str(target), b"me") is False


@pytest.mark.parametrize("given", ["100 GB", "inf", "nan"])
def test_a_cache_of_no_size_says_what_to_give(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUBLINE_CACHE_GB", given)
    with pytest.raises(DubError, match="give a number of GB"):
        node_cache.cache_limit()


def test_capitals_are_no_scheme() -> None:
    with pytest.raises(DubError, match="only file, s3") as caught:
        storage.exists("S3://night/a.mp4")
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(("scheme", "module", "extra"), [("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure")])
def test_a_file_system_that_is_not_installed_is_named_with_its_extra(
    scheme: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DubError) as caught:
        storage.exists(f"{scheme}://bucket/a.mp4")
    assert caught.value.code == "unsupported"
    assert f"pip install 'dubline[{extra}]'" in caught.value.message


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://me:word@host/a.mp4?sig=x: is gone", "https://***@host/a.mp4?***: is gone"),
        ("«https://host/a.mp4?x=1&y=2»", "«https://host/a.mp4?***»"),
        ('{"video": "https://host/a.mp4?x=1"}', '{"video": "https://host/a.mp4?***"}'),
        ("see https://host/a.mp4.", "see https://host/a.mp4."),
        ("s3://key:word@bucket/a", "s3://***@bucket/a"),
        ("https://me:p@ss@host/a.mp4", "https://***@host/a.mp4"),
        ("s3://bucket/what?.mp4", "s3://bucket/what?.mp4"),
        ("az://box/a.mp4?sv=1&sig=abc", "az://box/a.mp4?***"),
        ("abfs://box@account.dfs.core.windows.net/a", "abfs://box@account.dfs.core.windows.net/a"),
        ("/a/b?c@d:e", "/a/b?c@d:e"),
    ],
)
def test_urls_are_shown_without_what_opens_them(given: str, shown: str) -> None:
    assert without_secrets(given) == shown


def test_what_a_killed_process_left_half_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    fsspec.filesystem("memory").pipe_file("/bucket/half.mp4", b"film")
    old, young = tmp_path / ".aaaa.partial.mp4", tmp_path / ".bbbb.partial.mp4"
    for path in (old, young):
        path.write_bytes(b"ha")
    os.utime(old, (1, 1))
    localize("memory://bucket/half.mp4", tmp_path)
    assert not old.exists()
    assert young.exists(), "somebody may be at it"

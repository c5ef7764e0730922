"""Files of web servers: those that give out parts and tell the truth, and all the others."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.errors import DubError
from stages.media import remote, storage
from stages.media.node_cache import localize
from tests.web import Site, web_server


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(remote, "_FIRST_S", 0.01)
    with web_server() as site:
        yield site


def test_a_file_that_is_sent_in_chunks_is_read_to_its_end(site: Site) -> None:
    site.lengths = False
    data = os.urandom(300_000)
    site.files["/films.jsonl"] = data
    assert storage.read_bytes(f"{site.url}/films.jsonl") == data
    assert storage.read_bytes(f"{site.url}/films.jsonl", limit=len(data)) == data
    with pytest.raises(ValueError, match="more than 299999 bytes"):
        storage.read_bytes(f"{site.url}/films.jsonl", limit=len(data) - 1)
    with pytest.raises(DubError, match="does not tell its size"):
        storage.identity(f"{site.url}/films.jsonl")


def test_a_file_that_is_longer_than_its_server_told_is_not_taken_whole(site: Site) -> None:
    site.files["/films.jsonl"] = bytes(50 << 20)
    site.told["/films.jsonl"] = 100
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        storage.read_bytes(f"{site.url}/films.jsonl", limit=1000)


def test_what_is_not_there_and_what_is_refused_is_said(site: Site) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{site.url}/none")
    with pytest.raises(FileNotFoundError):
        storage.read_range(f"{site.url}/none", 0, 10)
    site.refuses, site.files["/a.mp4"] = True, b"film"
    for read in (storage.read_bytes, lambda url: storage.read_range(url, 0, 4)):
        site.asked.clear()
        with pytest.raises(DubError, match=r"the storage refuses .*403") as caught:
            read(f"{site.url}/a.mp4")
        assert caught.value.code == "unreachable"
        assert len(site.asked) == 1, "to ask again does not help"


def test_a_file_of_a_server_that_gives_out_no_parts_is_copied(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    data = os.urandom(300_000)
    site.files["/a.mp4"] = data
    url = f"{site.url}/a.mp4"
    assert storage.read_range(url, 0, 1000) == data[:1000]
    assert storage.read_range(url, 1000, 2000) is None
    assert localize(url, tmp_path).read_bytes() == data
    known = storage.identity(url)
    site.files["/a.mp4"] = os.urandom(300_000)
    assert storage.identity(url) != known


def test_a_film_signed_anew_is_not_copied_again(site: Site, tmp_path: Path) -> None:
    site.files["/a.mp4"] = os.urandom(300_000)
    one = localize(f"{site.url}/a.mp4?sig=1", tmp_path)
    sent = site.sent
    assert localize(f"{site.url}/a.mp4?sig=2", tmp_path) == one
    assert site.sent - sent == 2 << 16, "its identity alone"


def test_parts_are_what_they_are_in_the_file(site: Site) -> None:
    data = os.urandom(300_000)
    site.files["/a.mp4"] = data
    url = f"{site.url}/a.mp4"
    assert storage.read_range(url, 5, 200_000) == data[5:200_000]
    assert storage.read_range(url, 299_000, 400_000) == data[299_000:]
    assert site.sent == 199_995 + 1000


def test_a_server_that_hangs_is_unreachable(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files["/a.mp4"] = b"film"
    site.hangs = True
    monkeypatch.setattr(storage, "_RANGE_S", 0.2)
    with pytest.raises(DubError) as caught:
        storage.read_range(f"{site.url}/a.mp4", 0, 4)
    assert caught.value.code == "unreachable"
    assert len(site.asked) == remote.TRIES


def test_a_file_that_is_looked_at_often_costs_a_request_a_look_until_it_changes(site: Site) -> None:
    url = f"{site.url}/a.mp4"
    site.files["/a.mp4"] = os.urandom(300_000)
    known = storage.identity(url)
    site.asked.clear()
    assert {storage.identity(url) for _ in range(5)} == {known}
    assert site.asked == ["HEAD"] * 5
    site.files["/a.mp4"] = site.files["/a.mp4"][:150_000] + b"x" + site.files["/a.mp4"][150_001:]
    assert storage.identity(url) != known
    site.etags = False
    storage.identity(url)
    site.asked.clear()
    storage.identity(url)
    assert [asked[:3] for asked in site.asked] == ["HEA", "GET", "GET"], "nothing says that it is the same"

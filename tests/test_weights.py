"""Weights by name: found, checked, and fetched over HTTP from servers that misbehave."""

import hashlib
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stages.errors import DubError
from stages.weights import BUNDLES, REGISTRY, Weight, Weights, folder, members, registry

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several reads, so that a cut leaves something behind
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A loopback server that answers every request by the next of `answers`, the last one for good."""

    def __init__(self) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = [ranged]
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/tiny.bin"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, declared: int, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(declared))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def start_of(handler: BaseHTTPRequestHandler) -> int:
    asked = handler.headers.get("Range")
    return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0


def ranged(handler: BaseHTTPRequestHandler, body: bytes = CONTENT) -> None:
    start = start_of(handler)
    if start >= len(body):
        send(handler, 416, b"", 0)
    elif start:
        where = f"bytes {start}-{len(body) - 1}/{len(body)}"
        send(handler, 206, body[start:], len(body) - start, Content_Range=where)
    else:
        send(handler, 200, body, len(body))


def cut_in_the_middle(handler: BaseHTTPRequestHandler) -> None:
    start = start_of(handler)
    end = start + (len(CONTENT) - start) // 2
    if start:
        where = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        send(handler, 206, CONTENT[start:end], len(CONTENT) - start, Content_Range=where)
    else:
        send(handler, 200, CONTENT[:end], len(CONTENT))


def without_ranges(handler: BaseHTTPRequestHandler) -> None:
    send(handler, 200, CONTENT, len(CONTENT))


def status(code: int) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: send(handler, code, b"sorry", 5)


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    yield served
    served.close()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, server: Server) -> Weight:
    """A known name whose file the loopback server has."""
    weight = Weight("tiny", "tiny.bin", server.url, DIGEST, len(CONTENT), "public domain")
    monkeypatch.setitem(REGISTRY, "tiny", weight)
    return weight


@pytest.fixture
def waits() -> list[float]:
    """The waits that a fetch asked for; no test really waits."""
    return []


def published(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_fetch_publishes_the_whole_file_and_tells_progress(tmp_path: Path, tiny: Weight, server: Server):
    seen: list[tuple[int, int | None]] = []
    path = Weights(str(tmp_path)).fetch("tiny", progress=lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "tiny.bin"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert published(tmp_path) == ["tiny.bin"]
    assert not list(tmp_path.glob(".*.partial"))


def test_fetch_of_a_file_that_is_there_asks_nobody(tmp_path: Path, tiny: Weight, server: Server):
    (tmp_path / "tiny.bin").write_bytes(CONTENT)
    Weights(str(tmp_path)).fetch("tiny")
    assert server.ranges == []


def test_fetch_replaces_a_wrong_file(tmp_path: Path, tiny: Weight):
    (tmp_path / "tiny.bin").write_bytes(b"<html>")
    assert Weights(str(tmp_path)).fetch("tiny").read_bytes() == CONTENT


def test_cut_connection_is_gone_on_from(tmp_path: Path, tiny: Weight, server: Server, waits: list[float]):
    server.answers = [cut_in_the_middle, cut_in_the_middle, ranged]
    path = Weights(str(tmp_path)).fetch("tiny", wait=waits.append)
    assert path.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert waits == [1.0, 1.0], "bytes arrived each time, so the wait does not grow"


def test_next_call_goes_on_where_the_last_one_gave_up(tmp_path: Path, tiny: Weight, server: Server, waits: list[float]):
    server.answers = [cut_in_the_middle, status(503)]
    weights = Weights(str(tmp_path))
    with pytest.raises(DubError, match="gave up after 5 attempts: HTTP 503") as caught:
        weights.fetch("tiny", wait=waits.append)
    assert caught.value.code == "weights_missing"
    assert published(tmp_path) == []
    assert waits == [1.0, 2.0, 4.0, 8.0]
    server.answers, server.ranges = [ranged], []
    assert weights.fetch("tiny").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) // 2}-"]


def test_leftover_of_another_file_is_thrown_away(tmp_path: Path, tiny: Weight, server: Server):
    (tmp_path / ".tiny.bin.partial").write_bytes(b"x" * 1000)
    assert Weights(str(tmp_path)).fetch("tiny").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_leftover_longer_than_the_file_is_thrown_away(tmp_path: Path, tiny: Weight, waits: list[float]):
    (tmp_path / ".tiny.bin.partial").write_bytes(CONTENT + b"x")
    assert Weights(str(tmp_path)).fetch("tiny", wait=waits.append).read_bytes() == CONTENT


def test_server_without_ranges_sends_all_again(tmp_path: Path, tiny: Weight, server: Server, waits: list[float]):
    server.answers = [cut_in_the_middle, without_ranges]
    assert Weights(str(tmp_path)).fetch("tiny", wait=waits.append).read_bytes() == CONTENT
    assert server.ranges[1] is not None, "the range was asked for, and the answer 200 understood"


def test_wrong_range_is_not_glued_together(tmp_path: Path, tiny: Weight, server: Server, waits: list[float]):
    def from_the_beginning(handler: BaseHTTPRequestHandler) -> None:
        where = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
        send(handler, 206, CONTENT, len(CONTENT), Content_Range=where)

    server.answers = [cut_in_the_middle, from_the_beginning, ranged]
    assert Weights(str(tmp_path)).fetch("tiny", wait=waits.append).read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_wrong_hash_publishes_nothing(tmp_path: Path, tiny: Weight, server: Server):
    server.answers = [lambda handler: ranged(handler, CONTENT[:-1] + b"?")]
    with pytest.raises(DubError, match=f"wrong content: expected {DIGEST}, found [0-9a-f]{{64}}"):
        Weights(str(tmp_path)).fetch("tiny")
    assert published(tmp_path) == []
    assert not (tmp_path / ".tiny.bin.partial").exists(), "a wrong file is nothing to go on from"


def test_web_page_instead_of_weights_is_named_before_it_is_read(tmp_path: Path, tiny: Weight, server: Server):
    server.answers = [lambda handler: send(handler, 200, b"<html>", 6)]
    with pytest.raises(DubError, match=f"another file: it has 6 bytes instead of {len(CONTENT)}"):
        Weights(str(tmp_path)).fetch("tiny")
    assert published(tmp_path) == []


def test_endless_answer_is_capped_at_the_known_size(tmp_path: Path, tiny: Weight, server: Server):
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(64):
                handler.wfile.write(CONTENT)
        except OSError:
            handler.close_connection = True

    server.answers = [endless]
    with pytest.raises(DubError, match=f"more than {len(CONTENT)} bytes"):
        Weights(str(tmp_path)).fetch("tiny")
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) == 0


@pytest.mark.parametrize("code", [404, 403, 410])
def test_refusal_is_final_and_says_the_status(tmp_path: Path, tiny: Weight, server: Server, code: int):
    server.answers = [status(code)]
    with pytest.raises(DubError, match=f"HTTP {code}"):
        Weights(str(tmp_path)).fetch("tiny")
    assert len(server.ranges) == 1


@pytest.mark.parametrize("code", [503, 500, 429])
def test_passing_server_error_is_tried_again(
    tmp_path: Path, tiny: Weight, server: Server, waits: list[float], code: int
):
    server.answers = [status(code), status(code), ranged]
    assert Weights(str(tmp_path)).fetch("tiny", wait=waits.append).read_bytes() == CONTENT
    assert waits == [1.0, 2.0]


def test_nobody_listening_gives_up_with_a_message(tmp_path: Path, tiny: Weight, server: Server, waits: list[float]):
    url = server.url
    server.http.server_close()
    with pytest.raises(DubError, match="gave up after 5 attempts"):
        Weights(str(tmp_path)).fetch("tiny", url=url, wait=waits.append)


def test_parallel_fetches_download_once(tmp_path: Path, tiny: Weight, server: Server):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: Weights(str(tmp_path)).fetch("tiny"), range(4)))
    assert {p.read_bytes() for p in paths} == {CONTENT}
    assert len(server.ranges) == 1


def test_fetch_from_a_local_copy(tmp_path: Path, tiny: Weight):
    copy = tmp_path / "a copy.bin"
    copy.write_bytes(CONTENT)
    path = Weights(str(tmp_path / "folder")).fetch("tiny", url=copy.as_uri())
    assert path.read_bytes() == CONTENT
    with pytest.raises(DubError, match="No such file"):
        Weights(str(tmp_path / "other")).fetch("tiny", url=(tmp_path / "none").as_uri())


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/w.pth",
        "ftp://127.0.0.1/w.pth",
        "file://host/w.pth",
        "file:w.pth",
        "/etc/passwd",
        "https://",
        "https://[",
        "https://host:port/",
        "https://host/a b",
        "http://127.0.0.1.example.com/x",
        "http://127.0.0.1@example.com/x",
    ],
)
def test_addresses_that_are_not_followed(tmp_path: Path, tiny: Weight, url: str):
    with pytest.raises(DubError, match="was not fetched"):
        Weights(str(tmp_path)).fetch("tiny", url=url)
    assert published(tmp_path) == []


@pytest.mark.parametrize("target", ["http://example.com/w.pth", "file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_redirect_cannot_lead_where_a_first_request_could_not(
    tmp_path: Path, tiny: Weight, server: Server, target: str
):
    server.answers = [lambda handler: send(handler, 302, b"", 0, Location=target)]
    with pytest.raises(DubError, match="was not fetched"):
        Weights(str(tmp_path)).fetch("tiny")
    assert len(server.ranges) == 1


def test_redirect_on_this_machine_is_followed_with_its_range(tmp_path: Path, tiny: Weight, server: Server):
    (tmp_path / ".tiny.bin.partial").write_bytes(CONTENT[:500])
    server.answers = [lambda handler: send(handler, 302, b"", 0, Location=server.url + "?signed=1"), ranged]
    assert Weights(str(tmp_path)).fetch("tiny").read_bytes() == CONTENT
    assert server.ranges == ["bytes=500-", "bytes=500-"]


def test_signed_part_of_an_address_is_not_repeated(tmp_path: Path, tiny: Weight, server: Server):
    server.answers = [status(404)]
    with pytest.raises(DubError) as caught:
        Weights(str(tmp_path)).fetch("tiny", url=server.url + "?token=secret")
    assert "secret" not in str(caught.value)


def test_name_without_public_address_says_where_to_look(tmp_path: Path):
    with pytest.raises(DubError, match="no longer link") as caught:
        Weights(str(tmp_path)).fetch("wav2lip")
    assert "dubline weights fetch wav2lip --url URL" in str(caught.value)


def test_file_without_known_hash_is_never_gone_on_from(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(REGISTRY, "tiny", Weight("tiny", "tiny.bin", server.url, None, None, "-"))
    (tmp_path / ".tiny.bin.partial").write_bytes(b"x" * 10)
    assert Weights(str(tmp_path)).fetch("tiny").read_bytes() == CONTENT
    assert server.ranges == [None]


def test_folder_that_cannot_be_written_is_named(tmp_path: Path, tiny: Weight):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DubError, match="cannot be written"):
        Weights(str(tmp_path / "file" / "folder")).fetch("tiny")


def test_missing_names_the_file_the_folder_and_the_command(tmp_path: Path):
    with pytest.raises(DubError, match="dubline weights fetch s3fd") as caught:
        Weights(str(tmp_path)).path("s3fd")
    assert caught.value.code == "weights_missing"
    assert "s3fd-619a316812.pth" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_known_name_with_other_bytes_is_refused(tmp_path: Path, tiny: Weight):
    path = tmp_path / "tiny.bin"
    path.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(DubError, match=f"expected sha256 {DIGEST}, found {found}"):
        Weights(str(tmp_path)).path("tiny")
    assert Weights(str(tmp_path)).path(str(path)) == path, "by its path it is taken as it is"
    with pytest.raises(DubError, match="expected sha256"):
        Weights(str(tmp_path)).verify("tiny")


def test_typo_suggests_the_name():
    with pytest.raises(DubError, match="did you mean yunet"):
        Weights().path("yunnet")
    with pytest.raises(DubError, match="did you mean wav2lip"):
        Weights().fetch("wav2lib")


def test_url_that_nothing_can_open_is_weights_missing():
    with pytest.raises(DubError) as caught:
        Weights().path("nosuchscheme://bucket/w.pth")
    assert caught.value.code == "weights_missing"


@pytest.mark.parametrize("spec", ["yunet", "s3://bucket/own.onnx"])
def test_a_store_that_does_not_answer_is_not_one_without_the_file(spec: str, monkeypatch: pytest.MonkeyPatch):
    """Faces would be looked for with Haar all night, because a bucket was busy when the run began."""

    def busy(url: str) -> Path:
        raise DubError("unreachable", f"{url}: 5 tries did not reach it")

    monkeypatch.setattr(folder, "localize", busy)
    with pytest.raises(DubError) as caught:
        Weights("s3://bucket/weights").path(spec)
    assert caught.value.code == "unreachable"


def test_file_is_hashed_once_until_it_changes(tmp_path: Path, tiny: Weight, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "tiny.bin"
    path.write_bytes(CONTENT)
    hashed: list[Path] = []
    real = folder.file_sha256
    monkeypatch.setattr(folder, "file_sha256", lambda p: (hashed.append(p), real(p))[1])
    for _ in range(3):
        weights = Weights(str(tmp_path))
        assert weights.path("tiny") == path
        assert weights.sha256("tiny") == DIGEST
    assert len(hashed) == 1
    changed = b"?" + CONTENT[1:]
    path.write_bytes(changed)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    with pytest.raises(DubError, match="expected sha256"):
        Weights(str(tmp_path)).path("tiny")
    assert Weights(str(tmp_path)).sha256(str(path)) == hashlib.sha256(changed).hexdigest()


def test_verify_reads_anew_what_path_trusts(tmp_path: Path, tiny: Weight):
    path = tmp_path / "tiny.bin"
    path.write_bytes(CONTENT)
    weights = Weights(str(tmp_path))
    weights.path("tiny")
    state = path.stat()
    path.write_bytes(b"?" + CONTENT[1:])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(DubError, match="expected sha256"):
        weights.verify("tiny")


def test_list_says_what_is_there_without_hashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / REGISTRY["yunet"].file).write_bytes(b"anything")
    monkeypatch.setattr(folder, "file_sha256", lambda _: pytest.fail("hashed"))
    unet = tmp_path / "musetalkV15/unet.pth"
    unet.parent.mkdir()
    unet.write_bytes(b"anything")
    held = Weights(str(tmp_path)).list()
    assert [h.weight for h in held] == list(REGISTRY.values())
    assert {h.weight.name for h in held if h.found} == {"yunet", "musetalk-1.5-unet"}


def test_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DUBLINE_WEIGHTS", str(tmp_path))
    assert Weights().folder == str(tmp_path)
    monkeypatch.delenv("DUBLINE_WEIGHTS")
    monkeypatch.setenv("HOME", "/home/someone")
    assert Weights().folder == "/home/someone/.cache/dubline/weights"


def test_remote_folder_is_read_but_not_fetched_into(tiny: Weight):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe_file("/weights-test/tiny.bin", CONTENT)
    try:
        weights = Weights("memory://weights-test")
        assert weights.path("tiny").read_bytes() == CONTENT
        assert {h.weight.name for h in weights.list() if h.found} == {"tiny"}
        with pytest.raises(DubError, match="local folder"):
            weights.fetch("tiny")
    finally:
        fs.rm("/weights-test", recursive=True)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two known files of one project, by their paths."""
    contents = {"net/config.json": b"{}", "net/model.bin": b"weights"}
    for name, (file, content) in zip(("pair-config", "pair"), contents.items(), strict=True):
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(REGISTRY, name, Weight(name, file, None, digest, len(content), "MIT", True, "-"))
    return contents


def test_layout_of_a_local_folder_is_that_folder_with_every_file_checked(tmp_path: Path, pair: dict[str, bytes]):
    weights = Weights(str(tmp_path))
    (tmp_path / "net").mkdir()
    (tmp_path / "net/config.json").write_bytes(b"{}")
    with pytest.raises(DubError, match="dubline weights fetch pair --url URL`"):
        weights.layout(["pair-config", "pair"])
    (tmp_path / "net/model.bin").write_bytes(b"other")
    with pytest.raises(DubError, match="expected sha256"):
        weights.layout(["pair-config", "pair"])
    (tmp_path / "net/model.bin").write_bytes(b"weights")
    assert weights.layout(["pair-config", "pair"]) == tmp_path


def test_layout_of_a_remote_folder_is_made_here_and_follows_what_changes_there(
    tmp_path: Path, pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    import fsspec

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fs = fsspec.filesystem("memory")
    weights = Weights("memory://weights-layout")
    try:
        for file, content in pair.items():
            fs.pipe_file(f"/weights-layout/{file}", content)
        first = weights.layout(["pair-config", "pair"])
        assert {file: (first / file).read_bytes() for file in pair} == pair
        assert weights.layout(["pair-config", "pair"]) == first
        for copy in first.parent.iterdir():
            if not copy.name.startswith("."):
                copy.unlink()  # as when room was made
        assert {file: (weights.layout(["pair", "pair-config"]) / file).read_bytes() for file in pair} == pair
        assert first.is_relative_to(tmp_path)
    finally:
        fs.rm("/weights-layout", recursive=True)


def test_registry_is_consistent():
    for name, weight in REGISTRY.items():
        assert weight.name == name
        assert weight.licence
        assert weight.sha256 is None or (len(weight.sha256) == 64 and int(weight.sha256, 16))
        file = Path(weight.file).name
        assert weight.url is None or (weight.url.startswith("https://") and weight.url.endswith(f"/{file}"))
        assert weight.url or weight.note
    # The hosts of face-alignment put the first ten digits of the hash into the file's name.
    for name in ("s3fd", "2dfan4"):
        digest = REGISTRY[name].sha256
        assert digest is not None
        assert digest[:10] in REGISTRY[name].file


def test_no_name_and_no_file_is_there_twice():
    assert len(REGISTRY) == inspect.getsource(registry).count("\n        Weight(")
    assert len({weight.file for weight in REGISTRY.values()}) == len(REGISTRY)
    assert not REGISTRY.keys() & BUNDLES.keys()


@pytest.mark.parametrize(
    ("bundle", "own"),
    [
        ("musetalk-1.5", {"musetalkV15/musetalk.json", "musetalkV15/unet.pth"}),
        ("musetalk-1.0", {"musetalk/musetalk.json", "musetalk/pytorch_model.bin"}),
    ],
)
def test_musetalk_bundles_are_the_official_folder(bundle: str, own: set[str]):
    """What the official scripts load, apart from the pose network and what a checkpoint overwrites (musetalk.md 2)."""
    shared = {
        "sd-vae/config.json",
        "sd-vae/diffusion_pytorch_model.bin",
        "whisper/config.json",
        "whisper/preprocessor_config.json",
        "whisper/pytorch_model.bin",
        "face-parse-bisent/79999_iter.pth",
    }
    assert {REGISTRY[name].file for name in members(bundle)} == own | shared


def test_members_of_a_file_are_itself_and_typos_of_bundles_are_mended():
    assert members("yunet") == ("yunet",)
    with pytest.raises(DubError, match=r"did you mean musetalk-1\.5\?"):
        members("musetalk1.5")


def test_largest_file_fits_the_limit_and_the_limit_holds(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
):
    assert max(weight.size or 0 for weight in REGISTRY.values()) < folder._LIMIT <= 8 << 30
    monkeypatch.setitem(REGISTRY, "tiny", Weight("tiny", "tiny.bin", server.url, None, None, "-"))
    monkeypatch.setattr(folder, "_LIMIT", len(CONTENT) - 1)
    with pytest.raises(DubError, match=f"more than {len(CONTENT) - 1} bytes"):
        Weights(str(tmp_path)).fetch("tiny")


def test_file_of_a_subfolder_is_fetched_cut_and_gone_on_from(
    tmp_path: Path, server: Server, waits: list[float], monkeypatch: pytest.MonkeyPatch
):
    deep = Weight("deep", "models-v2/sub/tiny.bin", server.url, DIGEST, len(CONTENT), "-")
    monkeypatch.setitem(REGISTRY, "deep", deep)
    server.answers = [cut_in_the_middle, status(503)]
    with pytest.raises(DubError, match="gave up"):
        Weights(str(tmp_path)).fetch("deep", wait=waits.append)
    server.answers = [ranged]
    assert Weights(str(tmp_path)).fetch("deep") == tmp_path / "models-v2/sub/tiny.bin"
    assert server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"
    assert Weights(str(tmp_path)).path("deep").read_bytes() == CONTENT
    assert published(tmp_path) == ["models-v2"]


def test_file_that_nothing_can_check_is_not_fetched_again(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(REGISTRY, "tiny", Weight("tiny", "tiny.bin", server.url, None, None, "-"))
    for _ in range(2):
        assert Weights(str(tmp_path)).fetch("tiny").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_file_is_known_by_its_content_under_any_name(tmp_path: Path, tiny: Weight):
    copy, other = tmp_path / "mine.pth", tmp_path / "other.pth"
    copy.write_bytes(CONTENT)
    other.write_bytes(b"trained at home")
    weights = Weights(str(tmp_path))
    assert weights.known(str(copy)) is tiny
    assert weights.known(str(other)) is None
    assert weights.known("tiny") is tiny, "by its name, though it is not here"
    with pytest.raises(DubError, match="is not a known name"):
        weights.known(str(tmp_path / "none.pth"))


def test_real_yunet_is_the_registered_file(weights_dir: Path):
    path = Weights(str(weights_dir)).verify("yunet")
    assert path.stat().st_size == REGISTRY["yunet"].size

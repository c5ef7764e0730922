"""An S3 server on loopback that is busy now and then and hangs up now and then."""

import http.client
import random
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from moto.server import ThreadedMotoServer

_SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


@dataclass
class Faults:
    """What a proxy does to requests, and what it has done."""

    busy: float = 0.1
    """Share of requests that are answered 503 SlowDown and never reach the server."""
    cut: float = 0.02
    """Share of requests whose connection ends: half of them before the server hears of it, half in the answer."""
    done: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    """Bytes of each path that went out as answers."""
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> str:
        with self.lock:
            at = self.dice.random()
            sort = "busy" if at < self.busy else "fine"
            if self.busy <= at < self.busy + self.cut:
                sort = "cut before" if at < self.busy + self.cut / 2 else "cut after"
            self.done[sort] += 1
            return sort


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sort = self.server.faults.next()
        if sort == "busy":
            self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
            return
        if sort == "cut before":
            self.close_connection = True
            return
        onward = http.client.HTTPConnection(*self.server.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        onward.request(self.command, self.path, body, headers)
        answer = onward.getresponse()
        data = answer.read()
        onward.close()
        self._count(len(data))
        try:
            self._answer(answer.status, answer.getheaders(), data, half=sort == "cut after")
        except ConnectionError:  # who asked has hung up, as s3fs does before it reads a large file in parts
            self.close_connection = True
            self._count(-len(data))

    def _count(self, answered: int) -> None:
        if self.command == "GET":
            with self.server.faults.lock:
                self.server.faults.read[self.path.partition("?")[0]] += answered

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, half: bool = False) -> None:
        self.send_response_only(status)
        length = len(data)
        for name, value in headers:
            if self.command == "HEAD" and name.lower() == "content-length":
                length = int(value)
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        if half and self.command == "HEAD":
            self.close_connection = True
            return
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if half else data)
        self.close_connection = self.close_connection or half

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    target: tuple[str, int]
    faults: Faults


@contextmanager
def s3_server(patch: pytest.MonkeyPatch, faults: Faults | None = None) -> Iterator[str]:
    """An empty S3 server; what the environment of this process and its children says is where it is. Yields its URL."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    target = moto.get_host_and_port()
    urllib.request.urlopen(f"http://{target[0]}:{target[1]}/moto-api/reset", b"").close()  # servers share their files
    proxy = None
    url = f"http://{target[0]}:{target[1]}"
    if faults is not None:
        proxy = _Server(("127.0.0.1", 0), _Handler)
        proxy.target, proxy.faults = target, faults
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{proxy.server_port}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_ENDPOINT_URL", url)
    try:
        yield url
    finally:
        if proxy is not None:
            proxy.shutdown()
            proxy.server_close()
        moto.stop()

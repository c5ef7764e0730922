"""A web server on loopback that gives out files as well or as badly as it is told to."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What it has, how it answers, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    """Whether it gives out parts, or all of a file whatever it is asked."""
    etags: bool = True
    lengths: bool = True
    """Whether it tells how long a file is, or sends it in chunks."""
    told: dict[str, int] = field(default_factory=dict)
    """What HEAD says of a file's length, where that is not the truth."""
    shorter: int = 0
    """Bytes that the answer to a range lacks."""
    refuses: bool = False
    """Whether it answers every GET with 403."""
    hangs: bool = False
    """Whether it never answers a GET."""
    busy_after: int | None = None
    """GETs after which each is answered 503."""
    url: str = ""
    sent: int = 0
    """Bytes of files that went out."""
    asked: list[str] = field(default_factory=list)
    """Method and range of every request."""
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # 40 ms a request
    server: "_Server"

    def log_message(self, *_: object) -> None:
        pass

    @property
    def _file(self) -> str:
        return self.path.partition("?")[0]

    def do_HEAD(self) -> None:
        site, path = self.server.site, self._file
        site.asked.append("HEAD")
        if path not in site.files:
            self.send_error(404)
            return
        self._begin(200, site.told.get(path, len(site.files[path])) if site.lengths else None)

    def do_GET(self) -> None:
        site = self.server.site
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        site.asked.append(f"GET {self.headers.get('Range', '')}".strip())
        if site.hangs:
            site.over.wait(60)
            self.close_connection = True
            return
        if site.busy_after is not None and sum(each[:3] == "GET" for each in site.asked) > site.busy_after:
            self.send_error(503)
            return
        if site.refuses or self._file not in site.files:
            self.send_error(403 if site.refuses else 404)
            return
        data = site.files[self._file]
        if asked and site.ranges:
            start, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
            data = data[start : end - site.shorter]
            self._begin(206, len(data), {"Content-Range": f"bytes {start}-{start + len(data) - 1}/*"})
        else:
            self._begin(200, len(data) if site.lengths else None)
        site.sent += len(data)
        try:
            if site.lengths or asked:
                self.wfile.write(data)
            else:
                for at in range(0, len(data), 10_000):
                    part = data[at : at + 10_000]
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:  # who asked has heard enough
            self.close_connection = True

    def _begin(self, status: int, length: int | None, headers: dict[str, str] | None = None) -> None:
        site = self.server.site
        self.send_response(status)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        if site.etags:
            self.send_header("ETag", f'"{hash(site.files[self._file]):x}"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    def handle_error(self, *_: object) -> None:
        """Those who ask for a part of a long file and are sent all of it hang up."""


@contextmanager
def web_server() -> Iterator[Site]:
    """A server of its own, without files."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.site = Site(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.site.over.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""Where a head is, which token it gets, and what is said when it does not answer."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import joined
from cluster.head import dashboard_url, token
from stages.errors import DubError


@pytest.mark.parametrize("given", ["head:8265", "http://head:8265", "http://head:8265/"])
def test_an_address_is_a_dashboards_url(given: str) -> None:
    assert dashboard_url(given) == "http://head:8265"


@pytest.mark.parametrize(
    "given",
    ["ray://head:10001", "http://", "auto://x", "http://me:secret@head:8265", "http://[half", "head:99999", "head:x"],
)
def test_other_addresses_are_refused(given: str) -> None:
    with pytest.raises(DubError, match="such as http://head:8265"):
        dashboard_url(given)


def test_the_token_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("home\n")
    assert token() == "home"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(DubError, match="RAY_AUTH_TOKEN_PATH"):
        token()
    (tmp_path / "none").write_text("file")
    assert token() == "file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert token() == "given"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token() is None


@pytest.mark.parametrize("command", [["status"], ["stop", "night"]])
def test_nobody_at_the_address_is_1_and_says_what_to_look_at(command: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = CliRunner().invoke(joined(), [*command, "--address", f"127.0.0.1:{port}"])
    assert done.exit_code == 1
    assert "no head answers there" in done.output
    assert f"its port {port} reachable" in done.output


def test_another_server_at_the_address_is_no_head() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = CliRunner().invoke(joined(), ["status", "--address", f"127.0.0.1:{server.server_port}"])
    finally:
        server.shutdown()
        server.server_close()
    assert done.exit_code == 1
    assert "does not answer as a Ray head" in done.output

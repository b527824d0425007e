"""A local server that answers correctly, lies or cuts connections, and lock files for its content."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Served:
    """What the server answers. `cut_after`: bytes of a body after which it closes, once for each entry. `statuses`:
    answered instead, once each. `asked`: the Range of each request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut_after: list[int] = []
        self.statuses: list[int] = []
        self.asked: list[str | None] = []
        self.ranges = True
        self.address = ""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append(wanted)
            content = served.files.get(self.path.rsplit("/", 1)[-1])
            if served.statuses or content is None:
                self.send_error(served.statuses.pop(0) if served.statuses else 404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and served.ranges else 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + served.cut_after.pop(0) if served.cut_after else None
            self.wfile.write(content[start:end])

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def served(monkeypatch):
    """A server on 127.0.0.1 that ends with the test; a proxy of the environment is not asked for it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def lock(served, tmp_path):
    """lock({"name": content}) serves a model `toy` of these files and gives its lock file."""

    def write(files: dict[str, bytes], hashed: bool = True, sized: bool = True) -> Path:
        served.files |= files
        entries = [
            {
                "name": name,
                "url": served.url(name),
                "revision": "main",
                "sha256": hashlib.sha256(content).hexdigest() if hashed else None,
                "bytes": len(content) if sized else None,
                "licence": "CC0-1.0",
            }
            for name, content in files.items()
        ]
        size = sum(map(len, files.values()))
        toy = {"about": "toy", "repository": "me/toy", "use": "-", "approximate_bytes": size, "files": entries}
        path = tmp_path / "toy.lock"
        path.write_text(json.dumps({"version": 1, "models": {"toy": toy}}))
        return path

    return write

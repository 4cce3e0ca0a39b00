"""A small Hugging Face hub on the loopback interface: what a download asks of the real one, and its bad days.

It speaks the model-info API (``/api/models/…`` with ``blobs``), ``resolve`` with ``HEAD``, ``ETag``,
``X-Repo-Commit`` and byte ranges, redirects large files as the hub does, and can cut, stall or refuse.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 10_000  # bytes from which a file counts as LFS and is redirected


@dataclass
class Repository:
    files: dict[str, bytes]
    license: str | None = "apache-2.0"
    commit: str = COMMIT
    status: int = 200  # what every request about it is answered with


@dataclass
class HubServer:
    """``requests`` lists (method, path, Range header) in the order they came."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)  # bytes after which the next answers of large files end
    stall: threading.Event | None = None  # a large file's answer stops in its middle until this is set
    delay: float = 0.0  # seconds between two pieces of a large file
    ignore_ranges: bool = False
    corrupt: bool = False
    url: str = ""

    def add(self, repo_id: str, folder: Path, **options: Any) -> Repository:
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.repositories[repo_id] = Repository(files, **options)
        return self.repositories[repo_id]

    def downloads(self, name: str) -> list[str | None]:
        """The Range headers of the GET requests for one file's content."""
        return [
            content_range
            for method, path, content_range in self.requests
            if method == "GET" and path.endswith(f"/{name}") and path.startswith("/cdn/")
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/api/models/"):
            self._info(path.removeprefix("/api/models/").split("/revision/")[0])
        elif path.startswith("/cdn/"):
            repo_id, name = path.removeprefix("/cdn/").rsplit("/", 1)
            self._content(self.hub.repositories[repo_id].files[name])
        else:
            repo_id, _, rest = path.lstrip("/").partition("/resolve/")
            self._resolve(repo_id, rest.partition("/")[2])

    def _info(self, repo_id: str) -> None:
        repository = self._repository(repo_id)
        if repository is None:
            return
        siblings = []
        for name, data in repository.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            row: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
            if len(data) >= LARGE:
                row["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
            siblings.append(row)
        card = {"license": repository.license} if repository.license else {}
        self._json({"id": repo_id, "sha": repository.commit, "siblings": siblings, "cardData": card, "tags": []})

    def _repository(self, repo_id: str) -> Repository | None:
        repository = self.hub.repositories.get(repo_id)
        status = 404 if repository is None else repository.status
        if status != 200:
            self._json({"error": "Repository not found"}, status, {"X-Error-Code": "RepoNotFound"})
            return None
        return repository

    def _resolve(self, repo_id: str, name: str) -> None:
        repository = self._repository(repo_id)
        if repository is None:
            return
        data = repository.files.get(name)
        if data is None:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        large = len(data) >= LARGE
        etag = (hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)).hexdigest()
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if large:
            self.send_response(302)
            for key, value in {**headers, "X-Linked-ETag": f'"{etag}"', "Location": f"/cdn/{repo_id}/{name}"}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._content(data, headers)

    def _content(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        large = len(data) >= LARGE
        start = 0
        asked = self.headers.get("Range")
        if asked and not self.hub.ignore_ranges:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if large and self.hub.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = start + self.hub.cut_after.pop(0) if large and self.hub.cut_after else len(data)
        for position in range(start, min(end, len(data)), 4096):
            if large and self.hub.stall is not None and position > len(data) // 2:
                self.wfile.flush()
                self.hub.stall.wait(20)
            if large and self.hub.delay:
                time.sleep(self.hub.delay)
            try:
                self.wfile.write(data[position : min(position + 4096, end)])
            except OSError:  # the client hung up
                self.close_connection = True
                return
        if end < len(data):
            self.close_connection = True

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        for key, header in (headers or {}).items():
            self.send_header(key, header)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._clients: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self._clients.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """Clients keep their connections open for the next request; a handler would wait there for ever."""
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serve_hub() -> Iterator[HubServer]:
    """A hub that runs for the length of the block; ``hub.url`` is its address (for ``HF_ENDPOINT``)."""
    hub = HubServer()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="hub server")
    thread.start()
    try:
        yield hub
    finally:
        if hub.stall is not None:
            hub.stall.set()
        server.shutdown()
        server.hang_up()
        server.server_close()
        thread.join()

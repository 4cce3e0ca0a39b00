"""A small Hugging Face hub on the loopback interface: what a download asks of the real one, and its bad days.

It speaks the search (``/api/models?search=…``), the model-info API (``/api/models/…`` with ``blobs``), ``whoami``,
``resolve`` with ``HEAD``, ``ETag``, ``X-Repo-Commit`` and byte ranges, redirects large files as the hub does, also to
another host, and can cut, stall or refuse.
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
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 10_000  # bytes from which a file counts as LFS and is redirected


@dataclass
class Repository:
    files: dict[str, bytes]
    license: str | None = "apache-2.0"
    commit: str = COMMIT
    status: int = 200  # what every request about it is answered with
    error: str = "RepoNotFound"  # the hub's name for such an answer
    private: bool = False  # given only to who has the hub's token
    gated: str = ""  # "auto" or "manual": given only to who has the hub's token
    facts: dict[str, Any] = field(default_factory=dict)  # what else the API says: downloads, safetensors, tags, ...


@dataclass
class HubServer:
    """``requests`` lists (method, path, Range header) in the order they came, ``sent`` (host, path, Authorization)."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)  # bytes after which the next answers of large files end
    stall: threading.Event | None = None  # a large file's answer stops in its middle until this is set
    delay: float = 0.0  # seconds between two pieces of a large file
    ignore_ranges: bool = False
    corrupt: bool = False
    url: str = ""
    sent: list[tuple[str, str, str | None]] = field(default_factory=list)
    token: str = ""  # the one that is accepted
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # the next answers: status, headers
    file_refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # the same, of files only
    files_at: str = ""  # another host for large files, as http://localhost:PORT

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
        self.hub.sent.append((self.headers.get("Host", ""), path, self.headers.get("Authorization")))
        refusals = self.hub.file_refusals if path.startswith("/cdn/") and self.hub.file_refusals else self.hub.refusals
        if refusals:
            status, headers = refusals.pop(0)
            self._json({"error": "refused"}, status, headers)
        elif path == "/api/whoami-v2":
            if self._is_known():
                self._json({"type": "user", "name": "someone"})
            else:
                self._json({"error": "Invalid username or password."}, 401)
        elif path == "/api/models":
            self._search(parse_qs(urlsplit(self.path).query))
        elif path.startswith("/api/models/"):
            self._info(path.removeprefix("/api/models/").split("/revision/")[0])
        elif path.startswith("/cdn/"):
            organisation, repo, name = path.removeprefix("/cdn/").split("/", 2)
            self._content(self.hub.repositories[f"{organisation}/{repo}"].files[name])
        else:
            repo_id, _, rest = path.lstrip("/").partition("/resolve/")
            self._resolve(repo_id, rest.partition("/")[2])

    def _is_known(self) -> bool:
        return bool(self.hub.token) and self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _search(self, query: dict[str, list[str]]) -> None:
        """As the hub: every word in the id, filters by tags, the most of ``sort`` first."""
        words = query.get("search", [""])[0].lower().split()
        rows = []
        for repo_id, repository in self.hub.repositories.items():
            row = self._row(repo_id, repository)
            task = query.get("pipeline_tag", [""])[0]
            if (
                all(word in repo_id.lower() for word in words)
                and set(query.get("filter", [])) <= set(row["tags"])
                and task in ("", row.get("pipeline_tag"))
                and (not repository.private or self._is_known())
            ):
                rows.append(row)
        sort = query.get("sort", ["downloads"])[0]
        rows.sort(key=lambda row: row.get(sort) or 0, reverse=True)
        start, limit = int(query.get("cursor", ["0"])[0]), int(query.get("limit", ["1000"])[0])
        headers = {}
        if start + limit < len(rows):  # the hub names the next page by its whole address
            again = {**query, "cursor": [str(start + limit)]}
            headers["Link"] = f'<{self.hub.url}/api/models?{urlencode(again, doseq=True)}>; rel="next"'
        self._json(rows[start : start + limit], headers=headers)

    def _row(self, repo_id: str, repository: Repository) -> dict[str, Any]:
        tags = [f"license:{repository.license}"] if repository.license else []
        tags += repository.facts.get("tags", [])
        return {
            "id": repo_id,
            "sha": repository.commit,
            "cardData": {"license": repository.license} if repository.license else {},
            "private": repository.private,
            "gated": repository.gated or False,
            **repository.facts,
            "tags": tags,
        }

    def _info(self, repo_id: str) -> None:
        repository = self._repository(repo_id, is_description=True)
        if repository is None:
            return
        siblings = []
        for name, data in repository.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            row: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
            if len(data) >= LARGE:
                row["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
            siblings.append(row)
        self._json({**self._row(repo_id, repository), "siblings": siblings})

    def _repository(self, repo_id: str, *, is_description: bool = False) -> Repository | None:
        """The repository, when this request may see it. A gated one is described to everybody, as by the hub."""
        repository = self.hub.repositories.get(repo_id)
        status, error = (404, "RepoNotFound") if repository is None else (repository.status, repository.error)
        if repository is not None and status == 200 and not self._is_known():
            if repository.private:
                status = 401
            elif repository.gated and not is_description:
                status, error = (403 if "Authorization" in self.headers else 401), "GatedRepo"
        if status != 200:
            self._json({"error": "Repository not found"}, status, {"X-Error-Code": error})
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
            location = f"{self.hub.files_at}/cdn/{repo_id}/{name}"
            for key, value in {**headers, "X-Linked-ETag": f'"{etag}"', "Location": location}.items():
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
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        if large and self.hub.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        for key, value in headers.items():
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

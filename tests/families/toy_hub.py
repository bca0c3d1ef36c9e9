"""A small server on loopback that speaks enough of the hub's language, and a program that asks it.

The library reads HF_ENDPOINT when it is imported, so it is asked in processes of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "c0ffee" + "0" * 34
PROGRAM = """
import json, sys
from pathlib import Path
from scumble.errors import ScumbleError
from scumble.families import hub
print("ready", flush=True)
for line in sys.stdin:
    name, arguments, options = json.loads(line)
    try:
        answer = {"path": str(getattr(hub, name)(*arguments, **options))}
    except hub.Absent as error:
        answer = {"absent": error.bytes, "folder": str(error.folder), "error": str(error)}
    except ScumbleError as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    print(json.dumps(answer), flush=True)
"""


class Hub(ThreadingHTTPServer):
    """Repositories as mappings from file names to contents."""

    daemon_threads = True

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories = repositories
        self.asked: list[str] = []
        """Method, path and range of every request."""

        self.gated = self.broken = ""
        """A repository behind a licence; a file whose first transfer breaks off in the middle."""

        self.trouble = 0
        """The number that answers everything, if any."""

        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def fetched(self) -> list[str]:
        """Names of the files whose contents were sent."""
        paths = [one.split()[1] for one in self.asked if one.startswith("GET")]
        return [path.split(f"/{COMMIT}/")[-1] for path in paths if "/resolve/" in path]


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        parts = path.strip("/").split("/")
        repo = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if self.server.trouble:
            return self.refuse(self.server.trouble, "")
        if repo not in self.server.repositories:
            return self.refuse(401, "RepoNotFound")
        if parts[0] == "api":
            return self.about(repo, parts[4:])
        if parts[3] not in {"main", COMMIT}:
            return self.refuse(404, "RevisionNotFound")
        if repo == self.server.gated:
            return self.refuse(403, "GatedRepo")
        name = "/".join(parts[4:])
        if name not in self.server.repositories[repo]:
            return self.refuse(404, "EntryNotFound")
        return self.send(name, self.server.repositories[repo][name])

    def about(self, repo: str, rest: list[str]) -> None:
        files = self.server.repositories[repo]
        if rest[:1] == ["tree"]:
            listed = [{"type": "file", "oid": digest(content)[:40], "path": name,
                       "size": len(content)} for name, content in files.items()]  # fmt: skip
            return self.reply(json.dumps(listed).encode())
        if rest[:1] == ["revision"] and rest[1] not in {"main", COMMIT}:
            return self.refuse(404, "RevisionNotFound")
        return self.reply(json.dumps({"id": repo, "sha": COMMIT, "siblings": []}).encode())

    def send(self, name: str, content: bytes) -> None:
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(content)}"'}
        if self.command == "GET" and name == self.server.broken:
            self.server.broken = ""
            self.head(200, {**headers, "Content-Length": str(len(content))})
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self.reply(content[begin:], 206 if begin else 200, headers)

    def reply(self, body: bytes, code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.head(code, {**(headers or {}), "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, code: int, why: str) -> None:
        self.reply(b"", code, {"X-Error-Code": why} if why else {})

    def head(self, code: int, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Asker:
    """A process with a cache of its own, in which hub's functions are called one after another."""

    def __init__(
        self, address: str, home: Path, largest_file: int | None = None, **environment: str
    ) -> None:
        kept = {name: one for name, one in os.environ.items() if not name.startswith("HF_")}
        asks = {"HF_ENDPOINT": address, "HF_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**kept, **asks, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if largest_file is not None:  # as a disk that is full
            both = (largest_file, largest_file)
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, both)

    def __call__(self, name: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([name, arguments, options]) + "\n")
        self._process.stdin.flush()
        line = "ready\n"
        while line == "ready\n":
            line = self._process.stdout.readline()
        return json.loads(line)

    def close(self) -> str:
        """What it wrote to its error stream."""
        _, said = self._process.communicate(timeout=60)
        return said

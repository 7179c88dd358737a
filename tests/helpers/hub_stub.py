"""A server that speaks as much of the Hugging Face Hub's protocol as putting and getting files takes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Hub:
    """What the server has, and what it was told."""

    url: str = ""
    token: str = "hf_right"
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def commit(self, repository: str) -> str:
        """A name for the state of a repository."""
        files = self.repositories[repository]
        return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def answer(self, code: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def tell(self, value: Any, code: int = 200) -> None:
        self.answer(code, json.dumps(value).encode(), Content_Type="application/json")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        """A file of a repository, at the state it has now; or what is in a repository."""
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self.info("/".join(parts[2:4]))
        if len(parts) < 5:
            return self.answer(404)
        repository, (kind, _, *file) = "/".join(parts[:2]), parts[2:]
        files = self.hub.repositories.get(repository, {})
        name = "/".join(file)
        if kind != "resolve" or name not in files:
            code = "EntryNotFound" if repository in self.hub.repositories else "RepoNotFound"
            return self.answer(404, X_Error_Code=code)
        digest = hashlib.sha256(files[name]).hexdigest()
        return self.answer(200, files[name], ETag=f'"{digest}"', X_Repo_Commit=self.hub.commit(repository))

    def info(self, repository: str) -> None:
        if repository not in self.hub.repositories:
            return self.answer(404, X_Error_Code="RepoNotFound")
        siblings = [{"rfilename": name} for name in self.hub.repositories[repository]]
        facts = {"id": repository, "modelId": repository, "sha": self.hub.commit(repository), "siblings": siblings}
        return self.tell({**facts, "private": False, "tags": [], "downloads": 0, "likes": 0})

    def do_POST(self) -> None:
        """Makes a repository, says how files are to be sent, or takes a commit."""
        content = self.body()
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.tell({"error": "Invalid username or password."}, 401)
        path = urlsplit(self.path).path
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.hub.repositories:
                return self.tell({"error": "You already created this repo"}, 409)
            self.hub.repositories[name] = {}
            self.hub.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
            return self.tell({"url": f"{self.hub.url}/{name}", "name": name})
        if path == "/api/validate-yaml":
            return self.tell({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            return self.batch(json.loads(content))
        repository = "/".join(parts[2:4])
        if repository not in self.hub.repositories:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if parts[4] == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(content)["files"]
            ]
            return self.tell({"files": modes})
        return self.take(repository, [json.loads(line) for line in content.splitlines() if line])

    def batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.url}/blob?oid={each['oid']}"}}}
            for each in asked["objects"]
        ]
        self.tell({"transfer": "basic", "objects": objects})

    def take(self, repository: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "file":
                self.hub.repositories[repository][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.repositories[repository][value["path"]] = self.hub.blobs[value["oid"]]
        commit = self.hub.commit(repository)
        url = f"{self.hub.url}/{repository}/commit/{commit}"
        self.tell({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def do_PUT(self) -> None:
        """Takes a large file."""
        content = self.body()
        (digest,) = parse_qs(urlsplit(self.path).query)["oid"]
        assert hashlib.sha256(content).hexdigest() == digest
        self.hub.blobs[digest] = content
        self.answer(200)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on this machine, while the block lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

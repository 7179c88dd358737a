from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from padinv import Generator, PadInvEncoder, load_generator
from padinv.checkpoints import cache, save_network
from padinv.checkpoints.cache import cache_folder, fetch, hash_file
from padinv.checkpoints.sources import resolve_source
from padinv.exceptions import CheckpointError, MissingPackageError, WeightsNotFoundError

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves one file on the loopback device.

    Attributes:
        content: of the file.
        ranges: whether it can start in the middle.
        cut: after how many bytes it breaks off, if it does.
        endless: whether it never stops, and slowly.
        asked: the ranges that were asked for.
    """

    def __init__(self) -> None:
        self.content, self.ranges, self.cut, self.endless = CONTENT, True, None, False
        self.asked: list[str | None] = []
        handler = partial(Handler, self)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/files/my%20model.pkl?raw=1"


class Handler(BaseHTTPRequestHandler):
    def __init__(self, server: Server, *args: object) -> None:
        self.file = server
        super().__init__(*args)

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.file.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.file.ranges else 0
        for word, code in (("missing", 404), ("private", 403), ("broken", 500)):
            if word in self.path:
                return self.send_error(code)
        if "loop" in self.path:
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return None
        if self.file.endless:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x" * 100)
                    time.sleep(0.01)
            return None
        if start and start >= len(self.file.content):
            return self.send_error(416)
        body = self.file.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.file.cut is None else body[: self.file.cut])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield served
    served.http.shutdown()
    served.http.server_close()
    thread.join()


def test_fetched_once_and_kept(server: Server) -> None:
    path = fetch(server.url, SHA256)
    assert path.read_bytes() == CONTENT
    assert path == cache_folder() / f"{SHA256[:16]}-my model.pkl"
    assert fetch(server.url, SHA256) == path
    assert server.asked == [None]
    assert [file.name for file in cache_folder().iterdir()] == [path.name]


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_where_it_broke_off(server: Server, ranges: bool) -> None:
    server.cut, server.ranges = 5_000, ranges
    with pytest.raises(WeightsNotFoundError, match="could not be fetched"):
        fetch(server.url, SHA256)
    assert [file.suffix for file in cache_folder().iterdir()] == [".part"]
    server.cut = None
    assert fetch(server.url, SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=5000-"]


def test_a_whole_part_needs_no_more(server: Server) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / f"{SHA256[:16]}-my model.pkl.part").write_bytes(CONTENT)
    assert fetch(server.url, SHA256).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_another_file_is_not_kept(server: Server) -> None:
    server.content = b"another file"
    actual = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(CheckpointError, match=f"{server.url.split('?')[0]}.* has the SHA-256 {actual}, not {SHA256}"):
        fetch(server.url, SHA256)
    assert list(cache_folder().iterdir()) == []
    server.content = CONTENT
    assert fetch(server.url, SHA256).is_file()


def test_missing_or_offline(server: Server) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"404.*does not exist: try again when there is a network"):
        fetch(server.url.replace("files", "missing"), SHA256)
    with pytest.raises(WeightsNotFoundError, match=r"refused.*download it elsewhere and give its path"):
        fetch("http://127.0.0.1:9/model.pkl", SHA256)


@pytest.mark.parametrize(
    ("word", "said"),
    [("private", "403.*may need a login"), ("missing", "404.*URL may be wrong"), ("broken", "500"), ("loop", "30")],
)
def test_what_servers_answer(server: Server, word: str, said: str) -> None:
    with pytest.raises(WeightsNotFoundError, match=rf"could not be fetched \(.*{said}"):
        fetch(server.url.replace("files", word), SHA256)


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [("MOST_BYTES", 5_000, "larger than"), ("MOST_SECONDS", 0.1, "too slowly"), ("SLOWEST", 10**9, "too slowly")],
)
def test_a_download_without_an_end(
    server: Server, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, said: str
) -> None:
    server.endless = True
    monkeypatch.setattr(cache, limit, value)
    monkeypatch.setattr(cache, "TIMEOUT", 0.2)
    with pytest.raises(WeightsNotFoundError, match=said):
        fetch(server.url, SHA256)


def test_a_page_in_place_of_the_file(server: Server) -> None:
    server.content = b"<!DOCTYPE html><html>Quota exceeded</html>"
    with pytest.raises(CheckpointError, match="it is a web page, not the file itself"):
        fetch(server.url, SHA256)


def test_a_part_of_something_else_is_fetched_anew(server: Server) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / f"{SHA256[:16]}-my model.pkl.part").write_bytes(b"garbage of a killed process")
    assert fetch(server.url, SHA256).read_bytes() == CONTENT
    assert [file.name for file in cache_folder().iterdir()] == [f"{SHA256[:16]}-my model.pkl"]


def test_several_at_once(server: Server) -> None:
    server.content = CONTENT * 200
    sha256 = hashlib.sha256(server.content).hexdigest()
    code = "import sys; from padinv.checkpoints.cache import fetch; print(fetch(*sys.argv[1:]).stat().st_size)"
    command = [sys.executable, "-c", code, server.url, sha256]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in running] == [str(len(server.content))] * 2
    assert len(server.asked) == 1


def test_a_cache_that_cannot_be_written(server: Server, home: Path) -> None:
    (home / "torch").touch()
    with pytest.raises(WeightsNotFoundError, match=r"could not be fetched \(.*torch"):
        fetch(server.url, SHA256)


@pytest.mark.parametrize(
    "url", ["http://[::1/a", "http://127.0.0.1:port/a", "http://127.0.0.1:9/%00%1b[2J" + "a" * 400]
)
def test_odd_urls(url: str) -> None:
    with pytest.raises(WeightsNotFoundError, match="could not be fetched") as raised:
        fetch(url, SHA256)
    assert str(raised.value).isprintable()


def test_https_needs_the_sha256() -> None:
    with pytest.raises(CheckpointError, match=r"https://example\.org/a\.pkl needs its SHA-256"):
        load_generator("https://example.org/a.pkl")
    for sha256 in ("abc", "g" * 64):
        with pytest.raises(CheckpointError, match="64 hexadecimal digits"):
            load_generator("https://example.org/a.pkl", sha256=sha256)


def test_a_generator_from_the_network(server: Server, tmp_path: Path) -> None:
    generator = Generator(8, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 4, 8: 4})
    path = save_network(generator, tmp_path / "g.safetensors")
    server.content = path.read_bytes()
    loaded = load_generator(server.url, sha256=hash_file(path).upper())
    assert torch.equal(loaded.synthesis.const, generator.synthesis.const)


def test_a_path_with_a_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert resolve_source(tmp_path / "file", Generator, SHA256) == tmp_path / "file"
    (tmp_path / "file").write_bytes(CONTENT[1:])
    with pytest.raises(CheckpointError, match="it is another file, or damaged"):
        resolve_source(tmp_path / "file", Generator, SHA256)


def test_bundled_names_still_work() -> None:
    assert resolve_source("congress64", Generator).name == "congress64-generator.safetensors"
    with pytest.raises(CheckpointError, match="no file 'nothing'"):
        resolve_source("nothing", Generator)


def test_hugging_face(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    asked = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        if file == "gone":
            raise OSError("we are offline\nand much more")
        return str(tmp_path / "file")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    assert resolve_source("hf://owner/name/a/b.pkl", Generator, SHA256) == tmp_path / "file"
    assert asked == [("owner/name", "a/b.pkl")]
    with pytest.raises(CheckpointError, match="another file, or damaged"):
        resolve_source("hf://owner/name/a/b.pkl", Generator, "0" * 64)
    with pytest.raises(WeightsNotFoundError, match=r"hf://owner/name/gone could not be fetched \(we are offline\)"):
        resolve_source("hf://owner/name/gone", Generator)
    resolve_source("hf://owner/name", PadInvEncoder)
    assert asked[-1] == ("owner/name", "encoder.safetensors")
    with pytest.raises(CheckpointError, match="must be hf://owner/repository/file"):
        resolve_source("hf://owner", Generator)


def test_hugging_face_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match="pip install huggingface_hub"):
        resolve_source("hf://owner/name/file", Generator)


def test_files_are_hashed_in_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cache, "BLOCK", 7)
    (tmp_path / "file").write_bytes(CONTENT)
    assert hash_file(tmp_path / "file") == SHA256

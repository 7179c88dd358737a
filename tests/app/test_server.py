"""What surrounds the studio's page: the port, the environment, and the signals that end it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from padinv.app import Limits
from padinv.app.server import UploadGate, _environment, _stopped, free_port
from padinv.exceptions import ConfigError


def test_a_free_port() -> None:
    port = free_port("127.0.0.1", 0)
    assert 1024 <= port < 65536
    assert free_port("127.0.0.1", port) == port
    with pytest.raises(ConfigError, match="cannot be listened at"):
        free_port("127.0.0.1", 70_000)


def test_the_environment_is_as_it_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    before = dict(os.environ)
    with _environment("/somewhere"):
        assert os.environ["GRADIO_TEMP_DIR"] == "/somewhere"
        assert os.environ["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"
    assert dict(os.environ) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(number: int) -> None:
    before = signal.getsignal(number)
    with _stopped() as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert signal.getsignal(number) is before


def test_another_thread_has_no_signals() -> None:
    seen: list[bool] = []

    def run() -> None:
        with _stopped() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With an example, and four uploads of 0.4 MB, of which the second is the oldest."""
    (tmp_path / "example.png").write_bytes(bytes(400_000))
    return tmp_path


def fill(folder: Path) -> list[Path]:
    uploads = [folder / name / "mine.png" for name in "abcd"]
    for age, path in zip((2, 9, 1, 5), uploads, strict=True):
        path.parent.mkdir()
        path.write_bytes(bytes(400_000))
        os.utime(path, (10_000 - age, 10_000 - age))
    return uploads


def test_the_oldest_files_go_until_the_others_are_few_enough(folder: Path) -> None:
    gate = UploadGate(folder, Limits(stored=1))
    a, b, c, d = fill(folder)
    os.utime(folder / "example.png", (0, 0))
    gate.make_room()
    assert [path.exists() for path in (a, b, c, d)] == [True, False, True, False]
    assert not b.parent.exists(), "its folder goes with it"
    gate.coming = 500_000
    gate.make_room()
    assert [path.exists() for path in (a, c)] == [False, True], "what is coming needs room"
    assert (folder / "example.png").exists()
    (folder / "half-sent").write_bytes(bytes(900_000))
    os.utime(folder / "half-sent", (0, 0))
    gate.make_room()
    assert not (folder / "half-sent").exists()


@pytest.mark.skipif(find_spec("starlette") is None, reason="starlette comes with gradio")
@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/gradio_api/upload", 600_000, 200),
        ("/gradio_api/upload", 1_200_000, 413),
        ("/gradio_api/upload", None, 413),
        ("/gradio_api/queue/join", 9_000_000, 413),
        ("/gradio_api/queue/join", 600_000, 200),
    ],
)
def test_what_is_sent_is_bounded_before_it_is_read(folder: Path, path: str, length: int | None, status: int) -> None:
    gate = UploadGate(folder, Limits(megabytes=1, stored=1))
    uploads = fill(folder)
    assert ask(gate, path, length) == status
    assert gate.coming == 0
    assert sum(each.exists() for each in uploads) == (1 if status == 200 and "upload" in path else 4)
    gate.coming = 900_000  # of others
    assert ask(gate, path, length) == (503 if status == 200 and "upload" in path else status)


def ask(gate: UploadGate, path: str, length: int | None) -> int:
    """The status of the answer to a request; 200 if it was let through."""
    answers: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answers.append(200)

    async def send(message: Any) -> None:
        answers.extend([message["status"]] if "status" in message else [])

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    asyncio.run(gate.around(app)({"type": "http", "method": "POST", "path": path, "headers": headers}, None, send))
    return answers[0]

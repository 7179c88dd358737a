"""padinv app: its options, and what it says where gradio is missing. The page itself has tests in tests/app."""

from __future__ import annotations

import importlib.util
import socket
from typing import Any

import pytest

from padinv.cli import main
from padinv.commands.app import App


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535, not 70000"),
        (["--upload", "0"], "--upload must be from 1 to 1000"),
        (["--stored", "10"], "--stored 10 MB are too few for one file of --upload 20 MB"),
        (["--host", ""], "--host must be an address"),
        (["--sharing"], "did you mean --share"),
    ],
)
def test_mistakes(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", *options]) == 1
    assert sentence in capsys.readouterr().err


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    find = importlib.util.find_spec

    def missing(name: str, *args: Any) -> Any:
        return None if name == "gradio" else find(name, *args)

    monkeypatch.setattr("padinv.app.server.find_spec", missing)
    assert main(["app"]) == 1
    assert capsys.readouterr().err == 'padinv: padinv app needs gradio: pip install "padinv[app]".\n'


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("padinv.app.server.check_gradio", lambda: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 1
    assert f"--port {port} cannot be listened at" in capsys.readouterr().err
    assert main(["app", "--host", "192.0.2.1"]) == 1  # an address of nobody's
    assert "--host 192.0.2.1 --port 7860 cannot be listened at" in capsys.readouterr().err


def test_what_it_starts_with(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    started: list[Any] = []
    monkeypatch.setattr("padinv.app.server.check_gradio", lambda: None)
    monkeypatch.setattr("padinv.app.server.free_port", lambda host, port: port)
    monkeypatch.setattr("padinv.app.server.serve", lambda *args, **options: started.append((args, options)))
    monkeypatch.setattr("padinv.app.Studio.open", lambda *args: args)
    assert main(["app", "--device", "cpu", "--pixels", "5"]) == 0
    (studio, *rest), _ = started[0]
    assert studio[:2] == ("congress64", "cpu")
    assert studio[2].megapixels == 5
    assert rest == ["127.0.0.1", 7860, False], "loopback, and not shared"
    assert capsys.readouterr().err == ""
    assert main(["app", "--host", "0.0.0.0"]) == 0
    assert "others can open this page" in capsys.readouterr().err
    App().announce("http://127.0.0.1:7860")
    assert capsys.readouterr().out == "The studio is at http://127.0.0.1:7860 (Ctrl+C ends it).\n"

"""What surrounds the studio's page: the port, the environment, and the signals that end it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from padinv.app.server import _environment, _stopped, free_port
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

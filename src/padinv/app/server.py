"""Starts the studio, and ends it with everything that it has written."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from padinv.app.studio import Studio
from padinv.exceptions import ConfigError, MissingPackageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_gradio() -> None:
    """Raises MissingPackageError, before a model is loaded, if gradio is not installed."""
    if find_spec("gradio") is None:
        raise MissingPackageError('padinv app needs gradio: pip install "padinv[app]".')


def serve(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    ready: Callable[[str], object] = print,
) -> None:
    """Serves the page until Ctrl+C or SIGTERM.

    All that visitors send or make is in one temporary folder. Files older than an hour are deleted, and the folder at
    the end.

    Args:
        studio: to show.
        host: the address to listen at; others than 127.0.0.1 let other machines in.
        port: to listen at; 0 takes one that is free.
        share: whether gradio makes a public address, through its own servers.
        ready: called with the page's address.

    Raises:
        ConfigError: if the address cannot be listened at.
        MissingPackageError: if gradio is not installed.
    """
    check_gradio()
    port = free_port(host, port)
    with TemporaryDirectory(prefix="padinv-studio-") as folder, _environment(folder), _stopped() as stop:
        from padinv.app.page import CSS, THEME, Page

        page = Page(studio, Path(folder)).build()
        try:
            _, local, public = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                quiet=True,
                inbrowser=False,
                prevent_thread_lock=True,
                show_error=False,
                max_file_size=f"{studio.limits.megabytes}mb",
                state_session_capacity=studio.limits.visitors,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                theme=THEME,
                css=CSS,
                _frontend=False,  # or gradio gives up where its page takes 3 s, or a proxy is between
            )
            ready(public or local)
            stop.wait()
        finally:
            page.close(verbose=False)


def free_port(host: str, port: int) -> int:
    """The port, if it is free; one that is, for 0.

    Raises:
        ConfigError: if the address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"--host {host} --port {port} cannot be listened at ({why}): choose others.") from error
        return int(listener.getsockname()[1])


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Sets gradio's environment: its folder, no reports to its makers, and no proxy to this machine."""
    wanted = {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name in ("NO_PROXY", "no_proxy"):
        wanted[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """An event that Ctrl+C and SIGTERM set. Threads other than the first get no signals; there the caller sets it."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

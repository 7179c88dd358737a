"""Starts the studio, and ends it with everything that it has written."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from padinv.app.studio import Limits, Studio
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

    All that visitors send or make is in one temporary folder. Files older than an hour are deleted, the oldest ones
    sooner if all together are too large, and the folder at the end.

    Args:
        studio: what is shown.
        host: the address to listen at; others than 127.0.0.1 let other machines in.
        port: the port to listen at; 0 takes one that is free.
        share: whether gradio makes a public address, through its own servers.
        ready: called with the page's address.

    Raises:
        ConfigError: if the address cannot be listened at.
        MissingPackageError: if gradio is not installed.
    """
    check_gradio()
    port = free_port(host, port)
    with TemporaryDirectory(prefix="padinv-studio-") as folder, _environment(folder), _stopped() as stop:
        from starlette.middleware import Middleware

        from padinv.app.page import CSS, THEME, build

        page = build(studio, Path(folder))
        uploads = UploadGate(Path(folder), studio.limits)
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
                app_kwargs={"middleware": [Middleware(uploads.around)]},
                _frontend=False,  # or gradio gives up where its page takes 3 s, or a proxy is between
            )
            ready(public or local)
            while not stop.wait(10):
                uploads.make_room()
        finally:
            studio.ending.set()
            page.close(verbose=False)
            end = time.monotonic() + 5  # Python would abort if one of them still computed; others wait for a page
            for thread in threading.enumerate():
                if thread.name.startswith("AnyIO worker"):
                    thread.join(max(0.0, end - time.monotonic()))


class UploadGate:
    """Bounds what visitors send, and what lies in the temporary folder: uploads, and pictures that were made.

    Args:
        folder: the temporary folder; what is in it now, such as the examples, stays.
        limits: the bounds: ``megabytes`` for one file, ``stored`` for all together.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.file, self.most = folder, limits.megabytes * 10**6, limits.stored * 10**6
        self.kept: Container[Path] = frozenset(folder.rglob("*"))
        self.coming = 0

    def around(self, app: Any) -> Any:
        """Makes an application, by ASGI's protocol, that asks the gate before ``app`` reads what was sent."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import PlainTextResponse

        async def asked(scope: Any, receive: Any, send: Any) -> None:
            length, following = 0, app
            if scope["type"] == "http" and scope["method"] == "POST":
                length = int(dict(scope["headers"]).get(b"content-length", -1))
                if not 0 <= length <= self.file + 10**4:  # the form around the file has some bytes, too
                    following = PlainTextResponse("The file is too large.", 413)
                elif not scope["path"].endswith("/upload"):
                    length = 0
                elif self.coming + length > self.most:
                    following = PlainTextResponse("Others are sending files: come again.", 503)
            if following is not app or length == 0:
                await following(scope, receive, send)
                return
            self.coming += length
            try:
                await run_in_threadpool(self.make_room)
                await app(scope, receive, send)
            finally:
                self.coming -= length

        return asked

    def make_room(self) -> None:
        """Deletes the oldest files until the others, and the uploads that are coming, are within the bound."""
        found = []
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # others delete files, too
                if path not in self.kept and path.is_file():
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
        size = self.coming + sum(each for _, each, _ in found)
        for _, each, path in sorted(found):
            if size <= self.most:
                return
            with suppress(OSError):
                path.unlink()
                size -= each
                path.parent.rmdir()  # if it is empty


def free_port(host: str, port: int) -> int:
    """Finds the port to listen at: this one if it is free, any free one for 0.

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
    """Sets the environment: gradio's folder, no reports to anybody's makers, and no proxy to this machine."""
    wanted = {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
    wanted |= {"HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"}  # onnxruntime's also writes files
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
    """Gives an event that Ctrl+C and SIGTERM set. Only the first thread gets signals; in others the caller sets it."""
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

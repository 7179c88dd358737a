"""``padinv app``: the studio, a page in the browser."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

from padinv.exceptions import ConfigError
from padinv.options import Command, option, whole_number


@dataclass
class App(Command):
    """Open the studio: inversion and editing on a page in the browser.

    Args:
        model: bundled model, checkpoint, or folder with generator.safetensors and encoder.safetensors.
        host: address of the page; 0.0.0.0 lets other machines in.
        port: port of the page; 0 takes a free one.
        share: make a public address, through gradio's servers.
        device: cpu, cuda, cuda:N or mps (default: cuda if there is one).
        upload: the largest file that a visitor may send, in megabytes.
        pixels: the largest picture that a visitor may send, in megapixels.
        stored: files of all visitors that are kept at once, in megabytes.
        waiting: number of requests that may wait.
    """

    reports: ClassVar = False  # it serves until it is stopped
    model: str = option("congress64")
    host: str = option("127.0.0.1")
    port: int = option(7860, whole_number(0, 65535), metavar="N")
    share: bool = option(False)
    device: str | None = option(None)
    upload: int = option(20, whole_number(1, 1000), metavar="MB", group="limits")
    pixels: int = option(40, whole_number(1, 89), metavar="MP", group="limits")  # padinv.images.MAX_PIXELS
    stored: int = option(500, whole_number(1, 1_000_000), metavar="MB", group="limits")
    waiting: int = option(64, whole_number(1, 10_000), metavar="N", group="limits")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.host:
            raise ConfigError("--host must be an address, such as 127.0.0.1, and is empty.")
        if self.stored < self.upload:
            raise ConfigError(f"--stored {self.stored} MB are too few for one file of --upload {self.upload} MB.")

    def run(self) -> int:
        """Serves until Ctrl+C."""
        from padinv.app.server import LOOPBACK, check_gradio, free_port, serve

        check_gradio()
        free_port(self.host, self.port)  # before the model is loaded
        from padinv.app import Limits, Studio

        limits = Limits(self.upload, self.pixels, self.stored, waiting=self.waiting)
        studio = Studio.open(self.model, self.device, limits)
        if self.share or self.host not in LOOPBACK:
            print("padinv: others can open this page, which asks for no password.", file=sys.stderr)
        serve(studio, self.host, self.port, self.share, ready=self.announce)
        return 0

    def announce(self, address: str) -> None:
        """Says where the page is."""
        print(f"The studio is at {address} (Ctrl+C ends it).", flush=True)

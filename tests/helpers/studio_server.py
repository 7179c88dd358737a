"""``padinv app`` in a process of its own, and its page in a headless Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def need_gradio() -> None:
    """Skips where gradio is missing."""
    if find_spec("gradio") is None:
        pytest.skip('the studio needs gradio: pip install "padinv[app]"')


def need_browser() -> str:
    """The browser; skips where it, or Playwright, is missing."""
    need_gradio()
    if find_spec("playwright") is None:
        pytest.skip("driving the page needs Playwright: pip install playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("driving the page needs Chromium: apt-get install chromium")
    return found


@contextmanager
def studio_server(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a studio that was started in an empty folder, which is also its home, and its process."""
    places = {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    (folder / "tmp").mkdir(parents=True)
    log = folder.with_name(f"{folder.name}.log")
    command = [sys.executable, "-m", "padinv", "app", "--port", "0", "--device", "cpu", *options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | places, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "The studio is at http://" in line, log.read_text()
            yield line.split()[4].rstrip("/"), process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)  # it ends after a round of refinement
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """What a process has had of the processor, all its threads together; skips without /proc."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        pytest.skip("time of the processor is read from /proc")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Visitor:
    """A page of the studio, used as a person would.

    Args:
        page: Playwright's.
        address: of the studio.
    """

    def __init__(self, page: Any, address: str, query: str = "") -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._is_ours)
        page.set_default_timeout(60_000)
        with page.expect_request("**/queue/join*"):  # of page.load: parts come one by one, and all are there now
            page.goto(f"{address}/{query}")

    def _is_ours(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"asks {request.url}")

    def open(self, tab: str) -> None:
        known = self.page.get_by_role("tab", name=tab, exact=True).locator("visible=true")
        if known.count():
            known.click()
        else:  # a narrow window has the last ones in a menu
            self.page.locator(".overflow-menu > button").click()
            self.page.locator(".overflow-dropdown").locator("button", has_text=tab).click()

    def press(self, button: str) -> None:
        self.visible("button", button).click()

    def visible(self, role: str, name: str) -> Any:
        return self.page.get_by_role(role, name=name, exact=True).locator("visible=true").first

    def example(self, number: int = 0, gallery: int = 0) -> None:
        """Takes a bundled portrait."""
        shelf = self.page.locator(".grid-wrap:visible").nth(gallery)
        shelf.locator("button.thumbnail-item").nth(number).click()

    def picture(self, alt: str) -> Any:
        """A picture that is shown, once it is."""
        image = self.page.locator(f'img[alt="{alt}"]:visible').first
        image.wait_for()
        return image

    def changed(self, alt: str, before: str) -> str:
        """The address of a picture, once it is another than before."""
        for _ in range(1200):
            if (now := self.source(alt)) not in ("", before):
                return now
            time.sleep(0.05)
        raise AssertionError(f"{alt} stays as it was")

    def source(self, alt: str) -> str:
        image = self.page.locator(f'img[alt="{alt}"]:visible')
        return str(image.first.get_attribute("src")) if image.count() else ""

    def shoot(self) -> bytes:
        """A screenshot of the window, from the top, without messages of before."""
        self.page.evaluate("window.scrollTo(0, 0)")
        self.page.wait_for_timeout(700)  # spinners fade
        return bytes(self.page.screenshot(style=".toast-wrap, .toast-body { display: none !important; }"))

"""A visitor of the studio without a browser: the requests that its page makes, and those that it would never make."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


def fetch(url: str, call: dict[str, Any] | None = None, timeout: float = 120) -> bytes:
    """What is at an address, or the answer to a call."""
    data = None if call is None else json.dumps(call).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return bytes(answer.read())


def status(url: str) -> int:
    """The status with which an address answers."""
    try:
        fetch(url)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code
    return 200


class Client:
    """A visitor with a window of its own.

    Args:
        address: of the studio.
    """

    def __init__(self, address: str) -> None:
        self.base, self.session = f"{address}/gradio_api", secrets.token_hex(8)
        self.config = json.loads(fetch(f"{address}/config"))

    def upload(self, name: str, data: bytes) -> dict[str, Any]:
        """Sends a file, and returns what stands for it in calls."""
        edge = "padinv-edge"
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        body = f"{head}Content-Type: image/png\r\n\r\n".encode() + data + f"\r\n--{edge}--\r\n".encode()
        request = urllib.request.Request(
            f"{self.base}/upload", body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            (path,) = json.loads(answer.read())
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def number(self, component: str, event: str) -> int:
        """The number of what an event of a component does; it is found by its label, or the text of a button."""
        known = {
            each["id"] for each in self.config["components"] if component in map(each["props"].get, ("label", "value"))
        }
        calls = (
            each
            for each in self.config["dependencies"]
            if each["backend_fn"] and any(target in known and what == event for target, what in each["targets"])
        )
        return int(next(calls)["id"])

    def after(self, number: int) -> int:
        """The number of what happens next."""
        calls = (each for each in self.config["dependencies"] if each.get("trigger_after") == number)
        return int(next(calls)["id"])

    def begin(self, number: int, *values: Any) -> str:
        """Puts a call into the queue, and returns its name there."""
        call = {"data": values, "fn_index": number, "session_hash": self.session}
        return str(json.loads(fetch(f"{self.base}/queue/join", call))["event_id"])

    def events(self) -> Iterator[dict[str, Any]]:
        """What the server tells this window, until it hangs up."""
        address = f"{self.base}/queue/data?session_hash={self.session}"
        with urllib.request.urlopen(address, timeout=120) as answer:
            for line in answer:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def call(self, number: int, *values: Any) -> dict[str, Any]:
        """Calls, waits, and returns the last event, which has ``success`` and ``output``."""
        self.begin(number, *values)
        return next(event for event in self.events() if event.get("msg") == "process_completed")

    def sample(self, seed: int) -> str:
        """The address of the image of a seed."""
        said = self.call(self.after(self.number("The next one", "click")), seed, 0.7, False, 2, "4-")
        assert said["success"], said
        return str(said["output"]["data"][0]["url"])

    def invert(self, photograph: dict[str, Any]) -> dict[str, Any]:
        """Gives the tab Invert a photograph."""
        return self.call(self.number("Photograph", "change"), photograph, False)

    def change(self, strength: float) -> dict[str, Any]:
        """Moves the first slider of the tab Edit; the window's photograph is what the tab Invert was given."""
        slider = next(
            each
            for each in self.config["dependencies"]
            if sum(event == "input" for _, event in each["targets"]) > 2 and len(each["inputs"]) > 4
        )
        zeros = [0.0] * (len(slider["inputs"]) - 4)
        return self.call(int(slider["id"]), None, "", True, strength, *zeros)


@dataclass(frozen=True)
class Request:
    """What became of a request.

    Args:
        kind: what was asked for.
        seconds: until it was done.
        lost: whether it was not.
    """

    kind: str
    seconds: float
    lost: bool


def visit(client: Client, photograph: bytes, end: float, pause: float = 0.0) -> list[Request]:
    """Does what a person does, until a time of the monotonic clock, and at least once.

    Args:
        client: of a window of its own.
        photograph: a file's content.
        end: when no further round begins.
        pause: seconds between two requests.
    """
    made: list[Request] = []

    def ask(kind: str, question: Callable[[], dict[str, Any] | str]) -> None:
        start = time.monotonic()
        try:
            said = question()
            lost = isinstance(said, dict) and not said["success"]
        except (OSError, StopIteration, ValueError, AssertionError):
            lost = True
        made.append(Request(kind, time.monotonic() - start, lost))
        time.sleep(pause)

    seed = 0
    while not made or time.monotonic() < end:
        ask("invert", lambda: client.invert(client.upload("portrait.png", photograph)))
        for strength in (0.5, 1.0, -1.0):
            ask("edit", lambda strength=strength: client.change(strength))  # type: ignore[misc]
        for _ in range(2):
            seed += 1
            ask("sample", lambda seed=seed: client.sample(seed))  # type: ignore[misc]
    return made

"""The studio's page in a headless Chromium, used as a person would, and what its server does to the machine.

``PADINV_TEST_SCREENSHOTS=docs/figures pytest tests/app/test_page.py -m slow`` draws the pictures of docs/studio.md.
"""

from __future__ import annotations

import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio_server import Visitor, need_browser, need_gradio, studio_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    need_gradio()
    with studio_server(home) as (address, process):
        yield address
    assert process.returncode == 0, "it ends at SIGTERM"
    assert list((home / "tmp").glob("padinv-studio-*")) == [], "and leaves nothing"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    executable = need_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context.new_page()
    context.close()


def keep(visitor: Visitor, name: str) -> None:
    """A screenshot for the documentation, if that is wanted."""
    if folder := os.environ.get("PADINV_TEST_SCREENSHOTS"):
        with Image.open(io.BytesIO(visitor.shoot())) as shot:
            size = (shot.width * 3 // 4, shot.height * 3 // 4)
            small = shot.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        small.save(Path(folder) / f"studio-{name}.webp", quality=80, method=6)


def test_every_tab(window: Any, address: str) -> None:
    visitor = Visitor(window, address)
    page = visitor.page

    visitor.example(0)
    page.get_by_text("largest error").wait_for()
    keep(visitor, "invert")
    visitor.press("Refine")
    page.get_by_text("Step 40 of 100").wait_for()
    visitor.press("Stop")
    page.get_by_text("Take it with you: image, code, and Python").locator("visible=true").click()
    page.get_by_text("Inverter.from_pretrained").locator("visible=true").first.wait_for()
    visitor.press("Make files")
    page.get_by_text("reproduce").locator("visible=true").first.wait_for()

    visitor.open("Edit")
    before = visitor.picture("Edited").get_attribute("src")
    slider = visitor.visible(
        "slider", "range slider for light: lit from the picture's left … lit from the picture's right"
    )
    slider.focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")  # by keyboard: 1.5
    page.get_by_text("light +1.5: towards").wait_for()
    after = visitor.changed("Edited", str(before))
    keep(visitor, "edit")
    visitor.press("Paste back into the photograph")
    visitor.picture("The photograph with the edit")
    visitor.press("Back to 0")
    visitor.changed("Edited", after)

    visitor.open("Drag")
    start = visitor.picture("Dragged").get_attribute("src")
    picture = visitor.picture("Click here")
    box = picture.bounding_box()
    for x, y in ((0.5, 0.72), (0.5, 0.66)):
        before = str(picture.get_attribute("src"))
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        visitor.changed("Click here", before)
    points = page.get_by_label("Points, in pixels").input_value()
    x, y, to_x, to_y = (float(number) for pair in points.split(":") for number in pair.split(","))
    assert (x, y, to_x, to_y) == pytest.approx((31.5, 45.6, 31.5, 41.7), abs=1.0)
    visitor.press("Drag")
    visitor.changed("Dragged", str(start))
    page.get_by_text("There after").or_(page.get_by_text("Step 40:")).first.wait_for()
    keep(visitor, "drag")
    page.get_by_text("What may change").click()
    canvas = page.locator("canvas:visible").first
    page.wait_for_timeout(2000)  # until it can be painted on
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.62 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.72 * box["height"], steps=6)
    page.mouse.up()
    page.wait_for_timeout(500)
    visitor.press("Drag")
    page.get_by_text("Take it with you").locator("visible=true").click()
    page.get_by_text("mask.png").locator("visible=true").first.wait_for()  # the Python knows of the paint
    visitor.press("Stop")

    visitor.open("Blend")
    visitor.example(1, 0)
    visitor.example(2, 1)
    first = visitor.picture("Result").get_attribute("src")
    page.get_by_label("32 px").uncheck()
    visitor.changed("Result", str(first))
    keep(visitor, "blend")

    visitor.open("Transfer")
    for place in range(3):
        visitor.example(place, place)
    visitor.picture("Result")

    visitor.open("Sample")
    visitor.press("The next one")
    first = visitor.picture("Sample").get_attribute("src")
    page.get_by_label("Mix with another").check()
    visitor.changed("Sample", str(first))

    visitor.open("Compare")
    visitor.press("Compare")
    page.get_by_role("cell", name="with padding, 60 steps").wait_for()
    if os.environ.get("PADINV_TEST_SCREENSHOTS"):  # the last takes longest
        page.get_by_role("cell", name="the best: padding, 200 steps").wait_for()
    keep(visitor, "compare")
    assert visitor.complaints == []


@pytest.mark.parametrize(("name", "width", "query"), [("narrow", 390, ""), ("dark", 1280, "?__theme=dark")])
def test_narrow_and_dark(window: Any, address: str, name: str, width: int, query: str) -> None:
    window.set_viewport_size({"width": width, "height": 844})
    visitor = Visitor(window, address, query)
    visitor.example(3)
    visitor.page.get_by_text("largest error").wait_for()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    keep(visitor, name)
    assert visitor.complaints == []


@pytest.mark.parametrize("query", ["", "?__theme=dark"])
def test_accessible_names_and_contrast(window: Any, address: str, query: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-core comes with pip install axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe

    visitor = Visitor(window, address, query)
    visitor.example(0)
    visitor.page.get_by_text("largest error").wait_for()
    found = Axe().run(visitor.page).response["violations"]
    serious = {
        each["id"]: [node["html"][:200] for node in each["nodes"]] for each in found if each["impact"] == "critical"
    }
    assert serious == {}


def test_a_bad_upload_is_told_and_the_next_one_works(window: Any, address: str, tmp_path: Path) -> None:
    visitor = Visitor(window, address)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    visitor.page.locator("input[type=file]").first.set_input_files(tmp_path / "bad.png")
    visitor.page.get_by_text("bad.png cannot be read").first.wait_for()
    visitor.example(0)
    visitor.page.get_by_text("largest error").wait_for()


def test_two_visitors_have_their_own_pictures(chromium: Any, address: str) -> None:
    contexts = [chromium.new_context() for _ in range(2)]
    visitors = [Visitor(context.new_page(), address) for context in contexts]
    visitors[0].example(0)
    visitors[0].page.get_by_text("largest error").wait_for()
    visitors[1].open("Compare")
    visitors[1].press("Compare")
    visitors[1].page.get_by_text("There is no photograph yet").first.wait_for()
    for context in contexts:
        context.close()


def fetch(url: str, call: dict[str, Any] | None = None) -> bytes:
    """What is at an address, or the answer to a call."""
    data = None if call is None else json.dumps(call).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


class Client:
    """A visitor without a browser: the requests that the page makes."""

    def __init__(self, address: str) -> None:
        self.base = f"{address}/gradio_api"
        self.config = json.loads(fetch(f"{address}/config"))

    def function(self, label: str) -> int:
        """The number of what happens when a button is pressed."""
        button = next(each["id"] for each in self.config["components"] if each["props"].get("value") == label)
        calls = (each for each in self.config["dependencies"] if [button, "click"] in map(list, each["targets"]))
        return int(next(calls)["id"])

    def sample(self, seed: int) -> str:
        """The address of the image of a seed."""
        after = self.function("The next one")
        then = next(each for each in self.config["dependencies"] if [after, "then"] in self._triggers(each))
        session = f"session{seed}"
        call = {"data": [seed, 0.7, False, 2, "4-"], "fn_index": then["id"], "session_hash": session}
        fetch(f"{self.base}/queue/join", call)
        with urllib.request.urlopen(f"{self.base}/queue/data?session_hash={session}", timeout=120) as events:
            for line in events:
                message = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if message.get("msg") == "process_completed":
                    assert message["success"], message
                    return str(message["output"]["data"][0]["url"])
        raise AssertionError("the server hung up")

    @staticmethod
    def _triggers(call: dict[str, Any]) -> list[list[Any]]:
        return [[call.get("trigger_after"), "then"]]


def test_eight_clients_at_once_lose_no_request(address: str) -> None:
    client = Client(address)

    def visit(number: int) -> list[str]:
        return [client.sample(100 * number + i) for i in range(3)]

    with ThreadPoolExecutor(8) as pool:
        seen = [url for urls in pool.map(visit, range(8)) for url in urls]
    assert len(seen) == 24
    assert all(fetch(url)[1:4] == b"PNG" for url in seen[:3])


def test_only_this_machine_and_only_its_own_files(address: str, home: Path) -> None:
    assert address.startswith("http://127.0.0.1:")
    for path in ("/etc/hostname", str(Path(__file__))):
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(f"{address}/gradio_api/file={path}")
        assert refused.value.code == 403
        refused.value.close()


def test_everything_is_written_into_the_temporary_folder(home: Path, address: str) -> None:
    """That it goes away with the server is seen to where the server ends, in ``address``."""
    fetch(address)
    assert list((home / "tmp").glob("padinv-studio-*"))
    written = [path for path in home.rglob("*") if path.is_file() and "tmp/padinv-studio-" not in path.as_posix()]
    assert [path for path in written if path.suffix != ".pyc"] == []

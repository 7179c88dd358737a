"""The studio's page in a headless Chromium, used as a person would, and what its server does to the machine.

``PADINV_TEST_SCREENSHOTS=docs/figures pytest tests/app/test_page.py -m slow`` draws the pictures of docs/studio.md.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from image_files import png_header
from padinv.editing import load_directions
from studio_client import Client, fetch, status, visit
from studio_server import Visitor, need_browser, need_gradio, processor_seconds, studio_server

pytestmark = pytest.mark.slow
RAW = Path(__file__).parents[1] / "data" / "raw-portraits"
TABS = ("Invert", "Edit", "Drag", "Blend", "Transfer", "Sample", "Compare")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    need_gradio()
    with studio_server(home) as (address, process):
        yield address, process
    assert process.returncode == 0, "it ends at SIGTERM"
    assert list((home / "tmp").glob("padinv-studio-*")) == [], "and leaves nothing"


@pytest.fixture(scope="module")
def address(server: tuple[str, subprocess.Popen[str]]) -> str:
    return server[0]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    executable = need_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # it shows a test picture
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", *camera]
        )
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Any) -> Iterator[Any]:
    allowed = ["clipboard-read", "clipboard-write", "camera"]
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, permissions=allowed)
    yield context.new_page()
    context.close()


def keep(visitor: Visitor, name: str) -> None:
    """A screenshot for the documentation, if that is wanted."""
    if folder := os.environ.get("PADINV_TEST_SCREENSHOTS"):
        with Image.open(io.BytesIO(visitor.shoot())) as shot:
            size = (shot.width * 3 // 4, shot.height * 3 // 4)
            small = shot.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        small.save(Path(folder) / f"studio-{name}.webp", quality=80, method=6)


def test_one_event_reads_a_text(address: str) -> None:
    """Enter and then Tab would otherwise tell an error twice."""
    config = Client(address).config
    texts = [each["id"] for each in config["components"] if each["type"] == "textbox"]
    calls = [(target, call["backend_fn"]) for call in config["dependencies"] for target in call["targets"]]
    for text in texts:
        assert {event: asks for (part, event), asks in calls if part == text} == {"submit": False, "blur": True}
    assert len(texts) == 4


def test_an_error_is_told_once(window: Any, address: str) -> None:
    visitor = Visitor(window, address)
    for tab, label, error in (
        ("Edit", "Latents that move", "There is no photograph yet"),
        ("Sample", "other's", "'99'"),
    ):
        visitor.open(tab)
        if tab == "Sample":
            visitor.page.get_by_label("Mix with another").check()
        visitor.page.get_by_label(label).fill("99")
        visitor.page.keyboard.press("Enter")
        told = visitor.page.get_by_test_id("toast-body").filter(has_text=error)
        told.first.wait_for()
        visitor.page.keyboard.press("Tab")
        visitor.page.wait_for_timeout(1000)  # what does not come
        assert told.count() == 1


def test_every_tab(window: Any, address: str) -> None:
    visitor = Visitor(window, address)
    page = visitor.page

    visitor.example(0)
    page.get_by_text("largest error").wait_for()
    for metric in ("lpips", "ms_ssim", "mse", "psnr"):
        assert page.get_by_text(metric, exact=True).locator("visible=true").count() == 1
    for picture in ("The photograph with a frame", "Error map"):
        visitor.picture(picture)
    keep(visitor, "invert")
    until(lambda: slid(page) == pytest.approx(25, abs=3))
    visitor.press("Refine")
    page.get_by_text("Step 40 of 100").wait_for()
    visitor.press("Stop")
    page.get_by_text("Take it with you: image, code, and Python").locator("visible=true").click()
    page.get_by_text("Inverter.from_pretrained").locator("visible=true").first.wait_for()
    visitor.press("Make files")
    with page.expect_download() as script:
        page.locator('a[download="reproduce.py"]:visible').click()
    assert "refine(photograph, inverter.generator" in script.value.path().read_text()
    with page.expect_download() as image:
        page.locator('a[download="image.png"]:visible').last.click()
    with Image.open(image.value.path()) as taken:
        assert taken.size == (64, 64)
    assert page.get_by_text("Step 100 of 100").count() == 0, "it has stopped"

    visitor.open("Edit")
    before = visitor.picture("Edited").get_attribute("src")
    slider = visitor.visible("slider", "range slider for hair: dark hair … grey or blond hair")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")  # by keyboard: -2
    page.get_by_text("hair -2: towards").wait_for()
    after = visitor.changed("Edited", str(before))
    keep(visitor, "edit")
    visitor.press("Paste back into the photograph")
    visitor.picture("The photograph with the edit")
    visitor.press("Back to 0")
    same = visitor.changed("Edited", after)
    marks = page.locator(".seen i:visible").count()
    assert marks == len(load_directions("congress64")), "where each direction was seen to hold"
    page.get_by_label("Latents that move").fill("0-1")
    slider.focus()
    page.keyboard.press("ArrowRight")
    some = visitor.changed("Edited", same)
    page.get_by_label("Latents that move").fill("")
    page.keyboard.press("Tab")
    visitor.changed("Edited", some)
    page.get_by_label("Latents that move").fill("99")
    page.keyboard.press("Enter")
    page.get_by_text("and ascend, but '99' does not").first.wait_for()

    visitor.open("Drag")
    start = visitor.picture("Dragged").get_attribute("src")
    picture = visitor.picture("Click here")
    box = picture.bounding_box()
    for x, y in ((0.5, 0.28), (0.5, 0.22)):  # a higher forehead
        before = str(picture.get_attribute("src"))
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        visitor.changed("Click here", before)
    points = page.get_by_label("Points, in pixels").input_value()
    x, y, to_x, to_y = (float(number) for pair in points.split(":") for number in pair.split(","))
    assert (x, y, to_x, to_y) == pytest.approx((31.5, 17.4, 31.5, 13.6), abs=1.0)
    visitor.press("Drag")
    visitor.changed("Dragged", str(start))
    page.get_by_text("There after").or_(page.get_by_text("Step 40:")).first.wait_for()
    keep(visitor, "drag")
    page.get_by_text("What may change").click()
    until(lambda: painted(page))
    visitor.press("Drag")
    page.get_by_text("Take it with you").locator("visible=true").click()
    page.get_by_text("mask.png").locator("visible=true").first.wait_for()  # the Python knows of the paint
    visitor.press("Stop")

    visitor.open("Blend")
    visitor.example(1, 0)
    visitor.example(2, 1)
    first = visitor.picture("Result").get_attribute("src")
    page.get_by_label("32 px").uncheck()
    second = visitor.changed("Result", str(first))
    features = page.get_by_label("16 px").locator("visible=true").last  # the first is that of the rings
    features.check()
    third = visitor.changed("Result", second)
    features.uncheck()
    fourth = visitor.changed("Result", third)
    page.get_by_label("on the face alone").check()
    visitor.changed("Result", fourth)
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
    page.get_by_role("cell", name="with padding, 60 steps").wait_for(timeout=300_000)
    if os.environ.get("PADINV_TEST_SCREENSHOTS"):  # the last takes longest
        page.get_by_role("cell", name="the best: padding, 200 steps").wait_for(timeout=300_000)
    keep(visitor, "compare")
    assert visitor.complaints == []


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    """Does something again until its effect is seen: parts of the page are shown before they answer."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it has no effect"


def pull(page: Any, seen: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Pulls with the mouse over something, from one place to another, as parts of its width and height."""
    seen.scroll_into_view_if_needed()
    box = seen.bounding_box()
    (x, y), (to_x, to_y) = (
        (box["x"] + right * box["width"], box["y"] + down * box["height"]) for right, down in (start, end)
    )
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(to_x, to_y, steps=6)
    page.mouse.up()
    page.wait_for_timeout(300)


def slid(page: Any) -> float:
    """Pulls the line between the photograph and its reconstruction to a quarter; tells where it is then, in percent."""
    upper = page.locator('[data-testid="imageslider-image"].fixed:visible')
    pull(page, upper, (0.5, 0.5), (0.25, 0.5))
    style = str(upper.get_attribute("style"))
    return float(re.findall(r"clip-path: inset\(0px 0px 0px ([\d.]+)%\)", style)[0])


def painted(page: Any) -> bool:
    """Paints a stroke of the mask; tells whether it is seen."""
    canvas = page.locator("canvas:visible").first
    pull(page, canvas, (0.4, 0.62), (0.6, 0.72))
    with Image.open(io.BytesIO(canvas.screenshot())) as shot:
        colours = shot.convert("RGB").getcolors(shot.width * shot.height)
    return any(colour == (21, 101, 255) for _, colour in colours)


DRAWN = """async () => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    canvas.getContext('2d').fillRect(0, 0, 32, 64);
    return await new Promise(drawn => canvas.toBlob(drawn, 'image/png'));
}"""


def dropped(page: Any) -> None:
    files = page.evaluate_handle(
        f"""async () => {{
            const files = new DataTransfer();
            files.items.add(new File([await ({DRAWN})()], 'mine.png', {{type: 'image/png'}}));
            return files;
        }}"""
    )
    place = page.get_by_label("Drop an image file here to upload").locator("visible=true").first
    place.dispatch_event("drop", {"dataTransfer": files})


def pasted(page: Any) -> None:
    page.evaluate(f"async () => navigator.clipboard.write([new ClipboardItem({{'image/png': await ({DRAWN})()}})])")
    page.get_by_label("Paste from clipboard").locator("visible=true").first.click()


def photographed(page: Any) -> None:
    page.get_by_label("Capture from camera").locator("visible=true").first.click()
    page.get_by_text("Click to Access Webcam").locator("visible=true").click()
    # Nothing is taken before the camera's first picture is there.
    page.wait_for_function("[...document.querySelectorAll('video')].some(video => video.videoWidth)")
    page.get_by_label("capture photo").locator("visible=true").first.click()


def chosen_by_keyboard(page: Any) -> None:
    page.get_by_label("Paste from clipboard").locator("visible=true").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the first of the bundled portraits


@pytest.mark.parametrize("arrives", [dropped, pasted, photographed, chosen_by_keyboard])
def test_photographs_arrive_in_every_way(window: Any, address: str, arrives: Callable[[Any], None]) -> None:
    visitor = Visitor(window, address)
    arrives(visitor.page)
    visitor.page.get_by_text("largest error").wait_for()
    assert visitor.complaints == []


def test_what_runs_ends_with_its_photograph(window: Any, address: str) -> None:
    visitor = Visitor(window, address)
    page = visitor.page
    visitor.example(0)
    page.get_by_text("largest error").wait_for()
    visitor.open("Drag")
    page.get_by_label("Points, in pixels").fill("5,5:60,60")
    visitor.press("Drag")
    page.get_by_text("px to go").wait_for()
    visitor.open("Invert")
    page.get_by_label("number input for Steps of refinement", exact=True).fill("200")
    visitor.press("Refine")
    page.get_by_text("Step 20 of 200").wait_for()
    before = visitor.source("The photograph with a frame")
    visitor.example(1)
    visitor.changed("The photograph with a frame", before)
    page.wait_for_timeout(5000)  # rounds and steps take less
    assert page.get_by_text("of 200:").all_inner_texts() == []
    visitor.open("Drag")
    assert page.get_by_text(re.compile(r"^Step \d|^There after")).locator("visible=true").count() == 0


def test_the_face_is_found_and_framed(window: Any, address: str) -> None:
    pytest.importorskip("mtcnnruntime", reason='it finds faces: pip install "padinv[faces]"')
    visitor = Visitor(window, address)
    visitor.page.locator("input[type=file]").first.set_input_files(RAW / "A000378.jpg")
    before = str(visitor.picture("The photograph with a frame").get_attribute("src"))
    visitor.page.get_by_label("Find the face").check()
    framed = visitor.changed("The photograph with a frame", before)
    visitor.page.get_by_label("Find the face").uncheck()
    assert visitor.changed("The photograph with a frame", framed) == before


@pytest.mark.parametrize(("name", "width", "query"), [("narrow", 390, ""), ("dark", 1280, "?__theme=dark")])
def test_narrow_and_dark(window: Any, address: str, name: str, width: int, query: str) -> None:
    window.set_viewport_size({"width": width, "height": 844})
    visitor = Visitor(window, address, query)
    visitor.example(3)
    visitor.page.get_by_text("largest error").wait_for()
    keep(visitor, name)
    for tab in TABS:
        visitor.open(tab)
        visitor.page.wait_for_timeout(300)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, f"nothing sticks out of {tab}"
    assert visitor.complaints == []


GRADIOS_OWN = {"aria-prohibited-attr"}
"""An empty picture is a div with a label, "Empty value"."""


@pytest.mark.parametrize("query", ["", "?__theme=dark"])
def test_accessible_names_and_contrast(window: Any, address: str, query: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-core comes with pip install axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe

    visitor = Visitor(window, address, query)
    visitor.example(0)
    visitor.page.get_by_text("largest error").wait_for()
    serious = {}
    for tab in TABS:
        visitor.open(tab)
        visitor.page.wait_for_timeout(500)
        for each in Axe().run(visitor.page).response["violations"]:
            if each["impact"] in ("critical", "serious") and each["id"] not in GRADIOS_OWN:
                serious[tab, each["id"]] = [node["html"][:200] for node in each["nodes"]]
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


def test_eight_clients_at_once_lose_no_request(address: str) -> None:
    """For five minutes ``python benchmarks/studio.py`` does it."""
    with ThreadPoolExecutor(8) as pool:
        visits = [pool.submit(visit, Client(address), png((64, 64)), time.monotonic()) for _ in range(8)]
        requests = [request for each in visits for request in each.result()]
    assert len(requests) == 8 * 6
    assert [request for request in requests if request.lost] == []
    assert fetch(Client(address).sample(1))[1:4] == b"PNG"


def test_a_preview_takes_a_fifth_of_a_second(server: tuple[str, subprocess.Popen[str]]) -> None:
    """With all that the server does for the page, in seconds of the processor: others may want it, too.

    ``python benchmarks/studio.py`` tells them by the clock.
    """
    address, process = server
    client = Client(address)
    assert client.invert(client.upload("mine.png", png((64, 64))))["success"]
    client.change(1.0)
    before = processor_seconds(process)
    for move in range(10):
        assert client.change(0.1 * move)["success"]
    assert (processor_seconds(process) - before) / 10 < 0.2


def test_files_are_bounded_and_the_end_does_not_wait(tmp_path: Path) -> None:
    need_gradio()
    home = tmp_path / "home"
    with studio_server(home, "--stored", "2", "--upload", "2") as (address, process):
        (folder,) = (home / "tmp").glob("padinv-studio-*")
        client = Client(address)
        for number in range(4):
            client.upload(f"{number}.png", os.urandom(900_000))
            kept = [path for path in folder.glob("*/*.png") if path.stem.isdigit()]
            assert sum(path.stat().st_size for path in kept) <= 2_000_000
        assert sorted(path.stem for path in kept) == ["2", "3"], "the oldest have gone"
        assert answer_unread(address, 2_100_000).startswith("HTTP/1.1 413")
        assert client.invert(client.upload("mine.png", png((64, 64))))["success"]
        assert len(list(folder.glob("*.png"))) == 6, "the examples stay"
        client.begin(client.number("Refine", "click"), None, 200)
        events = client.events()
        next(event for event in events if event.get("msg") == "process_generating")
        events.close()  # type: ignore[attr-defined]  # a generator
    assert process.returncode == 0, "it ends while it refines"
    assert list((home / "tmp").glob("padinv-studio-*")) == []


def test_only_this_machine_and_only_its_own_files(address: str, home: Path) -> None:
    assert address.startswith("http://127.0.0.1:")
    folder = next((home / "tmp").glob("padinv-studio-*"))
    outside = ["/etc/hostname", str(Path(__file__)), f"{folder}/../../../../etc/hostname", "/proc/self/environ"]
    outside += [f"{folder}/%2e%2e/%2e%2e/%2e%2e/etc/hostname", f"{folder}/..%2f..%2f..%2fetc/hostname"]
    for path in [*outside, str(folder), "http://127.0.0.1:1/", "file:///etc/hostname"]:
        assert status(f"{address}/gradio_api/file={path}") in (403, 404), path


@pytest.mark.parametrize("path", ["/etc/hostname", "../../../etc/hostname", "http://127.0.0.1:1/a.png", "{folder}"])
def test_a_path_is_not_taken_for_an_upload(address: str, home: Path, path: str) -> None:
    folder = next((home / "tmp").glob("padinv-studio-*"))
    given = {"path": path.format(folder=folder), "meta": {"_type": "gradio.FileData"}}
    said = Client(address).invert(given)
    assert not said["success"]
    assert "root:" not in json.dumps(said)
    assert Client(address).sample(1)


def test_names_of_uploads_lead_nowhere(address: str, home: Path) -> None:
    given = Client(address).upload("../../../../escaped.png", png((40, 40)))
    assert "/tmp/padinv-studio-" in given["path"]
    assert ".." not in given["path"]
    assert [path for path in home.rglob("escaped.png") if "padinv-studio-" not in path.as_posix()] == []


def png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG")
    return file.getvalue()


def test_a_bomb_and_too_many_bytes_are_refused_and_the_server_goes_on(address: str) -> None:
    client = Client(address)
    said = client.invert(client.upload("bomb.png", png_header(50_000, 50_000)))
    assert not said["success"]
    assert "bomb.png has far more than 40 megapixels, which are the most" in json.dumps(said)
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError, ConnectionError)):
        client.upload("large.png", bytes(21_000_000))
    assert client.invert(client.upload("good.png", png((40, 40))))["success"]


def test_a_window_that_closes_while_it_refines_leaves_the_others_their_turn(address: str) -> None:
    leavers = [Client(address) for _ in range(3)]
    for client in leavers:
        assert client.invert(client.upload("mine.png", png((64, 64))))["success"]
        client.begin(client.number("Refine", "click"), None, 200)
        events = client.events()
        next(event for event in events if event.get("msg") == "process_generating")
        events.close()  # type: ignore[attr-defined]  # a generator
    start = time.monotonic()
    client = Client(address)
    assert client.invert(client.upload("mine.png", png((64, 64))))["success"]
    client.begin(client.number("Refine", "click"), None, 20)
    done = next(event for event in client.events() if event.get("msg") == "process_completed")
    assert done["success"]
    assert time.monotonic() - start < 60


def beginning(address: str, length: int) -> socket.socket:
    """A connection on which the beginning of an upload was sent, and no more."""
    host, port = address.removeprefix("http://").split(":")
    sender = socket.create_connection((host, int(port)), timeout=60)
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: {}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    sender.sendall((head + "Content-Length: {}\r\n\r\n--b\r\n").format(host, length).encode())
    return sender


def answer_unread(address: str, length: int) -> str:
    """What the server says to an upload of so many bytes before it has them."""
    with beginning(address, length) as sender:
        return sender.recv(100).decode()


def test_a_slow_visitor_keeps_nobody_waiting(address: str) -> None:
    with beginning(address, 1_000_000):
        assert Client(address).sample(5)


def test_a_picture_is_known_to_its_window_alone(address: str) -> None:
    """Nothing tells one visitor where another's files are, and where they are cannot be guessed."""
    owner, other = Client(address), Client(address)
    given = owner.upload("mine.png", png((48, 48)))
    assert owner.invert(given)["success"]
    assert len(Path(given["path"]).parent.name) == 64, "the folder is named by a SHA-256"
    assert status(f"{address}/gradio_api/file={Path(given['path']).parent}") in (403, 404)
    said = other.call(other.number("Compare", "click"), None, 20)
    assert not said["success"]
    assert "There is no photograph yet" in json.dumps(said)


def test_everything_is_written_into_the_temporary_folder(home: Path, address: str) -> None:
    """That it goes away with the server is seen to where the server ends, in ``address``."""
    fetch(address)
    assert list((home / "tmp").glob("padinv-studio-*"))
    written = [path for path in home.rglob("*") if path.is_file() and "tmp/padinv-studio-" not in path.as_posix()]
    assert [path for path in written if path.suffix != ".pyc"] == []

"""What the studio does with photographs, apart from any page."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from image_files import BROKEN, encode
from padinv import Inverter
from padinv.app import Limits, Studio, compare, drag_points, edit
from padinv.app.studio import LONGEST, SHOWN, error_map, located, picture
from padinv.exceptions import DataError, PadInvError


def test_a_photograph_becomes_a_sitting(studio: Studio, upload: Path) -> None:
    sitting = studio.invert(studio.read(upload))
    expected = studio.inverter.invert(upload)
    assert torch.equal(sitting.code.w_plus, expected.code.w_plus)
    assert sitting.inversion.crop[0].quad[0] == (10.0, 0.0)
    numbers = studio.measure(sitting.inversion.images, sitting.target)
    assert numbers["mse"] == pytest.approx(float((sitting.inversion.images - sitting.target).square().mean()), rel=1e-4)


def test_refinement_goes_on_in_rounds_and_can_end_behind_any(studio: Studio, photograph: Image.Image) -> None:
    start = studio.invert(photograph)
    rounds = list(studio.refined(start, 25))
    assert [each.rounds for each in rounds] == [1, 2], "25 steps are two rounds of 20"
    errors = [studio.measure(each.inversion.images, each.target)["mse"] for each in (start, *rounds)]
    assert errors == sorted(errors, reverse=True)
    assert start.rounds == 0
    assert len(list(studio.refined(start, 10_000))) == 2, "the limit is 40 steps"
    again = next(studio.refined(rounds[0], 20))
    torch.testing.assert_close(again.code.w_plus, rounds[1].code.w_plus)


def test_whatever_is_computed_ends_with_the_studio(studio: Studio, photograph: Image.Image) -> None:
    ending = Studio(studio.inverter, limits=studio.limits)
    sitting = ending.invert(photograph)
    works = [ending.refined(sitting, 40), drag_points(ending, sitting, "12,15:15,15"), compare(ending, sitting)]
    ending.ending.set()
    for work in works:
        with pytest.raises(PadInvError, match="The studio has ended"):
            next(work)


def test_what_is_shown(studio: Studio, photograph: Image.Image) -> None:
    sitting = studio.invert(photograph)
    assert picture(sitting.inversion.images).size == (SHOWN, SHOWN)
    frame = located(sitting)
    assert frame.size == (512, 341)
    assert frame.getpixel((85, 170)) == (232, 17, 45)  # the left edge of the square, at 10 of 60 px
    heat, most = error_map(sitting)
    assert heat.size == (SHOWN, SHOWN)
    assert 0 < most <= 2


def test_bounds_of_an_upload(studio: Studio, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(1_100_000))
    with pytest.raises(DataError, match=r"large\.bin has 1 MB, and 1 are the most: make it smaller"):
        studio.read(large)
    Image.new("1", (2000, 1500)).save(tmp_path / "wide.png")
    with pytest.raises(DataError, match=r"wide\.png has 3 megapixels, and 2 are the most: resize it"):
        studio.read(tmp_path / "wide.png")
    Image.new("RGB", (LONGEST + 100, 50), "teal").save(tmp_path / "long.png")
    assert studio.read(tmp_path / "long.png").width == LONGEST


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(40), b"GIF89a\xff\xff\xff\xff"]
)
def test_a_bad_upload_is_one_sentence(studio: Studio, tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png cannot be read"):
        studio.read(bad)
    with pytest.raises(DataError, match="There is no photograph yet"):
        studio.read(None)
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        studio.read(tmp_path / "gone.png")


def photographed(kind: str) -> bytes:
    """A photograph as people have them: upper half red, lower half blue, when it is upright."""
    upright = Image.new("RGB", (90, 60), "red")
    upright.paste("blue", (0, 30, 90, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    transparent = upright.convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize((90, 60)))
    return {
        "landscape.jpg": lambda: encode(upright, "JPEG", quality=95),
        "portrait.jpg": lambda: encode(upright.resize((60, 90)), "JPEG", quality=95),
        "turned.jpg": lambda: encode(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=95),
        "tiny.png": lambda: encode(upright.resize((8, 8))),
        "wide.png": lambda: encode(upright.resize((10_000, 60))),
        "grey.jpg": lambda: encode(upright.convert("L"), "JPEG"),
        "cmyk.jpg": lambda: encode(upright.convert("CMYK"), "JPEG", quality=95),
        "alpha.png": lambda: encode(transparent),
        "palette.png": lambda: encode(upright.convert("P")),
        "moving.gif": lambda: encode(upright, "GIF", save_all=True, append_images=[upright.rotate(180)]),
        "deep.png": lambda: encode(Image.new("I;16", (20, 20), 40_000)),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        *("landscape.jpg", "portrait.jpg", "turned.jpg", "tiny.png", "wide.png", "grey.jpg", "cmyk.jpg", "alpha.png"),
        *("palette.png", "moving.gif", "deep.png"),
    ],
)
def test_photographs_of_every_kind_give_a_picture(studio: Studio, tmp_path: Path, kind: str) -> None:
    (tmp_path / kind).write_bytes(photographed(kind))
    photograph = studio.read(tmp_path / kind)
    assert photograph.mode == "RGB"
    sitting = studio.invert(photograph)
    assert sitting.inversion.images.shape == (1, 3, 32, 32)
    assert located(sitting).size[0] > 0
    if kind in ("landscape.jpg", "portrait.jpg", "turned.jpg", "cmyk.jpg", "moving.gif"):
        red, _, blue = sitting.target[0, :, 4, 16].tolist()
        assert red > blue + 1, "it stands upright"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("text.jpg", b"not a picture" * 20, "cannot be read"),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "HEIC"),
        ("cut.jpg", BROKEN["cut.jpg"], "cannot be read"),
        ("bomb.png", BROKEN["bomb.png"], "has far more than 2 megapixels, which are the most: resize it"),
    ],
)
def test_what_is_no_photograph_is_one_clear_sentence(
    studio: Studio, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence) as refused:
        studio.read(tmp_path / name)
    text = str(refused.value)
    assert name in text
    assert "\n" not in text
    assert str(tmp_path) not in text, "a visitor is not told where files lie"


def test_a_picture_of_four_pixels_is_told(studio: Studio) -> None:
    with pytest.raises(DataError, match="it has 2×2 pixels, and the smallest photograph 8×8"):
        studio.invert(Image.new("RGB", (2, 2)))


def test_a_photograph_without_a_face(studio: Studio, photograph: Image.Image) -> None:
    blind = Inverter(
        studio.inverter.encoder,
        studio.inverter.generator,
        device="cpu",
        detector=lambda _: torch.zeros(0, 5, 2),
    )
    with pytest.raises(DataError, match=r"No face was found in the photograph: .* untick"):
        Studio(blind).invert(photograph, align=True)


def test_a_face_is_found_and_turned(studio: Studio, photograph: Image.Image) -> None:
    face = torch.tensor([[[25.0, 15.0], [35.0, 17.0], [29.0, 22.0], [24.0, 25.0], [32.0, 27.0]]])
    seeing = Studio(
        Inverter(
            studio.inverter.encoder,
            studio.inverter.generator,
            device="cpu",
            detector=lambda _: face,
        ),
        limits=studio.limits,
    )
    sitting = seeing.invert(photograph, align=True)
    expected = seeing.inverter.invert(photograph, align=True)
    assert sitting.inversion.crop == expected.crop
    assert sitting.script()[0] == 'inversion = inverter.invert("photograph.png", align=True)'
    pasted = sitting.inversion.paste(photograph)
    assert pasted.size == photograph.size


def test_the_bundled_model_and_its_portraits(tmp_path: Path) -> None:
    studio = Studio.open("congress64", "cpu", Limits(steps=20))
    assert list(studio.directions) == ["smile", "glasses", "hair", "gender", "pose", "light", "warmth", "contrast"]
    assert all(lowest < 0 < highest for lowest, highest in studio.ranges.values())
    assert studio.rings == [4, 8, 16, 32]
    paths = studio.examples(tmp_path)
    assert len(paths) == 6
    assert [studio.read(path).size for path in paths] == [(64, 64)] * 6


def test_previews_and_steps_of_a_drag_are_quick(tmp_path: Path) -> None:
    """Of the bundled model: 0.2 s for a preview, 1 s for a step, in seconds of the processor, the best of several."""
    studio = Studio.open("congress64", "cpu")
    sitting = studio.invert(studio.read(studio.examples(tmp_path)[0]))

    def preview() -> object:
        return picture(edit(studio, sitting, {"gender": 1.0, "light": -1.0}).image)

    dragging = drag_points(studio, sitting, "32,46:32,40", steps=6)
    assert min(seconds(preview) for _ in range(3)) < 0.2
    assert min(seconds(lambda: next(dragging)) for _ in range(3)) < 1.0


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def test_a_model_without_directions_takes_those_of_sefa(studio: Studio) -> None:
    again = Studio.open(studio.model, "cpu")
    assert list(again.directions) == list(studio.directions)
    assert len(again.directions) == 3
    with pytest.raises(PadInvError), warnings.catch_warnings():
        Studio.open("no-such-model", "cpu")

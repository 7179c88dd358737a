"""Each tab of the studio as a function: what it shows, and that its Python makes the same again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from padinv import Inversion
from padinv.app import (
    Shown,
    Sitting,
    Studio,
    blend_photographs,
    compare,
    drag_points,
    edit,
    mask_of,
    read_points,
    sample,
    transfer_edit,
)
from padinv.app.edits import inverted
from padinv.editing import blend
from padinv.exceptions import ConfigError, PadInvError

POINTS = "12,15:15,15; 20,8:20,9"


@pytest.fixture
def sitting(studio: Studio, photograph: Image.Image) -> Sitting:
    return next(studio.refined(studio.invert(photograph), 20))


def named(studio: Studio, photograph: Image.Image, name: str, angle: int) -> Sitting:
    return studio.invert(photograph.rotate(angle), name=name)


def dragged(studio: Studio, sitting: Sitting, **options: Any) -> Shown:
    *_, last = drag_points(studio, sitting, POINTS, steps=2, **options)
    return last


def blended(studio: Studio, photograph: Image.Image, layers: str = "") -> Shown:
    contour, details = (named(studio, photograph, name, angle) for name, angle in (("contour", 0), ("details", 180)))
    return blend_photographs(studio, contour, details, [8, 4], False, layers)


def transferred(studio: Studio, photograph: Image.Image) -> Shown:
    names = ("before", "after", "target")
    return transfer_edit(studio, *(named(studio, photograph, name, 90 * i) for i, name in enumerate(names)), 0.5, 2.0)


MAKERS: dict[str, Callable[[Studio, Sitting], Shown]] = {
    "invert": inverted,
    "edit": lambda studio, sitting: edit(studio, sitting, {"sefa-0": 1.5, "sefa-1": 0.0, "sefa-2": -2.0}),
    "edit some layers": lambda studio, sitting: edit(studio, sitting, {"sefa-1": 1.0}, "2-4", padding=False),
    "drag": dragged,
    "drag with a mask": lambda studio, sitting: dragged(studio, sitting, mask=torch.ones(32, 32), padding=False),
    "blend": lambda studio, sitting: blended(studio, sitting.photograph),
    "blend and mix": lambda studio, sitting: blended(studio, sitting.photograph, "4-"),
    "transfer": lambda studio, sitting: transferred(studio, sitting.photograph),
    "sample": lambda studio, sitting: sample(studio, 7, 0.5),
    "sample and mix": lambda studio, sitting: sample(studio, 7, 0.5, other=8, layers="3-"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_python_makes_the_same_again(
    studio: Studio, sitting: Sitting, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = MAKERS[name](studio, sitting)
    files = {path.name: path for path in shown.write(studio, tmp_path)}
    assert {"image.png", "code.safetensors", "reproduce.py"} <= set(files)
    monkeypatch.chdir(files["image.png"].parent)
    program: dict[str, Any] = {}
    exec(compile(files["reproduce.py"].read_text(encoding="utf-8"), "reproduce.py", "exec"), program)
    torch.testing.assert_close(program["code"].w_plus, shown.code.w_plus, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(program["image"], shown.image, atol=1e-3, rtol=1e-3)
    saved = Inversion.load(files["code.safetensors"], studio.inverter.generator)
    assert torch.equal(saved.code.w_plus, shown.code.w_plus)


def test_files_go_after_an_hour(studio: Studio, tmp_path: Path) -> None:
    shown = sample(studio, 1)
    first, second = (shown.write(studio, tmp_path)[0].parent for _ in range(2))
    os.utime(first, (0, 0))
    third = shown.write(studio, tmp_path)[0].parent
    assert sorted(tmp_path.iterdir()) == sorted([second, third])


def test_sliders_at_zero_change_nothing(studio: Studio, sitting: Sitting) -> None:
    shown = edit(studio, sitting, dict.fromkeys(studio.directions, 0.0))
    assert torch.equal(shown.code.w_plus, sitting.code.w_plus)
    assert shown.remarks == ()


def test_an_edit_tells_that_it_goes_too_far(studio: Studio, sitting: Sitting) -> None:
    assert "further than the direction was seen" in edit(studio, sitting, {"sefa-0": 99.0}).remarks[0]


def test_a_drag_shows_each_step(studio: Studio, sitting: Sitting) -> None:
    steps = list(drag_points(studio, sitting, POINTS, steps=3))
    assert [shown.remarks[0].split(":")[0] for shown in steps] == ["Step 0", "Step 1", "Step 2", "Step 3"]
    assert steps[0].handles == ((12.0, 15.0), (20.0, 8.0))
    assert len(list(drag_points(studio, sitting, POINTS, steps=10_000))) <= studio.limits.steps + 1


@pytest.mark.parametrize(
    ("text", "points"),
    [("", ([], [])), ("1,2", ([(1, 2)], [])), ("1,2:3,4.5", ([(1, 2)], [(3, 4.5)])), (" 1 , 2 : 3 , 4 ;", None)],
)
def test_points_are_read(text: str, points: Any) -> None:
    assert read_points(text) == (points or ([(1, 2)], [(3, 4)]))


@pytest.mark.parametrize("text", ["1", "a,b:c,d", "1,2;3,4:5,6", "1,2:3", "-1,2:3,4"])
def test_points_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="Points are handles and targets"):
        read_points(text)


@pytest.mark.parametrize(("text", "sentence"), [("", "Click on the picture"), ("3,4", "no target yet")])
def test_a_drag_without_points(studio: Studio, sitting: Sitting, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        next(drag_points(studio, sitting, text))


def test_the_mask_is_where_there_is_paint() -> None:
    painted = np.zeros((64, 64, 4), np.uint8)
    assert mask_of(None, 32) is None
    assert mask_of(painted, 32) is None
    painted[:32, :32] = (21, 101, 255, 90)
    mask = mask_of(painted, 32)
    assert mask is not None
    assert mask[:16, :16].all()
    assert mask.sum() == 16 * 16


def test_a_blend_is_that_of_the_library(studio: Studio, photograph: Image.Image) -> None:
    contour, details = (named(studio, photograph, name, angle) for name, angle in (("contour", 0), ("details", 180)))
    shown = blend_photographs(studio, contour, details, [4])
    expected = blend(contour.code, details.code, rings=[4])
    for name, tensor in expected.named_tensors().items():
        assert torch.equal(shown.code.named_tensors()[name], tensor)


def featured(studio: Studio, photograph: Image.Image, value: float, name: str) -> Sitting:
    """With features of one value, as a model with feature heads has them."""
    sitting = studio.invert(photograph, name=name)
    channels = studio.inverter.generator.code_shape.channels[8]
    code = replace(sitting.code, features={8: torch.full((1, channels, 8, 8), value)})
    return replace(sitting, inversion=replace(sitting.inversion, code=code))


@pytest.mark.parametrize(
    ("features", "face", "middle", "corner", "line"),
    [
        ([], False, 1.0, 1.0, "rings=[4], const=True)"),
        ([8], False, 0.0, 0.0, "rings=[4], const=True, features=[8])"),
        ([], True, 1.0, 0.0, "rings=[4], const=True, mask=face_mask(64))"),
    ],
)
def test_features_of_a_blend(
    studio: Studio,
    photograph: Image.Image,
    features: list[int],
    face: bool,
    middle: float,
    corner: float,
    line: str,
) -> None:
    sittings = [featured(studio, photograph, value, name) for value, name in ((0.0, "contour"), (1.0, "details"))]
    shown = blend_photographs(studio, *sittings, [4], features=features, face=face)
    assert shown.code.features is not None
    found = shown.code.features[8][0, 0]
    assert (float(found[4, 4]), float(found[0, 0])) == pytest.approx((middle, corner), abs=0.01)
    assert line in shown.script
    program: dict[str, Any] = {"contour": sittings[0].code, "details": sittings[1].code}
    lines = [each for each in shown.script.splitlines() if each.startswith(("from padinv.editing", "code = "))]
    exec("\n".join(lines), program)
    assert torch.equal(program["code"].features[8], shown.code.features[8])


def test_a_seed_is_a_face_of_its_own(studio: Studio) -> None:
    one, same, other = (sample(studio, seed) for seed in (1, 1, 2))
    assert torch.equal(one.image, same.image)
    assert not torch.equal(one.image, other.image)
    mean = sample(studio, 5, 0.0).code.w_plus
    torch.testing.assert_close(mean[0, 0], studio.inverter.generator.w_avg)
    with pytest.raises(PadInvError):
        sample(studio, 1, other=2, layers="99")


def test_padding_is_better_than_latents_alone(
    studio: Studio, sitting: Sitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("padinv.app.edits.BEST", 60)
    *_, rows = compare(studio, sitting, 20)
    errors = [numbers["mse"] for _, _, numbers in rows]
    assert errors == sorted(errors, reverse=True)
    assert [label.split(",")[0] for label, _, _ in rows] == ["W+ only", "with padding", "the best: padding"]

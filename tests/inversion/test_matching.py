"""A face that is laid into a photograph has its sharpness and grain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from padinv import Inversion
from padinv.codes import InversionCode
from padinv.images import decode, to_tensor
from padinv.inversion import centre_square, face_square, paste_back, warp
from padinv.inversion.matching import blurred, noise_level, resolution_remark, sharpness

RAW = Path(__file__).parents[1] / "data" / "raw-portraits"
ENTRIES = json.loads((RAW / "landmarks.json").read_text())


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def board(side: int, tile: int) -> Tensor:
    place = torch.arange(side) // tile
    return ((place[:, None] + place) % 2 * 1.0 - 0.5).expand(3, -1, -1)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.1])
def test_noise_is_measured_beside_edges(level: float) -> None:
    image = board(128, 16) + level * noise(1, 128, 128)
    assert noise_level(image) == pytest.approx(level, rel=0.15, abs=1e-6)


def test_sharpness_falls_with_blur_and_not_with_noise() -> None:
    sharp = board(128, 8)
    levels = [sharpness(blurred(sharp, sigma)) for sigma in (0, 0.5, 1, 2)]
    assert levels == sorted(levels, reverse=True)
    assert sharpness(blurred(sharp, 1.0) + 0.02 * noise(1, 128, 128)) == pytest.approx(levels[2], rel=0.25)


def test_grain_goes_on_in_the_face() -> None:
    photograph = 0.05 * noise(1, 128, 128).expand(3, -1, -1)
    square = centre_square((128, 128))
    plain = paste_back(photograph, torch.full((3, 16, 16), 0.4), square)
    matched = paste_back(photograph, torch.full((3, 16, 16), 0.4), square, match=True)
    middle = slice(48, 80), slice(48, 80)
    assert noise_level(plain[:, middle[0], middle[1]]) < 1e-3
    assert noise_level(matched[:, middle[0], middle[1]]) == pytest.approx(0.05, rel=0.3)
    assert matched[:, middle[0], middle[1]].mean() == pytest.approx(0.4, abs=0.02)


def test_a_face_sharper_than_its_photograph_is_blurred() -> None:
    photograph = blurred(board(128, 16), 3.0)
    square = centre_square((128, 128))
    middle = slice(40, 88), slice(40, 88)
    face = board(128, 16) * 0.9
    plain, matched = (
        paste_back(photograph, face, square, match=match)[:, middle[0], middle[1]] for match in (False, True)
    )
    wanted = sharpness(photograph[:, middle[0], middle[1]])
    assert sharpness(plain) > 3 * wanted
    assert sharpness(matched) < 1.5 * wanted


@pytest.mark.parametrize("name", ENTRIES)
def test_the_face_of_few_pixels_comes_nearer_to_its_photograph(name: str) -> None:
    """The square itself in 32 px stands for a perfect model of 32 px: with it the photograph is nearly itself."""
    photograph = to_tensor(decode((RAW / name).read_bytes()))
    crop = face_square(ENTRIES[name]["landmarks"], (256, 256))
    face = warp(photograph, crop, 32)
    plain, matched = (paste_back(photograph, face, crop, match=match) for match in (False, True))
    left, top, right, bottom = crop.box
    part = slice(top, bottom), slice(left, right)
    assert (matched - photograph).abs().mean() < 0.4 * (plain - photograph).abs().mean()
    wanted = sharpness(photograph[:, part[0], part[1]])
    assert sharpness(plain[:, part[0], part[1]]) < 0.8 * wanted
    assert sharpness(matched[:, part[0], part[1]]) == pytest.approx(wanted, rel=0.15)


def test_an_edit_stays_and_what_is_outside_stays_to_the_bit() -> None:
    photograph = to_tensor(decode((RAW / "A000378.jpg").read_bytes()))
    crop = face_square(ENTRIES["A000378.jpg"]["landmarks"], (256, 256))
    edited = paste_back(photograph, -warp(photograph, crop, 32), crop, match=True)
    left, top, right, bottom = crop.box
    outside = torch.ones(256, 256, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(edited[:, outside], photograph[:, outside])
    middle = [slice((low + high) // 2 - 20, (low + high) // 2 + 20) for low, high in ((top, bottom), (left, right))]
    coarse = F.avg_pool2d(torch.stack([edited, photograph])[:, :, middle[0], middle[1]], 8)
    assert (coarse[0] + coarse[1]).abs().mean() < 0.1
    again = paste_back(photograph, -warp(photograph, crop, 32), crop, match=True)
    assert torch.equal(again, edited)


@pytest.mark.parametrize("size", [(8, 8), (9, 40), (40, 9)])
def test_small_squares(size: tuple[int, int]) -> None:
    photograph = torch.zeros(3, size[1], size[0])
    pasted = paste_back(photograph, torch.ones(3, 16, 16), centre_square(size), match=True)
    assert pasted.isfinite().all()


def test_more_than_twice_the_resolution_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert resolution_remark(64, 32) is None
    assert "measures 65 px, and the model makes 32 px" in str(resolution_remark(65, 32))
    code = InversionCode(torch.zeros(1, 8, 4))
    inversion = Inversion(code, torch.zeros(1, 3, 16, 16), (centre_square((40, 40)),), ("a.jpg",), "none")
    inversion.paste(torch.zeros(3, 40, 40))
    assert not caplog.text
    inversion.paste(torch.zeros(3, 40, 40), match=True)
    assert "a.jpg: its face measures 40 px, and the model makes 16 px" in caplog.text

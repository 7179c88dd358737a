import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from colour_profiles import rgb_profile
from image_files import noise
from padinv.exceptions import ConfigError, DataError
from padinv.images import decode, to_tensor, upright_rgb
from padinv.inversion.alignment import Crop, centre_square, face_square, warp
from padinv.inversion.paste import paste_back, paste_into

DATA = Path(__file__).parents[1] / "data" / "raw-portraits"
ENTRIES = json.loads((DATA / "landmarks.json").read_text())


def portrait(name: str) -> tuple[Tensor, Crop]:
    photograph = to_tensor(decode((DATA / name).read_bytes()))
    return photograph, face_square(ENTRIES[name]["landmarks"], (256, 256))


def turned(angle: float, side: float, centre: tuple[float, float], size: tuple[int, int]) -> Crop:
    x = complex(math.cos(angle), math.sin(angle)) * side / 2
    c, y = complex(*centre), 1j * x
    return Crop(tuple((p.real, p.imag) for p in (c - x - y, c - x + y, c + x + y, c + x - y)), size)


def depth(crop: Crop) -> Tensor:
    """How far inside the square each pixel's centre lies, (H, W), negative outside: its distance to the edges."""
    width, height = crop.size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    upper_left, lower_left, _, upper_right = torch.tensor(crop.quad)
    place = torch.stack([x, y], dim=-1) - upper_left
    u = place @ (upper_right - upper_left) / crop.side
    v = place @ (lower_left - upper_left) / crop.side
    return torch.stack([u, crop.side - u, v, crop.side - v]).amin(dim=0)


@pytest.mark.parametrize("match", [False, True])
@pytest.mark.parametrize("centre", [(0.0, -2.0), (25.0, -2.0), (-2.0, 0.0), (-2.0, -2.0), (52.0, 20.0)])
def test_a_single_row_or_column_of_the_square_is_seen(centre: tuple[float, float], match: bool) -> None:
    photograph = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    crop = turned(0.0, 6.0, centre, (50, 40))
    left, top, right, bottom = crop.box
    assert min(right - left, bottom - top) == 1
    pasted = paste_back(photograph, torch.full((3, 16, 16), -1.0), crop, 0.0, match=match)
    assert pasted.isfinite().all()
    if not match:
        assert (pasted[:, top:bottom, left:right] == -1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_a_photograph_of_a_single_row_or_column(size: tuple[int, int]) -> None:
    photograph = torch.full((3, size[1], size[0]), 0.5)
    crop = turned(0.1, 4.0, (size[0] / 2, size[1] / 2), size)
    torch.testing.assert_close(warp(photograph, crop, 8), torch.full((3, 8, 8), 0.5))


@given(
    st.floats(-math.pi, math.pi),
    st.floats(6, 80),
    st.tuples(st.floats(-10, 60), st.floats(-10, 50)),
    st.sampled_from([0.0, 0.05, 0.1, 0.5]),
)
@settings(max_examples=30, deadline=None)
def test_away_from_the_mask_every_pixel_is_the_original(
    angle: float, side: float, centre: tuple[float, float], feather: float
) -> None:
    photograph = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = photograph.clone()
    crop = turned(angle, side, centre, (50, 40))
    pasted = paste_back(photograph, torch.full((3, 16, 16), -1.0), crop, feather)
    inside = depth(crop)
    assert torch.equal(pasted[:, inside < -1e-3], photograph[:, inside < -1e-3])
    assert torch.equal(photograph, before)
    core = inside > feather * side + 1e-3
    torch.testing.assert_close(pasted[:, core], torch.full_like(pasted[:, core], -1.0))


@pytest.mark.parametrize("name", ENTRIES)
def test_a_face_returns_to_where_it_was(name: str) -> None:
    """Two of these crops reach over the photograph's edge."""
    photograph, crop = portrait(name)
    face = warp(photograph, crop, 256)
    pasted = paste_back(photograph, face, crop)
    assert ((pasted - photograph).abs() * 127.5).mean() < 1.5
    shifted = paste_back(photograph, face.roll(2, dims=-1), crop)
    assert ((shifted - photograph).abs() * 127.5).mean() > ((pasted - photograph).abs() * 127.5).mean() * 1.5
    edited = paste_back(photograph, -face, crop)
    assert torch.equal(edited[:, depth(crop) < -1e-3], photograph[:, depth(crop) < -1e-3])
    assert (edited - photograph).abs().mean() > 0.1


def test_bytes_outside_survive_the_round_trip() -> None:
    data = (DATA / "L000557.jpg").read_bytes()
    photograph, crop = portrait("L000557.jpg")
    pasted = paste_back(photograph, torch.zeros(3, 64, 64), crop)
    pixels = ((pasted + 1) * 127.5).round().byte().permute(1, 2, 0)
    original = torch.frombuffer(bytearray(decode(data).tobytes()), dtype=torch.uint8).reshape(256, 256, 3)
    outside = depth(crop) < -1e-3
    assert outside.any()
    assert torch.equal(pixels[outside], original[outside])


def test_the_border_fades() -> None:
    photograph, face = torch.zeros(3, 100, 100), torch.ones(3, 10, 10)
    row = paste_back(photograph, face, centre_square((100, 100)), feather=0.2)[0, 50]
    assert (row[:20].diff() > 0).all()
    torch.testing.assert_close(row[20:80], torch.ones(60))
    torch.testing.assert_close(row, row.flip(0))
    assert row[0] < 0.01
    assert row[9] + row[10] == pytest.approx(1, abs=1e-5)  # half way, the face has half the weight
    sharp = paste_back(photograph, face, centre_square((100, 100)), feather=0)
    torch.testing.assert_close(sharp, torch.ones(3, 100, 100))


def test_a_finer_face_is_antialiased() -> None:
    board = (torch.arange(512)[:, None] + torch.arange(512)) % 2 * 2.0 - 1
    pasted = paste_back(torch.zeros(3, 40, 40), board.expand(3, -1, -1), centre_square((40, 40)), feather=0)
    assert pasted.abs().max() < 0.02


def test_stays_in_range() -> None:
    photograph = torch.ones(3, 50, 50)
    stripes = (torch.arange(16) // 2 % 2 * 2.4 - 1.2).expand(3, 16, 16)
    pasted = paste_back(photograph, stripes, centre_square((50, 50)))
    assert pasted.aminmax() == (-1, 1)


def test_a_square_beside_the_photograph_changes_nothing() -> None:
    photograph = torch.zeros(3, 20, 20)
    pasted = paste_back(photograph, torch.ones(3, 8, 8), turned(0.3, 10, (60, 60), (20, 20)))
    assert torch.equal(pasted, photograph)
    assert pasted is not photograph


def test_gradients_reach_the_face_and_the_photograph() -> None:
    photograph = torch.zeros(3, 40, 40, requires_grad=True)
    face = torch.zeros(3, 16, 16, requires_grad=True)
    crop = turned(0.2, 20, (20, 20), (40, 40))
    paste_back(photograph, face, crop).sum().backward()
    assert face.grad.abs().sum() > 0
    outside = depth(crop) < -1e-3
    assert torch.equal(photograph.grad[:, outside], torch.ones_like(photograph.grad[:, outside]))
    assert photograph.grad[:, 20, 20].abs().max() == 0


def test_dtype_is_the_photographs() -> None:
    photograph = torch.zeros(3, 20, 20, dtype=torch.float64)
    assert paste_back(photograph, torch.ones(3, 8, 8), centre_square((20, 20))).dtype == torch.float64


@pytest.mark.parametrize("feather", [-0.1, 0.6, math.nan])
def test_feather_out_of_range(feather: float) -> None:
    with pytest.raises(ConfigError, match="feather is a part of the square's side"):
        paste_back(torch.zeros(3, 20, 20), torch.ones(3, 8, 8), centre_square((20, 20)), feather)


@pytest.mark.parametrize("shape", [(3, 8, 9), (1, 3, 8, 8), (1, 8, 8)])
def test_what_is_no_face(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"A face to paste is \(3, R, R\)"):
        paste_back(torch.zeros(3, 20, 20), torch.ones(shape), centre_square((20, 20)))


def test_another_photograph() -> None:
    with pytest.raises(DataError, match="The crop is of a photograph of 20×20 px"):
        paste_back(torch.zeros(3, 20, 21), torch.ones(3, 8, 8), centre_square((20, 20)))


SQUARE = centre_square((48, 40))


@pytest.mark.parametrize("space", ["Display P3", "AdobeRGB", None])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pasting_into_a_photograph_of_other_colours(space: str | None, mode: str) -> None:
    """Its pixels, profile and transparency are its own; the face has the colours that it had."""
    photograph = noise((48, 40))
    if mode == "RGBA":
        photograph.putalpha(Image.fromarray(np.linspace(0, 510, 48 * 40).clip(0, 255).reshape(40, 48).astype(np.uint8)))
    if space is not None:
        photograph.info["icc_profile"] = rgb_profile(space)
    face = torch.tensor([200.0, 90, 60]).div(127.5).sub(1).reshape(3, 1, 1).expand(3, 16, 16)
    pasted = paste_into(photograph, [(face, SQUARE)])
    assert pasted.mode == mode
    assert pasted.info == photograph.info
    before, after = np.asarray(photograph), np.asarray(pasted)
    outside = depth(SQUARE).numpy() < -1e-3
    assert np.array_equal(before[outside], after[outside])
    if mode == "RGBA":
        assert np.array_equal(before[..., 3], after[..., 3])
        assert np.array_equal(before[before[..., 3] == 0], after[before[..., 3] == 0])
    expected = np.array([200, 90, 60])
    shown = np.asarray(upright_rgb(pasted), float)[10:30, 14:34]
    # On white it looks as it did when it was inverted, where enough of it is there to be as dark.
    solid = np.asarray(photograph.convert("RGBA"))[10:30, 14:34, 3] > 240
    reached = np.maximum(expected, 255 - np.asarray(photograph.convert("RGBA"))[10:30, 14:34, 3:])
    assert solid.any()
    assert np.abs(shown - reached)[solid].max() <= 4


def test_pasting_into_several_places_and_upright() -> None:
    photograph, exif = noise((40, 48)), Image.Exif()
    exif[0x0112] = 6
    photograph.info["exif"] = exif.tobytes()
    face = torch.zeros(3, 8, 8)
    left, right = turned(0.0, 10, (10, 20), (48, 40)), turned(0.3, 10, (36, 20), (48, 40))
    pasted = paste_into(photograph, [(face, left), (face, right)])
    assert pasted.size == (48, 40)
    assert not pasted.info
    assert pasted.getpixel((10, 20)) == pasted.getpixel((36, 20)) == (128, 128, 128)
    with pytest.raises(DataError, match="of a photograph of"):
        paste_into(photograph, [(face, centre_square((10, 10)))])

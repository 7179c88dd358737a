import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from padinv.exceptions import ConfigError, DataError
from padinv.images import decode, square, to_tensor
from padinv.inversion.alignment import FFHQ, PORTRAIT, Crop, Recipe, centre_square, face_square, warp

DATA = Path(__file__).parents[1] / "data" / "raw-portraits"
ENTRIES = json.loads((DATA / "landmarks.json").read_text())

UPRIGHT = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], float)
"""Eyes at a distance of 40, 40 above the mouth."""


def read(path: Path) -> Tensor:
    return to_tensor(decode(path.read_bytes()))


def smooth(height: int, width: int) -> Tensor:
    """Waves of 40 px and more."""
    y, x = torch.meshgrid(torch.arange(height) / 7.0, torch.arange(width) / 9.0, indexing="ij")
    return torch.stack([x.sin(), y.cos(), (x + y).sin()]) * 0.9


@pytest.mark.parametrize("name", ENTRIES)
def test_equals_the_reference(name: str) -> None:
    """As Pillow made it; all 40 of the collection differ by 0.66 / 255 on average, the worst by 0.83."""
    photograph = read(DATA / name)
    crop = face_square(ENTRIES[name]["landmarks"], (256, 256))
    face = warp(photograph, crop, 128)
    difference = (face - read(DATA / ENTRIES[name]["aligned"])).abs() * 127.5
    assert difference.mean() < 1
    moved = Crop(tuple((x + 0.5, y + 0.5) for x, y in crop.quad), crop.size)
    assert ((warp(photograph, moved, 128) - face).abs() * 127.5).mean() > 1  # half a pixel would be seen


def test_ffhq_constants_make_a_larger_square() -> None:
    ours, ffhq = (face_square(UPRIGHT, (128, 128), recipe) for recipe in (PORTRAIT, FFHQ))
    assert ours.side == pytest.approx(0.92 * 2 * 2.0 * 40)
    assert ffhq.side == pytest.approx(2 * 2.0 * 40)
    assert np.mean(ours.quad, axis=0) == pytest.approx([60.5, 54.5])  # eyes at 50.5, and 0.1 · 40 below
    assert np.mean(ffhq.quad, axis=0) == pytest.approx([60.5, 54.5])


@pytest.mark.parametrize(
    ("recipe", "side", "centre"),
    [
        (Recipe(eyes=3.0, scale=1.0), 240, 54.5),
        (Recipe(eyes=1.0, eyes_to_mouth=1.5, scale=1.0), 120, 54.5),
        (Recipe(shift=0.0, scale=1.0), 160, 50.5),
    ],
)
def test_every_constant_counts(recipe: Recipe, side: float, centre: float) -> None:
    crop = face_square(UPRIGHT, (128, 128), recipe)
    assert crop.side == pytest.approx(side)
    assert np.mean(crop.quad, axis=0)[1] == pytest.approx(centre)


@given(st.floats(-math.pi, math.pi), st.floats(0.5, 3), st.floats(-10, 10))
def test_the_square_moves_with_the_face(angle: float, scale: float, shift: float) -> None:
    turn = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = UPRIGHT.mean(axis=0)

    def move(points: np.ndarray) -> np.ndarray:
        return (points - middle) @ turn + middle + shift

    upright = np.array(face_square(UPRIGHT, (128, 128)).quad) - 0.5
    moved = np.array(face_square(move(UPRIGHT), (128, 128)).quad) - 0.5
    assert moved == pytest.approx(move(upright), abs=1e-2)


def test_a_head_in_profile_is_measured_by_its_height() -> None:
    profile = UPRIGHT.copy()
    profile[:, 0] = [58, 62, 50, 59, 61]
    assert face_square(profile, (128, 128), FFHQ).side == pytest.approx(2 * 1.8 * 40)


ORDERS = {"eyes": [1, 0, 2, 3, 4], "mouth": [0, 1, 2, 4, 3], "both": [1, 0, 2, 4, 3]}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@given(st.floats(-80, 80), st.floats(0.1, 1.2), st.floats(0.3, 1.5), st.floats(-12, 12))
def test_who_names_the_right_first_is_understood(
    order: list[int], angle: float, foreshortened: float, narrow: float, nose: float
) -> None:
    """However far a face looks down, up or aside, and is turned: it does not come to lie upside down."""
    face = (UPRIGHT - UPRIGHT[:2].mean(axis=0)) * [narrow, foreshortened]
    face[2, 0] += nose
    radians = math.radians(angle)
    turn = np.array([[math.cos(radians), math.sin(radians)], [-math.sin(radians), math.cos(radians)]])
    points = face @ turn + 64
    expected = face_square(points, (128, 128))
    if order == ORDERS["both"] and abs(angle) > 40:  # as if x and y were exchanged
        return
    assert np.array(face_square(points[order], (128, 128)).quad) == pytest.approx(np.array(expected.quad), abs=1e-3)
    upper_left, lower_left, *_ = (np.array(corner) for corner in expected.quad)
    assert (lower_left - upper_left) @ (np.array([0, 1]) @ turn) > 0


@pytest.mark.parametrize(
    ("landmarks", "reason"),
    [
        (UPRIGHT[:, ::-1], "give x before y"),
        (UPRIGHT * 0 + 60, "not the landmarks of a face"),
        (UPRIGHT / 128, "fractions of the photograph's sides.*x times its width 128"),
        (UPRIGHT + 200, "outside of the photograph of 128×128 px"),
        (np.stack([UPRIGHT, UPRIGHT]), "landmarks of one face"),
        (UPRIGHT * np.nan, "finite"),
        (UPRIGHT[:4], "five points"),
    ],
    ids=["y before x", "one point", "fractions", "outside", "two faces", "nan", "four points"],
)
def test_no_face(landmarks: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        face_square(landmarks, (128, 128))


def test_a_crop_is_a_value_in_plain_numbers() -> None:
    crop = face_square(UPRIGHT, (128, 100))
    again = Crop.from_dict(json.loads(json.dumps(crop.to_dict())))
    assert again == crop
    assert hash(again) == hash(crop)
    assert crop.size == (128, 100)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"quad": [[0, 0]] * 3, "size": [1, 1]},
        {"quad": [[0, 0]] * 4, "size": [8, 8]},
        {"quad": [[0, 0], [0, 8], [8, 8], [8, math.nan]], "size": [8, 8]},
        {"quad": [[0, 0], [8, 0], [8, 8], [0, 8]], "size": [8, 8]},
        {"quad": [[0, 0], [0, 8], [8, 8], [8, 0]], "size": [0, 8]},
        {"quad": [[0, 0], [0, 8], [8, 8], [8, 0]], "size": [math.inf, 8]},
        {"quad": "quad", "size": 8},
    ],
    ids=["empty", "three", "a point", "nan", "mirrored", "no photograph", "infinite", "words"],
)
def test_what_is_no_crop(values: dict[str, object]) -> None:
    with pytest.raises(DataError, match="crop"):
        Crop.from_dict(values)


@pytest.mark.parametrize(
    ("corner", "box"),
    [
        ((2.5, 3.0), (2, 3, 7, 7)),
        ((-2.0, -3.5), (0, 0, 2, 1)),
        ((8.5, 6.0), (8, 6, 10, 8)),
        ((20.0, -9.0), (10, 0, 10, 0)),
    ],
)
def test_box_stays_in_the_photograph(corner: tuple[float, float], box: tuple[int, int, int, int]) -> None:
    x, y = corner
    crop = Crop(((x, y), (x, y + 4), (x + 4, y + 4), (x + 4, y)), (10, 8))
    assert crop.box == box


@pytest.mark.parametrize("size", [(96, 96), (120, 80), (80, 121)])
def test_centre_square_is_the_one_of_images(size: tuple[int, int]) -> None:
    photograph = smooth(size[1], size[0])
    pixels = ((photograph + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    reference = to_tensor(square(Image.fromarray(pixels), 32))
    assert (warp(photograph, centre_square(size), 32) - reference).abs().max() < 0.03


def test_a_large_photograph_is_antialiased() -> None:
    board = (torch.arange(800)[:, None] + torch.arange(800)) % 2 * 2.0 - 1
    assert warp(board.expand(3, -1, -1), centre_square((800, 800)), 16).abs().max() < 0.02
    photograph = read(DATA / "R000588.jpg")
    large = photograph.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    crop = face_square(ENTRIES["R000588.jpg"]["landmarks"], (256, 256))
    enlarged = Crop(tuple((8 * x, 8 * y) for x, y in crop.quad), (2048, 2048))
    assert ((warp(large, enlarged, 64) - warp(photograph, crop, 64)).abs() * 127.5).mean() < 1


def test_the_edge_is_repeated_beyond_the_photograph() -> None:
    photograph = torch.zeros(3, 20, 20)
    photograph[:, :, 0] = 0.5
    beyond = Crop(((-30.0, 0.0), (-30.0, 20.0), (-10.0, 20.0), (-10.0, 0.0)), (20, 20))
    torch.testing.assert_close(warp(photograph, beyond, 8), torch.full((3, 8, 8), 0.5))


def test_stays_in_range() -> None:
    stripes = (torch.arange(64) // 8 % 2 * 2.0 - 1).expand(3, 64, 64)
    face = warp(stripes, centre_square((64, 64)), 24)
    assert face.aminmax() == (-1, 1)


def test_the_gradient_reaches_the_photograph() -> None:
    photograph = torch.ones(3, 256, 256, requires_grad=True)  # white, where the filter overshoots
    crop = face_square(ENTRIES["A000378.jpg"]["landmarks"], (256, 256))
    warp(photograph, crop, 64).sum().backward()
    left, top, right, bottom = crop.box
    inside = photograph.grad[:, top + 30 : bottom - 30, left + 30 : right - 30]
    # Each pixel of the photograph is seen by (64 / side)² pixels of the face.
    assert inside.min() > 0
    assert inside.mean() == pytest.approx((64 / crop.side) ** 2, rel=0.01)
    outside = photograph.grad.clone()
    outside[:, top - 8 : bottom + 8, left - 8 : right + 8] = 0
    assert not outside.any()


def test_dtype_and_channels() -> None:
    photograph = smooth(40, 50)
    crop = centre_square((50, 40))
    exact = warp(photograph.double(), crop, 16)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(warp(photograph, crop, 16).double(), exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(warp(photograph[:1], crop, 16).double(), exact[:1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "photograph",
    [torch.zeros(3, 41, 50), torch.zeros(2, 3, 40, 50), torch.zeros(3, 40, 50, dtype=torch.uint8)],
    ids=["size", "batch", "bytes"],
)
def test_a_crop_of_another_photograph(photograph: Tensor) -> None:
    with pytest.raises(DataError, match="The crop is of a photograph of 50×40 px"):
        warp(photograph, centre_square((50, 40)), 16)


def test_resolution() -> None:
    with pytest.raises(ConfigError, match="resolution must be positive"):
        warp(smooth(8, 8), centre_square((8, 8)), 0)

import pytest
import torch
from PIL import Image

from padinv.evaluation.groups import groups_of, is_grey, tone_of, typology_angle


def face(skin: tuple[int, int, int], around: tuple[int, int, int] = (20, 60, 200)) -> Image.Image:
    """A plain face between the middle of the forehead and the chin, on a background."""
    image = Image.new("RGB", (128, 128), around)
    image.paste(skin, (28, 30, 100, 118))
    return image


@pytest.mark.parametrize(
    ("skin", "group"),
    [((240, 205, 185), "light"), ((195, 140, 105), "medium"), ((190, 140, 110), "medium"), ((90, 58, 42), "dark")],
)
def test_groups_by_tone(skin: tuple[int, int, int], group: str) -> None:
    assert groups_of(face(skin)) == {"tone": group, "colour": "colour"}


def test_the_background_does_not_matter() -> None:
    assert (
        groups_of(face((240, 205, 185), (0, 0, 0)))["tone"] == groups_of(face((240, 205, 185), (255, 240, 0)))["tone"]
    )


def test_grey_photographs_have_no_tone() -> None:
    assert groups_of(face((150, 150, 150), (30, 30, 30))) == {"tone": "", "colour": "grey"}
    assert not is_grey(torch.tensor([0.2, 0.0, -0.2]).reshape(3, 1, 1).expand(3, 4, 4))


def test_angle_by_hand() -> None:
    """L* of the grey 0.5 is 53.4; b* of a colour follows from the published matrix."""
    skin = torch.tensor([200, 150, 120]).reshape(3, 1, 1) / 127.5 - 1
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 for c in (200, 150, 120)]
    y = sum(w * c for w, c in zip((0.212671, 0.715160, 0.072169), linear, strict=True))
    z = sum(w * c for w, c in zip((0.019334, 0.119193, 0.950227), linear, strict=True)) / 1.088754
    lightness, yellow = 116 * y ** (1 / 3) - 16, 200 * (y ** (1 / 3) - z ** (1 / 3))
    expected = torch.atan(torch.tensor((lightness - 50) / yellow)).rad2deg().item()
    assert typology_angle(skin.expand(3, 16, 16)) == pytest.approx(expected, abs=0.1)


def test_borders_of_groups() -> None:
    assert [tone_of(angle) for angle in (41.1, 41.0, 10.0, 9.9)] == ["light", "medium", "medium", "dark"]

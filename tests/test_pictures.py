from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from padinv.exceptions import ConfigError
from padinv.pictures import mark_points, save_picture


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    save_picture(torch.full((3, 4, 6), 0.2), tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").getpixel((0, 0)) == (51, 51, 51)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ConfigError, match=r"a\.unknown cannot be written"):
        save_picture(torch.zeros(3, 4, 6), tmp_path / "a.unknown")
    with pytest.raises(ConfigError, match=r"b\.png cannot be written"):
        save_picture(torch.zeros(3, 4, 6), tmp_path / "nowhere" / "b.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_points_are_marked_where_they_are() -> None:
    marked = mark_points(torch.zeros(3, 16, 16), [(4, 4), (12, 2)], [(4, 12)], tile=128)
    at = {name: marked[:, round((y + 0.5) * 8), round((x + 0.5) * 8)] for name, x, y in (("a", 4, 4), ("b", 4, 12))}
    assert at["a"][0] > 0.5 > at["a"][2]
    assert at["b"][2] > 0.5 > at["b"][0]
    assert (marked[:, 64, 36] == 1).all()  # the white line between
    assert marked[:, 8, 120].abs().max() < 0.01  # grey as before

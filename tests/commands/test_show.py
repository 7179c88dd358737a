from __future__ import annotations

from pathlib import Path

from command_files import Command, size


def test_show_photographs_and_codes(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    padinv("invert", photographs / "b.jpg", "-o", tmp_path / "first")
    code = tmp_path / "first" / "codes" / "b.safetensors"
    out = tmp_path / "out"
    assert padinv("show", photographs / "a.png", code, "-o", out, "--tile", 64) == 0
    # Images, the constant, the rings at 4, 8, 16 and 32 px, and the features.
    assert size(out / "grids" / "a.png") == (8 * 68 + 4, 72)
    assert size(out / "grids" / "b.png") == (7 * 68 + 4, 72)
    assert size(out / "grid.png") == (8 * 68 + 4 + 16, 2 * (72 + 28) + 8)

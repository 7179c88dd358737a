from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from padinv import Generator, InversionCode, PaddingCode
from padinv.editing import transport
from padinv.exceptions import ConfigError
from padinv.feature_maps import padded_maps
from padinv.ops import map_to_ring

CHANNELS = {4: 8, 8: 6, 16: 4}


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(16, z_dim=8, w_dim=16, mapping_layers=1, channels=CHANNELS).eval()


def make_code(batch: int = 2, features: bool = True) -> InversionCode:
    torch.manual_seed(1)
    rings = {r: torch.randn(batch, CHANNELS[r], 4 * r + 4) for r in (4, 16)}
    padding = PaddingCode(torch.randn(batch, CHANNELS[4], 4, 4), rings)
    added = {8: torch.randn(batch, CHANNELS[8], 8, 8)} if features else None
    return InversionCode(torch.randn(batch, 6, 16), padding, added)


def edit(code: InversionCode, strength: float = 0.5) -> InversionCode:
    step = torch.randn(6, 16, generator=torch.Generator().manual_seed(2))
    return replace(code, w_plus=code.w_plus + strength * step)


def inside(generator: Generator, code: InversionCode) -> dict[int, torch.Tensor]:
    """What lies inside of each ring, continued by its outermost pixels."""
    maps = {r: padded[..., 1:-1, 1:-1] for r, padded in padded_maps(generator, code).items()}
    return {r: map_to_ring(F.pad(x, (1, 1, 1, 1), mode="replicate")) for r, x in maps.items()}


@pytest.mark.parametrize("how", ["add", "scale"])
def test_no_edit_moves_nothing(generator: Generator, how: str) -> None:
    code = make_code()
    moved = transport(code, code, generator, how)
    assert all(torch.equal(moved.padding.rings[r], ring) for r, ring in code.padding.rings.items())


def test_the_distance_from_what_lies_inside_stays(generator: Generator) -> None:
    """Added: ring minus border is the same before and after, at each resolution, also behind a ring that has moved."""
    code = make_code()
    moved = transport(code, edit(code), generator)
    before, after = inside(generator, code), inside(generator, moved)
    for r in (4, 16):
        expected = code.padding.rings[r] - before[r]
        torch.testing.assert_close(moved.padding.rings[r] - after[r], expected, rtol=1e-4, atol=1e-4)


def test_scaled_it_keeps_its_size_against_what_lies_inside(generator: Generator) -> None:
    code = make_code()
    moved = transport(code, edit(code), generator, "scale")
    before, after = inside(generator, code), inside(generator, moved)
    for r in (4, 16):
        ratios = [
            one.padding.rings[r].norm(dim=(1, 2)) / border[r].norm(dim=(1, 2))
            for one, border in ((code, before), (moved, after))
        ]
        torch.testing.assert_close(*ratios, rtol=1e-4, atol=1e-4)
        directions = [F.normalize(one.padding.rings[r].flatten(1), dim=1) for one in (moved, code)]
        torch.testing.assert_close(*directions)


@pytest.mark.parametrize("how", ["add", "scale"])
def test_undoing_the_edit_brings_the_rings_back(generator: Generator, how: str) -> None:
    code = make_code()
    moved = transport(code, edit(code), generator, how)
    back = transport(moved, replace(moved, w_plus=code.w_plus), generator, how)
    for r, ring in code.padding.rings.items():
        torch.testing.assert_close(back.padding.rings[r], ring, rtol=1e-3, atol=1e-4)


def test_everything_else_and_the_generator_stay(generator: Generator) -> None:
    code = make_code()
    edited = edit(code)
    before = generator.synthesis(*code.parts)
    moved = transport(code, edited, generator)
    assert moved.w_plus is edited.w_plus
    assert moved.features[8] is edited.features[8]
    assert moved.padding.const is edited.padding.const
    assert torch.equal(generator.synthesis(*code.parts), before)
    assert not any(block.conv._forward_pre_hooks for block in generator.synthesis.blocks.values())


def test_one_code_and_many_edits(generator: Generator) -> None:
    code = make_code(1)
    edits = InversionCode.cat([edit(code, strength) for strength in (0.5, -1.0)])
    moved = transport(code, edits, generator)
    torch.testing.assert_close(moved[1].padding.rings[16], transport(code, edits[1], generator).padding.rings[16])


def test_without_rings_there_is_nothing_to_move(generator: Generator) -> None:
    bare = InversionCode(torch.randn(1, 6, 16))
    assert transport(bare, edit(bare), generator).padding is None
    const = InversionCode(bare.w_plus, PaddingCode(torch.randn(1, 8, 4, 4)))
    assert transport(const, edit(const), generator).padding is const.padding


def test_what_does_not_fit_is_named(generator: Generator) -> None:
    code = make_code()
    with pytest.raises(ConfigError, match=r"rings at \[\] and \[4, 16\] px: give one code before and after an edit"):
        transport(InversionCode(code.w_plus), code, generator)
    with pytest.raises(ConfigError, match="how must be one of add, scale, not 'multiply'"):
        transport(code, code, generator, "multiply")
    with pytest.raises(ConfigError, match="takes style latents"):
        transport(
            InversionCode(code.w_plus[:, :2], code.padding), InversionCode(code.w_plus[:, :2], code.padding), generator
        )

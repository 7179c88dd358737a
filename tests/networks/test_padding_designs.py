"""Designs of the padding branch that were not published: each an option, off by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv import Generator, InversionCode, PaddingCode, PadInvEncoder, load_encoder, load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.editing import blend, transport
from padinv.exceptions import ConfigError
from padinv.export import ExportedPair
from padinv.feature_maps import padded_maps
from padinv.inversion import refine
from padinv.networks.heads import PaddingHead
from padinv.ops import map_to_ring
from padinv.ops.modulated_conv import modulated_conv2d
from padinv.ops.resampling import fir_kernel
from padinv.ops.ring import ring_to_map

OPTIONS = ("padding_from_all_levels", "resize_to_rings", "up_rings", "style_scales_rings")


@pytest.fixture
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


def build(generator: Generator, **options: Any) -> PadInvEncoder:
    torch.manual_seed(3)
    return PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4, **options).eval()


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Zeros between the pixels, then the filter, and all that it leaves: (B, C, R, R) → (B, C, 2R + 2, 2R + 2)."""
    batch, channels, size, _ = x.shape
    spread = torch.zeros(batch, channels, 2 * size - 1, 2 * size - 1)
    spread[..., ::2, ::2] = x
    return F.conv2d(spread, 4 * kernel.expand(channels, 1, 4, 4), padding=3, groups=channels)


def test_the_upsampling_convolution_reads_a_map_of_2r_plus_2() -> None:
    """The derivation in upsampled_ring: filter first, then the turned weight without padding."""
    x, weight, style, kernel = randn(2, 5, 4, 4), randn(3, 5, 3, 3, seed=1), 1 + randn(2, 5, seed=2), fir_kernel()
    made = modulated_conv2d(x, weight, style, demodulate=False, upsample_kernel=kernel)
    wide = filtered(x * style[:, :, None, None], kernel) / 45**0.5
    assert wide.shape[-1] == 2 * 4 + 2
    torch.testing.assert_close(made, F.conv2d(wide, weight.flip(2, 3)), rtol=1e-4, atol=1e-5)
    ring = randn(2, 5, 4 * 8 + 4, seed=3)
    with_ring = modulated_conv2d(x, weight, style, demodulate=False, upsample_kernel=kernel, ring=ring)
    expected = F.conv2d(wide + ring_to_map(ring) / 45**0.5, weight.flip(2, 3))
    torch.testing.assert_close(with_ring, expected, rtol=1e-4, atol=1e-5)
    zeros = modulated_conv2d(x, weight, style, demodulate=False, upsample_kernel=kernel, ring=torch.zeros_like(ring))
    assert torch.equal(zeros, made)
    with pytest.raises(ConfigError, match=r"upsamples to 8 px has shape \(B, 5, 36\)"):
        modulated_conv2d(x, weight, style, upsample_kernel=kernel, ring=randn(2, 5, 20))


def test_a_scaled_ring_is_multiplied_as_the_inside_is() -> None:
    x, weight, style, ring = (
        randn(2, 5, 4, 4),
        randn(3, 5, 3, 3, seed=1),
        1 + randn(2, 5, seed=2),
        randn(2, 5, 20, seed=3),
    )
    scaled = modulated_conv2d(x, weight, style, ring=ring, scale_ring=True)
    torch.testing.assert_close(scaled, modulated_conv2d(x, weight, style, ring=ring * style[:, :, None]))
    assert not torch.allclose(scaled, modulated_conv2d(x, weight, style, ring=ring))


def test_resized_maps_give_each_ring_the_border_of_the_picture() -> None:
    channels = dict.fromkeys((4, 8, 16), 6)
    cropped, resized = (
        PaddingHead(6, channels, [4, 8, 16], depth=0, heads=False, resize=resize) for resize in (False, True)
    )
    level = randn(1, 6, 8, 8)
    _, published, _ = cropped(level)
    const, rings, _ = resized(level)
    torch.testing.assert_close(rings[16], published[16])  # the largest ring is the border in both
    assert not torch.allclose(rings[4], published[4])
    for r, ring in rings.items():
        corners = ring[..., [0, r + 1, -r - 2, -1]]  # with aligned corners those of the map itself
        torch.testing.assert_close(corners, level[..., [0, 0, -1, -1], [0, -1, 0, -1]])
    torch.testing.assert_close(const[..., 0, 0], level[..., 0, 0])
    torch.testing.assert_close(
        rings[8], map_to_ring(F.interpolate(level, (10, 10), mode="bicubic", align_corners=True))
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_the_image_is_saved_and_told_by_the_fingerprint(
    option: str, generator: Generator, tmp_path: Path
) -> None:
    plain, other = build(generator), build(generator, **{option: True})
    assert not any(plain.config[name] for name in OPTIONS)
    images = randn(2, 3, 32, 32)
    with torch.no_grad():
        for encoder in (plain, other):
            assert encoder.padding_head is not None
            for head in encoder.padding_head.outputs():
                nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
        codes = [encoder(images) for encoder in (plain, other)]
        made = [generator.synthesis(*code.parts) for code in codes]
    assert not torch.allclose(*made)
    assert fingerprint(plain) != fingerprint(other)
    loaded = load_encoder(save_network(other, tmp_path / "encoder.safetensors"))
    assert loaded.config == other.config
    with torch.no_grad():
        again = loaded.eval()(images)
    assert list(again.named_tensors()) == list(codes[1].named_tensors())
    assert all(torch.equal(tensor, again.named_tensors()[name]) for name, tensor in codes[1].named_tensors().items())


def rings(scaled: bool, up: bool = True) -> PaddingCode:
    up_rings = {8: randn(2, 12, 36, seed=1)} if up else {}
    return PaddingCode(randn(2, 12, 4, 4), {4: randn(2, 12, 20), 8: randn(2, 10, 36)}, up_rings, scaled)


@pytest.mark.parametrize("scaled", [False, True])
def test_codes_keep_their_kinds_of_rings(scaled: bool, generator: Generator) -> None:
    code = InversionCode(randn(2, 8, 16), rings(scaled))
    named = code.named_tensors()
    before = "scaled_" if scaled else ""
    assert list(named) == ["w_plus", "const", f"{before}ring_4", f"{before}ring_8", f"{before}up_ring_8"]
    for same in (InversionCode.from_named_tensors(named), code[:], InversionCode.cat([code[0], code[1]]), code.clone()):
        assert same.padding is not None
        assert same.padding.scaled is scaled
        assert list(same.named_tensors()) == list(named)
    with torch.no_grad():
        for again in (code.lerp(code, 0.5), refine(code, generator, torch.zeros(2, 3, 32, 32), 1)):
            assert list(again.named_tensors()) == list(named)
    with pytest.raises(ConfigError, match=r"different parts: .* for upsampling, at "):
        code.lerp(InversionCode(code.w_plus, rings(scaled, up=False)), 0.5)
    with pytest.raises(ConfigError, match="scaled by the style"):
        code.lerp(InversionCode(code.w_plus, rings(not scaled)), 0.5)
    with pytest.raises(ConfigError, match="for the upsampling to 8 px"):
        generator.synthesis(code.w_plus, PaddingCode(None, {}, {8: randn(2, 5, 36)}))


def test_blending_takes_them_along() -> None:
    one, two = (InversionCode(randn(2, 8, 16), rings(True)).map(lambda t, v=value: t * 0 + v) for value in (1.0, 2.0))
    blended = blend(one, two, rings=[4], const=False).named_tensors()
    assert {name: float(tensor.mean()) for name, tensor in blended.items()} == {
        "w_plus": 2.0,
        "const": 2.0,
        "scaled_ring_4": 1.0,
        "scaled_ring_8": 2.0,
        "scaled_up_ring_8": 2.0,
    }
    with pytest.raises(ConfigError, match="scales the rings of one code and not of the other"):
        blend(one, InversionCode(two.w_plus, rings(False)))


def test_edits_carry_rings_along_and_leave_those_of_the_upsampling(generator: Generator) -> None:
    code = InversionCode(randn(2, 8, 16), rings(False))
    moved = transport(code, InversionCode(code.w_plus + 1, code.padding), generator).padding
    assert moved is not None
    assert code.padding is not None
    assert not torch.allclose(moved.rings[4], code.padding.rings[4])
    assert torch.equal(moved.up_rings[8], code.padding.up_rings[8])
    scaled = InversionCode(code.w_plus, rings(True))
    with pytest.raises(ConfigError, match="they move with an edit already"):
        transport(scaled, scaled, generator)


def test_drawn_maps_show_what_the_convolution_reads(generator: Generator) -> None:
    w_plus = randn(2, 8, 16)
    plain, scaled = (padded_maps(generator, InversionCode(w_plus, rings(s, up=False)))[4] for s in (False, True))
    style = generator.synthesis.blocks["4"].conv.style(w_plus[:, 0])  # type: ignore[union-attr,operator]
    torch.testing.assert_close(map_to_ring(scaled), map_to_ring(plain) * style[:, :, None])
    torch.testing.assert_close(scaled[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])


@pytest.mark.parametrize("option", ["up_rings", "style_scales_rings"])
def test_the_backend_that_cannot_run_them_says_so(option: str, generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="onnxruntime does not run generators for encoders with up_rings"):
        ExportedPair(build(generator, **{option: True}), generator, tmp_path)


def test_rings_of_two_widths_need_heads(generator: Generator) -> None:
    with pytest.raises(ConfigError, match="up_rings need padding_heads"):
        build(generator, up_rings=True, padding_heads=False)

"""Feature heads that see the photograph itself beside the pyramid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from padinv import Generator, PadInvEncoder, load_encoder, load_generator
from padinv.checkpoints import save_network
from padinv.exceptions import ConfigError
from padinv.networks import encode
from padinv.networks.backbone import Conv3x3


@pytest.fixture(scope="module")
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


def build(generator: Generator, **options: Any) -> PadInvEncoder:
    torch.manual_seed(3)
    options = {"feature_resolutions": [8], "feature_pixels": True, **options}
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4, **options)
    for head in encoder.feature_heads.values():
        nn.init.normal_(head.output.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    return encoder.eval()


@torch.no_grad()
def test_heads_see_every_pixel_where_it_lies(generator: Generator) -> None:
    encoder = build(generator)
    conv = encoder.feature_heads["8"].convs[0]  # type: ignore[index,union-attr]
    conv.weight[:, :-48] = 0  # the pyramid is not seen: what is left depends on near pixels alone
    images = torch.zeros(1, 3, 32, 32)
    still = encoder(images).features[8]  # type: ignore[index]
    for y, x in [(0, 0), (17, 30), (31, 5)]:
        touched = images.clone()
        touched[:, 1, y, x] = 1
        (moved,) = (encoder(touched).features[8] - still).abs().sum(1)  # type: ignore[index]
        assert moved[y // 4, x // 4] > 0
        distance = moved.nonzero() - torch.tensor([y // 4, x // 4])
        assert distance.abs().max() <= 3  # three 3×3 convolutions


@pytest.mark.parametrize("resolutions", [[4], [8, 16], [32]])
@pytest.mark.parametrize("more", [{}, {"feature_fusion": True}, {"passes": 2}])
@torch.no_grad()
def test_features_of_any_size(generator: Generator, resolutions: list[int], more: dict[str, Any]) -> None:
    encoder = build(generator, feature_resolutions=resolutions, **more)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    code = encode(encoder, images, lambda code: generator.synthesis(*code.parts), generator.synthesis)
    channels = generator.code_shape.channels
    assert {r: tuple(x.shape) for r, x in code.features.items()} == {  # type: ignore[union-attr]
        r: (2, channels[r], r, r) for r in resolutions
    }


@torch.no_grad()
def test_a_saved_encoder_comes_back(generator: Generator, tmp_path: Path) -> None:
    encoder = build(generator)
    save_network(encoder, tmp_path / "encoder.safetensors")
    images = torch.zeros(1, 3, 32, 32)
    loaded = load_encoder(str(tmp_path / "encoder.safetensors"))
    assert torch.equal(loaded(images).features[8], encoder(images).features[8])  # type: ignore[index]


def test_pixels_are_for_features(generator: Generator) -> None:
    with pytest.raises(ConfigError, match="feature_pixels is for features: name some feature_resolutions"):
        build(generator, feature_resolutions=[])


@pytest.mark.parametrize("size", [16, 2])  # by Winograd's algorithm, where there is a CPU for it, and by torch's
def test_wide_heads_have_the_gradients_of_a_plain_convolution(size: int) -> None:
    torch.manual_seed(0)
    conv, x = Conv3x3(128, 128, bias=True), torch.randn(8, 128, size, size, requires_grad=True)
    nn.init.normal_(conv.bias)  # type: ignore[arg-type]
    found = torch.autograd.grad(conv(x).square().sum(), [x, conv.weight, conv.bias])  # type: ignore[list-item]
    plain = nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    expected = torch.autograd.grad(plain.square().sum(), [x, conv.weight, conv.bias])  # type: ignore[list-item]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())

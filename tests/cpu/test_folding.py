from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from padinv import Generator, InversionCode, PadInvEncoder
from padinv.cpu import fold
from padinv.cpu.winograd import winograd_pays
from padinv.networks.backbone import Conv3x3
from padinv.networks.synthesis import StyleConv

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 128}
"""At 32 px wide enough for Winograd's algorithm."""


@pytest.fixture(params=[None])
def generator(request: pytest.FixtureRequest) -> Generator:
    torch.manual_seed(0)
    generator = Generator(32, z_dim=8, w_dim=16, mapping_layers=1, channels=CHANNELS, conv_clamp=request.param)
    for layer in generator.modules():
        if isinstance(layer, StyleConv):
            nn.init.constant_(layer.noise_strength, 0.1)
            nn.init.normal_(layer.bias)
    return generator.requires_grad_(False).eval().to(memory_format=torch.channels_last)


@pytest.fixture
def encoder(generator: Generator) -> PadInvEncoder:
    torch.manual_seed(1)
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4, feature_resolutions=[8, 32])
    encoder(torch.randn(8, 3, 32, 32))  # gives BatchNorm something to fold
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias), nn.init.normal_(layer.weight)
    for head in encoder.feature_heads.values():
        nn.init.normal_(head.output.weight, std=0.1), nn.init.normal_(head.output.bias)
    return encoder.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def assert_same(actual: InversionCode, expected: InversionCode, tolerance: float) -> None:
    for name, tensor in expected.named_tensors().items():
        difference = (actual.named_tensors()[name] - tensor).abs().max()
        assert difference < tolerance * tensor.abs().max(), name


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("count", [1, 3])
@torch.inference_mode()
def test_encoder(encoder: PadInvEncoder, count: int, dtype: torch.dtype | None, tolerance: float) -> None:
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    expected = encoder(images(count))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
        assert_same(fold(encoder, dtype)(images(count)), expected, tolerance)
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize(("generator", "count"), [(None, 1), (None, 3), (0.5, 1)], indirect=["generator"])
@torch.inference_mode()
def test_generator(
    generator: Generator, encoder: PadInvEncoder, count: int, dtype: torch.dtype, tolerance: float
) -> None:
    code = encoder(images(count))
    conv = generator.synthesis.blocks["32"].conv
    assert winograd_pays(torch.zeros(count, 128, 34, 34), conv.weight)
    expected = generator.synthesis(*code.parts)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
        actual = fold(generator, dtype).synthesis(*code.parts)
    assert (actual - expected).abs().max() < tolerance * expected.abs().max()


def test_what_is_folded_and_what_is_shared(encoder: PadInvEncoder, generator: Generator) -> None:
    folded = fold(encoder)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules()) == sum(
        isinstance(layer, nn.BatchNorm2d) and ".norm1" in name for name, layer in encoder.named_modules()
    )
    assert folded.style_heads[0].convs[0].weight is encoder.style_heads[0].convs[0].weight
    conv = fold(generator).synthesis.blocks["32"].conv
    assert conv.weight is generator.synthesis.blocks["32"].conv.weight
    assert generator.synthesis.blocks["32"].conv.frozen is None
    assert conv.frozen is not None
    assert conv.frozen.transformed is not None


def test_weights_are_cast_once(encoder: PadInvEncoder) -> None:
    convs = [layer for layer in fold(encoder, torch.bfloat16).modules() if isinstance(layer, nn.Conv2d)]
    assert {conv.weight.dtype for conv in convs} == {torch.bfloat16}
    assert all(conv.transformed is None for conv in convs if isinstance(conv, Conv3x3))


@pytest.mark.slow
def test_no_graph_breaks(encoder: PadInvEncoder, generator: Generator) -> None:
    """As without folding: tests/networks."""
    encode, synthesize = (
        torch.compile(network, fullgraph=True, backend="aot_eager")
        for network in (fold(encoder), fold(generator).synthesis)
    )
    with torch.inference_mode():
        code = encoder(images(2))
        assert_same(encode(images(2)), code, 1e-5)
        expected = generator.synthesis(*code.parts)
        assert (synthesize(*code.parts) - expected).abs().max() < 1e-5 * expected.abs().max()

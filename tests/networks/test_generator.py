from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from padinv import Discriminator, Generator, PaddingCode
from padinv.exceptions import ConfigError


def tiny(resolution: int = 16) -> Generator:
    torch.manual_seed(0)
    channels = {r: 8 for r in (4, 8, 16, 32, 64, 128, 256, 512, 1024) if r <= resolution}
    return Generator(resolution, z_dim=12, w_dim=16, mapping_layers=2, channels=channels).eval()


def padding_for(generator: Generator, batch: int = 1, resolutions: tuple[int, ...] = (4, 8)) -> PaddingCode:
    channels = generator.synthesis.channels
    return PaddingCode(
        torch.randn(batch, channels[4], 4, 4), {r: torch.randn(batch, channels[r], 4 * r + 4) for r in resolutions}
    )


@pytest.mark.parametrize("resolution", [8, 16, 64, 1024])
def test_sizes(resolution: int) -> None:
    generator = tiny(resolution)
    assert generator.num_layers == 2 * (resolution.bit_length() - 1) - 2
    if resolution <= 64:
        assert generator(torch.randn(2, 12)).shape == (2, 3, resolution, resolution)


@pytest.mark.parametrize("resolutions", [(4,), (16,), (4, 16), (4, 8, 16)])
def test_padding_at_any_set_of_resolutions_changes_the_image(resolutions: tuple[int, ...]) -> None:
    generator = tiny()
    w_plus = torch.randn(1, generator.num_layers, 16)
    rings = PaddingCode(None, padding_for(generator, 1, resolutions).rings)
    assert not torch.allclose(generator.synthesis(w_plus, rings), generator.synthesis(w_plus))


def test_learned_constant_and_zero_rings_are_no_padding() -> None:
    generator = tiny()
    w_plus = torch.randn(2, generator.num_layers, 16)
    rings = {r: torch.zeros(2, 8, 4 * r + 4) for r in (4, 8, 16)}
    padded = generator.synthesis(w_plus, PaddingCode(generator.synthesis.const.expand(2, -1, -1, -1), rings))
    torch.testing.assert_close(padded, generator.synthesis(w_plus), rtol=1e-5, atol=1e-6)


def test_the_code_is_not_written_to() -> None:
    generator = tiny()
    padding = padding_for(generator).requires_grad_()
    before = padding.clone()
    generator.synthesis(torch.randn(1, generator.num_layers, 16), padding).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(padding.tensors(), before.tensors(), strict=True))
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in padding.tensors())


def test_one_padding_for_a_batch() -> None:
    generator = tiny()
    padding, w_plus = padding_for(generator), torch.randn(3, generator.num_layers, 16)
    together = generator.synthesis(w_plus, padding.expand(3))
    torch.testing.assert_close(together[1:2], generator.synthesis(w_plus[1:2], padding), rtol=1e-4, atol=1e-5)


def test_noise_modes() -> None:
    generator = tiny()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    w_plus = torch.randn(1, generator.num_layers, 16)
    const, none = (generator.synthesis(w_plus, noise=noise) for noise in ("const", "none"))
    assert torch.equal(generator.synthesis(w_plus), const)
    assert not torch.allclose(const, none)
    first, second = (generator.synthesis(w_plus, noise="random") for _ in range(2))
    assert not torch.allclose(first, second)


def test_truncation() -> None:
    generator = tiny()
    generator.w_avg.normal_()
    w = generator.mapping(torch.randn(2, 12))
    torch.testing.assert_close(generator.truncate(w, 0.0), generator.w_avg.expand(2, -1))
    torch.testing.assert_close(generator.truncate(w, 0.25), generator.w_avg + 0.25 * (w - generator.w_avg))
    w_plus = generator.broadcast(w)
    coarse = generator.truncate(w_plus, 0.0, truncation_cutoff=2)
    assert torch.equal(coarse, generator.truncate(w_plus, 0.0, layers=2))
    torch.testing.assert_close(coarse[:, 1], generator.w_avg.expand(2, -1))
    torch.testing.assert_close(coarse[:, 2:], w_plus[:, 2:])


def test_bfloat16_autocast_keeps_a_full_precision_image() -> None:
    generator = tiny(64)
    w_plus = torch.randn(1, generator.num_layers, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = generator.synthesis(w_plus, padding_for(generator))
    assert half.dtype == torch.float32
    assert half.isfinite().all()


@pytest.mark.slow
def test_compiles_without_graph_breaks() -> None:
    generator = tiny()
    padding, w_plus = padding_for(generator), torch.randn(1, generator.num_layers, 16)
    compiled = torch.compile(generator.synthesis, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(w_plus, padding), generator.synthesis(w_plus, padding), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Generator(96), "power of two from 8 to 1024, not 96"),
        (lambda: Generator(2048), "not 2048"),
        (lambda: Generator(16, channels={4: 8, 16: 8}), r"from 4 to 16 px once, not \[4, 16\]"),
        (lambda: tiny().synthesis(torch.zeros(1, 5, 16)), r"\(B, 6, 16\), not \(1, 5, 16\)"),
        (
            lambda: tiny().synthesis(torch.zeros(1, 6, 16), PaddingCode(None, {32: torch.zeros(1, 8, 132)})),
            "8 channels at 32 px, but this generator has channels {4: 8, 8: 8, 16: 8}",
        ),
        (
            lambda: tiny().synthesis(torch.zeros(1, 6, 16), PaddingCode(None, {4: torch.zeros(1, 9, 20)})),
            "9 channels at 4 px",
        ),
        (
            lambda: tiny().synthesis(torch.zeros(1, 6, 16), PaddingCode(torch.zeros(1, 5, 4, 4))),
            "constant of 5 channels",
        ),
    ],
)
def test_what_does_not_fit_is_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_are_contiguous_whatever_the_layout_of_the_weights(memory_format: torch.memory_format) -> None:
    generator = Generator(16, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 4})
    images = generator.to(memory_format=memory_format)(torch.randn(2, 8))
    assert images.is_contiguous()


class Bounded(TorchFunctionMode):
    """Clamps what each activation of a plain generator gives."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound, self.bitten = bound, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.leaky_relu and result.ndim == 4:
            self.bitten += int((result.abs() > self.bound).sum())
            result = torch.where(
                result > self.bound, self.bound, torch.where(result < -self.bound, -self.bound, result)
            )
        return result


@pytest.mark.parametrize("gradients", [False, True])
def test_activations_are_clamped(gradients: bool) -> None:
    generator = tiny()
    clamped = Generator(**{**generator.config, "conv_clamp": 0.5}).eval()
    clamped.load_state_dict(generator.state_dict())
    w_plus, padding = torch.randn(2, generator.num_layers, 16), padding_for(generator, 2)
    for block in generator.synthesis.blocks.values():
        block.to_rgb.register_forward_hook(lambda _, __, rgb: rgb.clamp(-0.5, 0.5))
    with torch.set_grad_enabled(gradients):
        with Bounded(0.5) as mode:
            expected = generator.synthesis(w_plus, padding)
        assert mode.bitten > 100
        actual = clamped.synthesis(w_plus, padding)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    if gradients:
        for image in (actual, expected):
            image.square().sum().backward()
        torch.testing.assert_close(clamped.synthesis.const.grad, generator.synthesis.const.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bound", [0, -1.0, float("inf"), float("nan"), True, "256"])
def test_a_bound_is_a_positive_number(bound: Any) -> None:
    for network in (Generator, Discriminator):
        with pytest.raises(ConfigError, match="conv_clamp must be a positive number, or None"):
            network(8, channels={4: 4, 8: 4}, conv_clamp=bound)


def features_for(
    generator: Generator, batch: int = 1, resolutions: tuple[int, ...] = (8, 16)
) -> dict[int, torch.Tensor]:
    return {r: torch.randn(batch, generator.synthesis.channels[r], r, r) for r in resolutions}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gradients", [True, False])
def test_zero_features_are_none_bit_for_bit(layout: Any, dtype: torch.dtype, gradients: bool) -> None:
    generator = tiny(32).to(memory_format=layout)
    padding, w_plus = padding_for(generator, 2), torch.randn(2, generator.num_layers, 16)
    zeros = {r: torch.zeros_like(residual) for r, residual in features_for(generator, 2, (4, 8, 16, 32)).items()}
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), torch.set_grad_enabled(gradients):
        expected = generator.synthesis(w_plus, padding)
        assert torch.equal(generator.synthesis(w_plus, padding, zeros), expected)
        assert torch.equal(generator.synthesis(w_plus, padding, {}), expected)


@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_features_are_added_to_what_their_block_gives(resolution: int) -> None:
    """By hand: the output of the stride-1 convolution is changed on its way to toRGB and the next block."""
    generator = tiny()
    w_plus, features = torch.randn(2, generator.num_layers, 16), features_for(generator, 2, (resolution,))
    actual = generator.synthesis(w_plus, features=features)
    conv = generator.synthesis.blocks[str(resolution)].conv
    handle = conv.register_forward_hook(lambda *arguments: arguments[-1] + features[resolution])
    expected = generator.synthesis(w_plus)
    handle.remove()
    torch.testing.assert_close(actual, expected)
    assert not torch.allclose(actual, generator.synthesis(w_plus))


def test_features_are_not_written_to_and_learn() -> None:
    generator = tiny()
    features = {r: residual.requires_grad_() for r, residual in features_for(generator).items()}
    before = {r: residual.clone() for r, residual in features.items()}
    generator.synthesis(torch.randn(1, generator.num_layers, 16), None, features).sum().backward()
    assert all(torch.equal(features[r], before[r]) and features[r].grad.abs().sum() > 0 for r in features)


def test_edits_move_what_is_below_and_above_the_features() -> None:
    """The residual stays what it is; what the block itself makes of edited latents changes under it."""
    generator = tiny()
    w_plus, features = torch.randn(1, generator.num_layers, 16), features_for(generator, 1, (16,))
    outputs: list[torch.Tensor] = []
    handle = generator.synthesis.blocks["16"].conv.register_forward_hook(
        lambda *arguments: outputs.append(arguments[-1])
    )
    plain, residual = generator.synthesis(w_plus), generator.synthesis(w_plus, None, features)
    edited, both = generator.synthesis(w_plus + 1), generator.synthesis(w_plus + 1, None, features)
    handle.remove()
    assert torch.equal(outputs[0], outputs[1])  # the sum is made behind it
    assert torch.equal(outputs[2], outputs[3])
    assert not torch.allclose(outputs[0], outputs[2])
    assert not torch.allclose(residual, both)
    assert not torch.allclose(residual - plain, both - edited)  # toRGB is of the edited latents


def test_compiles_with_features_without_graph_breaks() -> None:
    generator = tiny()
    features, w_plus = features_for(generator), torch.randn(1, generator.num_layers, 16)
    compiled = torch.compile(generator.synthesis, fullgraph=True, backend="aot_eager")
    expected = generator.synthesis(w_plus, None, features)
    torch.testing.assert_close(compiled(w_plus, None, features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({8: torch.zeros(1, 5, 8, 8)}, r"features at 8 px have shape \(1, 5, 8, 8\).* channels {4: 8, 8: 8, 16: 8}"),
        ({32: torch.zeros(1, 8, 32, 32)}, "features at 32 px"),
        ({8: torch.zeros(1, 8, 4, 4)}, "takes .B, C, 8, 8."),
        ("none", "tensors by resolution, {R: .*}, not 'none'"),
    ],
)
def test_features_that_do_not_fit_are_named(features: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny().synthesis(torch.zeros(1, 6, 16), None, features)

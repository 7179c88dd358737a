"""Feature heads that see the generator's own features, as SFE's fuser and StyleRes do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from padinv import Generator, InversionCode, Inverter, PadInvEncoder, load_encoder, load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.exceptions import ConfigError
from padinv.export.parts import encoder_part, joined_part
from padinv.networks import encode


@pytest.fixture(scope="module")
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


def build(generator: Generator, **options: Any) -> PadInvEncoder:
    torch.manual_seed(3)
    encoder = PadInvEncoder(
        generator.code_shape,
        resolution=32,
        depth=18,
        width=4,
        w_avg=generator.w_avg,
        feature_resolutions=[8],
        **options,
    )
    nn.init.normal_(encoder.feature_heads["8"].output.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    return encoder.eval()


def encoded(encoder: PadInvEncoder, generator: Generator, images: Tensor) -> InversionCode:
    return encode(encoder, images, lambda code: generator.synthesis(*code.parts), generator.synthesis)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.no_grad()
def test_maps_are_what_features_are_added_to(generator: Generator) -> None:
    channels = generator.code_shape.channels
    w_plus = generator.w_avg.expand(2, generator.num_layers, -1)
    features = {8: torch.randn(2, channels[8], 8, 8)}
    plain = generator.synthesis.maps([4, 8], w_plus)
    moved = generator.synthesis.maps([4, 8], w_plus, None, features)
    assert torch.equal(moved[4], plain[4])
    assert torch.equal(moved[8], plain[8] + features[8])
    counted: list[str] = []
    hooks = [
        block.register_forward_hook(lambda *_, name=name: counted.append(name))
        for name, block in generator.synthesis.blocks.items()
    ]
    generator.synthesis.maps([8], w_plus)
    for hook in hooks:
        hook.remove()
    assert counted == ["4", "8"]  # the blocks above are not computed
    with pytest.raises(ConfigError, match=r"maps of \[128\] px, but this generator has layers at \[4, 8, 16, 32\] px"):
        generator.synthesis.maps([128], w_plus)


@torch.no_grad()
def test_heads_see_what_the_latents_and_the_padding_make(generator: Generator, images: Tensor) -> None:
    encoder = build(generator, feature_fusion=True)
    seen: list[Tensor] = []
    hook = encoder.feature_heads["8"].register_forward_hook(lambda _, args, result: seen.append(args[1]))
    code = encoded(encoder, generator, images)
    hook.remove()
    (expected,) = generator.synthesis.maps([8], code.w_plus, code.padding).values()
    torch.testing.assert_close(seen[0], expected)
    brighter = replace(code, w_plus=code.w_plus + 1)
    assert not torch.allclose(generator.synthesis.maps([8], *brighter.parts[:2])[8], expected)
    plain = build(generator)
    assert torch.equal(plain(images).w_plus, code.w_plus)  # latents and padding do not depend on it
    assert encoder.feature_heads["8"].convs[0].weight.shape[1] == 32 + generator.code_shape.channels[8]


@torch.no_grad()
def test_in_several_passes_they_see_the_code_so_far(generator: Generator, images: Tensor) -> None:
    encoder = build(generator, feature_fusion=True, passes=2)
    seen: list[Tensor] = []
    encoder.feature_heads["8"].register_forward_hook(lambda _, args, result: seen.append(args[1]))
    code = encoded(encoder, generator, images)
    first = encoder(images, torch.zeros_like(images), synthesis=generator.synthesis)
    assert len(seen) == 3
    assert first.feature_resolutions == code.feature_resolutions == [8]
    assert not torch.allclose(seen[1], seen[0])


def test_it_learns_and_passes_no_gradient_to_the_generator(generator_file: str, images: Tensor) -> None:
    generator = load_generator(generator_file).requires_grad_()
    encoder = build(generator, feature_fusion=True).train()
    code = encoder(images, synthesis=generator.synthesis)
    assert code.features is not None
    code.features[8].square().mean().backward()
    assert all(parameter.grad is None for parameter in generator.parameters())
    first = encoder.feature_heads["8"].convs[0].weight.grad
    assert first[:, 32:].abs().sum() > 0  # those that read the generator
    assert encoder.style_heads[0].linear.weight.grad is None


def test_the_inverter_files_and_exports_know_it(generator: Generator, images: Tensor, tmp_path: Path) -> None:
    encoder = build(generator, feature_fusion=True)
    loaded = load_encoder(save_network(encoder, tmp_path / "encoder.safetensors"))
    assert fingerprint(loaded) == fingerprint(encoder) != fingerprint(build(generator))
    with torch.no_grad():
        expected = encoded(encoder, generator, images)
        inverter = Inverter(loaded, generator, device="cpu")
        exported = joined_part(encoder, generator).module(images)
    for name, tensor in expected.named_tensors().items():
        torch.testing.assert_close(inverter.encode(images).named_tensors()[name], tensor, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(exported[name], tensor, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="feature_fusion looks into the generator: export both, --part both"):
        encoder_part(encoder, generator)


def test_wrong_calls_say_what_to_use(generator: Generator, images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"feature_fusion needs the generator: use an Inverter, or padinv\.networks"):
        build(generator, feature_fusion=True)(images)
    with pytest.raises(ConfigError, match="name some feature_resolutions"):
        PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4, feature_fusion=True)

"""Our networks compute what the published implementation computes, at full size, through the loaders."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus

from conformance import GRADIENT, assert_agrees, make_input, published_output, published_state
from padinv import Generator, PaddingCode, PadInvEncoder, load_discriminator, load_encoder, load_generator
from padinv.cpu import fold
from padinv.ops.ring import map_to_ring

RINGS = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    path = tmp_path_factory.mktemp("generator") / "published.pth"
    torch.save({"models": {"generator_smooth": published_state("generator")}}, path)
    return load_generator(path)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> PadInvEncoder:
    path = tmp_path_factory.mktemp("encoder") / "published.pth"
    torch.save({"models": {"encoder": published_state("encoder"), "generator": {"w_avg": generator.w_avg}}}, path)
    encoder = load_encoder(path)
    path.unlink()
    return encoder


def padding_inputs() -> PaddingCode:
    maps = {r: make_input(f"padding/{r}", (1, 512, r + 2, r + 2), 0.5) for r in RINGS}
    return PaddingCode.from_maps(make_input("padding/const", (1, 512, 4, 4), 0.5), maps)


def test_mapping(generator: Generator, device: torch.device) -> None:
    published = published_output("generator")
    w = generator.to(device).mapping(make_input("z", (2, 512)).to(device))
    assert_agrees(w, published["mapping_w"])
    assert_agrees(generator.truncate(w, 0.7), published["truncated_w_psi07"])


def test_synthesis_without_padding(generator: Generator, device: torch.device) -> None:
    image = generator.to(device).synthesis(make_input("wp", (1, 14, 512), 0.5).to(device))
    assert_agrees(image, published_output("generator")["image_vanilla"])


def test_synthesis_with_padding_and_its_gradients(generator: Generator, device: torch.device) -> None:
    published = published_output("generator")
    w_plus = make_input("wp", (1, 14, 512), 0.5).to(device).requires_grad_()
    padding = padding_inputs().to(device).requires_grad_()

    image = generator.to(device).synthesis(w_plus, padding)
    assert_agrees(image, published["image_padded"])

    (image * make_input("cotangent", (1, 3, 256, 256)).to(device)).mean().backward()
    assert_agrees(w_plus.grad, published["grad_wp"], GRADIENT)
    assert_agrees(padding.const.grad, published["grad_const"], GRADIENT)
    gradients = padding.map(lambda tensor: tensor.grad).maps()
    for r in RINGS:
        assert_agrees(gradients[r].abs().mean(), published[f"grad_ring_{r}_absmean"], GRADIENT)
        assert_agrees(gradients[r][0, :16, 0, :4], published[f"grad_ring_{r}_top_left"], GRADIENT)


def test_encoder_in_evaluation(encoder: PadInvEncoder, device: torch.device) -> None:
    published = published_output("encoder")
    with torch.inference_mode():
        code = encoder.to(device)(make_input("image", (1, 3, 256, 256), 0.5).clamp(-1, 1).to(device))
    assert_agrees(code.w_plus, published["style_latents"])
    assert_agrees(code.padding.const, published["const"])
    for r in RINGS:
        assert_agrees(code.padding.rings[r], map_to_ring(published[f"ring_{r}"]))


def test_what_an_inverter_computes(generator: Generator, encoder: PadInvEncoder, device: torch.device) -> None:
    """By other algorithms, folded and in another layout."""
    published = published_output("encoder")
    images = make_input("image", (1, 3, 256, 256), 0.5).clamp(-1, 1).to(device)
    for network in (generator, encoder):
        network.requires_grad_(False).eval().to(device).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        code = fold(encoder)(images)
        assert_agrees(code.w_plus, published["style_latents"])
        assert_agrees(code.padding.const, published["const"])
        for r in RINGS:
            assert_agrees(code.padding.rings[r], map_to_ring(published[f"ring_{r}"]))
        w_plus = make_input("wp", (1, 14, 512), 0.5).to(device)
        image = fold(generator).synthesis(w_plus, padding_inputs().to(device))
    assert_agrees(image, published_output("generator")["image_padded"])


def test_encoder_in_training(encoder: PadInvEncoder, device: torch.device) -> None:
    published = published_output("encoder")
    encoder = copy.deepcopy(encoder).train().requires_grad_().to(device)  # its statistics move
    code = encoder(make_input("image2", (2, 3, 256, 256), 0.5).clamp(-1, 1).to(device))
    norm = (code.w_plus - encoder.w_avg).norm(dim=(1, 2)).mean()
    assert_agrees(norm, published["train_wnorm"])
    means = [m.square().mean() for m in (code.padding.const, *code.padding.maps().values())]
    loss = 0.003 * norm + sum(means)
    assert_agrees(loss, published["train_loss"])

    loss.backward()
    ours = {
        "input_layer.0.weight": encoder.backbone.stem[0].weight,
        "backbone_stages.2.5.res_layer.1.weight": encoder.backbone.stages[2][5].conv1.weight,
        "fpn.lateral_layers.0.weight": encoder.fpn.lateral[2].weight,
        "padding_modulation_heads.2.weight": encoder.padding_head.ring_heads["16"].weight,
        "latent_heads.5.linear.weight": encoder.style_heads[5].linear.weight,
    }
    for key, parameter in ours.items():
        assert_agrees(parameter.grad.norm(), published[f"grad_norm/{key}"], GRADIENT)


def test_discriminator_and_r1(tmp_path: Path, device: torch.device) -> None:
    published = published_output("discriminator")
    torch.save({"models": {"discriminator": published_state("discriminator")}}, tmp_path / "published.pth")
    discriminator = load_discriminator(tmp_path / "published.pth").to(device).requires_grad_()
    images = make_input("images", (4, 3, 64, 64), 0.5).to(device).requires_grad_()
    score = discriminator(images)
    assert_agrees(score, published["score"])

    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    r1 = gradient.square().sum(dim=(1, 2, 3)).mean()
    assert_agrees(r1, published["r1"], GRADIENT)

    (softplus(score).mean() + 5 * r1).backward()
    norm = torch.stack([parameter.grad.norm() for parameter in discriminator.parameters()]).norm()
    assert_agrees(norm, published["loss_grad_norm"], GRADIENT)

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fitting import ENCODER, fit, small_module
from padinv import Generator, Inverter, PadInvEncoder, PadInvModule, load_encoder, load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.exceptions import CheckpointError, ConfigError
from padinv.export.parts import encoder_part, joined_part
from padinv.networks import encode
from padinv.networks.heads import bicubic_by_products
from padinv.networks.passes import averaged, count_passes, pooled, take_passes


@pytest.fixture
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


def build(generator: Generator, **options: Any) -> PadInvEncoder:
    torch.manual_seed(3)
    return PadInvEncoder(
        generator.code_shape, resolution=32, depth=18, width=4, w_avg=generator.w_avg, **options
    ).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_each_pass_adds_a_step_to_the_code_before(generator: Generator, images: torch.Tensor) -> None:
    encoder = build(generator, passes=3, feature_resolutions=[8])
    nn.init.normal_(encoder.feature_heads["8"].output.weight)  # type: ignore[union-attr,arg-type]

    def reconstruct(code: Any) -> torch.Tensor:
        return pooled(generator.synthesis(*code.parts), 32)

    with torch.no_grad():
        mean = generator.synthesis(generator.broadcast(generator.w_avg[None])).expand(2, -1, -1, -1)
        first = encoder(images, mean)
        second = encoder(images, reconstruct(first), first)
        third = encode(encoder, images, reconstruct)
        stepwise = [code for code, _ in take_passes(encoder, images, reconstruct)]
    step = encoder._step(torch.cat([images, reconstruct(second)], dim=1))
    for name, tensor in third.named_tensors().items():
        torch.testing.assert_close(tensor, second.named_tensors()[name] + step.named_tensors()[name])
        torch.testing.assert_close(stepwise[2].named_tensors()[name], tensor)
        assert not torch.allclose(first.named_tensors()[name], tensor)


def test_one_pass_needs_no_generator(generator: Generator, images: torch.Tensor) -> None:
    encoder = build(generator)
    assert count_passes(encoder) == count_passes(nn.Identity()) == 1
    with torch.no_grad():
        alone, passed = encoder(images), encode(encoder, images, lambda _: pytest.fail("the generator was called"))
    assert torch.equal(alone.w_plus, passed.w_plus)


def test_wrong_calls_say_what_to_use(generator: Generator, images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"made for 2 passes, with the generator in between: use an Inverter"):
        build(generator, passes=2)(images)
    with pytest.raises(ConfigError, match="made for 1 passes, and takes images alone"):
        build(generator)(images, images)
    with pytest.raises(ConfigError, match=r"not \(2, 3, 32, 32\) and \(2, 3, 16, 16\)"):
        build(generator, passes=2)(images, images[..., :16, :16])
    with pytest.raises(ConfigError, match="passes must be 1 or more"):
        build(generator, passes=0)


def test_the_inverter_takes_all_passes_and_files_keep_their_number(
    generator: Generator, images: torch.Tensor, tmp_path: Path
) -> None:
    encoder = build(generator, passes=2)
    loaded = load_encoder(save_network(encoder, tmp_path / "encoder.safetensors"))
    assert loaded.passes == 2
    inverter = Inverter(loaded, generator, device="cpu")
    with torch.no_grad():
        expected = encode(encoder, images, lambda code: generator.synthesis(*code.parts))
    torch.testing.assert_close(inverter.encode(images).w_plus, expected.w_plus, rtol=1e-4, atol=1e-4)
    assert inverter.invert(images).images.shape == (2, 3, 32, 32)


def test_their_number_is_part_of_the_fingerprint(generator: Generator) -> None:
    two, three = build(generator, passes=2), build(generator, passes=3)
    three.load_state_dict(two.state_dict())
    assert fingerprint(two) != fingerprint(three)


def test_an_encoder_of_several_passes_is_exported_with_its_generator_alone(
    generator: Generator, images: torch.Tensor
) -> None:
    encoder = build(generator, passes=2)
    with pytest.raises(ConfigError, match="needs the generator in between: export both"):
        encoder_part(encoder, generator)
    part = joined_part(encoder, generator)
    with torch.no_grad():
        code = encode(encoder, images, lambda code: generator.synthesis(*code.parts))
        made = part.module(images)["reconstructions"]
        torch.testing.assert_close(made, generator.synthesis(*code.parts), rtol=1e-4, atol=1e-4)


def test_training_learns_a_step_from_each_pass(generator_file: str, picture_folder: Path, tmp_path: Path) -> None:
    def module(passes: int) -> PadInvModule:
        torch.manual_seed(0)
        encoder = partial(ENCODER, passes=passes)
        return small_module(generator_file, encoder=encoder, ema_images=8)

    trained = module(2)
    before = {name: tensor.clone() for name, tensor in trained.encoder.state_dict().items()}
    trainer, recorder = fit(trained, picture_folder, steps=2)
    assert recorder.metrics[-1]["loss/pix"] > 0
    assert any(not torch.equal(before[name], tensor) for name, tensor in trained.encoder.state_dict().items())
    assert len(trained(torch.zeros(2, 3, 32, 32))) == 2  # the moving average takes passes, too
    checkpoint = tmp_path / "two.ckpt"
    trainer.save_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=r"trained with passes 2, but this run's has 3"):
        fit(module(3), picture_folder, steps=3, ckpt=checkpoint)


def test_gradients_stay_within_a_pass(generator: Generator, images: torch.Tensor) -> None:
    encoder = build(generator, passes=2).requires_grad_()
    pairs = list(take_passes(encoder, images, lambda code: generator.synthesis(*code.parts)))
    first, second = (code.w_plus for code, _ in pairs)
    (gradient,) = torch.autograd.grad(second.sum(), first, allow_unused=True)
    assert gradient is None


@pytest.mark.parametrize("size", [(8, 8), (4, 16), (5, 8)])
def test_means(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, 16, 32)
    torch.testing.assert_close(averaged(images, size), nn.functional.adaptive_avg_pool2d(images, size))


@pytest.mark.parametrize(("old", "new"), [(16, 34), (32, 18), (8, 8)])
def test_deterministic_resizing_is_the_same(old: int, new: int) -> None:
    """With its gradient; only GPUs whose algorithms are to be deterministic take it."""
    x, y = (torch.rand(2, 3, old, old, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2))
    resized = nn.functional.interpolate(x, size=(new, new), mode="bicubic", align_corners=True)
    torch.testing.assert_close(bicubic_by_products(y, new), resized, rtol=1e-5, atol=1e-5)
    weights = torch.rand(resized.shape)
    for result in (resized, bicubic_by_products(y, new)):
        (result * weights).sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-4, atol=1e-4)

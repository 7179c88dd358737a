from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from marks import is_marked, mark
from padinv.exceptions import CheckpointError, ConfigError, WeightsNotFoundError
from padinv.gan import ProjectedDiscriminator, StyleGAN2Module
from padinv.gan.projected import ImageNetFeatures, RandomProjection
from padinv.metrics import RandomFeatures


def small(**options: Any) -> ProjectedDiscriminator:
    return ProjectedDiscriminator(RandomFeatures(width=4), **{"resolution": 32, "width": 8, **options})


def vector(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """AlexNet as torchvision saves it, with random weights."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({key: value for key, value in alexnet().state_dict().items() if key.startswith("features.")}, path)
    return str(path)


def test_alexnet_is_torchvisions(alexnet_file: str) -> None:
    from torchvision.models import alexnet

    theirs = alexnet().features
    theirs.load_state_dict({k.removeprefix("features."): v for k, v in torch.load(alexnet_file).items()})
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    maps = ImageNetFeatures("alex", alexnet_file)(images)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((images + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(maps[-1], theirs[:-1](x), rtol=1e-3, atol=1e-3)
    assert [tuple(x.shape[1:]) for x in maps] == [(64, 15, 15), (192, 7, 7), (384, 3, 3), (256, 3, 3), (256, 3, 3)]


def test_scores_each_position_of_each_level() -> None:
    torch.manual_seed(0)
    discriminator = small()
    scores = discriminator(torch.rand(3, 3, 32, 32))
    assert [tuple(level.shape) for level in scores] == [(3, 16), (3, 16), (3, 16), (3, 16), (3, 4)]


def test_images_are_scored_each_by_itself() -> None:
    torch.manual_seed(0)
    discriminator = small().eval()  # spectral norm moves its estimate at each call of a training module
    images = torch.rand(4, 3, 32, 32)
    for together, alone in zip(discriminator(images), discriminator(images[2:3]), strict=True):
        torch.testing.assert_close(together[2:3], alone)


def test_only_the_heads_learn() -> None:
    discriminator = small()
    assert {name.split(".")[0] for name, _ in discriminator.named_parameters()} == {"heads"}
    assert not any(key.startswith("features") for key in discriminator.state_dict())
    assert not any(p.requires_grad for p in discriminator.requires_grad_().features.network.parameters())


def test_projection_mixes_coarser_levels_in_and_keeps_the_scale() -> None:
    torch.manual_seed(0)
    project = RandomProjection([64, 128], 32)
    maps = [torch.randn(8, 64, 16, 16), torch.randn(8, 128, 8, 8)]
    fine, coarse = project(maps)
    other_fine, other_coarse = project([maps[0], maps[1] + 1])
    assert not torch.equal(fine, other_fine)
    assert not torch.equal(coarse, other_coarse)
    assert torch.equal(coarse, project([maps[0] + 1, maps[1]])[1])  # fine levels do not reach coarse ones
    assert fine.std().item() == pytest.approx(0.85, abs=0.15)  # enlarging smoothes
    assert coarse.std().item() == pytest.approx(1, abs=0.15)


def test_projection_follows_its_seed_alone() -> None:
    torch.manual_seed(0)
    one = RandomProjection([4, 8], 8, seed=1).state_dict()
    two, other = RandomProjection([4, 8], 8, seed=1).state_dict(), RandomProjection([4, 8], 8, seed=2).state_dict()
    assert all(torch.equal(one[key], two[key]) and not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("form", ["hinge", "logistic"])
def test_heads_learn_to_tell_and_a_generator_to_fool_them(form: Any) -> None:
    torch.manual_seed(0)
    discriminator = small(form=form)
    reals, fakes = torch.rand(8, 3, 32, 32) - 1, nn.Parameter(torch.rand(8, 3, 32, 32))
    adam = torch.optim.Adam(discriminator.parameters(), lr=0.01)
    before = discriminator.discriminator_loss(reals, fakes.detach()).item()
    for _ in range(30):
        adam.zero_grad()
        discriminator.discriminator_loss(reals, fakes.detach()).backward()
        adam.step()
    after = discriminator.discriminator_loss(reals, fakes.detach()).item()
    assert after < before / 2
    fooled = discriminator.generator_loss(fakes)
    (gradient,) = torch.autograd.grad(fooled, fakes)
    assert discriminator.generator_loss(fakes - 0.1 * gradient / gradient.std()) < fooled


def test_losses_are_those_of_the_form() -> None:
    discriminator = small(form="hinge").eval()
    images = torch.rand(4, 3, 32, 32)
    real, fake = images[:2], images[2:]
    levels = list(zip(discriminator(real), discriminator(fake), strict=True))
    expected = [((1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean()).item() for r, f in levels]
    assert discriminator.discriminator_loss(real, fake).item() == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    expected = [-f.mean().item() for _, f in levels]
    assert discriminator.generator_loss(fake).item() == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_images_are_resized_for_the_network() -> None:
    sizes: list[int] = []

    class Watching(RandomFeatures):
        def forward(self, images: Tensor) -> list[Tensor]:
            sizes.append(images.shape[-1])
            return super().forward(images)

    ProjectedDiscriminator(Watching(width=4), resolution=64, width=8)(torch.rand(1, 3, 32, 32))
    assert sizes == [64, 64]


# In training --------------------------------------------------------------------------------------------------------


def test_takes_part_in_training(build: Any, fit: Any) -> None:
    module = build(projected=small())
    plain, heads = vector(module.discriminator), vector(module.projected)
    trainer, recorder = fit(module, steps=2)
    assert {"loss/g_projected", "loss/d_projected", "loss/g", "loss/d"} <= set(recorder.metrics[-1])
    assert not torch.equal(plain, vector(module.discriminator))
    assert not torch.equal(heads, vector(module.projected))
    assert trainer.global_step == 4  # two optimizers, as without


@pytest.mark.parametrize("option", [{"weight": 2.0}, {"seed": 1}, {"form": "logistic"}], ids=str)
def test_options_reach_the_generator(build: Any, fit: Any, option: dict[str, Any]) -> None:
    def run(**options: Any) -> Tensor:
        module = build(projected=small(**options))
        fit(module, steps=2)
        return vector(module.generator)

    assert not torch.equal(run(), run(**option))


def test_sees_augmented_images(build: Any, fit: Any) -> None:
    class Marking(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return mark(images)

    seen: list[bool] = []

    class Watching(RandomFeatures):
        def forward(self, images: Tensor) -> list[Tensor]:
            seen.append(is_marked(images))
            return super().forward(images)

    projected = ProjectedDiscriminator(Watching(width=4), resolution=32, width=8)
    seen.clear()
    fit(build(projected=projected, augmentation=Marking()), steps=1)
    assert seen == [True] * 3  # the generator's step, reals and fakes


def test_resumed_run_is_the_same_run(build: Any, fit: Any, tmp_path: Path) -> None:
    def make(seed: int = 0) -> StyleGAN2Module:
        torch.manual_seed(0)  # of the heads
        module: StyleGAN2Module = build(projected=small(seed=seed))
        return module

    straight, resumed = make(), make(seed=5)  # whose projection is the checkpoint's then
    fit(straight, steps=5)
    trainer, _ = fit(make(), steps=2)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    fit(resumed, steps=5, ckpt=tmp_path / "run.ckpt")
    ours, theirs = straight.state_dict(), resumed.state_dict()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert not any("features" in key for key in ours if key.startswith("projected"))


def test_a_run_without_it_does_not_go_on_with_it(build: Any, fit: Any, tmp_path: Path) -> None:
    trainer, _ = fit(build(), steps=1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(CheckpointError, match="projected"):
        fit(build(projected=small()), steps=2, ckpt=tmp_path / "run.ckpt")


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "width must be a multiple of 8, not 12"),
        ({"weight": 0.0}, "weight must be more than 0, not 0.0"),
        ({"form": "least squares"}, "form must be hinge or logistic, not 'least squares'"),
        ({"features": "vgg19"}, "features must be alex, vgg, squeeze or a network, not 'vgg19'"),
        ({"features": "alex", "resolution": 30}, "resolution must be 31 or more, not 30"),
        ({"features": nn.Flatten()}, "features must give feature maps"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProjectedDiscriminator(**{"features": RandomFeatures(width=4), "resolution": 32, "width": 8, **options})


def test_bad_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="nowhere"):
        ProjectedDiscriminator(weights=str(tmp_path / "nowhere.pth"))
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth does not hold the network 'alex'"):
        ProjectedDiscriminator(weights=str(tmp_path / "other.pth"))

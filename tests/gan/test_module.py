from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from marks import is_marked, mark
from padinv import Discriminator, Generator, load_discriminator, load_encoder, load_generator
from padinv.exceptions import CheckpointError, ConfigError, NonFiniteLossError
from padinv.gan import AdaptiveAugmentation, StyleGAN2Module
from padinv.losses import AdversarialLoss
from padinv.metrics import FrechetDistance

CHANNELS = {4: 12, 8: 10, 16: 8, 32: 6}


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def vector(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def filters(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in module.parameters() if parameter.ndim == 4]


def test_both_networks_learn_and_the_average_follows(build: Any, fit: Any) -> None:
    module = build(augmentation=AdaptiveAugmentation(probability=0.5), ema_ramp_up=None)
    before = [vector(part) for part in (module.generator, module.discriminator, module.generator_ema)]
    _, recorder = fit(module, steps=2)
    after = [vector(part) for part in (module.generator, module.discriminator, module.generator_ema)]
    moved = [(new - old).norm() for new, old in zip(after, before, strict=True)]
    assert min(moved) > 0
    assert moved[2] < moved[0]
    losses = {f"loss/{name}" for name in ("g", "d", "path", "r1")}
    assert losses | {"augmentation/probability", "augmentation/overfitting"} <= set(recorder.metrics[-1])
    assert (int(module.images_seen), recorder.metrics[-1]["step"]) == (8, 8)
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("moving", ["generator", "discriminator"])
def test_each_step_leaves_the_other_network_alone(build: Any, fit: Any, moving: str) -> None:
    rates = {name: 0.01 if name == moving else 0.0 for name in ("generator", "discriminator")}
    sgd = partial(torch.optim.SGD)
    module = build(
        optimizer_g=partial(sgd, lr=rates["generator"]),
        optimizer_d=partial(sgd, lr=rates["discriminator"]),
    )
    before = weights(module)
    fit(module, steps=1)
    moved = {name.split(".")[0] for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved - {"generator_ema"} == {moving}
    assert all(p.requires_grad for part in (module.generator, module.discriminator) for p in part.parameters())


def test_regularization_is_lazy(build: Any, fit: Any) -> None:
    due: list[int] = []

    class Counting(AdversarialLoss):
        def penalty(self, discriminator: Any, real_images: Tensor, step: int) -> Tensor:
            due.append(step)
            return super().penalty(discriminator, real_images, step)

    module = build(adversarial_loss=Counting(r1_gamma=1.0, r1_every=3), path_length_every=2)
    _, recorder = fit(module, steps=5)
    assert due == [0, 3]
    assert int(module.path_measurements) == 3
    paths = [metrics["loss/path"] for metrics in recorder.metrics]
    assert (paths[0], paths[2]) == (paths[1], paths[3])  # not measured, not logged anew


def test_lazy_path_length_counts_as_often_as_it_is_left_out(build: Any, fit: Any) -> None:
    """Its gradient is multiplied by how many batches lie between."""

    def moved(**options: Any) -> Tensor:
        module = build(optimizer_g=partial(torch.optim.SGD, lr=1.0), adversarial_loss=still, **options)
        before = vector(module.generator)
        fit(module, steps=1)
        return vector(module.generator) - before

    still = AdversarialLoss(r1_gamma=0.0)
    without = moved(path_length_weight=0.0)
    every = moved(path_length_weight=1.0, path_length_every=1) - without
    lazy = moved(path_length_weight=1.0, path_length_every=8) - without
    assert every.norm() > 0
    assert (lazy - 8 * every).norm() < 0.01 * lazy.norm()


def test_mean_path_length_is_a_plain_mean_at_first(build: Any, fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = iter([2.0, 4.0, 9.0])
    monkeypatch.setattr(
        "padinv.gan.module.path_lengths", lambda images, w_plus: images.sum() * 0 + torch.full((2,), next(lengths))
    )
    module = build(path_length_every=1)
    fit(module, steps=3)
    assert module.path_mean.item() == pytest.approx(5.0)


def test_path_length_is_measured_on_part_of_a_batch(build: Any, fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    measure = StyleGAN2Module.path_length_penalty

    def penalty(self: StyleGAN2Module, count: int) -> Tensor:
        counts.append(count)
        return measure(self, count)

    monkeypatch.setattr(StyleGAN2Module, "path_length_penalty", penalty)
    for shrink in (1, 2, 8):
        fit(build(path_length_shrink=shrink), steps=1)
    assert counts == [4, 2, 1]


@pytest.mark.parametrize(
    "option", [{"style_mixing": 0.0}, {"seed": 1}, {"path_length_weight": 0.0}, {"clip_norm": 1e-3}], ids=str
)
def test_options_count(build: Any, fit: Any, option: dict[str, Any]) -> None:
    def run(**options: Any) -> Tensor:
        module = build(optimizer_g=partial(torch.optim.SGD, lr=1e-3), **options)
        fit(module, steps=1)
        return vector(module.generator)

    assert not torch.equal(run(), run(**option))
    assert torch.equal(run(**option), run(**option))


def test_clipping(build: Any, fit: Any) -> None:
    module = build(clip_norm=0.01, optimizer_g=partial(torch.optim.SGD, lr=1.0))
    before = vector(module.generator)
    fit(module, steps=1)
    assert (vector(module.generator) - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_average_has_its_half_life(build: Any, fit: Any) -> None:
    module = build(ema_images=4.0, ema_ramp_up=None)
    before = vector(module.generator)
    fit(module, steps=1)
    torch.testing.assert_close(vector(module.generator_ema), (before + vector(module.generator)) / 2)


def test_average_ramps_up(build: Any, fit: Any) -> None:
    module = build(ema_images=1e9, ema_ramp_up=1.0)
    fit(module, steps=1)
    first = vector(module.generator)
    assert torch.equal(vector(module.generator_ema), first)  # no images seen: it forgets all
    module = build(ema_images=1e9, ema_ramp_up=1.0)
    fit(module, steps=2)  # four seen, four more: half is left
    torch.testing.assert_close(vector(module.generator_ema), (first + vector(module.generator)) / 2)


def test_mean_latent_follows_the_mapping(build: Any, fit: Any) -> None:
    module = build()
    with torch.no_grad():
        module.generator.mapping[-1].bias += 500.0  # times lr_mul, 0.01
    before = module.generator.w_avg.clone()
    fit(module, steps=2)
    with torch.no_grad():
        mean = module.generator.mapping(torch.randn(1000, 8)).mean(dim=0)
    share = (module.generator.w_avg - before) / (mean - before)
    assert ((share > 0) & (share < 0.1)).float().mean() > 0.9
    assert torch.equal(module.generator_ema.w_avg, module.generator.w_avg)


def test_starts_from_files_or_from_nothing(build: Any, generator_file: str, discriminator_file: str) -> None:
    module = build()
    assert same(load_generator(generator_file).state_dict(), weights(module.generator))
    assert same(load_generator(generator_file).state_dict(), weights(module.generator_ema))
    assert same(load_discriminator(discriminator_file).state_dict(), weights(module.discriminator))
    generator = Generator(32, z_dim=8, w_dim=16, mapping_layers=2, channels=CHANNELS)
    module = build(generator=generator, discriminator=None)
    assert module.generator is generator
    assert module.discriminator.config["channels"] == CHANNELS
    assert all(parameter.requires_grad for parameter in module.discriminator.parameters())
    assert module(torch.randn(2, 8)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("blocks", [1, 3])
def test_frozen_layers_stay(build: Any, fit: Any, blocks: int) -> None:
    module = build(freeze_d=blocks)
    before = weights(module.discriminator)
    fit(module, steps=2)
    frozen = {"from_rgb", *(f"blocks.{resolution}" for resolution in (32, 16, 8)[:blocks])}
    for name, parameter in module.discriminator.named_parameters():
        is_frozen = name.rsplit(".", 1)[0].removesuffix(".conv").removesuffix(".down").removesuffix(".skip") in frozen
        assert torch.equal(parameter, before[name]) == is_frozen, name


def test_discriminator_sees_nothing_but_augmented_images(build: Any, fit: Any) -> None:
    class Marking(AdaptiveAugmentation):
        def forward(self, images: Tensor) -> Tensor:
            return mark(images)

    seen: list[bool] = []

    class Watching(Discriminator):
        def features(self, images: Tensor) -> list[Tensor]:
            seen.append(is_marked(images))
            return super().features(images)

    module = build(discriminator=Watching(32, channels=CHANNELS), augmentation=Marking())
    fit(module, steps=1)
    assert seen == [True] * 4  # the generator's step, reals, fakes, and the penalty


def test_augmentation_adapts(build: Any, fit: Any) -> None:
    def run(bias: float) -> float:
        module = build(augmentation=AdaptiveAugmentation(probability=0.5, every=1, images_to_one=80))
        with torch.no_grad():
            module.discriminator.score.bias += bias
        _, recorder = fit(module, steps=2)
        return recorder.metrics[-1]["augmentation/probability"]

    assert run(100.0) == pytest.approx(0.6)  # all real images score above 0: two steps of 4 / 80 up
    assert run(-100.0) == pytest.approx(0.4)


def test_accumulation_works_through_a_batch_in_parts(build: Any, fit: Any) -> None:
    sizes: list[int] = []

    class Watching(Discriminator):
        def features(self, images: Tensor) -> list[Tensor]:
            sizes.append(len(images))
            return super().features(images)

    module = build(discriminator=Watching(32, channels=CHANNELS), accumulate=2)
    trainer, _ = fit(module, steps=1, batch_size=8)
    assert sizes == [4] * 8
    assert (trainer.global_step, int(module.images_seen)) == (2, 8)


@pytest.mark.parametrize("options", [{"channels_last": True}, {"precision": "bf16-mixed"}], ids=str)
def test_other_orders_and_precisions_learn_the_same(build: Any, fit: Any, options: dict[str, Any]) -> None:
    def run(precision: str = "32-true", **options: Any) -> tuple[dict[str, float], Tensor]:
        # Without path lengths: random numbers of another type are other numbers, for all that comes after them.
        module = build(optimizer_g=partial(torch.optim.SGD, lr=1.0), path_length_weight=0.0, **options)
        before = vector(module.generator)
        _, recorder = fit(module, steps=1, precision=precision, batch_size=16)
        return recorder.metrics[0], vector(module.generator) - before

    (expected, direction), (metrics, other) = run(), run(**options)
    for name in ("g", "d", "r1"):
        assert metrics[f"loss/{name}"] == pytest.approx(expected[f"loss/{name}"], rel=0.1), name
    assert torch.cosine_similarity(direction, other, dim=0) > 0.95


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last_orders_weights_and_images(build: Any, fit: Any, channels_last: bool) -> None:
    module = build(channels_last=channels_last)
    images: list[Tensor] = []
    module.discriminator.from_rgb.register_forward_pre_hook(lambda _, args: images.append(args[0].detach()))
    fit(module, steps=1)
    for tensors in ([image for image in images if len(image) > 1], *map(filters, module.children())):
        if tensors:
            ordered = [tensor.is_contiguous(memory_format=torch.channels_last) for tensor in tensors]
            assert all(ordered) if channels_last else not all(ordered)


@pytest.mark.parametrize("stop", [2, 5])
def test_resumed_run_is_the_same_run(build: Any, fit: Any, tmp_path: Path, stop: int) -> None:
    """Five steps are an epoch. Latents, noise, mixing and augmentation go on, too."""

    def make() -> StyleGAN2Module:
        return build(augmentation=AdaptiveAugmentation(probability=0.5, every=2, images_to_one=100))

    straight = make()
    _, uninterrupted = fit(straight, steps=7)
    trainer, before = fit(make(), steps=stop)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    resumed = make()
    torch.manual_seed(99)
    _, after = fit(resumed, steps=7, ckpt=tmp_path / "run.ckpt")

    assert before.names + after.names == uninterrupted.names
    assert same(weights(straight), weights(resumed))
    # Regularizations are logged when they are due, and the resumed run's log begins without them.
    for metrics, expected in zip(before.metrics + after.metrics, uninterrupted.metrics, strict=True):
        assert metrics.items() <= expected.items()


def test_checkpoint_is_a_generator_and_a_discriminator(build: Any, fit: Any, tmp_path: Path) -> None:
    module = build(channels_last=True)
    trainer, _ = fit(module, steps=2)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    generator, discriminator = load_generator(tmp_path / "run.ckpt"), load_discriminator(tmp_path / "run.ckpt")
    assert same(weights(module.generator_ema), weights(generator))
    assert same(weights(module.discriminator), weights(discriminator))
    z = torch.randn(2, 8)
    torch.testing.assert_close(generator(z), module(z), rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match="holds no PadInvEncoder, but a Generator and Discriminator"):
        load_encoder(tmp_path / "run.ckpt")
    # A run can start from another's.
    assert same(weights(generator), weights(build(generator=str(tmp_path / "run.ckpt")).generator))


def test_loads_from_checkpoint(build: Any, fit: Any, tmp_path: Path) -> None:
    trainer, _ = fit(build(style_mixing=0.25), steps=1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    module = StyleGAN2Module.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert module.style_mixing == 0.25
    assert same(weights(module), weights(trainer.lightning_module))
    other = build(generator=Generator(32, z_dim=8, w_dim=24, mapping_layers=2, channels=CHANNELS))
    with pytest.raises(CheckpointError, match=r"'generator\.w_avg' has shape \(16,\), but .* needs \(24,\)"):
        fit(other, ckpt=tmp_path / "run.ckpt")


def test_not_finite_names_step_term_and_files(build: Any, fit: Any) -> None:
    class Poison(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, i: int) -> None:
            if i == 1:
                batch["image"][0, 0, 0, 0] = float("nan")

    with pytest.raises(NonFiniteLossError, match=r"loss/d is nan at step 1 \(4 images seen\).*\d\d\.png"):
        fit(build(), callbacks=[Poison()])


def test_validation_measures_the_average_on_the_same_samples(build: Any, fit: Any, picture_folder: Path) -> None:
    features = nn.AvgPool2d(16)
    module = build(fid=FrechetDistance(features, 32), fid_samples=40)
    recorded: list[float] = []

    class Record(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            recorded.append(float(trainer.callback_metrics["val/fid"]))

    trainer, _ = fit(module, steps=1, limit_val_batches=None, num_sanity_val_steps=0, callbacks=[Record()])
    trainer.validate(module, trainer.datamodule, verbose=False)
    assert recorded[0] == recorded[1]

    expected = FrechetDistance(features, 32)
    for batch in trainer.datamodule.val_dataloader():
        expected.update(batch["image"], real=True)
    expected.update(module(torch.randn(40, 8, generator=torch.Generator().manual_seed(0))), real=False)
    assert recorded[0] == pytest.approx(expected.compute().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze_d": 4}, "freeze_d must be from 0 to 3, the blocks there are, not 4"),
        ({"style_mixing": 1.5}, "style_mixing is a probability, from 0 to 1, not 1.5"),
        ({"accumulate": 0}, "accumulate must be 1 or more, not 0"),
        ({"path_length_every": 0}, "path_length_every must be 1 or more, not 0"),
        ({"fid_samples": 0}, "fid_samples must be 2 or more, not 0"),
        ({"ema_images": 0.0}, "ema_images must be more than 0, not 0.0"),
        ({"path_length_weight": -1.0}, "path_length_weight must be 0 or more, not -1.0"),
        ({"discriminator": "congress64"}, "scores images of 64 px, but the generator's are of 32 px"),
        ({"generator": "nothing.pkl"}, "no file 'nothing.pkl'"),
    ],
)
def test_bad_options_are_named(build: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=message):
        build(**options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's compiler
def test_compiled_networks_learn_the_same(build: Any, fit: Any) -> None:
    def run(compile: bool) -> tuple[StyleGAN2Module, dict[str, float]]:
        module = build(compile=compile)
        _, recorder = fit(module, steps=1)
        return module, recorder.metrics[0]

    (plain, expected), (compiled, metrics) = run(False), run(True)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    assert set(metrics) == set(expected)
    # Compiled code draws other random numbers, but for the latents that come before any noise.
    assert metrics["loss/g"] == pytest.approx(expected["loss/g"], rel=1e-3)


def test_numbers_of_one_other_precision_are_refused(build: Any, fit: Any) -> None:
    with pytest.raises(ConfigError, match=r"trainer.precision bf16-true .* take bf16-mixed, 16-mixed or 32-true"):
        fit(build(), precision="bf16-true")


def test_a_fast_run_is_a_whole_one(build: Any, fit: Any) -> None:
    module = build()
    trainer, _ = fit(module, steps=9, fast_dev_run=3)
    assert int(module.images_seen) == 12
    assert "val/fid" in trainer.callback_metrics

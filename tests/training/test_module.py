from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import (
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    StochasticWeightAveraging,
)
from pytorch_lightning.cli import ReduceLROnPlateau
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fitting import ENCODER, Recorder, fit, quiet_trainer, small_module
from padinv import ImageDataModule, InversionCode, PadInvModule, load_encoder, load_generator
from padinv.checkpoints import save_network
from padinv.codes import CodeShape
from padinv.exceptions import CheckpointError, ConfigError, DataError, NonFiniteLossError
from padinv.losses import AdversarialLoss, DiscriminatorFeatureLoss, PerceptualLoss, PixelLoss


class PlainEncoder(nn.Module):
    """W+ by one dense layer: no BatchNorm, so that a batch and its parts are the same."""

    def __init__(self, code: CodeShape, resolution: int = 32) -> None:
        super().__init__()
        self.resolution, self.shape = resolution, (code.num_layers, code.w_dim)
        self.dense = nn.Linear(3 * resolution**2, code.num_layers * code.w_dim)

    def forward(self, images: Tensor) -> InversionCode:
        return InversionCode(self.dense(images.flatten(1)).unflatten(1, self.shape))


@pytest.fixture
def build(generator_file: str, discriminator_file: str) -> Any:
    def build_module(**options: Any) -> PadInvModule:
        torch.manual_seed(0)
        if options.get("lambda_adv", 0) > 0:
            options = {"discriminator": discriminator_file, **options}
        return small_module(**{"generator": generator_file, **options})

    return build_module


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_encoder_and_discriminator_learn_and_the_generator_does_not(build: Any, picture_folder: Path) -> None:
    module = build(lambda_adv=0.03)
    parts = (module.encoder, module.discriminator, module.generator)
    before = [weights(part) for part in parts]
    _, recorder = fit(module, picture_folder, steps=2)
    assert [same(weights(part), b) for part, b in zip(parts, before, strict=True)] == [False, False, True]
    assert not module.generator.training
    assert {"loss/pix", "loss/adv", "loss/reg", "loss/d", "loss/r1", "lr/encoder", "lr/discriminator"} <= set(
        recorder.metrics[-1]
    )
    assert int(module.images_seen) == 8
    assert recorder.metrics[-1]["step"] == 8


def test_each_step_leaves_the_other_network_alone(build: Any, picture_folder: Path) -> None:
    """With a learning rate of zero for one network only the other one moves, and by what it would have anyway."""
    still = partial(torch.optim.SGD, lr=0.0)
    moving = partial(torch.optim.SGD, lr=0.01)
    for encoder_moves in (True, False):
        module = build(
            lambda_adv=1.0,
            optimizer_e=moving if encoder_moves else still,
            optimizer_d=still if encoder_moves else moving,
        )
        before = weights(module)
        fit(module, picture_folder, steps=1)
        moved = {
            key.split(".")[0] for key, parameter in module.named_parameters() if not torch.equal(parameter, before[key])
        }
        assert moved == {"encoder" if encoder_moves else "discriminator"}
        assert all(parameter.requires_grad for parameter in module.encoder.parameters())
        assert all(parameter.grad is None for parameter in module.parameters())


def test_batchnorm_statistics_move_once_a_step(build: Any, picture_folder: Path) -> None:
    module = build(lambda_adv=0.03)
    fit(module, picture_folder, steps=3)
    counts = {int(v) for k, v in module.encoder.state_dict().items() if k.endswith("num_batches_tracked")}
    assert counts == {3}


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_is_the_same_step(build: Any, picture_folder: Path, accumulate: int) -> None:
    def run(parts: int) -> dict[str, Tensor]:
        module = build(
            encoder=PlainEncoder, lambda_adv=0.1, accumulate=parts, optimizer_e=partial(torch.optim.SGD, lr=0.1)
        )
        fit(module, picture_folder, steps=2, data={"batch_size": 16})
        return weights(module)

    whole, in_parts = run(1), run(accumulate)
    for key in whole:
        torch.testing.assert_close(in_parts[key], whole[key], rtol=1e-4, atol=1e-5)


def test_clipping(build: Any, picture_folder: Path) -> None:
    def moved(clip_norm: float | None) -> float:
        module = build(clip_norm=clip_norm, optimizer_e=partial(torch.optim.SGD, lr=1.0))
        before = nn.utils.parameters_to_vector(module.encoder.parameters()).detach().clone()
        fit(module, picture_folder, steps=1)
        return (nn.utils.parameters_to_vector(module.encoder.parameters()).detach() - before).norm().item()

    assert moved(None) > 0.02
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)


def test_moving_average(build: Any, picture_folder: Path) -> None:
    """Half of the distance to the encoder is left after as many images as its half-life."""
    module = build(encoder=PlainEncoder, ema_images=4.0)
    start = module.encoder.dense.weight.clone()
    fit(module, picture_folder, steps=1)
    first = module.encoder.dense.weight.clone()
    torch.testing.assert_close(module.encoder_ema.module.dense.weight, first)  # torch's average starts with a copy
    module = build(encoder=PlainEncoder, ema_images=4.0)
    fit(module, picture_folder, steps=2)
    expected = (first + module.encoder.dense.weight) / 2
    torch.testing.assert_close(module.encoder_ema.module.dense.weight, expected)
    assert not torch.equal(start, first)
    assert module.inference_encoder is module.encoder_ema


@pytest.mark.parametrize(
    ("recompute", "lambda_adv", "accumulate"), [(True, 0.0, 2), (True, 0.05, 1), ("cheap", 0.05, 2)]
)
def test_recomputed_activations_train_the_same(
    build: Any, picture_folder: Path, tmp_path: Path, recompute: bool | str, lambda_adv: float, accumulate: int
) -> None:
    def run(recompute: bool | str) -> tuple[PadInvModule, Recorder, int]:
        module = build(
            checkpoint_activations=recompute,
            lambda_adv=lambda_adv,
            accumulate=accumulate,
            ema_images=8.0,
            optimizer_e=partial(torch.optim.SGD, lr=0.01),
        )
        convolved: list[nn.Module] = []
        module.encoder.backbone.stages[0][0].conv1.register_forward_hook(lambda conv, *_: convolved.append(conv))
        trainer, recorder = fit(module, picture_folder, steps=3)
        trainer.save_checkpoint(tmp_path / f"{recompute}.ckpt")
        return module, recorder, len(convolved)

    (plain, expected, once), (module, recorder, twice) = run(False), run(recompute)
    assert (once, twice) == (3 * accumulate, 6 * accumulate)
    for metrics, others in zip(recorder.metrics, expected.metrics, strict=True):
        assert metrics == pytest.approx(others, rel=1e-5)
    assert list(module.state_dict()) == list(plain.state_dict())
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(module.state_dict()[key], tensor, rtol=1e-4, atol=1e-6, msg=key)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(load_encoder(tmp_path / f"{recompute}.ckpt")(images).w_plus, module.eval()(images).w_plus)


@pytest.mark.parametrize("lambda_adv", [0.0, 0.05])
def test_channels_last_trains_the_same(build: Any, picture_folder: Path, lambda_adv: float) -> None:
    def last(tensors: Iterable[Tensor]) -> list[bool]:
        return [tensor.is_contiguous(memory_format=torch.channels_last) for tensor in tensors if tensor.ndim == 4]

    def run(channels_last: bool) -> tuple[PadInvModule, Recorder, list[bool]]:
        module = build(
            channels_last=channels_last,
            lambda_adv=lambda_adv,
            ema_images=8.0,
            optimizer_e=partial(torch.optim.SGD, lr=0.01),
        )
        inputs: list[Tensor] = []
        for encoder in (module.encoder, module.encoder_ema):
            encoder.register_forward_pre_hook(lambda _, args: inputs.extend(args))
        _, recorder = fit(module, picture_folder, steps=3, limit_val_batches=1, data={"val": str(picture_folder)})
        return module, recorder, last(inputs)

    (plain, expected, inputs), (module, recorder, ordered_inputs) = run(False), run(True)
    assert not any(inputs)
    assert all(ordered_inputs)
    assert len(ordered_inputs) > 3  # of the moving average, too
    for key, network in plain.named_children():
        if any(parameter.ndim == 4 for parameter in network.parameters()):
            assert not all(last(network.parameters())), key
            assert all(last(module.get_submodule(key).parameters())), key
    for metrics, others in zip(recorder.metrics, expected.metrics, strict=True):
        assert metrics == pytest.approx(others, rel=1e-3)
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(module.state_dict()[key], tensor, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("kind", ["run", "file"])
@pytest.mark.parametrize("ema_images", [None, 8.0])
def test_starts_from_another_encoder(
    build: Any, picture_folder: Path, tmp_path: Path, kind: str, ema_images: float | None
) -> None:
    trainer, _ = fit(build(optimizer_e=partial(torch.optim.Adam, lr=0.01)), picture_folder, steps=1)
    trainer.save_checkpoint(path := tmp_path / "run.ckpt")
    other = load_encoder(path)
    if kind == "file":
        path = save_network(other, tmp_path / "encoder.safetensors")
    module = build(encoder_weights=str(path), ema_images=ema_images)
    assert same(weights(other), weights(module.encoder))
    assert same(weights(other), weights(getattr(module.inference_encoder, "module", module.encoder)))
    assert not same(weights(other), weights(build().encoder))
    assert all(parameter.requires_grad for parameter in module.encoder.parameters())
    assert module.encoder.training


def test_an_encoder_whose_file_knows_only_its_part_of_the_generator_is_a_start(build: Any, tmp_path: Path) -> None:
    kind = partial(ENCODER, padded_resolutions=[4, 8])
    other = build(encoder=kind).encoder
    whole = other.config["code"]["channels"]
    other.config["code"] = {**other.config["code"], "channels": {r: whole[r] for r in (4, 8)}}
    assert len(whole) > 2
    module = build(encoder=kind, encoder_weights=str(save_network(other, tmp_path / "encoder.safetensors")))
    assert same(weights(other), weights(module.encoder))


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        (partial(ENCODER, width=8), ConfigError, r"an encoder with {'width': 4, .*}, but this run's has {'width': 8, "),
        (partial(ENCODER, replace_const=False), ConfigError, "{'replace_const': True}.*{'replace_const': False}"),
        (PlainEncoder, CheckpointError, "of another architecture: it has no 'dense.weight', which this PlainEncoder"),
    ],
)
def test_another_kind_of_encoder_is_no_start(
    build: Any, tmp_path: Path, encoder: Any, error: type[Exception], message: str
) -> None:
    path = save_network(build().encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(error, match=message) as raised:
        build(encoder=encoder, encoder_weights=str(path))
    assert "encoder.safetensors" in str(raised.value)


def test_an_encoder_without_features_is_a_start(build: Any, tmp_path: Path) -> None:
    other = build(encoder=partial(ENCODER, padded_resolutions=[4, 8])).encoder
    torch.nn.init.normal_(other.fpn.lateral[1].weight)
    path = str(save_network(other, tmp_path / "encoder.safetensors"))
    kind = partial(ENCODER, padded_resolutions=[4, 8], feature_resolutions=[16])
    encoder = build(encoder=kind, encoder_weights=path).encoder.eval()
    images = torch.randn(1, 3, 32, 32)
    code = encoder(images)
    assert not code.features[16].any()
    assert torch.equal(code.w_plus, other.eval()(images).w_plus)
    with pytest.raises(ConfigError, match=r"'padded_resolutions': \[4, 8\].*'padded_resolutions': \[4, 8, 16, 32\]"):
        build(encoder=partial(ENCODER, feature_resolutions=[16]), encoder_weights=path)


def test_features_learn(build: Any, picture_folder: Path, tmp_path: Path) -> None:
    """Their size is a term of the loss; the run's checkpoint is an encoder that predicts them."""
    kind = partial(ENCODER, feature_resolutions=[8, 16], feature_width=6)
    module = build(encoder=kind, lambda_feat=0.1, optimizer_e=partial(torch.optim.Adam, lr=0.001))
    trainer, recorder = fit(module, picture_folder, steps=3)
    sizes = [metrics["loss/feat"] for metrics in recorder.metrics]
    assert sizes[0] == 0 < sizes[1] < sizes[2]
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    encoder, images = load_encoder(tmp_path / "run.ckpt"), torch.randn(2, 3, 32, 32)
    code = module.eval()(images)
    assert code.feature_resolutions == [8, 16]
    assert torch.equal(encoder(images).features[16], code.features[16])
    assert torch.equal(module.reconstruct(code), module.generator.synthesis(*code.parts))
    assert not torch.allclose(module.reconstruct(code), module.generator.synthesis(code.w_plus, code.padding))


def test_features_are_left_out_of_some_reconstructions(
    build: Any, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a quarter of each batch of four, other ones in each step, and the same in a run that is repeated."""
    left_out: list[list[int]] = []
    reconstruct = PadInvModule.reconstruct

    def watched(self: PadInvModule, code: InversionCode) -> Tensor:
        left_out.append([i for i, x in enumerate(code.features[16]) if not x.any()])
        return reconstruct(self, code)

    monkeypatch.setattr(PadInvModule, "reconstruct", watched)
    options = {"encoder": partial(ENCODER, feature_resolutions=[16]), "feature_dropout": 0.25}
    for _ in range(2):
        module = build(**options)
        with torch.no_grad():
            module.encoder.feature_heads["16"].output.bias += 1
        fit(module, picture_folder, steps=6)
    assert [len(these) for these in left_out] == [1] * 12
    assert left_out[:6] == left_out[6:]
    assert len({*map(tuple, left_out)}) > 1
    with pytest.raises(ConfigError, match=r"feature_dropout is a share, from 0 to 1, not 1\.5"):
        build(feature_dropout=1.5)


def test_what_is_left_out_is_dealt_out_to_processes_as_images_are(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(encoder=partial(ENCODER, feature_resolutions=[16]), feature_dropout=0.5)
    monkeypatch.setattr(module, "reconstruct", lambda code: code.features[16][:, 0, 0, 0])
    shape = module.generator.code_shape
    w_plus = torch.zeros(8, shape.num_layers, shape.w_dim)
    code = InversionCode(w_plus, None, {16: torch.ones(8, shape.channels[16], 16, 16)})

    def kept(ranks: int, rank: int) -> Tensor:
        monkeypatch.setattr(PadInvModule, "trainer", SimpleNamespace(world_size=ranks, global_rank=rank))
        return module._reconstruct_without_some_features(code[list(range(rank, 8, ranks))], part=0)

    alone = kept(1, 0)
    assert alone.sum() == 4
    assert torch.equal(torch.stack([kept(2, 0), kept(2, 1)], dim=1).flatten(), alone)


def test_cycle_consistency_is_a_term_whose_steps_a_resumed_run_draws_again(
    build: Any, picture_folder: Path, tmp_path: Path
) -> None:
    """With all that the best design has: features left out of some, rings from resized maps, two passes, and fusion."""
    best = {"feature_resolutions": [16], "feature_pixels": True, "resize_to_rings": True}
    encoder = partial(ENCODER, **best, passes=2, feature_fusion=True)
    options = {"encoder": encoder, "cycle": 0.5, "lambda_feat": 0.1, "feature_dropout": 0.5}
    straight = build(**options)
    _, uninterrupted = fit(straight, picture_folder, steps=4)
    assert all(metrics["loss/cycle"] > 0 for metrics in uninterrupted.metrics)
    trainer, before = fit(build(**options), picture_folder, steps=2)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    again = build(**options)
    _, after = fit(again, picture_folder, steps=4, ckpt=str(tmp_path / "run.ckpt"))
    assert before.metrics + after.metrics == uninterrupted.metrics
    assert same(weights(straight), weights(again))
    counts = {int(v) for k, v in straight.encoder.state_dict().items() if k.endswith("num_batches_tracked")}
    assert counts == {8}  # two passes of each step: statistics are those of photographs
    without = build(**{**options, "cycle": 0.0})
    _, recorder = fit(without, picture_folder, steps=4)
    assert "loss/cycle" not in recorder.metrics[-1]
    assert not same(weights(straight), weights(without))


def test_the_best_design_trains_in_half_precision(build: Any, picture_folder: Path) -> None:
    encoder = partial(ENCODER, feature_resolutions=[16], feature_pixels=True, resize_to_rings=True)
    module = build(encoder=encoder, cycle=0.5, lambda_feat=0.1, feature_dropout=0.5)
    _, recorder = fit(module, picture_folder, steps=2, precision="bf16-mixed")
    assert recorder.metrics[-1]["loss/feat"] > 0
    assert all(torch.tensor(value).isfinite() for metrics in recorder.metrics for value in metrics.values())
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = module.eval().reconstruct(module(images))
    whole = module.reconstruct(module(images))
    assert (half - whole).abs().max() < 0.05 * whole.abs().max()


@pytest.mark.parametrize("name", ["pix", "id", "adv", "reg", "feat"])
def test_every_lambda_counts(build: Any, picture_folder: Path, name: str) -> None:
    options: dict[str, Any] = {"identity_loss": PixelLoss(squared=False)} if name == "id" else {}
    if name == "feat":
        options["encoder"] = partial(ENCODER, feature_resolutions=[16])

    def run(value: float) -> tuple[PadInvModule, dict[str, float]]:
        module = build(**{f"lambda_{name}": value, **options})
        _, recorder = fit(module, picture_folder, steps=2 if name == "feat" else 1)  # features are zero before
        return module, recorder.metrics[-1]

    without, log_without = run(0.0)
    with_it, log_with = run(0.5)
    assert f"loss/{name}" not in log_without
    assert f"loss/{name}" in log_with
    assert not same(weights(without.encoder), weights(with_it.encoder))


def test_schedules_count_images(build: Any, picture_folder: Path) -> None:
    halve = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    module = build(scheduler_e=halve, scheduler_images=8, optimizer_e=partial(torch.optim.Adam, lr=1.0))
    _, recorder = fit(module, picture_folder, steps=5)
    assert [metrics["lr/encoder"] for metrics in recorder.metrics] == [1.0, 0.5, 0.5, 0.25, 0.25]


def test_lazy_penalty(build: Any, picture_folder: Path) -> None:
    module = build(lambda_adv=0.03, adversarial_loss=AdversarialLoss(r1_every=2))
    _, recorder = fit(module, picture_folder, steps=4)
    assert [metrics["loss/r1"] > 0 for metrics in recorder.metrics] == [True, False, True, False]


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16-mixed"},
        # Lightning turns "16-mixed" into bfloat16 on a CPU; the plugin behind it does run, scaler and all.
        {"plugins": [MixedPrecision("16-mixed", device="cpu", scaler=torch.amp.GradScaler("cpu", init_scale=64.0))]},
    ],
    ids=["bfloat16", "float16"],
)
def test_mixed_precision_clips_and_learns_the_same(build: Any, picture_folder: Path, options: dict[str, Any]) -> None:
    def run(**options: Any) -> tuple[Tensor, Recorder]:
        sgd = partial(torch.optim.SGD, lr=1.0)
        module = build(lambda_adv=0.03, clip_norm=0.01, optimizer_e=sgd, optimizer_d=sgd)
        before = nn.utils.parameters_to_vector(module.encoder.parameters()).detach().clone()
        _, recorder = fit(module, picture_folder, steps=1, **options)
        return nn.utils.parameters_to_vector(module.encoder.parameters()).detach() - before, recorder

    full, reference = run()
    mixed, recorder = run(**options)
    for name in ("loss/pix", "loss/d"):
        assert recorder.metrics[0][name] == pytest.approx(reference.metrics[0][name], rel=0.05)
    assert mixed.norm().item() == pytest.approx(0.01, rel=0.02)
    assert torch.cosine_similarity(mixed, full, dim=0) > 0.9


def test_fused_optimizers_are_not_clipped_while_they_are_scaled(build: Any, picture_folder: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    module = build(clip_norm=0.5, optimizer_e=partial(torch.optim.Adam, lr=1e-3, fused=True))
    with pytest.raises(ConfigError, match=r"clip_norm cannot clip .* give Adam fused=False, take bf16-mixed"):
        fit(module, picture_folder, plugins=[MixedPrecision("16-mixed", device="cpu", scaler=scaler)])


def test_optimizers_are_fused_after_resuming_too(build: Any, picture_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.ckpt"
    trainer, _ = fit(build(lambda_adv=0.03), picture_folder, 1)
    assert [optimizer.param_groups[0]["fused"] for optimizer in trainer.optimizers] == [True, True]
    for optimizer in trainer.optimizers:
        optimizer.param_groups[0]["fused"] = None  # as a run on a GPU saves it
    trainer.save_checkpoint(file)
    trainer, _ = fit(build(lambda_adv=0.03), picture_folder, 2, ckpt=str(file))
    assert [optimizer.param_groups[0]["fused"] for optimizer in trainer.optimizers] == [True, True]


@pytest.mark.parametrize("before", [True, False])
def test_a_resumed_run_may_have_another_order(build: Any, picture_folder: Path, tmp_path: Path, before: bool) -> None:
    file = tmp_path / "run.ckpt"
    fit(build(channels_last=before), picture_folder, 2)[0].save_checkpoint(file)
    weights_after = []
    for channels_last in (before, not before):
        module = build(channels_last=channels_last)
        fit(module, picture_folder, 4, ckpt=str(file))
        weights_after.append(weights(module.encoder))
    for key, expected in weights_after[0].items():
        torch.testing.assert_close(weights_after[1][key], expected, rtol=1e-3, atol=1e-4)


def test_not_finite_names_step_term_and_files(build: Any, picture_folder: Path) -> None:
    class Poison(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 1:
                batch["image"][0, 0, 0, 0] = float("nan")

    module = build()
    with pytest.raises(NonFiniteLossError, match=r"loss/pix is nan at step 1 \(4 images seen\).*\d\d\.png") as error:
        fit(module, picture_folder, callbacks=[Poison()])
    assert str(error.value).count(".png") == 4


@pytest.mark.parametrize("stop", [3, 5])
def test_resumed_run_is_the_same_run(build: Any, picture_folder: Path, tmp_path: Path, stop: int) -> None:
    """Five steps are an epoch; both optimizers, schedules, average and the images' order go on where they were."""
    options: dict[str, Any] = {} if stop == 3 else {"encoder": partial(ENCODER, feature_resolutions=[8, 16])}
    options |= {
        "lambda_feat": 0.1,
        "lambda_adv": 0.05,
        "ema_images": 10.0,
        "scheduler_e": partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.7),
        "scheduler_images": 6,
    }
    straight = build(**options)
    _, uninterrupted = fit(straight, picture_folder, steps=8)

    first = build(**options)
    trainer, before = fit(first, picture_folder, steps=stop)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    torch.manual_seed(99)
    second = build(**options)
    _, after = fit(second, picture_folder, steps=8, ckpt=str(tmp_path / "run.ckpt"))

    assert before.names + after.names == uninterrupted.names
    assert before.metrics + after.metrics == uninterrupted.metrics
    assert same(weights(straight), weights(second))


def test_checkpoint_holds_no_generator_and_is_an_encoder(build: Any, picture_folder: Path, tmp_path: Path) -> None:
    module = build(lambda_adv=0.03, ema_images=8.0)
    trainer, _ = fit(module, picture_folder, steps=2)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert {key.split(".")[0] for key in checkpoint["state_dict"]} == {
        "encoder",
        "encoder_ema",
        "discriminator",
        "images_seen",
        "steps",
    }
    encoder = load_encoder(tmp_path / "run.ckpt")
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(encoder(images).w_plus, module.eval()(images).w_plus)
    assert torch.equal(encoder.w_avg, module.generator.w_avg)
    assert torch.equal(encoder.const_avg, module.generator.synthesis.const[0])


def test_loads_from_checkpoint(build: Any, picture_folder: Path, tmp_path: Path, generator_file: str) -> None:
    trainer, _ = fit(build(lambda_reg=0.5), picture_folder, steps=1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    module = PadInvModule.load_from_checkpoint(tmp_path / "run.ckpt", encoder=ENCODER)
    assert module.lambdas["reg"] == 0.5
    assert same(weights(module), weights(trainer.lightning_module))


def test_checkpoint_of_another_generator_or_encoder_is_refused(
    build: Any, picture_folder: Path, tmp_path: Path, generator_file: str
) -> None:
    trainer, _ = fit(build(), picture_folder, steps=1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    other = copy.deepcopy(load_generator(generator_file))
    other.synthesis.const.data += 1
    with pytest.raises(CheckpointError, match=r"was trained for the generator [0-9a-f]{16}, but this one is"):
        fit(build(generator=other), picture_folder, ckpt=str(tmp_path / "run.ckpt"))
    wide = build(encoder=partial(ENCODER, width=8))
    with pytest.raises(
        CheckpointError, match=r"'encoder\.backbone\.stem\.0\.weight' has shape \(4, 3, 3, 3\).*\(8, 3, 3, 3\)"
    ):
        fit(wide, picture_folder, ckpt=str(tmp_path / "run.ckpt"))
    for option, value in (("padding_level", 1), ("first_for_all", True)):
        changed = partial(ENCODER, **{option: value})
        with pytest.raises(
            CheckpointError, match=f"was trained with {option} .*; set model.encoder.init_args.{option} to"
        ):
            PadInvModule.load_from_checkpoint(tmp_path / "run.ckpt", encoder=changed)


def test_discriminator_is_the_runs_own_after_resuming(build: Any, picture_folder: Path, tmp_path: Path) -> None:
    module = build(lambda_adv=0.05)
    trainer, _ = fit(module, picture_folder, steps=2)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    resumed = build(lambda_adv=0.05)
    assert not same(weights(resumed.discriminator), weights(module.discriminator))
    data = ImageDataModule(val=str(picture_folder), resolution=32, num_workers=0)
    trainer.validate(resumed, data, ckpt_path=str(tmp_path / "run.ckpt"), weights_only=True, verbose=False)
    assert same(weights(resumed.discriminator), weights(module.discriminator))


def test_validation_and_test_report_the_losses_images(
    build: Any, picture_folder: Path, discriminator_file: str
) -> None:
    module = build(perceptual_loss=DiscriminatorFeatureLoss(discriminator_file), lambda_per=1.0, report_lpips=True)
    data = ImageDataModule(
        val=str(picture_folder), test=str(picture_folder), resolution=32, batch_size=8, num_workers=0
    )
    trainer = quiet_trainer()
    (validated,) = trainer.validate(module, data, verbose=False)
    assert {"val/mse", "val/psnr", "val/ms_ssim", "val/lpips", "val/features"} <= set(validated)
    images = torch.cat([batch["image"] for batch in data.val_dataloader()])
    with torch.no_grad():
        reconstruction = module.eval().reconstruct(module(images))
    assert validated["val/mse"] == pytest.approx(float((reconstruction - images).square().mean()), rel=1e-4)
    assert validated["val/lpips"] == pytest.approx(PerceptualLoss()(reconstruction, images).item(), rel=1e-3)
    assert "lpips" not in build(report_lpips=False).val_metrics
    (tested,) = trainer.test(module, data, verbose=False)
    assert tested["test/lpips"] == pytest.approx(validated["val/lpips"], rel=1e-6)
    assert tested["test/mse"] == pytest.approx(validated["val/mse"], rel=1e-6)


def test_prediction(build: Any, picture_folder: Path) -> None:
    module = build()
    data = ImageDataModule(predict=str(picture_folder), resolution=32, batch_size=8, num_workers=0)
    trainer = quiet_trainer()
    batches = trainer.predict(module, data)
    assert [len(batch["code"]) for batch in batches] == [8, 8, 4]
    assert [Path(name).name for batch in batches for name in batch["name"]] == [f"{i:02d}.png" for i in range(20)]
    assert batches[0]["reconstruction"].shape == (8, 3, 32, 32)


def test_large_generators_are_pooled_to_the_images(build: Any, generator_file: str) -> None:
    module = build(encoder=partial(PlainEncoder, resolution=16))
    images = torch.randn(2, 3, 16, 16)
    code = module(images)
    whole = module.generator.synthesis(*code.parts)
    torch.testing.assert_close(module.reconstruct(code), nn.functional.avg_pool2d(whole, 2))


def test_metrics_are_logged_against_images_seen(build: Any, picture_folder: Path, tmp_path: Path) -> None:
    fit(build(lambda_adv=0.03), picture_folder, steps=3, logger=CSVLogger(tmp_path, name=None, version=""))
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("step")
    assert [line.split(",")[column] for line in lines[1:]] == ["4", "8", "12"]


def test_hyperparameters_are_plain(build: Any) -> None:
    module = build(pixel_loss=PixelLoss(), scheduler_e=None)
    assert "encoder" not in module.hparams
    assert "pixel_loss" not in module.hparams
    assert module.hparams["lambda_pix"] == 1.0


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's own, while it compiles
@pytest.mark.parametrize("recompute", [False, True, "cheap"])
def test_compiled_networks_give_the_same_losses(build: Any, picture_folder: Path, recompute: bool | str) -> None:
    _, plain = fit(build(), picture_folder, steps=2)
    compiled = build(compile=True, checkpoint_activations=recompute)
    _, recorder = fit(compiled, picture_folder, steps=2)
    assert recorder.metrics[1]["loss/pix"] == pytest.approx(plain.metrics[1]["loss/pix"], rel=1e-3)
    assert set(weights(compiled)) == set(weights(build()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_adv": 0.1, "discriminator": None}, "lambda_adv is 0.1, but there is no discriminator"),
        ({"encoder": partial(ENCODER, resolution=64)}, "images of 64 px, more than the 32 px that the generator makes"),
        ({"encoder": partial(ENCODER, padded_resolutions=[64])}, "names 64 px, but this generator has layers at"),
        (
            {"encoder": partial(PlainEncoder, resolution=16), "lambda_adv": 0.1},
            "scores images of 32 px.*images of 16 px",
        ),
        ({"cycle": -1.0}, "^cycle must be 0 or more, not -1.0"),
        ({"lambda_feat": -1.0}, "^lambda_feat must be 0 or more, not -1.0"),
        ({"accumulate": 0}, "accumulate and scheduler_images must be 1 or more"),
    ],
)
def test_options_that_do_not_fit_are_named(build: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_numbers_of_one_other_precision_are_refused(build: Any, picture_folder: Path, precision: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer.precision {precision} .* take bf16-mixed, 16-mixed or 32-true"):
        fit(build(), picture_folder, precision=precision)
    data = ImageDataModule(val=str(picture_folder), resolution=32, num_workers=0)
    with pytest.raises(ConfigError, match=precision):
        quiet_trainer(precision=precision).validate(build(), data)


def test_metrics_and_averages_are_kept_in_float32(build: Any, picture_folder: Path) -> None:
    module = build(ema_images=8.0)
    fit(module, picture_folder, steps=1, precision="bf16-mixed", limit_val_batches=1, data={"val": str(picture_folder)})
    states = [value for m in module.val_metrics.values() for value in m.metric_state.values() if torch.is_tensor(value)]
    kept = [*module.encoder_ema.parameters(), *module.encoder.parameters(), *states]
    assert {tensor.dtype for tensor in kept if tensor.is_floating_point()} == {torch.float32}
    images = torch.zeros(4, 3, 32, 32)
    for _ in range(600):
        module.val_metrics["mse"].update(images + 1, images)
    assert module.val_metrics["mse"].compute().item() == 1.0


class Sharp(torch.optim.SGD):
    """Steps twice, as SAM does."""

    def second_step(self) -> None: ...


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, Sharp])
def test_optimizers_that_step_through_the_loss_are_refused(build: Any, picture_folder: Path, optimizer: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{optimizer.__name__} computes the loss several times a step"):
        fit(build(optimizer_e=partial(optimizer, lr=0.1)), picture_folder)


def test_a_plateau_is_waited_for(build: Any, picture_folder: Path) -> None:
    """With a rate of 0 nothing gets better: after two validations more the rate is halved."""
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=1)
    module = build(scheduler_e=plateau, scheduler_images=4, optimizer_e=partial(torch.optim.SGD, lr=1e-12))
    module.scheduler_callables[0].keywords["eps"] = 0.0
    data = {"val": str(picture_folder)}
    _, recorder = fit(module, picture_folder, 5, data, limit_val_batches=1, val_check_interval=1)
    rates = [metrics["lr/encoder"] for metrics in recorder.metrics]
    assert rates == pytest.approx([1e-12, 1e-12, 1e-12, 5e-13, 5e-13], rel=1e-3)


def test_a_plateau_of_what_nobody_measures_is_refused(build: Any, picture_folder: Path) -> None:
    scheduler = partial(ReduceLROnPlateau, monitor="val/nothing")
    with pytest.raises(ConfigError, match=r"cannot wait for val/nothing; validation measures val/.*mse"):
        fit(build(scheduler_e=scheduler), picture_folder)
    fit(build(scheduler_e=partial(ReduceLROnPlateau, monitor="val/psnr", mode="max")), picture_folder)


def test_a_schedule_stays_at_its_end(build: Any, picture_folder: Path) -> None:
    one_cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=3)
    module = build(scheduler_e=one_cycle, scheduler_images=4)
    _, recorder = fit(module, picture_folder, 6)
    rates = [metrics["lr/encoder"] for metrics in recorder.metrics]
    assert rates[1:] == pytest.approx([rates[1]] * 5)
    assert rates[1] < 1e-5 < rates[0]


@pytest.mark.parametrize(
    ("callback", "mend"),
    [
        (StochasticWeightAveraging(0.1), "set model.ema_images"),
        (GradientAccumulationScheduler({0: 2}), "set model.accumulate"),
        (LearningRateFinder(), "give the learning rate"),
    ],
)
def test_callbacks_that_cannot_work_are_refused(
    build: Any, picture_folder: Path, callback: Callback, mend: str
) -> None:
    with pytest.raises(ConfigError, match=mend):
        fit(build(), picture_folder, callbacks=[callback])


@pytest.mark.parametrize("lambda_adv", [0.0, 0.03])
def test_a_fast_run_is_a_whole_one(build: Any, picture_folder: Path, lambda_adv: float) -> None:
    module = build(lambda_adv=lambda_adv)
    trainer, _ = fit(module, picture_folder, 9, {"val": str(picture_folder)}, fast_dev_run=3, limit_val_batches=1.0)
    assert int(module.images_seen) == 12
    assert "val/mse" in trainer.callback_metrics


def test_rates_are_logged_once_and_against_images(build: Any, picture_folder: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name=None, version="")
    fit(build(lambda_adv=0.03), picture_folder, 3, logger=logger, callbacks=[LearningRateMonitor("step")])
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [name for name in header.split(",") if "lr" in name] == ["lr/discriminator", "lr/encoder"]
    assert [row.split(",")[header.split(",").index("step")] for row in rows] == ["4", "8", "12"]


def test_loggers_get_the_arguments(build: Any, picture_folder: Path, tmp_path: Path) -> None:
    fit(build(lambda_reg=0.25), picture_folder, 1, logger=CSVLogger(tmp_path, name=None, version=""))
    hparams = yaml.safe_load((tmp_path / "hparams.yaml").read_text())
    assert hparams["model"]["lambda_reg"] == 0.25
    assert "encoder" not in hparams["model"]  # a function is no plain value


def test_a_checkpoint_of_a_generators_training_is_refused(build: Any) -> None:
    with pytest.raises(CheckpointError, match=r"fit-gan, go on with that, or give its networks/generator\.safetensors"):
        build().on_load_checkpoint({"state_dict": {"generator_ema.w_avg": torch.zeros(1)}})


def test_mlflow_gets_the_arguments(
    build: Any, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Lightning's own logger, on a stand-in for MLflow, which takes flat names and short texts."""
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())
    entities = SimpleNamespace(Param=SimpleNamespace, Metric=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)

    class Offline(MLFlowLogger):
        name, version, save_dir, run_id = "runs", "1", str(tmp_path), "1"

        def __init__(self) -> None:
            self.logged: dict[str, str] = {}
            self._prefix, self._log_batch_kwargs, self._initialized, self._log_model = "", {}, False, False

        @property
        def experiment(self) -> Any:
            return self

        def log_batch(self, run_id: str, params: Any = (), metrics: Any = ()) -> None:
            self.logged |= {param.key: param.value for param in params}

    fit(build(lambda_reg=0.25), picture_folder, 1, logger=(logger := Offline()))
    assert logger.logged["model/lambda_reg"] == "0.25"
    assert not [name for name in logger.logged if "encoder" in name.split("/")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(4, 3, 32, 32), 'must be {"image": (B, 3, H, W)}, not a Tensor of shape'),
        (TensorDataset(torch.zeros(4, 3, 32, 32), torch.zeros(4)), "not a list of 2"),
        ([{"image": torch.zeros(3, 32, 32, dtype=torch.uint8)}] * 4, "not torch.uint8"),
        ([{"image": torch.full((3, 32, 32), 200.0)}] * 4, "must be in [-1, 1], but reach from 200"),
    ],
)
@pytest.mark.parametrize("step", ["fit", "validate", "predict"])
def test_a_batch_that_is_none_is_a_sentence(build: Any, data: Any, message: str, step: str) -> None:
    trainer = quiet_trainer(fast_dev_run=1)
    loader = DataLoader(data, batch_size=2)
    loaders = [loader, loader] if step == "fit" else [loader]
    with pytest.raises(DataError, match=re.escape(message)):
        getattr(trainer, step)(build(), *loaders)

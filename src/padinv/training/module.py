"""PadInv's training as a LightningModule: E and D take turns, G never changes (PadInv, Bai et al. 2022).

One batch is one step of the encoder against the frozen discriminator, then, if there is a discriminator, one step of it
on the same reconstructions. The encoder therefore runs once a batch, and its BatchNorm statistics move once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from padinv.batches import batch_images
from padinv.checkpoints import fingerprint, load_discriminator, load_generator
from padinv.checkpoints.building import check_state
from padinv.checkpoints.native import LIGHTNING_KEY
from padinv.codes import CodeShape, InversionCode
from padinv.cpu import buffers_kept, recompute_activations
from padinv.exceptions import CheckpointError, ConfigError
from padinv.losses import (
    AdversarialLoss,
    CycleConsistency,
    FeatureRegularization,
    Frozen,
    IdentityLoss,
    LatentRegularization,
    PerceptualLoss,
    PixelLoss,
    ReconstructionLoss,
    random_steps,
)
from padinv.networks import Discriminator, Generator, PadInvEncoder, encode
from padinv.networks.passes import take_passes
from padinv.training.alternating import average_decay, made, monitored, moving_average
from padinv.training.distributed import allow_unused_parameters, synchronize_batchnorm
from padinv.training.inverting import InvertingModule
from padinv.training.starting import check_unseen_options, weights_to_start_from

EncoderCallable = Callable[[CodeShape], nn.Module]
"""Builds an encoder for a generator; in a config its ``class_path``, with its other arguments as ``init_args``."""


def default_optimizer_e(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Adam with learning rate 1e-4, as published for the encoder."""
    return torch.optim.Adam(parameters, lr=1e-4)


def default_optimizer_d(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Adam with learning rate 1e-4 and β₂ = 0.99, as published for the discriminator."""
    return torch.optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.99))


class PadInvModule(InvertingModule):
    """Trains an encoder to invert a generator.

    The loss of the encoder is  λ_pix·pix + λ_per·per + λ_id·id + λ_adv·adv + λ_reg·reg + λ_feat·feat + λ_cycle·cycle,
    with λ_cycle called ``cycle``. Each term is a class of :mod:`padinv.losses` that can be replaced; a term with λ = 0
    is not even built. To change more than the arguments allow, override ``configure_models``, ``configure_losses`` or
    ``configure_metrics``.

    Args:
        generator: name of a bundled generator, checkpoint of one, or a Generator.
        discriminator: name or checkpoint of the discriminator that adv trains against; None for none.
        encoder: class of the encoder, called with ``generator.code_shape``.
        pixel_loss: PixelLoss() if not given.
        perceptual_loss: PerceptualLoss("alex") if not given.
        identity_loss: IdentityLoss() if not given.
        adversarial_loss: AdversarialLoss("logistic") if not given; it holds the discriminator's R1 penalty, too.
        lambda_pix: weight of the pixel loss. Published: 1.
        lambda_per: weight of the perceptual loss. Published: 0.8.
        lambda_id: weight of the identity loss. Published: 0.1 for faces, else 0.
        lambda_adv: weight of the adversarial loss. Published: 0 for faces, 0.03 for churches, 0.05 for bedrooms.
        lambda_reg: weight of the distance to the mean latent. Published: 0.003.
        lambda_feat: weight of the size of features, for encoders with feature_resolutions; 0 for none.
        feature_dropout: share of each training batch that is reconstructed without its features, so that latents and
            padding go on telling what the image is, and edits of them show. Validation leaves out nothing.
        cycle: weight of cycle consistency under random steps in W (:class:`padinv.losses.CycleConsistency`), which
            keeps features from hiding edits; 0 for none. A step of training takes about three times as long.
        cycle_strength: how far these steps go, 1 for the whole way from the mean to a random latent.
        optimizer_e: makes the encoder's optimizer.
        optimizer_d: makes the discriminator's.
        scheduler_e: makes the encoder's learning rate schedule, which steps every ``scheduler_images`` images.
            ReduceLROnPlateau steps at validations, and looks at val/mse if it names no other metric.
        scheduler_d: makes the discriminator's schedule, in the same way.
        scheduler_images: images for one step of the schedules, on all ranks together.
        clip_norm: clips the gradient of each network to this norm; None for no clipping.
        accumulate: parts that each batch is worked through in; same step, less memory. BatchNorm sees the parts.
        ema_images: half-life, in images, of a moving average of the encoder, which validation and saved encoders then
            use; None for no average.
        encoder_weights: an encoder to start from, as for :func:`padinv.load_encoder` ("congress64", a checkpoint), of
            the same kind and size; it may lack features, which then start at zero. Random weights if not given.
        channels_last: keeps weights and images in this order, which is faster on most devices.
        checkpoint_activations: computes activations of generator and encoder again in the backward pass instead of
            keeping them (:mod:`padinv.cpu.recomputation`): less memory, more time. "cheap" does so for all but
            convolutions. A number is the smallest size, in pixels a side, of maps to compute again.
        compile: compiles the encoder and the synthesis network with ``torch.compile``.
        sync_batchnorm: on several processes, normalizes over the batches of all of them, as one process would.
        report_lpips: reports LPIPS (with AlexNet, which comes with padinv) in validation and test, whatever the losses.
        test_features: network for the distances between photographs and reconstructions as sets, in a test, as for
            ``padinv evaluate --features``; None for no such distances.

    Raises:
        ConfigError: if options do not fit each other.
        CheckpointError: if a network cannot be loaded.
        WeightsNotFoundError: if a loss needs weights that are not here and cannot be fetched.
    """

    def __init__(
        self,
        generator: str | Generator = "congress64",
        discriminator: str | None = None,
        encoder: EncoderCallable = PadInvEncoder,
        pixel_loss: ReconstructionLoss | None = None,
        perceptual_loss: ReconstructionLoss | None = None,
        identity_loss: ReconstructionLoss | None = None,
        adversarial_loss: AdversarialLoss | None = None,
        lambda_pix: float = 1.0,
        lambda_per: float = 0.8,
        lambda_id: float = 0.0,
        lambda_adv: float = 0.0,
        lambda_reg: float = 0.003,
        lambda_feat: float = 0.0,
        feature_dropout: float = 0.0,
        cycle: float = 0.0,
        cycle_strength: float = 0.5,
        optimizer_e: OptimizerCallable = default_optimizer_e,
        optimizer_d: OptimizerCallable = default_optimizer_d,
        scheduler_e: LRSchedulerCallable | None = None,
        scheduler_d: LRSchedulerCallable | None = None,
        scheduler_images: int = 1000,
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema_images: float | None = None,
        encoder_weights: str | None = None,
        channels_last: bool = False,
        checkpoint_activations: bool | int | Literal["cheap"] = False,
        compile: bool = False,
        sync_batchnorm: bool = True,
        report_lpips: bool = True,
        test_features: str | None = "alexnet",
    ) -> None:
        super().__init__(clip_norm, channels_last)
        self.keep_hyperparameters()  # under LightningCLI all are plain, classes as their paths
        if accumulate < 1 or scheduler_images < 1:
            raise ConfigError("accumulate and scheduler_images must be 1 or more.")
        lambdas = {"pix": lambda_pix, "per": lambda_per, "id": lambda_id, "adv": lambda_adv, "reg": lambda_reg}
        lambdas |= {"feat": lambda_feat, "cycle": cycle}
        for name, weight in lambdas.items():
            if not 0 <= weight < math.inf:  # nor NaN
                raise ConfigError(f"{'' if name == 'cycle' else 'lambda_'}{name} must be 0 or more, not {weight}.")
        if not 0 <= feature_dropout <= 1:
            raise ConfigError(f"feature_dropout is a share, from 0 to 1, not {feature_dropout}.")
        if lambda_adv > 0 and discriminator is None:
            raise ConfigError(
                f"lambda_adv is {lambda_adv}, but there is no discriminator: give one (discriminator: congress64, or a "
                "checkpoint), or set lambda_adv to 0."
            )
        self.lambdas = lambdas
        self.optimizer_callables, self.scheduler_callables = (optimizer_e, optimizer_d), (scheduler_e, scheduler_d)
        self.scheduler_images, self.accumulate, self.ema_images = scheduler_images, accumulate, ema_images
        self.feature_dropout, self.cycle_strength = feature_dropout, cycle_strength
        self.checkpoint_activations = checkpoint_activations
        self.compile_networks = compile
        self.sync_batchnorm = sync_batchnorm
        self.report_lpips = report_lpips
        self.test_features = test_features

        self.configure_models(generator, discriminator, encoder)
        if encoder_weights is not None:
            self.start_encoder(encoder_weights)
        self.configure_losses(pixel_loss, perceptual_loss, identity_loss, adversarial_loss)
        self.configure_metrics()

    # What is trained, and against what ------------------------------------------------------------------------------

    def configure_models(self, generator: str | Generator, discriminator: str | None, encoder: EncoderCallable) -> None:
        """Builds the networks, or raises ConfigError if sizes do not fit. A resumed run replaces the weights."""
        network = load_generator(generator) if isinstance(generator, str) else generator
        self._generator = Frozen(network)
        self.encoder = encoder(network.code_shape)
        for name, mean in {"w_avg": network.w_avg, "const_avg": network.synthesis.const[0]}.items():
            if isinstance(start := getattr(self.encoder, name, None), Tensor):
                start.copy_(mean.detach())
        resolution: Any = self.encoder.resolution
        self.resolution = int(resolution)
        if self.resolution > network.resolution:
            raise ConfigError(
                f"The encoder reads images of {self.resolution} px, more than the {network.resolution} px that the "
                f"generator makes; set the encoder's (and the data's) resolution to {network.resolution} or less."
            )
        self.discriminator: Discriminator | None = None
        if discriminator is not None:
            self.discriminator = load_discriminator(discriminator).requires_grad_().train()
            if self.discriminator.resolution != self.resolution:
                raise ConfigError(
                    f"The discriminator {discriminator!r} scores images of {self.discriminator.resolution} px, but "
                    f"losses compare images of {self.resolution} px; use a discriminator of that resolution."
                )
        self.encoder_ema: AveragedModel | None = None
        if self.ema_images is not None:
            # Each step sets its own decay, by the number of its images.
            self.encoder_ema = AveragedModel(self.encoder, multi_avg_fn=moving_average(0.5), use_buffers=True)
            self.encoder_ema.requires_grad_(False)

    def start_encoder(self, source: str) -> None:
        """Copies another encoder's weights into the encoder, and into its moving average."""
        state = weights_to_start_from(self.encoder, source)
        self.encoder.load_state_dict(state)
        if self.encoder_ema is not None:
            self.encoder_ema.module.load_state_dict(state)

    def configure_losses(
        self,
        pixel_loss: ReconstructionLoss | None,
        perceptual_loss: ReconstructionLoss | None,
        identity_loss: ReconstructionLoss | None,
        adversarial_loss: AdversarialLoss | None,
    ) -> None:
        """Builds those terms of the loss whose λ is not zero."""
        losses = {
            "pix": pixel_loss or PixelLoss,
            "per": perceptual_loss or PerceptualLoss,
            "id": identity_loss or IdentityLoss,
        }
        counting = {name: loss for name, loss in losses.items() if self.lambdas[name] > 0}
        made_losses = {name: loss if isinstance(loss, nn.Module) else loss() for name, loss in counting.items()}
        self.reconstruction_losses = nn.ModuleDict(made_losses)
        self.latent_regularization = LatentRegularization()
        self.feature_regularization = FeatureRegularization()
        self.cycle_consistency = CycleConsistency()
        self.adversarial_loss = adversarial_loss or AdversarialLoss()

    # One step -------------------------------------------------------------------------------------------------------

    def encoder_losses(self, code: InversionCode, reconstruction: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Every term of the encoder's loss that counts, unweighted: {"pix": …, "per": …, …}."""
        terms = {name: loss(reconstruction, images) for name, loss in self.reconstruction_losses.items()}
        if self.lambdas["adv"] > 0 and self.discriminator is not None:
            terms["adv"] = self.adversarial_loss.generator(self.discriminator(reconstruction))
        if self.lambdas["reg"] > 0:
            terms["reg"] = self.latent_regularization(code.w_plus.float(), self.generator.w_avg)
        if self.lambdas["feat"] > 0 and code.features:
            terms["feat"] = self.feature_regularization(code.features)
        if self.lambdas["cycle"] > 0:
            count = len(images) * self.trainer.world_size
            step = self._own_share(random_steps(self.generator, count, self.cycle_strength, int(self.steps)))
            terms["cycle"] = self.cycle_consistency(self._encode_again, self.reconstruct, code, images, step)
        return terms

    def _own_share(self, drawn: Tensor) -> Tensor:
        """This process's part of what was drawn for the whole batch, dealt out as images are.

        Draws are then the same on any number of processes, and in a resumed run.
        """
        return drawn[self.trainer.global_rank :: self.trainer.world_size]

    def _reconstruct_without_some_features(self, code: InversionCode, part: int) -> Tensor:
        """Reconstructs a batch, some of its codes without their features; the step's number draws which."""
        if self.feature_dropout == 0 or not code.features:
            return self.reconstruct(code)
        random = torch.Generator().manual_seed(int(self.steps) * self.accumulate + part)
        kept = torch.ones(len(code) * self.trainer.world_size, 1, 1, 1)
        kept[torch.randperm(len(kept), generator=random)[: round(self.feature_dropout * len(kept))]] = 0
        kept = self._own_share(kept)
        return self.reconstruct(replace(code, features={r: x * kept.to(x) for r, x in code.features.items()}))

    def _encode_again(self, images: Tensor) -> InversionCode:
        """Encodes what the generator made. BatchNorm's statistics stay: they describe photographs."""
        with buffers_kept(self.encoder):
            return encode(self.encoder, self.in_memory_format(images), self.reconstruct, self.generator.synthesis)

    def discriminator_losses(self, reconstruction: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Both terms of the discriminator's loss: {"d": …, "r1": …}."""
        discriminator = self.discriminator
        if discriminator is None:
            return {}
        loss = self.adversarial_loss.discriminator(discriminator(images), discriminator(reconstruction))
        return {"d": loss, "r1": self.adversarial_loss.penalty(discriminator, images, int(self.steps))}

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Steps the encoder, then the discriminator, on {"image": (B, 3, H, W) in [-1, 1], "name": [...]}."""
        images = self.in_memory_format(batch_images(batch, values=batch_idx == 0))
        parts = self.split_batch(images, self.accumulate)
        reconstructions: list[Tensor] = []

        def encoder_step(i: int) -> dict[str, Tensor]:
            terms: list[dict[str, Tensor]] = []
            trained = partial(self._reconstruct_without_some_features, part=i)
            for code, reconstruction in take_passes(self.encoder, parts[i], trained, self.generator.synthesis):
                terms.append(self.encoder_losses(code, reconstruction, parts[i]))
            reconstructions.append(reconstruction.detach())
            return {name: torch.stack([part[name] for part in terms]).mean(dim=0) for name in terms[0]}

        optimizers = self.optimizer_list()
        logs = self.take_step(optimizers[0], encoder_step, parts, batch)
        total = len(images) * self.trainer.world_size
        if self.encoder_ema is not None and self.ema_images is not None:
            self.encoder_ema.multi_avg_fn = moving_average(average_decay(total, self.ema_images))
            self.encoder_ema.update_parameters(self.encoder)
        if self.discriminator is not None:
            logs |= self.take_step(
                optimizers[1], lambda i: self.discriminator_losses(reconstructions[i], parts[i]), parts, batch
            )

        before = int(self.images_seen)
        self.images_seen += total
        self.steps += 1
        self.step_schedules(int(self.images_seen) // self.scheduler_images - before // self.scheduler_images)
        rates = (optimizer.param_groups[0]["lr"] for optimizer in optimizers)
        named_rates = dict(zip(("lr/encoder", "lr/discriminator"), rates, strict=False))
        self.log_at_images({**{f"loss/{name}": value for name, value in logs.items()}, **named_rates}, len(images))

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics as val/mse, val/psnr and so on; shows them to schedules that wait for a plateau."""
        metrics = self.val_metrics.compute()
        self.log_at_images(metrics, sync_dist=True)
        self.val_metrics.reset()
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.step_plateaus(metrics)

    # Optimizers and checkpoints -------------------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer for the encoder, a second for the discriminator if there is one, and their schedules.

        Raises:
            ConfigError: if a schedule waits for an unknown metric.
        """
        optimizers, schedulers = [], []
        networks = self.encoder, self.discriminator
        players = zip("ed", networks, self.optimizer_callables, self.scheduler_callables, strict=True)
        for name, network, make, schedule in players:
            if network is not None:
                optimizers.append(made(f"optimizer_{name}", make, network.parameters()))
                if schedule is not None:
                    schedulers.append(made(f"scheduler_{name}", schedule, optimizers[-1]))
                    self._check_plateau(schedulers[-1])
        return optimizers, schedulers

    def _check_plateau(self, scheduler: Any) -> None:
        measured = [str(name) for name in self.val_metrics.keys()]  # noqa: SIM118 (with their prefix, which it lacks itself)
        if isinstance(scheduler, ReduceLROnPlateau) and monitored(scheduler) not in measured:
            raise ConfigError(
                f"ReduceLROnPlateau cannot wait for {monitored(scheduler)}; validation measures {', '.join(measured)}."
            )

    def setup(self, stage: str) -> None:
        """Sets memory order, recomputation and compilation in place: parameters keep their names. DDP may alternate."""
        super().setup(stage)
        if self.discriminator is not None:
            allow_unused_parameters(self.trainer.strategy)
        if self.sync_batchnorm:
            synchronize_batchnorm(self.trainer.strategy)
        if self.checkpoint_activations:
            only_cheap = self.checkpoint_activations == "cheap"
            minimum_size = 1 if only_cheap else int(self.checkpoint_activations)
            for network in (self.encoder, self.generator.synthesis):
                recompute_activations(network, minimum_size, only_cheap=only_cheap)
        if self.compile_networks:
            self.encoder.compile()
            self.generator.synthesis.compile()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what makes the encoder usable without this module. The generator is only named: it never changes."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[LIGHTNING_KEY] = {
            "generator": fingerprint(self.generator),
            type(self.encoder).__name__: getattr(self.encoder, "config", None),
        }
        if self.discriminator is not None:
            checkpoint[LIGHTNING_KEY][Discriminator.__name__] = self.discriminator.config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises CheckpointError for the checkpoint of a run on another generator, or of other networks."""
        super().on_load_checkpoint(checkpoint)
        if LIGHTNING_KEY not in checkpoint or any(key.startswith("generator_ema.") for key in checkpoint["state_dict"]):
            raise CheckpointError(
                "The checkpoint is not of padinv fit; if it is of padinv fit-gan, go on with that, or give its "
                "networks/generator.safetensors as model.generator."
            )
        trained_for = checkpoint[LIGHTNING_KEY].get("generator")
        if trained_for != fingerprint(self.generator):
            raise CheckpointError(
                f"The checkpoint was trained for the generator {trained_for}, but this one is "
                f"{fingerprint(self.generator)}; set model.generator to the run's own."
            )
        check_state(self, checkpoint["state_dict"], "The checkpoint")
        before, now = checkpoint[LIGHTNING_KEY].get(PadInvEncoder.__name__) or {}, getattr(self.encoder, "config", {})
        check_unseen_options(before, now)

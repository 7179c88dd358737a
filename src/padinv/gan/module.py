"""StyleGAN2's training, with adaptive augmentation, as a LightningModule (Karras et al. 2019 and 2020).

One batch is one step of the generator, then one of the discriminator. Both regularizations are lazy: every k batches
their gradient, times k, is added to the step's own. The published code makes an optimizer step of its own for each, and
makes up for these k + 1 steps in k batches by the factor c = k / (k + 1) on the learning rate, and as exponent of the
betas (section 3.1). Here k batches are k steps, so published rates and betas are used unchanged.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning.cli import OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from padinv.batches import batch_images
from padinv.checkpoints import load_discriminator, load_generator
from padinv.checkpoints.building import check_state
from padinv.checkpoints.native import LIGHTNING_KEY
from padinv.exceptions import CheckpointError, ConfigError
from padinv.gan.augmentation import AdaptiveAugmentation
from padinv.gan.projected import ProjectedDiscriminator
from padinv.losses import AdversarialLoss
from padinv.metrics import FrechetDistance
from padinv.networks import Discriminator, Generator
from padinv.training.alternating import AlternatingModule, average_decay, made, update_average
from padinv.training.distributed import allow_unused_parameters

W_AVG_DECAY = 0.998  # a step, as published
PATH_MEAN_DECAY = 0.99  # a measurement, as published
SAMPLES_AT_ONCE = 16  # for the Fréchet distance


def default_optimizer(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Adam with learning rate 0.002, β₁ = 0 and β₂ = 0.99, as published for both networks."""
    return torch.optim.Adam(parameters, lr=0.002, betas=(0.0, 0.99), eps=1e-8)


class StyleGAN2Module(AlternatingModule):
    """Trains a generator and its discriminator, from nothing or from any readable checkpoint.

    The generator to use, ``generator_ema``, is a moving average; ``load_generator`` takes it from a run's checkpoint.
    Everything random in a step follows from ``seed``, the rank and the step, so that a resumed run is the same run.

    Args:
        generator: name of a bundled generator, checkpoint of one, or a Generator; in a config ``class_path:
            padinv.Generator`` with its size as ``init_args`` starts from nothing.
        discriminator: name, checkpoint, or a Discriminator; None for a new one with the generator's channels.
        augmentation: changes all images that the discriminator sees; None for none.
        adversarial_loss: AdversarialLoss(r1_gamma=10, r1_every=16) if not given. StyleGAN2-ADA's rule of thumb for γ is
            0.0002·resolution² / batch, with more where images are few.
        path_length_weight: weight of the path length regularization; 0 for none. Published: 2.
        path_length_every: batches from one regularization to the next. Published: 4.
        path_length_shrink: the regularization is computed on a batch smaller by this factor. Published: 2.
        style_mixing: probability that a sample is mixed from two latents. Published: 0.9.
        ema_images: half-life of the moving average in images. Published: 10,000 to 20,000.
        ema_ramp_up: keeps the half-life below this share of the images seen; None for no ramp-up, as for fine-tuning.
            Published: 0.05 or none.
        freeze_d: how many of the discriminator's blocks stay as they are, from the highest resolution down (FreezeD,
            Mo et al. 2020).
        optimizer_g: makes the generator's optimizer.
        optimizer_d: makes the discriminator's.
        clip_norm: clips the gradient of each network to this norm; None for no clipping.
        accumulate: parts that each batch is worked through in; same step, less memory.
        channels_last: keeps images and weights in this order, which is faster on many devices.
        compile: compiles both networks with ``torch.compile``, except in the regularizations, which differentiate
            twice.
        fid: FrechetDistance("random") if not given: its features need no weights. It compares validation images, as
            they are, with samples of the moving average.
        fid_samples: how many samples. Published: 50,000.
        seed: seeds latents, noise, mixing and augmentation.
        projected: a second discriminator, which sees the same augmented images through a trained network; None for
            none. The optimizer of the plain one makes its steps, too.

    Raises:
        ConfigError: if options do not fit each other.
        CheckpointError: if a network cannot be loaded.
    """

    path_mean: Tensor
    path_measurements: Tensor

    def __init__(
        self,
        generator: str | Generator,
        discriminator: str | Discriminator | None = None,
        augmentation: AdaptiveAugmentation | None = None,
        adversarial_loss: AdversarialLoss | None = None,
        path_length_weight: float = 2.0,
        path_length_every: int = 4,
        path_length_shrink: int = 2,
        style_mixing: float = 0.9,
        ema_images: float = 20_000,
        ema_ramp_up: float | None = 0.05,
        freeze_d: int = 0,
        optimizer_g: OptimizerCallable = default_optimizer,
        optimizer_d: OptimizerCallable = default_optimizer,
        clip_norm: float | None = None,
        accumulate: int = 1,
        channels_last: bool = False,
        compile: bool = False,
        fid: FrechetDistance | None = None,
        fid_samples: int = 5000,
        seed: int = 0,
        projected: ProjectedDiscriminator | None = None,
    ) -> None:
        super().__init__(clip_norm, channels_last)
        self.keep_hyperparameters()
        for name, number, least in (
            ("path_length_weight", path_length_weight, 0),
            ("path_length_every", path_length_every, 1),
            ("path_length_shrink", path_length_shrink, 1),
            ("accumulate", accumulate, 1),
            ("fid_samples", fid_samples, 2),
        ):
            if not least <= number < math.inf:  # nor NaN
                raise ConfigError(f"{name} must be {least} or more, not {number}.")
        if not 0 <= style_mixing <= 1:
            raise ConfigError(f"style_mixing is a probability, from 0 to 1, not {style_mixing}.")
        if not 0 < ema_images < math.inf:
            raise ConfigError(f"ema_images must be more than 0, not {ema_images}.")
        self.optimizer_callables = (optimizer_g, optimizer_d)
        self.augmentation = augmentation or nn.Identity()
        self.adversarial_loss = adversarial_loss or AdversarialLoss(r1_gamma=10.0, r1_every=16)
        self.projected = projected
        self.lambdas = {"path": path_length_weight * path_length_every}
        if projected is not None:
            self.lambdas["g_projected"] = projected.weight
        self.path_length_every = path_length_every
        self.path_length_shrink = path_length_shrink
        self.style_mixing = style_mixing
        self.ema_images, self.ema_ramp_up = ema_images, ema_ramp_up
        self.accumulate = accumulate
        self.compile_networks = compile
        self.seed = seed
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("path_measurements", torch.zeros((), dtype=torch.int64))
        self.configure_models(generator, discriminator, freeze_d)
        self.fid = fid or FrechetDistance("random", self.generator.resolution)
        self.fid_samples = fid_samples

    # What is trained ------------------------------------------------------------------------------------------------

    def configure_models(
        self, generator: str | Generator, discriminator: str | Discriminator | None, freeze_d: int
    ) -> None:
        """Builds the networks, or raises ConfigError if sizes do not fit. A resumed run replaces the weights."""
        self.generator = load_generator(generator) if isinstance(generator, str) else generator
        self.generator.requires_grad_().train()
        if discriminator is None:
            discriminator = Discriminator(self.generator.resolution, channels=self.generator.config["channels"])
        self.discriminator = load_discriminator(discriminator) if isinstance(discriminator, str) else discriminator
        self.discriminator.requires_grad_().train()
        if self.discriminator.resolution != self.generator.resolution:
            raise ConfigError(
                f"The discriminator scores images of {self.discriminator.resolution} px, but the generator's are of "
                f"{self.generator.resolution} px; give both from one GAN, or leave the discriminator out."
            )
        freeze_highest(self.discriminator, freeze_d)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        # Functions, not modules: compiled ones would give the parameters other names.
        self.synthesize, self.score = self.generator.synthesis.forward, self.discriminator.forward

    # One step -------------------------------------------------------------------------------------------------------

    def forward(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """Samples images (B, 3, H, W) from z (B, z_dim) with the generator to use."""
        images: Tensor = self.generator_ema(z, truncation_psi)
        return images

    def sample_latents(self, count: int) -> Tensor:
        """Draws latents (B, L, w_dim), some of them mixed."""
        z = torch.randn(2 * count, self.generator.config["z_dim"], device=self.device)
        with torch.autocast(self.device.type, enabled=False):  # they set the precision of the image, and cost little
            one, other = self.generator.broadcast(self.generator.mapping(z)).chunk(2)
        return mix_styles(one, other, self.style_mixing)

    def discriminate(self, images: Tensor) -> Tensor:
        """Scores images (B, 3, H, W) as they are: (B, 1)."""
        return self.score(self.in_memory_format(images)).float()

    def generator_losses(self, count: int) -> dict[str, Tensor]:
        """The generator's terms, ``path`` when it is due: {"g": …, "g_projected": …, "path": …}. Moves the mean latent.

        ``g_projected`` is there if there is a projected discriminator.
        """
        w_plus = self.sample_latents(count)
        mean = self._mean_over_ranks(w_plus[:, 0].detach().mean(dim=0))  # the first layer's is never mixed in
        self.generator.w_avg.lerp_(mean, 1 - W_AVG_DECAY)
        fakes = self.augmentation(self.synthesize(w_plus, noise="random"))
        terms = {"g": self.adversarial_loss.generator(self.discriminate(fakes))}
        if self.projected is not None:
            terms["g_projected"] = self.projected.generator_loss(fakes)
        if self.lambdas["path"] > 0 and int(self.steps) % self.path_length_every == 0:
            terms["path"] = self.path_length_penalty(max(1, count // self.path_length_shrink))
        return terms

    def path_length_penalty(self, count: int) -> Tensor:
        """E(‖Jᵀy‖ - a)², where a is the mean of all ‖Jᵀy‖ so far: a plain mean at first, then a moving one."""
        w_plus = self.sample_latents(count)
        lengths = path_lengths(self.generator.synthesis(w_plus, noise="random"), w_plus)
        self.path_measurements += 1
        share = max(1 - PATH_MEAN_DECAY, 1 / int(self.path_measurements))
        self.path_mean.lerp_(self._mean_over_ranks(lengths.detach().mean()), share)
        return (lengths - self.path_mean).square().mean()

    def discriminator_losses(self, images: Tensor) -> dict[str, Tensor]:
        """The discriminators' terms, ``r1`` when it is due: {"d": …, "d_projected": …, "r1": …}.

        ``d_projected`` is there if there is a projected discriminator. Adapts the augmentation.
        """
        with torch.no_grad():
            fakes = self.augmentation(self.synthesize(self.sample_latents(len(images)), noise="random"))
            reals = self.augmentation(images)
        real_scores, fake_scores = self.discriminate(reals), self.discriminate(fakes)
        terms = {"d": self.adversarial_loss.discriminator(real_scores, fake_scores)}
        if self.projected is not None:
            terms["d_projected"] = self.projected.discriminator_loss(reals, fakes)
        if self.adversarial_loss.r1_gamma > 0 and int(self.steps) % self.adversarial_loss.r1_every == 0:
            terms["r1"] = self.adversarial_loss.penalty(
                self.discriminator, self.in_memory_format(reals), int(self.steps)
            )
        if isinstance(self.augmentation, AdaptiveAugmentation):
            self.augmentation.update(real_scores.detach())
        return terms

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Steps the generator, then the discriminator, on {"image": (B, 3, H, W) in [-1, 1], "name": [...]}."""
        torch.manual_seed(self._seed(int(self.steps)))  # a resumed run then draws what this one would have
        images = batch_images(batch, values=batch_idx == 0)
        total = len(images) * self.trainer.world_size
        parts = self.split_batch(images, self.accumulate)
        optimizer_g, optimizer_d = self.optimizer_list()
        logs = self.take_step(optimizer_g, lambda i: self.generator_losses(len(parts[i])), parts, batch)
        decay = average_decay(total, self.ema_images, int(self.images_seen), self.ema_ramp_up)
        update_average(self.generator_ema, self.generator, decay)
        logs |= self.take_step(optimizer_d, lambda i: self.discriminator_losses(parts[i]), parts, batch)
        self.images_seen += total
        self.steps += 1
        values = {f"loss/{name}": value for name, value in logs.items()}
        if isinstance(self.augmentation, AdaptiveAugmentation):
            values["augmentation/probability"] = self.augmentation.probability
            values["augmentation/overfitting"] = self.augmentation.overfitting
        self.log_at_images(values, len(images))

    def _seed(self, step: int) -> int:
        sequence = np.random.SeedSequence([self.seed, self.global_rank, step])
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))  # torch takes 63 bits

    def _mean_over_ranks(self, values: Tensor) -> Tensor:
        mean: Tensor = self.trainer.strategy.reduce(values, reduce_op="mean")
        return mean

    # Validation -----------------------------------------------------------------------------------------------------

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Takes real images {"image": (B, 3, H, W) in [-1, 1]} for the Fréchet distance."""
        self.fid.update(batch_images(batch, values=batch_idx == 0), real=True)

    def on_validation_epoch_end(self) -> None:
        """Draws the same samples at each validation, on any number of processes, and logs their ``val/fid``."""
        random = torch.Generator().manual_seed(self.seed)
        z = torch.randn(self.fid_samples, self.generator.config["z_dim"], generator=random)
        for own in torch.split(z[self.global_rank :: self.trainer.world_size], SAMPLES_AT_ONCE):
            self.fid.update(self(own.to(self.device)), real=False)
        self.log_at_images({"val/fid": self.fid.compute()})
        self.fid.reset()

    # Optimizers and checkpoints -------------------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Makes one optimizer for the generator, and one for the discriminators, without their frozen parts."""
        players = nn.ModuleList([self.generator]), nn.ModuleList([self.discriminator])
        if self.projected is not None:
            players[1].append(self.projected)
        return [
            made(
                f"optimizer_{name}", make, [parameter for parameter in networks.parameters() if parameter.requires_grad]
            )
            for name, networks, make in zip("gd", players, self.optimizer_callables, strict=True)
        ]

    def setup(self, stage: str) -> None:
        """Orders and compiles the networks, and lets DDP alternate."""
        super().setup(stage)
        allow_unused_parameters(self.trainer.strategy)
        if self.compile_networks:
            self.synthesize, self.score = torch.compile(self.synthesize), torch.compile(self.score)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what makes the networks usable without this module."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[LIGHTNING_KEY] = {
            Generator.__name__: self.generator_ema.config,
            Discriminator.__name__: self.discriminator.config,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises CheckpointError for the checkpoint of other networks."""
        super().on_load_checkpoint(checkpoint)
        if not any(key.startswith("generator_ema.") for key in checkpoint["state_dict"]):
            raise CheckpointError("The checkpoint is of padinv fit, which trains an encoder: go on with padinv fit.")
        check_state(self, checkpoint["state_dict"], "The checkpoint")


def freeze_highest(discriminator: Discriminator, blocks: int) -> None:
    """Freezes the first blocks of a discriminator, and what reads the image (FreezeD, Mo et al. 2020).

    Raises:
        ConfigError: if the discriminator has fewer blocks.
    """
    if not 0 <= blocks <= len(discriminator.blocks):
        raise ConfigError(
            f"freeze_d must be from 0 to {len(discriminator.blocks)}, the blocks there are, not {blocks}."
        )
    if blocks:
        discriminator.from_rgb.requires_grad_(False)
    for block in list(discriminator.blocks.values())[:blocks]:
        block.requires_grad_(False)


def mix_styles(w_plus: Tensor, other: Tensor, probability: float) -> Tensor:
    """Gives some samples the latents of another sample, from a layer on that is drawn for each.

    Layers then do not come to rely on each other (Karras et al. 2018, *A style-based generator*, section 3.1).

    Args:
        w_plus: style latents (B, L, w_dim).
        other: latents of other samples, of the same shape.
        probability: how likely a sample is mixed, from 0 to 1.

    Returns:
        (B, L, w_dim). The first layer always comes from ``w_plus``.

    >>> mix_styles(torch.zeros(1, 2, 1), torch.ones(1, 2, 1), 1.0).flatten().tolist()
    [0.0, 1.0]
    """
    count, layers = w_plus.shape[:2]
    crossover = torch.randint(1, layers, (count, 1, 1), device=w_plus.device)
    mixed = torch.rand(count, 1, 1, device=w_plus.device) < probability
    layer = torch.arange(layers, device=w_plus.device)[:, None]
    return torch.where(mixed & (layer >= crossover), other, w_plus)


def path_lengths(images: Tensor, w_plus: Tensor) -> Tensor:
    """How far images move with their latents, ‖Jᵀy‖ with J = ∂image/∂w and y random (Karras et al. 2019, section 3.2).

    y is normal noise over √(H·W), and the square is averaged over layers, as in the published code.

    Args:
        images: (B, 3, H, W), computed from ``w_plus``.
        w_plus: style latents (B, L, w_dim) that require a gradient.

    Returns:
        (B,), differentiable in the generator's parameters.
    """
    noise = torch.randn_like(images) / math.sqrt(images[0, 0].numel())
    (gradients,) = torch.autograd.grad((images * noise).sum(), w_plus, create_graph=True)
    return gradients.float().square().sum(dim=2).mean(dim=1).sqrt()

"""The loss that encoder and discriminator train against each other, and the penalty that smooths the discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from padinv.exceptions import ConfigError


class Form(NamedTuple):
    """The two sides of an adversarial game, as functions of scores (B, 1) to a scalar."""

    generator: Callable[[Tensor], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]


FORMS = {
    "logistic": Form(
        generator=lambda fake: F.softplus(-fake).mean(),
        discriminator=lambda real, fake: F.softplus(fake).mean() + F.softplus(-real).mean(),
    ),
    "wasserstein": Form(
        generator=lambda fake: -fake.mean(),
        discriminator=lambda real, fake: fake.mean() - real.mean(),
    ),
}

# Of flattened gradients (B, N). The norm's own gradient is 0 where the norm is.
NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "squared": lambda gradients: gradients.square().sum(dim=1).mean(),
    "unsquared": lambda gradients: torch.linalg.vector_norm(gradients, dim=1).mean(),
}


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], images: Tensor, norm: str = "squared") -> Tensor:
    """E‖∇D(x)‖² or E‖∇D(x)‖, differentiable in D's parameters (R1, Mescheder et al. 2018).

    It is computed in float32 at least, even under autocast: squared gradients leave the range of half precision.

    Args:
        discriminator: maps images to scores (B, 1).
        images: (B, 3, H, W) in [-1, 1].
        norm: ``squared`` or ``unsquared``.

    Returns:
        A scalar.

    >>> gradient_penalty(lambda x: 3 * x.sum(dim=(1, 2, 3)), torch.zeros(2, 1, 2, 2)).item()  # 4 values, slope 3
    36.0
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.detach().to(torch.promote_types(images.dtype, torch.float32)).requires_grad_()
        (gradients,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
        return NORMS[norm](gradients.flatten(1))


class AdversarialLoss:
    """The adversarial pair and its penalty on real images.

    ==============  ========================  ==========================================
    form            generator, or encoder     discriminator
    ==============  ========================  ==========================================
    logistic        E[softplus(-D(x'))]       E[softplus(D(x'))] + E[softplus(-D(x))]
    wasserstein     -E[D(x')]                 E[D(x')] - E[D(x)]
    ==============  ========================  ==========================================

    ``logistic`` with the squared norm is what the published code computes; ``wasserstein`` is what the paper writes.
    To either, training adds :meth:`penalty` on the discriminator's side: γ/2·E‖∇D(x)‖², or γ/2·E‖∇D(x)‖ if ``norm`` is
    ``unsquared``. The paper prints a minus before that last term; minimised, it would reward steep gradients without
    bound. Here it is a penalty: a plus.

    Args:
        form: the adversarial game.
        r1_gamma: γ; 0 for no penalty.
        r1_every: steps of the discriminator from one penalty to the next. It is multiplied by this number, so that its
            sum over a run stays the same (lazy regularization, Karras et al. 2020).
        norm: ``squared`` or ``unsquared`` norm of the gradient.

    Raises:
        ConfigError: if an option has no such value.

    >>> AdversarialLoss("wasserstein").discriminator(torch.tensor([[3.0]]), torch.tensor([[1.0]])).item()
    -2.0
    """

    def __init__(
        self,
        form: Literal["logistic", "wasserstein"] = "logistic",
        r1_gamma: float = 10.0,
        r1_every: int = 1,
        norm: Literal["squared", "unsquared"] = "squared",
    ) -> None:
        if form not in FORMS:
            raise ConfigError(f"form must be one of {', '.join(FORMS)}, not {form!r}.")
        if norm not in NORMS:
            raise ConfigError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}.")
        if not 0 <= r1_gamma < math.inf:
            raise ConfigError(f"r1_gamma must be 0 or more, not {r1_gamma}: below 0 it would reward steep gradients.")
        if r1_every < 1:
            raise ConfigError(f"r1_every must be 1 or more, not {r1_every}; r1_gamma 0 turns the penalty off.")
        self.form, self.r1_gamma, self.r1_every, self.norm = form, r1_gamma, r1_every, norm

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "encoder" in vars(cls) and "generator" not in vars(cls):  # a class of one's own, written for the old name
            cls.generator = cls.encoder  # type: ignore[method-assign]

    def generator(self, fake_scores: Tensor) -> Tensor:
        """The side that makes images, a generator or an encoder before one, from their scores (B, 1): a scalar."""
        return FORMS[self.form].generator(fake_scores)

    def encoder(self, fake_scores: Tensor) -> Tensor:
        """The earlier name of :meth:`generator`."""
        return self.generator(fake_scores)

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The discriminator's side without the penalty, from the scores (B, 1) of both: a scalar."""
        return FORMS[self.form].discriminator(real_scores, fake_scores)

    def penalty(self, discriminator: Callable[[Tensor], Tensor], real_images: Tensor, step: int) -> Tensor:
        """The penalty at one step of the discriminator: a scalar, 0 at the steps between.

        Args:
            discriminator: maps images to scores (B, 1).
            real_images: (B, 3, H, W) in [-1, 1].
            step: number of steps that the discriminator has made.
        """
        if self.r1_gamma == 0 or step % self.r1_every:
            return torch.zeros((), device=real_images.device)
        return gradient_penalty(discriminator, real_images, self.norm) * (self.r1_gamma / 2 * self.r1_every)

"""Improves the encoder's codes: optimizes latents, padding and features of each image against the frozen generator.

Each image is optimized by itself, with its own loss, its own state of Adam (Kingma & Ba 2015) and its own end. A batch
only lets them go through the generator together. The step size rises over the first 5 % of the steps and falls over the
last 25 %, as in StyleGAN2's projection (Karras et al. 2019, appendix D). An image whose loss no longer falls enters
this last phase at once. The fewer the steps, the smaller they are: Adam's first steps have one size whatever the
gradient, and what large ones spoil takes many others to mend (docs/refinement.md has figures).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from padinv.codes import InversionCode
from padinv.exceptions import ConfigError
from padinv.losses import PixelLoss, ReconstructionLoss
from padinv.networks import Generator
from padinv.networks.passes import averaged

RAMP_UP, RAMP_DOWN = 0.05, 0.25
"""The parts of the steps in which the step size rises and falls, as in StyleGAN2's projection."""

RATE, RATE_STEPS = 0.1, 200
"""The step size, and the number of steps that it is for."""


def refine(
    code: InversionCode,
    generator: Generator,
    targets: Tensor,
    steps: int = 200,
    *,
    losses: Sequence[tuple[float, ReconstructionLoss]] | None = None,
    regularization: float = 0.0,
    features: Sequence[int] | None = None,
    rate: float | None = None,
    tolerance: float = 0.01,
    patience: int = 25,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> InversionCode:
    """Optimizes latents, padding and features together, so that the generator's images come nearer to their targets.

    For each image it minimises  Σ λ·loss(G(w, p, f), x) + regularization·(mean((w - w₀)²) + Σ_R mean((f - f₀)²)),  with
    w₀ and f₀ the given latents and features. The result is the best code on the way, the given one included. It depends
    on the other images in the batch only by rounding.

    Args:
        code: the codes of B images to start from, as the encoder predicts them; they are not written to. Without
            padding, latents and features alone are optimized.
        generator: the network; neither its weights nor their gradients are written to.
        targets: (B, 3, H, W) in [-1, 1]. Larger images of the generator are pooled to their size.
        steps: the largest number of steps for each image; 0 returns the code.
        losses: pairs (λ, loss); the mean squared error if not given.
        regularization: how strongly latents and features are kept near the encoder's, which keeps them editable.
        features: the resolutions whose features are optimized: all that the code has if not given, none for an empty
            list. Those that the code lacks start at zero. Its other features stay as they are.
        rate: the step size; :func:`rate_for` the number of steps if not given.
        tolerance: the least progress, relative to the loss. An image that makes less enters its last phase, and
            costs nothing once that has ended.
        patience: the number of steps that it has for this progress.
        on_step: a function that gets the number of each step, from 1 up, and each image's lowest loss so far (B,).

    Returns:
        Codes of the same shapes.

    Raises:
        ConfigError: if the targets do not fit the code or the generator, or an option is out of range.
    """
    _check(len(code), generator, targets, steps, patience)
    if steps == 0:
        return code
    terms = [(1.0, PixelLoss())] if losses is None else losses
    # trainer.predict runs in inference mode, whose tensors pass no gradients; clones made outside of it do.
    with torch.inference_mode(False), torch.enable_grad():
        code, targets = code.detach().clone(), targets.detach().clone()
        code = _with_zeros(code, generator, features or ())
        layout = _Layout(code, set(code.feature_resolutions if features is None else features))
        rate = rate_for(steps) if rate is None else rate
        search = _Search(layout.flatten(code), steps, rate, tolerance, patience)
        for step in range(steps + 1):
            given = code[search.going]
            moved = layout.unflatten(points := search.points.requires_grad_(), given)
            images = generator.synthesis(*moved.parts).float()
            if images.shape[2:] != targets.shape[2:]:
                images = averaged(images, (targets.shape[2], targets.shape[3]))
            values = regularization * _distance(moved, given)
            for weight, loss in terms:
                values = values + weight * loss.each(images, targets[search.going])
            search.record(step, values.detach())
            if on_step is not None and step > 0:
                on_step(step, search.lowest.clone())
            if (search.ends[search.going] <= step).all():
                break
            # Not backward(), which would write gradients into a generator that is perhaps being trained.
            search.move(step, *torch.autograd.grad(values.sum(), points))
        return layout.unflatten(search.best, code)


def rate_for(steps: int) -> float:
    """Computes the step size for a number of steps: 0.1 · √(steps / 200), and 0.1 from 200 on.

    >>> [round(rate_for(steps), 3) for steps in (5, 20, 50, 200, 1000)]
    [0.016, 0.032, 0.05, 0.1, 0.1]
    """
    return RATE * min(1.0, math.sqrt(steps / RATE_STEPS))


def _distance(one: InversionCode, other: InversionCode) -> Tensor:
    """Sums the mean squares of the differences in latents and in features of each resolution, (B,)."""
    pairs = [(one.w_plus, other.w_plus)]
    pairs += [((one.features or {})[r], (other.features or {})[r]) for r in one.feature_resolutions]
    return torch.stack([(a - b).square().flatten(1).mean(dim=1) for a, b in pairs]).sum(dim=0)


def check_features(features: Sequence[int], generator: Generator) -> None:
    """Raises ConfigError naming the resolutions that the generator does not have."""
    there = generator.code_shape.channels
    if unknown := sorted(set(features) - set(there)):
        raise ConfigError(f"features names {unknown} px, but this generator has layers at {sorted(there)} px.")


def _with_zeros(code: InversionCode, generator: Generator, features: Sequence[int]) -> InversionCode:
    """Adds features of zeros at the resolutions that the code lacks."""
    if not features:
        return code
    check_features(features, generator)
    channels = generator.code_shape.channels
    zeros = {r: code.w_plus.new_zeros(len(code), channels[r], r, r) for r in features}
    return replace(code, features={**zeros, **(code.features or {})})


class _Layout:
    """The layout of a code as one row of numbers, its parts concatenated, but for features that stay."""

    def __init__(self, code: InversionCode, features: Collection[int]) -> None:
        staying = {f"features_{r}" for r in code.feature_resolutions if r not in features}
        named = code.named_tensors().items()
        self.shapes = {name: tensor.shape[1:] for name, tensor in named if name not in staying}

    def flatten(self, code: InversionCode) -> Tensor:
        """Makes (B, D) of a code, the latents first."""
        named = code.named_tensors()
        return torch.cat([named[name].flatten(1) for name in self.shapes], dim=1)

    def unflatten(self, points: Tensor, code: InversionCode) -> InversionCode:
        """Undoes :meth:`flatten`; what stays is taken from the code."""
        parts = torch.split(points, [shape.numel() for shape in self.shapes.values()], dim=1)
        named = zip(self.shapes.items(), parts, strict=True)
        moved = {name: part.reshape(-1, *shape) for (name, shape), part in named}
        return InversionCode.from_named_tensors(code.named_tensors() | moved)


class _Search:
    """Runs Adam on each row of ``points``, and ends each row by itself.

    torch's Adam would take seconds to import, and gives all rows of a parameter one step size.

    Attributes:
        going: numbers (A,) of the images that are not yet done, which the rows of ``points`` belong to.
        best: the best points (B, D) of all images so far.
        lowest: their losses (B,).
        ends: the step (B,) at which each image is done.
    """

    BETAS = (0.9, 0.99)  # Adam's usual 0.999 would average squares over more steps than there are

    def __init__(self, points: Tensor, steps: int, rate: float, tolerance: float, patience: int) -> None:
        self.points, self.best = points, points.clone()
        self.mean, self.square = torch.zeros_like(points), torch.zeros_like(points)
        self.going = torch.arange(len(points), device=points.device)
        self.lowest = points.new_full((len(points),), torch.inf)
        self.marks, self.marked = self.lowest.clone(), torch.zeros_like(self.going)  # the last progress, and its step
        self.ends = torch.full_like(self.going, steps)
        self.steps, self.rate, self.tolerance, self.patience = steps, rate, tolerance, patience

    def record(self, step: int, values: Tensor) -> None:
        """Takes note of the losses (A,) at the points."""
        better = values < self.lowest[self.going]
        self.best[self.going[better]] = self.points.detach()[better]
        self.lowest[self.going[better]] = values[better]
        good = values < (1 - self.tolerance) * self.marks[self.going]
        self.marks[self.going[good]] = values[good]
        self.marked[self.going[good]] = step
        stuck = step - self.marked >= self.patience
        self.ends[stuck] = self.ends[stuck].clamp_max(step + math.ceil(RAMP_DOWN * self.steps))

    def move(self, step: int, gradient: Tensor) -> None:
        """Drops the images that are done, and takes a step with the others."""
        keep = self.ends[self.going] > step
        self.going, gradient = self.going[keep], gradient[keep]
        self.mean = self.mean[keep].lerp(gradient, 1 - self.BETAS[0])
        self.square = self.square[keep].lerp(gradient.square(), 1 - self.BETAS[1])
        mean, square = (
            moment / (1 - beta ** (step + 1)) for moment, beta in zip((self.mean, self.square), self.BETAS, strict=True)
        )
        up = min(1.0, (step + 1) / (RAMP_UP * self.steps))
        down = ((self.ends[self.going] - step) / (RAMP_DOWN * self.steps)).clamp_max(1)
        rate = self.rate * up * (1 - torch.cos(math.pi * down)) / 2
        self.points = self.points.detach()[keep] - rate[:, None] * mean / (square.sqrt() + 1e-8)


def _check(count: int, generator: Generator, targets: Tensor, steps: int, patience: int) -> None:
    size = generator.resolution
    if targets.ndim != 4 or targets.shape[:2] != (count, 3) or max(targets.shape[-2:]) > size:
        raise ConfigError(
            f"The targets of {count} codes have shape ({count}, 3, H, W) of {size} px or less, "
            f"not {tuple(targets.shape)}; resize them."
        )
    if steps < 0 or patience < 1:
        raise ConfigError(f"steps must be 0 or more and patience 1 or more, not {steps} and {patience}.")

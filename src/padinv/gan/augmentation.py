"""Adaptive discriminator augmentation (ADA, Karras et al. 2020, *Training GANs with limited data*, appendix B).

All images that the discriminator sees, real or generated, are augmented at random. It then cannot learn a small data
set by heart. Each change has a probability below 1, so the generator does not learn the changes themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from kornia.geometry import axis_angle_to_rotation_matrix, get_affine_matrix2d, warp_affine
from torch import Tensor, nn

from padinv.exceptions import ConfigError

BLIT = ("flip", "rotate90", "translate")
GEOMETRIC = ("scale", "rotate", "stretch", "shift")
COLOUR = ("brightness", "contrast", "luma_flip", "hue", "saturation")


class AdaptiveAugmentation(nn.Module):
    """Changes images at random, each in its own way, as often as the discriminator's overfitting calls for.

    ===============  ========================================  ===================================================
    group            change                                    strength
    ===============  ========================================  ===================================================
    ``blit``         ``flip``, left to right                   in half of the cases
                     ``rotate90``                              0, 90, 180 or 270°
                     ``translate`` by whole pixels             up to ⅛ of the width, either axis
    ``geometric``    ``scale``                                 2^N(0, 0.2²)
                     ``rotate``, before and after ``stretch``  any angle
                     ``stretch``                               one axis by a = 2^N(0, 0.2²), the other by 1/a
                     ``shift``                                 N(0, (width/8)²), either axis
    ``colour``       ``brightness``                            adds N(0, 0.2²)
                     ``contrast``                              2^N(0, 0.5²)
                     ``luma_flip``, about the grey axis        in half of the cases
                     ``hue``, about the grey axis              any angle
                     ``saturation``                            2^N(0, 1)
    ===============  ========================================  ===================================================

    Each change is made to each image with :attr:`probability` p (``rotate``'s two parts with 1 - √(1 - p) each). All of
    geometry is one affine warp, and all of colour is one matrix. An image is reflected beyond its border. The warp is
    bilinear, and softens real and generated images alike; the paper filters with wavelets. The paper's third set,
    filters, noise and cutout, is left out, as in the paper's own recommendation.

    :meth:`update` moves p: the share of overfitting r = E[sign(D(x))] over real images x is to stay at ``target``.
    p, and what was counted since it last moved, are in the state dict.

    Take the penalty R1 at the augmented images, ``gradient_penalty(discriminator, augment(images))``: the discriminator
    sees these images, and no second derivative of the warp is needed, which torch lacks in some versions and on some
    devices. The paper's code takes it at the images before augmentation; if images are only flipped, turned or moved,
    both are the same, except for pixels that leave the picture.

    Args:
        probability: p at the start, from 0 to 1.
        target: the wanted r.
        every: number of updates from one move of p to the next.
        images_to_one: how many images it takes to go from p = 0 to 1, real ones of all ranks.
        maximum: the largest p. The paper finds that changes leak into what is generated from about 0.8 up.
        blit: whether to make the first group's changes.
        geometric: whether to make the second group's.
        colour: whether to make the third group's.
        without: single changes to leave out, such as ``["rotate90", "luma_flip"]``.

    Raises:
        ConfigError: if an option is out of range, or there is no such change.

    >>> augment = AdaptiveAugmentation()
    >>> images = torch.rand(4, 3, 16, 16)
    >>> torch.equal(augment(images), images)  # p is 0
    True
    """

    probability: Tensor
    overfitting: Tensor
    signs: Tensor
    images: Tensor
    updates: Tensor

    def __init__(
        self,
        *,
        probability: float = 0.0,
        target: float = 0.6,
        every: int = 4,
        images_to_one: int = 500_000,
        maximum: float = 1.0,
        blit: bool = True,
        geometric: bool = True,
        colour: bool = True,
        without: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not 0 <= probability <= maximum <= 1:
            raise ConfigError(f"0 ≤ probability ≤ maximum ≤ 1 must hold, not probability {probability}, {maximum=}.")
        if not -1 < target < 1:
            raise ConfigError(f"target must be above -1 and below 1, as a mean of signs is, not {target}.")
        if every < 1 or images_to_one < 1:
            raise ConfigError(f"every and images_to_one must be 1 or more, not {every} and {images_to_one}.")
        if unknown := sorted(set(without) - {*BLIT, *GEOMETRIC, *COLOUR}):
            raise ConfigError(f"without names {unknown[0]!r}; take {', '.join(BLIT + GEOMETRIC + COLOUR)}.")
        self.target, self.every, self.images_to_one, self.maximum = target, every, images_to_one, maximum
        groups = (BLIT if blit else ()) + (GEOMETRIC if geometric else ()) + (COLOUR if colour else ())
        self.changes = frozenset(groups) - frozenset(without)
        self.register_buffer("probability", torch.tensor(float(probability)))
        self.register_buffer("overfitting", torch.tensor(0.0))
        self.register_buffer("signs", torch.tensor(0.0))
        self.register_buffer("images", torch.tensor(0.0))
        self.register_buffer("updates", torch.tensor(0))

    def forward(self, images: Tensor) -> Tensor:
        """Changes images (B, 3, R, R) in [-1, 1], which may go beyond. It computes in float32 even under autocast."""
        if self.probability == 0 or not self.changes:
            return images
        with torch.autocast(images.device.type, enabled=False):
            changed = images.to(torch.promote_types(images.dtype, torch.float32))
            if self.changes & {*BLIT, *GEOMETRIC}:
                changed = self._warp(changed)
            if self.changes & {*COLOUR}:
                changed = self._recolour(changed)
            return changed.to(images.dtype)

    @torch.no_grad()
    def update(self, real_scores: Tensor) -> None:
        """Counts the scores (B, 1) of augmented real images, and moves p if it is time to.

        All ranks must call it, and then have the same p.
        """
        counted = torch.stack([real_scores.sign().sum(dtype=torch.float32), self.images.new_tensor(len(real_scores))])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counted)
        self.signs += counted[0]
        self.images += counted[1]
        self.updates += 1
        if self.updates < self.every:
            return
        self.overfitting.copy_(self.signs / self.images)
        step = (self.overfitting - self.target).sign() * self.images / self.images_to_one
        self.probability.add_(step).clamp_(0, self.maximum)
        for counter in (self.signs, self.images, self.updates):
            counter.zero_()

    def _sometimes(self, change: str, strength: Tensor, probability: Tensor | None = None) -> Tensor:
        """The strengths (B, N) of a change, set to 0, which changes nothing, for the images that it skips."""
        if change not in self.changes:
            return torch.zeros_like(strength)
        happens = torch.rand_like(strength[:, :1]) < (self.probability if probability is None else probability)
        return strength * happens

    def _warp(self, images: Tensor) -> Tensor:
        """All of geometry, as one affine map of pixel coordinates."""
        size = images.shape[-1]
        flip = self._sometimes("flip", _uniform(images, 1, 0, 2).floor())
        quarters = self._sometimes("rotate90", _uniform(images, 1, 0, 4).floor())
        pixels = self._sometimes("translate", (_uniform(images, 2, -0.125, 0.125) * size).round())
        scale = self._sometimes("scale", _normal(images, 1, 0.2)).exp2()
        # There are two turns: with this probability each, at least one is made with probability p.
        partly = 1 - (1 - self.probability).sqrt()
        before = self._sometimes("rotate", _uniform(images, 1, -180, 180), partly)
        after = self._sometimes("rotate", _uniform(images, 1, -180, 180), partly)
        stretch = self._sometimes("stretch", _normal(images, 1, 0.2)).exp2()
        shift = self._sometimes("shift", _normal(images, 2, 0.125)) * size

        centre = torch.full_like(shift, (size - 1) / 2)
        mirror = torch.cat([1 - 2 * flip, torch.ones_like(flip)], dim=1)
        blit = get_affine_matrix2d(pixels, centre, mirror, 90 * quarters[:, 0])
        first = get_affine_matrix2d(torch.zeros_like(shift), centre, scale.expand(-1, 2), before[:, 0])
        second = get_affine_matrix2d(shift, centre, torch.cat([stretch, 1 / stretch], dim=1), after[:, 0])
        matrix = (second @ first @ blit)[:, :2]
        warped: Tensor = warp_affine(images, matrix, (size, size), padding_mode="reflection")
        return warped

    def _recolour(self, images: Tensor) -> Tensor:
        """All of colour, as one affine map of red, green and blue."""
        brightness = self._sometimes("brightness", _normal(images, 1, 0.2))
        contrast = self._sometimes("contrast", _normal(images, 1, 0.5)).exp2()
        luma_flip = self._sometimes("luma_flip", _uniform(images, 1, 0, 2).floor())
        hue = self._sometimes("hue", _uniform(images, 1, -math.pi, math.pi))
        saturation = self._sometimes("saturation", _normal(images, 1, 1)).exp2()

        axis = images.new_full((3,), math.sqrt(1 / 3))
        grey = torch.outer(axis, axis)
        colourful = torch.eye(3).to(grey) - grey
        turn = axis_angle_to_rotation_matrix(hue * axis)
        # All but brightness commute: turning leaves the grey axis as it is, and the rest scales the two parts.
        parts = (1 - 2 * luma_flip)[..., None] * grey + saturation[..., None] * colourful
        recoloured: Tensor = (contrast[..., None] * turn @ parts) @ (images.flatten(2) + brightness[..., None])
        return recoloured.view_as(images)


def _normal(images: Tensor, width: int, deviation: float) -> Tensor:
    """A draw (B, width) from N(0, deviation²)."""
    return deviation * torch.randn(len(images), width, dtype=images.dtype, device=images.device)


def _uniform(images: Tensor, width: int, low: float, high: float) -> Tensor:
    """A draw (B, width) from [low, high)."""
    return low + (high - low) * torch.rand(len(images), width, dtype=images.dtype, device=images.device)

"""Drags points of an image to their targets, by moving latents and padding (DragGAN, Pan et al. 2023).

A step has two halves. Motion supervision (section 3.2) moves the code so that the surroundings of each handle appear
one pixel nearer to its target. Point tracking (section 3.3) then looks for the handle: the nearest place whose features
are those that the handle had at first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.codes import InversionCode
from padinv.editing.combining import check_finite
from padinv.editing.layers import Layers, parse_layers
from padinv.exceptions import ConfigError, DataError
from padinv.networks import Generator

if TYPE_CHECKING:
    from typing_extensions import Unpack

Point: TypeAlias = tuple[float, float]
"""A place (x, y) in pixels of the image, counted from 0 at the left and at the top."""

FIRST_LAYERS = 6
"""Latents that move if none are named: the first six lay out the image, the others colour it (section 3.2)."""

MASK_WEIGHT = 20.0
"""λ of the paper, for features outside the mask."""

TRACKING = 0.5
"""The grid on which a handle is looked for, in pixels: the smallest bundled images have 64."""


@dataclass(frozen=True, eq=False)
class DragStep:
    """The state of a drag after a step.

    Args:
        number: how many steps were taken; 0 is the start.
        code: the code of one image.
        image: what the generator makes of it, (1, 3, H, W).
        handles: where the handles are now.
        distances: how far each of them is from its target, in pixels.
        loss: the loss of the step; 0 at the start.
    """

    number: int
    code: InversionCode
    image: Tensor
    handles: tuple[Point, ...]
    distances: tuple[float, ...]
    loss: float = 0.0


class DragOptions(TypedDict, total=False):
    """Options of :func:`drag`, and of :func:`drag_steps`, which says what they are and has their defaults."""

    mask: Tensor | None
    steps: int
    layers: Layers
    padding: bool
    resolution: int | None
    rate: float
    tolerance: float


def drag(
    code: InversionCode,
    generator: Generator,
    handles: Sequence[Point],
    targets: Sequence[Point],
    *,
    on_step: Callable[[DragStep], object] | None = None,
    **options: Unpack[DragOptions],
) -> InversionCode:
    """Moves what is at the handles to the targets, in each of B images.

    Args:
        code: the codes of B images, which are not written to. Each image is dragged by itself.
        generator: the network; neither its weights nor their gradients are written to.
        handles: places in the image.
        targets: where each of them goes.
        on_step: called with the start and after each step.
        **options: ``mask``, ``steps``, ``layers``, ``padding``, ``resolution``, ``rate`` and ``tolerance`` of
            :func:`drag_steps`.

    Returns:
        Codes of the same shapes, the last ones on the way.

    Raises:
        ConfigError, DataError: as :func:`drag_steps`.
    """
    dragged = []
    for one in code:
        last = None
        for last in drag_steps(one, generator, handles, targets, **options):
            if on_step is not None:
                on_step(last)
        dragged.append(one if last is None else last.code)
    return InversionCode.cat(dragged)


def drag_steps(
    code: InversionCode,
    generator: Generator,
    handles: Sequence[Point],
    targets: Sequence[Point],
    *,
    mask: Tensor | None = None,
    steps: int = 100,
    layers: Layers = None,
    padding: bool = True,
    resolution: int | None = None,
    rate: float = 0.01,
    tolerance: float = 1.0,
) -> Iterator[DragStep]:
    """Drags one image as :func:`drag` does, step by step; the caller may stop after any step.

    Args:
        code: the code of one image, which is not written to.
        generator: the network; neither its weights nor their gradients are written to.
        handles: places in the image.
        targets: where each of them goes.
        mask: (H, W) of the image's size, above 0 where the image may change; everywhere if not given.
        steps: the largest number of steps.
        layers: which latents move, "0-5" or numbers; the first six if not given.
        padding: whether the rest of the code moves, too: constant, rings, and features if there are any.
        resolution: of the features that are compared, in pixels a side; half or a quarter of the image's if not given.
        rate: how far a number moves in a step, as a part of the root mean square of its tensor.
        tolerance: how near each handle must come to its target, in pixels; the drag then ends.

    Yields:
        The start, then each step, until every handle is at its target or ``steps`` were taken.

    Raises:
        ConfigError: if handles and targets are not as many, or not inside the image, or an option is out of range. It
            is raised at once, before a step is taken.
        DataError: if the numbers grow out of all bounds.
    """
    check_finite(rate=rate, tolerance=tolerance)
    if len(code) != 1:
        raise ConfigError(f"drag_steps takes the code of one image, not of {len(code)}: use drag, or code[0].")
    if steps < 0 or rate <= 0 or tolerance <= 0:
        raise ConfigError(
            f"steps must be 0 or more, rate and tolerance above 0, not {steps}, {rate:g} and {tolerance:g}."
        )
    size = generator.resolution
    starts, ends = (_check_points(points, name, size) for points, name in ((handles, "handles"), (targets, "targets")))
    if len(starts) != len(ends):
        raise ConfigError(f"There are {len(starts)} handles and {len(ends)} targets: each handle needs one target.")
    if mask is not None and tuple(mask.shape) != (size, size):
        raise ConfigError(f"The mask has shape {tuple(mask.shape)}, but the image ({size}, {size}): resize it.")
    resolution = feature_resolution(size) if resolution is None else resolution
    if resolution not in (there := sorted(generator.synthesis.channels)):
        raise ConfigError(f"resolution must be one of {', '.join(map(str, there))}, not {resolution}.")
    count = generator.num_layers
    chosen = parse_layers(range(min(FIRST_LAYERS, count)) if layers is None else layers, count)
    generator.synthesis.check(*code.parts)
    pull = _Pull(code, generator, starts, ends, mask, chosen, padding, resolution, rate)
    return _steps(pull, steps, tolerance)


def feature_resolution(size: int) -> int:
    """Chooses the resolution of the features for images of ``size`` px: half, and a quarter of large ones.

    The paper takes the sixth block, 128 px: fine enough to place a point, coarse enough to know what it is part of.

    >>> [feature_resolution(size) for size in (64, 256, 512, 1024)]
    [32, 128, 128, 256]
    """
    return max(size // 4, min(size // 2, 128))  # 128 px, as published, unless a quarter is more


def _check_points(points: Sequence[Point], name: str, size: int) -> Tensor:
    """Makes (N, 2) of points, and checks that they are inside the image."""
    places = torch.tensor([[float(x), float(y)] for x, y in points])
    if len(places) == 0:
        raise ConfigError(f"There are no {name}: give one point or more.")
    inside = ((places >= 0) & (places <= size - 1)).all(dim=1)  # NaN is not inside, either
    if not inside.all():
        x, y = places[~inside][0].tolist()
        raise ConfigError(f"The {name} must be inside the image, 0 to {size - 1} px, but one is ({x:g}, {y:g}).")
    return places


def _steps(pull: _Pull, steps: int, tolerance: float) -> Iterator[DragStep]:
    yield pull.state(0, 0.0)
    for number in range(1, steps + 1):
        if float(pull.distances.max()) <= tolerance:
            return
        loss = pull.step(number, tolerance)
        yield pull.state(number, loss)


class _Pull:
    """What a drag remembers from one step to the next; ``places`` is where the handles are, (N, 2)."""

    BETAS = (0.9, 0.999)  # Adam's defaults

    def __init__(
        self,
        code: InversionCode,
        generator: Generator,
        handles: Tensor,
        targets: Tensor,
        mask: Tensor | None,
        layers: Sequence[int],
        padding: bool,
        resolution: int,
        rate: float,
    ) -> None:
        self.generator, self.size, self.resolution = generator, generator.resolution, resolution
        with torch.inference_mode(False), torch.no_grad():
            device = code.w_plus.device
            self.parts = {name: tensor.detach().clone() for name, tensor in code.named_tensors().items()}
            self.moved = [name for name in self.parts if padding or name == "w_plus"]
            self.places, self.targets = handles.to(device), targets.to(device)
            self.freedom = torch.zeros(1, self.parts["w_plus"].shape[1], 1, device=device)
            self.freedom[:, list(layers)] = 1
            self.rates = {name: rate * self.parts[name].square().mean().sqrt() for name in self.moved}
            self.mean = {name: torch.zeros_like(self.parts[name]) for name in self.moved}
            self.square = {name: torch.zeros_like(self.parts[name]) for name in self.moved}
            self.fixed = None
            if mask is not None:
                fixed = 1 - (mask.detach() > 0).to(device, torch.float32)[None, None]
                self.fixed = F.adaptive_avg_pool2d(fixed, resolution)
            # Radii of the paper, 3 and 12 px, are for images of 512 px.
            self.around = _disc(max(2, round(3 * self.size / 512))).to(device)
            self.search = _square(max(4, round(12 * self.size / 512))).to(device)
        self.look()
        with torch.inference_mode(False), torch.no_grad():
            self.first = self.features.detach().clone()
            self.wanted = self.sample(self.first, self.places)

    @property
    def distances(self) -> Tensor:
        """How far the handles are from the targets, (N,)."""
        return (self.targets - self.places).square().sum(dim=1).sqrt()

    def state(self, number: int, loss: float) -> DragStep:
        """Copies the state, so that later steps do not write to it."""
        code = InversionCode.from_named_tensors({name: part.detach().clone() for name, part in self.parts.items()})
        points = tuple((float(x), float(y)) for x, y in self.places.tolist())
        return DragStep(number, code, self.image, points, tuple(self.distances.tolist()), loss)

    def step(self, number: int, tolerance: float) -> float:
        """Moves the code, generates, and finds the handles again; returns the loss before."""
        with torch.inference_mode(False), torch.enable_grad():
            loss = self.loss(tolerance)
            # Not backward(), which would write gradients into the generator.
            gradients = torch.autograd.grad(loss, [self.parts[name] for name in self.moved], allow_unused=True)
        with torch.inference_mode(False), torch.no_grad():
            for name, gradient in zip(self.moved, gradients, strict=True):
                if gradient is not None:  # rings above the features' resolution have none
                    self.move(name, gradient * self.freedom if name == "w_plus" else gradient, number)
            if not all(part.isfinite().all() for part in self.parts.values()):
                raise DataError(f"The code became infinite in step {number}: drag with a smaller rate.")
        self.look()
        self.track()
        return float(loss.detach())

    def look(self) -> None:
        """Generates the image, and keeps the features on the way with what their gradient needs."""
        seen: list[Tensor] = []
        own = get_ident()

        def keep(_: nn.Module, inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
            if get_ident() == own:  # other threads may use the generator meanwhile
                seen.append(outputs[0])

        handle = self.generator.synthesis.blocks[str(self.resolution)].register_forward_hook(keep)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                for name in self.moved:
                    self.parts[name] = self.parts[name].detach().requires_grad_()
                code = InversionCode.from_named_tensors(self.parts)
                self.image = self.generator.synthesis(*code.parts).detach().float()
        finally:
            handle.remove()
        self.features = seen[0].float()

    def loss(self, tolerance: float) -> Tensor:
        """Equation 1: the features around a handle should appear one pixel further on; outside a mask all stays."""
        way = self.targets - self.places
        far = way.norm(dim=1) > tolerance
        step = way / way.norm(dim=1, keepdim=True).clamp_min(1.0)  # the last step is no longer than the way
        here = self.places[far][:, None] + self.around
        there = here + step[far][:, None]
        gone = self.sample(self.features, there) - self.sample(self.features, here).detach()
        loss = gone.abs().mean(dim=(0, 2)).sum()
        if self.fixed is not None:
            loss = loss + MASK_WEIGHT * ((self.features - self.first).abs() * self.fixed).mean()
        return loss

    @torch.no_grad()
    def track(self) -> None:
        """Equation 2: each handle is where the features are nearest to those that it had at first."""
        near = (self.places[:, None] + self.search).clamp(0, self.size - 1)
        found = self.sample(self.features.detach(), near)
        differences = (found - self.wanted[:, :, None]).abs().sum(dim=0)
        best = differences.argmin(dim=1)
        self.places = near[torch.arange(len(near), device=near.device), best]

    def sample(self, features: Tensor, places: Tensor) -> Tensor:
        """Samples features at places (…, 2) in pixels of the image, bilinearly: (C, …)."""
        grid = (2 * places + 1) / self.size - 1
        sampled = F.grid_sample(
            features, grid.reshape(1, 1, -1, 2), mode="bilinear", padding_mode="border", align_corners=False
        )
        return sampled.reshape(features.shape[1], *places.shape[:-1])

    def move(self, name: str, gradient: Tensor, number: int) -> None:
        """Takes a step of Adam (Kingma & Ba 2015); torch's own would take seconds to import."""
        self.mean[name].lerp_(gradient, 1 - self.BETAS[0])
        self.square[name].lerp_(gradient.square(), 1 - self.BETAS[1])
        mean, square = (
            moment / (1 - beta**number)
            for moment, beta in zip((self.mean[name], self.square[name]), self.BETAS, strict=True)
        )
        self.parts[name] = self.parts[name].detach() - self.rates[name] * mean / (square.sqrt() + 1e-12)


def _square(radius: int) -> Tensor:
    """Makes offsets (K, 2) on the grid of tracking. The middle comes first, so that it wins a tie."""
    along = torch.arange(-radius, radius + TRACKING, TRACKING)
    offsets = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1).reshape(-1, 2)
    return offsets[offsets.norm(dim=1).argsort(stable=True)]


def _disc(radius: int) -> Tensor:
    """Makes offsets (K, 2) of the pixels around a point."""
    along = torch.arange(-radius, radius + 1.0)
    offsets = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1).reshape(-1, 2)
    return offsets[offsets.norm(dim=1) <= math.sqrt(radius**2 + 1)]

"""A direction along which one property of the images changes, in W or W+ and in padding space, wherever it was found.

A code moves by w ← w + α · v, and its padding and features in step if the direction knows how. The length of v is the
step of strength α = 1. Where v is the normal of a hyperplane v · w + b = 0 (InterFaceGAN, Shen et al. 2020, section
3.1), codes on one side have the property, on the other not. It can lie in the features instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from padinv.codes import InversionCode, PaddingCode
from padinv.editing.combining import check_finite
from padinv.editing.layers import Layers, format_layers, parse_layers
from padinv.exceptions import ConfigError

Kind: TypeAlias = Literal["sefa", "ganspace", "linear", "imported"]
"""How a direction was found."""


@dataclass(frozen=True, eq=False, repr=False)
class Direction:
    """A direction of editing.

    Args:
        name: what it changes, such as "birth_year".
        vector: (1, w_dim) or (w_dim,), the same for every layer, or (L, w_dim).
        layers: numbers of the latents that it moves; None for all.
        intercept: b of the hyperplane v · w + b = 0, or None if it has no hyperplane. With one vector for all layers, w
            is the mean of the latents that it moves; with L vectors, w is all of them, concatenated.
        kind: how it was found.
        fingerprint: of the generator whose latents it is for, or None if unknown.
        metadata: other facts, such as its accuracy: numbers and text.
        padding: how the padding moves at strength 1, of one image; None if it stays.
        features: how the features move at strength 1, {R: (1, C_R, R, R)}; None if they stay.
        normal: n of a hyperplane n · features + b = 0, {R: (1, C_R, R, R)}, so long that strength 1 is a step of 1
            across it; None if the hyperplane lies in the latents.

    Raises:
        ConfigError: if the vector is of another shape, zero or not finite, the layers are not its own, or padding,
            features or normal are not those of one image.

    >>> direction = Direction("smile", torch.tensor([3.0, 4.0]), intercept=-5.0)
    >>> code = InversionCode(torch.ones(1, 6, 2))
    >>> direction.distance(code)  # (3 + 4 - 5) / 5²
    tensor([0.0800])
    >>> direction.apply(code, 2.0, layers="4-").w_plus[0, :, 0]
    tensor([1., 1., 1., 1., 7., 7.])
    """

    name: str
    vector: Tensor
    layers: tuple[int, ...] | None = None
    intercept: float | None = None
    kind: Kind = "imported"
    fingerprint: str | None = None
    metadata: Mapping[str, str | float] = field(default_factory=dict)
    padding: PaddingCode | None = None
    features: Mapping[int, Tensor] | None = None
    normal: Mapping[int, Tensor] | None = None

    def __post_init__(self) -> None:
        vector = self.vector.detach()
        vector = vector[None] if vector.ndim == 1 else vector
        if vector.ndim != 2 or not vector.isfinite().all() or not vector.any():
            raise ConfigError(
                f"The vector of {self.name!r} must be finite, not zero, and of shape (1, w_dim) or (L, w_dim), not "
                f"{tuple(self.vector.shape)}."
            )
        if self.padding is not None and len(self.padding) != 1:
            raise ConfigError(f"The padding of {self.name!r} must be that of one image, not of {len(self.padding)}.")
        if any(len(step) != 1 for part in (self.features, self.normal) for step in (part or {}).values()):
            raise ConfigError(f"The features of {self.name!r} must be those of one image.")
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}.")
        object.__setattr__(self, "vector", vector)
        if self.layers is not None:
            highest = max(self.layers, default=0) + 1 if len(vector) == 1 else len(vector)
            object.__setattr__(self, "layers", parse_layers(self.layers, highest))

    def __repr__(self) -> str:
        moved = "all layers" if self.layers is None else f"layers {format_layers(self.layers)}"
        padding = "" if self.padding is None else f", {self.padding}"
        padding += f", features at {sorted(self.features)} px" if self.features else ""
        owner = "" if self.fingerprint is None else f", for {self.fingerprint}"
        return f"Direction({self.name!r}, {self.kind}, vector {tuple(self.vector.shape)}, {moved}{padding}{owner})"

    @property
    def generator(self) -> str | None:
        """The former name of ``fingerprint``."""
        return self.fingerprint

    def apply(
        self,
        code: InversionCode,
        strength: float | Tensor = 1.0,
        layers: Layers = None,
        padding_strength: float | Tensor | None = None,
        feature_strength: float | Tensor | None = None,
    ) -> InversionCode:
        """Moves latents by strength · vector, and padding and features in step, where direction and code have them.

        Args:
            code: the code of B images, or of one image for B strengths.
            strength: one for all images, or (B,); 0 leaves the code as it is, to the bit.
            layers: which latents move, "0-7,9" or numbers, instead of the direction's own.
            padding_strength: the same for the padding; ``strength`` if not given. Without effect if the direction or
                the code has no padding.
            feature_strength: the same for the features; ``strength`` if not given. Those that only one of direction and
                code has stay.

        Returns:
            The code of B images.

        Raises:
            ConfigError: if the direction is not for such latents or padding, there are no such layers, or the numbers
                of images and strengths differ, or a strength is not finite.
        """
        check_finite(strength=strength, padding_strength=padding_strength, feature_strength=feature_strength)
        own = self._own_layers(code)
        chosen = own if layers is None else parse_layers(layers, code.w_plus.shape[1])
        each = [strength if own is None else own for own in (strength, padding_strength, feature_strength)]
        strengths, padding_strengths, feature_strengths = (torch.as_tensor(s).flatten().to(code.w_plus) for s in each)
        counts = {len(strengths), len(padding_strengths), len(feature_strengths)}
        if len(code) == 1:
            code = code.expand(max(counts))
        if not counts <= {1, len(code)}:
            raise ConfigError(f"strength must be one number, or one for each of {len(code)} images: {len(strengths)}.")
        mask = torch.zeros(code.w_plus.shape[1], 1, dtype=torch.bool, device=code.w_plus.device)
        mask[list(chosen)] = True
        moved = code.w_plus + strengths[:, None, None] * self.vector.to(code.w_plus)
        w_plus = torch.where(mask, moved, code.w_plus)
        padding, features = code.padding, dict(code.features or {})
        if self.padding is not None and padding is not None:
            padding = padding.map(partial(_moved, padding_strengths), self.padding)
        for resolution in features.keys() & (self.features or {}).keys():
            features[resolution] = _moved(feature_strengths, features[resolution], (self.features or {})[resolution])
        return InversionCode(w_plus, padding, features)

    def distance(self, code: InversionCode) -> Tensor:
        """Measures how far beyond the hyperplane each image lies, (B,), in units of strength.

        That is (v · w + b) / ‖v‖², or n · features + b. A strength of minus this number moves the image onto the
        hyperplane.

        Raises:
            ConfigError: if there is no hyperplane, or the direction is not for such latents or features.
        """
        if self.intercept is None:
            raise ConfigError(f"The direction {self.name!r} has no hyperplane: only linear and imported ones can have.")
        chosen = list(self._own_layers(code))
        if self.normal:
            features = code.features or {}
            for r, normal in self.normal.items():
                if r not in features or features[r].shape[1:] != normal.shape[1:]:
                    raise ConfigError(
                        f"The hyperplane of {self.name!r} lies in features {tuple(normal.shape[1:])}, which this code "
                        "lacks: it is for codes of another encoder."
                    )
            along = [(features[r] * normal.to(features[r])).sum(dim=(1, 2, 3)) for r, normal in self.normal.items()]
            return torch.stack(along).sum(dim=0) + self.intercept
        w = code.w_plus[:, chosen]
        v = (self.vector if len(self.vector) == 1 else self.vector[chosen]).to(w)
        w = w.mean(dim=1, keepdim=True) if len(v) == 1 else w
        return ((w * v).sum(dim=(1, 2)) + self.intercept) / v.square().sum()

    def conditioned_on(self, *others: Direction) -> Direction:
        """Takes from this direction what changes others (InterFaceGAN, section 3.2): n₁ - (n₁ · n₂) n₂.

        With several conditions it is the residual of least squares. Padding and features are made orthogonal
        to those of the others in the same way. The result has no hyperplane.

        Args:
            others: the conditions; their lengths do not matter.

        Returns:
            The direction, orthogonal to all others, and shorter by what was taken from it.

        Raises:
            ConfigError: if the others leave nothing of it, or directions have different shapes.
        """
        if not others:
            return self
        ours, theirs = _comparable(self, others)
        vector = residual(ours, theirs)
        if vector.norm() < 1e-6 * ours.norm():  # what rounding leaves
            names = ", ".join(repr(other.name) for other in others)
            raise ConfigError(f"Nothing of {self.name!r} is left when {names} may not change.")
        paddings = [other.padding for other in others if other.padding is not None]
        return replace(
            self,
            vector=vector.to(self.vector),
            intercept=None,
            metadata={**self.metadata, "conditions": ", ".join(other.name for other in others)},
            padding=None if self.padding is None else padding_residual(self.padding, paddings),
            features={
                r: residual(step, [other.features[r] for other in others if other.features and r in other.features])
                for r, step in (self.features or {}).items()
            }
            or None,
            normal=None,
        )

    def _own_layers(self, code: InversionCode) -> tuple[int, ...]:
        """Finds the layers to move of a code, and checks that the code has the direction's shape."""
        num_layers, w_dim = code.w_plus.shape[1:]
        if self.vector.shape[1] != w_dim or len(self.vector) not in (1, num_layers):
            raise ConfigError(
                f"The direction {self.name!r} is for latents (B, {'L' if len(self.vector) == 1 else len(self.vector)}, "
                f"{self.vector.shape[1]}), but these are {tuple(code.w_plus.shape)}: it is for another generator."
            )
        return parse_layers(self.layers, num_layers)


def _moved(strengths: Tensor, part: Tensor, step: Tensor) -> Tensor:
    """Moves a part of the codes of B images, (B, …), by each strength times the step (1, …)."""
    if part.shape[1:] != step.shape[1:]:
        raise ConfigError(
            f"The direction moves {tuple(step.shape[1:])} where this code has {tuple(part.shape[1:])}: it is for "
            "another generator."
        )
    return part + strengths.to(part).reshape(-1, *[1] * (part.ndim - 1)) * step.to(part)


def _comparable(first: Direction, others: Sequence[Direction]) -> tuple[Tensor, list[Tensor]]:
    """Makes the vectors (L, w_dim) in double precision, or (1, w_dim) if each is one for the same layers.

    A layer is zero if the direction does not move it, or if the first direction does not: nothing can change there.
    """
    directions = [first, *others]
    vectors = [direction.vector.to("cpu", torch.float64) for direction in directions]
    lengths = {len(vector) for vector in vectors} - {1}
    if not lengths and len({direction.layers for direction in directions}) == 1:
        lengths = {1}
    if len(lengths) > 1 or len({vector.shape[1] for vector in vectors}) > 1:
        raise ConfigError(f"{', '.join(repr(d.name) for d in directions)} are not all for one generator.")
    if not lengths:
        raise ConfigError(
            f"{', '.join(repr(d.name) for d in directions)} must move the same layers, or each have L vectors."
        )
    num_layers = lengths.pop()
    masks = torch.zeros(len(directions), num_layers, 1, dtype=torch.float64)
    for mask, direction in zip(masks, directions, strict=True):
        mask[list(parse_layers(direction.layers if num_layers > 1 else None, num_layers))] = 1
    ours, *theirs = (vector * mask for vector, mask in zip(vectors, masks, strict=True))
    return ours, [their * masks[0] for their in theirs]


def residual(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Subtracts Σ cᵢ · otherᵢ from the vector, with the c that make it shortest: n₁ - (n₁ · n₂) n₂ for one of length 1.

    Args:
        vector: a tensor of any shape.
        others: tensors of the same shape; zero or dependent ones do no harm.

    Returns:
        The rest, of the same shape.

    >>> residual(torch.tensor([1.0, 2.0]), [torch.tensor([0.0, 3.0])])
    tensor([1., 0.])
    """
    return vector - sum(c * other for c, other in zip(_coefficients(vector, others), others, strict=True))


def padding_residual(padding: PaddingCode, others: Sequence[PaddingCode]) -> PaddingCode:
    """Does what :func:`residual` does for the padding of one image, all its parts together as one vector.

    Raises:
        ConfigError: if they do not have the same parts.
    """
    flat = [torch.cat([tensor.flatten() for tensor in one.tensors()]) for one in (padding, *others)]
    coefficients = _coefficients(flat[0], flat[1:])
    return padding.map(
        lambda own, *parts: own - sum(c * part for c, part in zip(coefficients, parts, strict=True)), *others
    )


def _coefficients(vector: Tensor, others: Sequence[Tensor]) -> list[float]:
    if not others:
        return []
    basis = torch.stack([other.detach().cpu().double().flatten() for other in others], dim=1)
    # gelsd is the driver that takes dependent columns.
    solution = torch.linalg.lstsq(basis, vector.detach().cpu().double().reshape(-1, 1), driver="gelsd").solution
    return [float(c) for c in solution[:, 0]]

"""3×3 convolution by Winograd's algorithm F(4×4, 3×3) (Lavin and Gray 2016, section 4.3): a quarter of the products.

The map is cut into tiles of 6×6 px that overlap by 2 and give 4×4 px each. With U the transformed weight,

    Y = Aᵀ [ Σ_i U_i ⊙ (Bᵀ d_i B) ] A,

where the sum over input channels is, for each of the 36 positions, a product of matrices (tiles × I) (I × O). The
result is bilinear in map and weight, and so are both gradients: the three operators are each other's derivatives.

PyTorch's convolutions on CPUs do not use it. On GPUs cuDNN does, and this is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def _matrix(rows: list[list[int]], divisor: int = 1) -> Tensor:
    """A transform in two dimensions, for pixels in reading order, from that in one."""
    one = torch.tensor(rows, dtype=torch.float64) / divisor
    return torch.kron(one, one)


# Of maps, weights and results, for the points 0, 1, -1, 2, -2 and ∞.
_B_ROWS = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]]
_B_ROWS += [[0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
INPUT_TRANSFORM = _matrix(_B_ROWS)
"""Bᵀ ⊗ Bᵀ, (36, 36): of the pixels of a tile of the map."""
_G = _matrix([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], divisor=24)
RESULT_TRANSFORM = _matrix([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
"""Aᵀ ⊗ Aᵀ, (16, 36): to the pixels of a tile of the result."""

MINIMUM_CHANNELS = 128
"""With fewer, transforming the map takes longer than the products that it saves."""

MINIMUM_TILES = 64
"""With fewer, reading the transformed weight takes longer than multiplying it."""

STRIP_TILES = 128
"""About how many tiles are worked on at once, so that their transforms stay in the processor's cache."""


def conv3x3(x: Tensor, weight: Tensor, padding: int = 0, transformed: Tensor | None = None) -> Tensor:
    """3×3 convolution of stride 1 without bias, by Winograd's algorithm where that pays.

    Args:
        x: (B, I, H, W).
        weight: (O, I, 3, 3).
        padding: zeros laid around the map on all sides.
        transformed: :func:`transform_weight` of the weight, if already computed.

    Returns:
        (B, O, H + 2·padding - 2, W + 2·padding - 2). It differs from torch's by some 1e-5 of the largest value.
    """
    if not winograd_pays(x, weight, padding):
        return F.conv2d(x, weight, padding=padding)
    result: Tensor = winograd(x, weight, transformed, padding)
    return result


def winograd_pays(x: Tensor, weight: Tensor, padding: int = 0) -> bool:
    """Whether :func:`conv3x3` takes Winograd's algorithm: on CPUs, in float32, for wide enough maps of 4n×4m px.

    An exported graph has convolutions: what runs it knows best how to do them.
    """
    height, width = (size + 2 * padding - 2 for size in x.shape[2:])
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_exporting()
        and height % 4 == 0 == width % 4
        and min(weight.shape[:2]) >= MINIMUM_CHANNELS
        and x.shape[0] * height * width >= 16 * MINIMUM_TILES
    )


def keep_transformed(weight: Tensor) -> Tensor | None:
    """:func:`transform_weight` of a weight that no longer changes; None where it is never used, to save memory."""
    used = weight.device.type == "cpu" and weight.dtype == torch.float32 and min(weight.shape[:2]) >= MINIMUM_CHANNELS
    return transform_weight(weight) if used else None


def transform_weight(weight: Tensor) -> Tensor:
    """The transformed weight G w Gᵀ of (O, I, 3, 3), (36, I, O)."""
    product = _G.to(weight) @ rearrange(weight, "o i h w -> (h w) (i o)")
    return product.view(36, weight.shape[1], weight.shape[0])


@torch.library.custom_op("padinv::winograd", mutates_args=())
def winograd(x: Tensor, weight: Tensor, transformed: Tensor | None = None, padding: int = 0) -> Tensor:
    """Convolves.

    Args:
        x: (B, I, H + 2 - 2·padding, W + 2 - 2·padding), H and W multiples of 4.
        weight: (O, I, 3, 3).
        transformed: :func:`transform_weight` of it, if already computed.
        padding: zeros around the map; they are laid around some rows at a time, as they are worked on.

    Returns:
        (B, O, H, W), in channels-last format.
    """
    # Allocated first: blocks that are freed before the result would leave a hole below it.
    y = x.new_empty(x.shape[0], *_result_size(x, padding), weight.shape[0])
    maps = rearrange(x, "b i h w -> b h w i")
    u = transform_weight(weight) if transformed is None else transformed
    for tiles in _strips(y, u.shape[1]):
        m = torch.bmm(_transform_tiles(maps, tiles, padding), u)
        y[:, 4 * tiles.start : 4 * tiles.stop] = _untransform(m, y.shape, tiles)
    return rearrange(y, "b h w o -> b o h w")


@torch.library.custom_op("padinv::winograd_input_gradient", mutates_args=())
def winograd_input_gradient(g: Tensor, weight: Tensor, transformed: Tensor | None = None, padding: int = 0) -> Tensor:
    """Computes the gradient to x from the gradient to the result.

    Args:
        g: (B, O, H, W).
        weight: (O, I, 3, 3).
        transformed: :func:`transform_weight` of it, if already computed.
        padding: zeros around the map.

    Returns:
        (B, I, H + 2 - 2·padding, W + 2 - 2·padding), a part of a map in channels-last format.
    """
    grads = rearrange(g, "b o h w -> b h w o")
    batch, height, width, _ = grads.shape
    rows, columns = height // 4, width // 4
    x = g.new_zeros(batch, rows + 1, 4, columns + 1, 4, weight.shape[1])  # tile by tile, and a margin of one
    u = transform_weight(weight) if transformed is None else transformed
    for tiles in _strips(grads, u.shape[1]):
        v = torch.bmm(_transform_gradient(grads, tiles), u.mT)
        d = INPUT_TRANSFORM.to(v).T @ v.flatten(1)
        shape = {"i": 6, "j": 6, "b": batch, "t": columns}
        d = rearrange(d, "(i j) (b n t c) -> b n i t j c", n=tiles.stop - tiles.start, **shape)
        here, below = slice(tiles.start, tiles.stop), slice(tiles.start + 1, tiles.stop + 1)
        x[:, here, :, :-1] += d[:, :, :4, :, :4]
        x[:, here, :, 1:, :2] += d[:, :, :4, :, 4:]
        x[:, below, :2, :-1] += d[:, :, 4:, :, :4]
        x[:, below, :2, 1:, :2] += d[:, :, 4:, :, 4:]
    return _without_margin(rearrange(x, "b n i t j c -> b c (n i) (t j)"), padding)


@torch.library.custom_op("padinv::winograd_weight_gradient", mutates_args=())
def winograd_weight_gradient(x: Tensor, g: Tensor, padding: int = 0) -> Tensor:
    """Computes the gradient to the weight from the gradient to the result.

    Args:
        x: (B, I, H + 2 - 2·padding, W + 2 - 2·padding).
        g: (B, O, H, W).
        padding: zeros around the map.

    Returns:
        (O, I, 3, 3).
    """
    maps, grads = rearrange(x, "b i h w -> b h w i"), rearrange(g, "b o h w -> b h w o")
    gradient = x.new_empty(grads.shape[-1], maps.shape[-1], 3, 3)
    u = x.new_zeros(36, maps.shape[-1], grads.shape[-1])
    for tiles in _strips(grads, maps.shape[-1]):
        u.baddbmm_(_transform_tiles(maps, tiles, padding).mT, _transform_gradient(grads, tiles))
    weight = _G.T.to(u) @ u.flatten(1)
    return gradient.copy_(rearrange(weight, "(h w) (i o) -> o i h w", h=3, o=grads.shape[-1]))


def _strips(y: Tensor, channels: int) -> Iterator[slice]:
    """Rows of tiles of (B, H, W, O) that are worked on together."""
    batch, height, width, _ = y.shape
    tiles = max(STRIP_TILES, channels // 2)  # each strip reads the whole weight: fewer strips for wide ones
    step = max(1, tiles // (batch * (width // 4)))
    return (slice(start, min(start + step, height // 4)) for start in range(0, height // 4, step))


def _result_size(x: Tensor, padding: int) -> tuple[int, int]:
    return x.shape[2] + 2 * padding - 2, x.shape[3] + 2 * padding - 2


def _without_margin(x: Tensor, padding: int) -> Tensor:
    """The gradient's part of the tiles of (B, I, H + 4, W + 4)."""
    return x[:, :, padding : x.shape[2] - 2 - padding, padding : x.shape[3] - 2 - padding]


def _transform_tiles(maps: Tensor, tiles: slice, padding: int) -> Tensor:
    """Bᵀ d B of some rows of tiles of (B, H + 2 - 2·padding, W + 2 - 2·padding, I): (36, tiles, I)."""
    first, last = 4 * tiles.start - padding, 4 * tiles.stop + 2 - padding
    d = maps[:, max(first, 0) : last]
    if padding:
        d = F.pad(d, (0, 0, padding, padding, max(-first, 0), max(last - maps.shape[1], 0)))
    d = rearrange(d.unfold(1, 6, 4).unfold(2, 6, 4), "b n t c i j -> (i j) (b n t c)")
    return (INPUT_TRANSFORM.to(d) @ d).view(36, -1, maps.shape[-1])


def _transform_gradient(grads: Tensor, tiles: slice) -> Tensor:
    """A g Aᵀ of some rows of tiles of (B, H, W, O): (36, tiles, O)."""
    g = rearrange(grads[:, 4 * tiles.start : 4 * tiles.stop], "b (n i) (t j) o -> (i j) (b n t o)", i=4, j=4)
    return (RESULT_TRANSFORM.to(g).T @ g).view(36, -1, grads.shape[-1])


def _untransform(m: Tensor, shape: torch.Size, tiles: slice) -> Tensor:
    """Aᵀ m A of (36, tiles, O), as rows of pixels of a result of that shape (B, H, W, O)."""
    y = RESULT_TRANSFORM.to(m) @ m.flatten(1)
    sizes = {"i": 4, "j": 4, "b": shape[0], "t": shape[2] // 4}
    return rearrange(y, "(i j) (b n t o) -> b (n i) (t j) o", n=tiles.stop - tiles.start, **sizes)


@winograd.register_fake
def _(x: Tensor, weight: Tensor, transformed: Tensor | None = None, padding: int = 0) -> Tensor:
    size = x.shape[0], weight.shape[0], *_result_size(x, padding)
    return x.new_empty(size).contiguous(memory_format=torch.channels_last)


@winograd_input_gradient.register_fake
def _(g: Tensor, weight: Tensor, transformed: Tensor | None = None, padding: int = 0) -> Tensor:
    size = g.shape[0], weight.shape[1], g.shape[2] + 4, g.shape[3] + 4
    return _without_margin(g.new_empty(size).contiguous(memory_format=torch.channels_last), padding)


@winograd_weight_gradient.register_fake
def _(x: Tensor, g: Tensor, padding: int = 0) -> Tensor:
    return x.new_empty(g.shape[1], x.shape[1], 3, 3)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, int], output: Tensor) -> None:
    map_, weight, transformed, ctx.padding = inputs
    ctx.save_for_backward(map_ if ctx.needs_input_grad[1] else None, weight, transformed)


def _backward(to_map: Any, to_weight: Any) -> Callable[[Any, Tensor], tuple[Tensor | None, ...]]:
    """Makes the derivative of an operator on a map and a weight, of the operators that give both gradients."""

    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, transformed = ctx.saved_tensors
        return (
            to_map(g, weight, transformed, ctx.padding) if ctx.needs_input_grad[0] else None,
            to_weight(x, g, ctx.padding) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )

    return backward


def _remember_both(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    map_, g, ctx.padding = inputs
    ctx.save_for_backward(map_, g)


def _weight_gradient_backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
    x, g = ctx.saved_tensors
    return (
        winograd_input_gradient(g, weight, None, ctx.padding) if ctx.needs_input_grad[0] else None,
        winograd(x, weight, None, ctx.padding) if ctx.needs_input_grad[1] else None,
        None,
    )


winograd.register_autograd(_backward(winograd_input_gradient, winograd_weight_gradient), setup_context=_remember)
winograd_input_gradient.register_autograd(
    _backward(winograd, lambda g, x, padding: winograd_weight_gradient(x, g, padding)), setup_context=_remember
)
winograd_weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_remember_both)

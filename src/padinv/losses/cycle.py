"""Cycle consistency under random edits: features must let an edit show, and undoing it must restore x (StyleRes).

Features can hold so much of a picture that an edit of the latents no longer shows. Training against this needs no
labels (Pehlivan et al. 2023, section 3.3): take a random step in W, generate, invert the result, and undo the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.codes import InversionCode
from padinv.networks import Generator

Encode = Callable[[Tensor], InversionCode]
Synthesize = Callable[[InversionCode], Tensor]


class CycleConsistency(nn.Module):
    """The loss of invert → step → invert → undo.

    With w, p, f the code of x, Δ a step, y = G(w + Δ, p, f) and w', p', f' the code of y it is

        mean (G(w' - Δ, p', f') - x)²  +  mean (G(w', p', f') - y)²  +  λ_w · mean (w' - (w + Δ))².

    The first term says that the step can be undone, and the second that y is inverted as well as x is. Both hold for
    features that hide every edit; the third says that the encoder sees the step in y. It reaches features through y.

    Args:
        lambda_w: weight of the distance of latents.
    """

    def __init__(self, lambda_w: float = 1.0) -> None:
        super().__init__()
        self.lambda_w = lambda_w

    def forward(
        self, encode: Encode, synthesize: Synthesize, code: InversionCode, images: Tensor, step: Tensor
    ) -> Tensor:
        """Measures a batch.

        Args:
            encode: images (B, 3, R, R) to codes.
            synthesize: codes to images (B, 3, R, R).
            code: what ``encode`` makes of the images.
            images: (B, 3, R, R) in [-1, 1].
            step: Δ, (B, L, w_dim) or a shape that goes with it.

        Returns:
            A scalar.
        """
        moved = replace(code, w_plus=code.w_plus + step)
        edited = synthesize(moved).clamp(-1, 1)  # as a photograph would be
        found = encode(edited)
        undone = synthesize(replace(found, w_plus=found.w_plus - step))
        loss = F.mse_loss(undone, images) + F.mse_loss(synthesize(found), edited.detach())
        return loss + self.lambda_w * F.mse_loss(found.w_plus.float(), moved.w_plus.detach().float())


@torch.no_grad()
def random_steps(generator: Generator, count: int, strength: float, seed: int) -> Tensor:
    """Draws steps in W from the mean towards what the mapping makes of random z: strength · (w - w̄).

    Args:
        generator: it is not written to.
        count: how many, B.
        strength: 1 for the whole way.
        seed: seeds z.

    Returns:
        (B, 1, w_dim), the same for all layers.
    """
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.config["z_dim"], generator=random).to(generator.w_avg)
    step: Tensor = strength * (generator.mapping(z) - generator.w_avg)
    return step[:, None]

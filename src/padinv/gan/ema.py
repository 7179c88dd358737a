"""The moving average of the generator, which is the generator to use."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def average_decay(images: int, half_life: float, images_seen: int, ramp_up: float | None = None) -> float:
    """How much of an average is left after a batch.

    Args:
        images: in the batch.
        half_life: images after which half is left.
        images_seen: by the run so far.
        ramp_up: keeps the half-life below this share of the images seen, so that a generator from nothing soon
            forgets how it began; None for no ramp-up.

    Returns:
        0.5^(images / half-life).

    >>> average_decay(16, half_life=16, images_seen=0), average_decay(16, 1000, images_seen=320, ramp_up=0.05)
    (0.5, 0.5)
    """
    if ramp_up is not None:
        half_life = min(half_life, images_seen * ramp_up)
    return 0.5 ** (images / half_life) if half_life > 0 else 0.0


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the parameters of an average towards a network's, average ← decay·average + (1 - decay)·network.

    Buffers are copied: they are constants, but for the mean latent, an average by itself.
    """
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch's own
    update(list(average.parameters()), [parameter.detach() for parameter in network.parameters()], 0)
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)

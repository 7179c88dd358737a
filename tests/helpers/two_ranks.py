"""What a process of its own runs: it has to be imported there, which a module of tests cannot be."""

from __future__ import annotations

import torch

from padinv.gan import AdaptiveAugmentation


def rank_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    augment = AdaptiveAugmentation(probability=0.5, every=2, images_to_one=100, target=0.2)
    for _ in range(2):
        augment.update(torch.full((5, 1), 1.0 if rank else -0.5))  # r = 0 over both: below the target
    torch.save((augment.overfitting, augment.probability), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from padinv.evaluation import PROTOCOLS, Evaluation
from padinv.evaluation.extremes import KeptPictures, extremes
from padinv.exceptions import DataError


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Each of its own grey, which tells them apart: reconstructions, and photographs that are one level darker."""
    grey = (torch.arange(count) * 4 + 4).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return grey / 127.5 - 1, (grey - 1) / 127.5 - 1


@pytest.mark.parametrize("count", [1, 5, 30])
@pytest.mark.parametrize("ranks", [1, 2])
def test_kept_are_those_that_the_page_shows(count: int, ranks: int) -> None:
    """Whatever the batches, equal values and values that are none, and from several processes."""
    random = np.random.default_rng(count)
    values = torch.tensor(random.integers(0, 6, count) / 8.0)
    values[random.integers(0, count)] = math.nan
    made, target = pictures(count)
    parts = [KeptPictures(count=3) for _ in range(ranks)]
    for part, own in zip(parts, torch.arange(count).chunk(ranks), strict=False):
        for rows in own.split(4):
            part.add(values[rows], made[rows], target[rows])
    kept = parts[0].joined(parts) if ranks > 1 else parts[0]
    assert kept.seen == count
    assert all(len(part.kept) <= 6 for part in parts)
    names = [str(number) for number in range(count)]
    result = Evaluation("test", PROTOCOLS["default"], 2, names, {"lpips": values.double().numpy()}, {})
    _, best, worst = extremes(result, 3)
    for number in (*best, *worst):
        photograph, (reconstruction,), _ = kept.pictures(number)
        assert reconstruction.getpixel((0, 0)) == (4 * number + 4,) * 3
        assert photograph.getpixel((0, 0)) == (4 * number + 3,) * 3


def test_others_are_not_kept() -> None:
    kept = KeptPictures(count=1)
    kept.add(torch.tensor([0.0, 1.0, 2.0]), *pictures(3))
    with pytest.raises(DataError, match="image 1 is none of the best or the worst"):
        kept.pictures(1)

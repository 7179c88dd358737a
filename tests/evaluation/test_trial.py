from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from padinv.evaluation import PROTOCOLS, Evaluation, Files, Settings, evaluate, match
from padinv.evaluation.results import extremes
from padinv.evaluation.trial import KeptPictures, Trial
from padinv.exceptions import DataError
from padinv.images import to_image
from padinv.sources import open_source


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Each of its own grey, which tells them apart: reconstructions, and photographs that are one level darker."""
    grey = (torch.arange(count) * 4 + 4).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return grey / 127.5 - 1, (grey - 1) / 127.5 - 1


@pytest.mark.parametrize("count", [1, 5, 30])
@pytest.mark.parametrize("ranks", [1, 2])
def test_kept_are_those_that_the_page_shows(count: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batches, equal values and values that are none, and from several processes."""
    random = np.random.default_rng(count)
    values = torch.tensor(random.integers(0, 6, count) / 8.0)
    values[random.integers(0, count)] = math.nan
    made, target = pictures(count)
    parts = [KeptPictures(count=3) for _ in range(ranks)]
    for part, own in zip(parts, torch.arange(count).chunk(ranks), strict=False):
        for rows in own.split(4):
            part.add(values[rows], made[rows], target[rows])
    monkeypatch.setattr("padinv.evaluation.trial.gathered", lambda _: parts)
    kept = parts[0].gathered()
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


@pytest.mark.parametrize("ranks", [1, 2])
def test_distances_between_sets_are_those_of_an_evaluation(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of two processes that see unequal parts: each image counts once."""
    random = torch.Generator().manual_seed(0)
    target, made = (torch.randint(256, (13, 3, 32, 32), generator=random) / 127.5 - 1 for _ in range(2))
    values = (made - target).square().mean(dim=(1, 2, 3))
    parts = [Trial(32, "random", torch.device("cpu")) for _ in range(ranks)]
    for part, rows in zip(parts, torch.arange(13).chunk(ranks), strict=True):
        for batch in rows.split(4):
            part.add(values[batch], made[batch], target[batch], [f"{number:02}.png" for number in batch.tolist()])
    every = {id(part.pictures): [each.pictures for each in parts] for part in parts[:1]}

    def gathered(own: Any) -> list[Any]:
        """Every process's own, by what kind of thing is asked for."""
        if isinstance(own, KeptPictures):
            return every[id(own)]
        if isinstance(own, list):
            return [part.names for part in parts]
        side = next(i for i, store in enumerate(parts[0].stores) if np.array_equal(store.read(), own))
        return [np.asarray(part.stores[side].read()) for part in parts]

    monkeypatch.setattr("padinv.evaluation.trial.gathered", gathered)
    ours = parts[0].finish({"mse": values.double().numpy()})
    for name, images in (("photographs", target), ("made", made)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            to_image(image).save(tmp_path / name / f"{number:02}.png")
    pairs = match(open_source(tmp_path / "photographs"), [open_source(tmp_path / "made")])
    (theirs,), _ = evaluate(Files(pairs, ["made"]), Settings(measures={"only": ["mse", "fd"], "features": "random"}))
    assert list(ours.names) == [f"{name}.png" for name in theirs.names]
    assert ours.metrics.keys() == {"mse", "fd_random", "kd_random"}
    for name, number in ours.metrics.items():
        np.testing.assert_allclose(number, theirs.metrics[name], rtol=1e-5)

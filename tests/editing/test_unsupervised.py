"""SeFa and GANSpace: directions of a generator, without labels."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from padinv import Generator, InversionCode, load_generator
from padinv.checkpoints import fingerprint
from padinv.editing import Direction, ganspace, sefa
from padinv.editing.unsupervised import sample_w
from padinv.exceptions import ConfigError


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator("congress64")


def units(directions: list[Direction]) -> Tensor:
    vectors = torch.cat([direction.vector for direction in directions]).double()
    return vectors / vectors.norm(dim=1, keepdim=True)


def style(generator: Generator, layer: int, w: Tensor) -> Tensor:
    """What the convolution of a latent does with it, by the names of the layers."""
    resolution = 2 ** (2 + (layer + 1) // 2)
    block = generator.synthesis.blocks[str(resolution)]
    return (block.up if layer % 2 else block.conv).style(w)


@pytest.mark.parametrize("find", [sefa, ganspace])
def test_orthogonal_and_one_standard_deviation_long(generator: Generator, find: object) -> None:
    directions = find(generator, count=4)
    assert [d.name for d in directions] == [f"{find.__name__}-{i}" for i in range(4)]
    assert {d.generator for d in directions} == {fingerprint(generator)}
    torch.testing.assert_close(units(directions) @ units(directions).T, torch.eye(4).double(), rtol=0, atol=1e-5)
    spread = (sample_w(generator, 10_000, seed=0).double() @ units(directions).T).std(dim=0)
    lengths = torch.cat([d.vector for d in directions]).double().norm(dim=1)
    torch.testing.assert_close(lengths, spread, rtol=1e-4, atol=0)


@pytest.mark.parametrize("layers", [None, "0", "1", "2-3", "7-8", "8-9"])
def test_sefa_finds_what_moves_the_styles_most(generator: Generator, layers: str | None) -> None:
    """‖A·n‖² is the eigenvalue, measured on the layers themselves; no random direction does as much."""
    directions = sefa(generator, layers, count=2)
    numbers = [n for n in (directions[0].layers or range(10)) if n < 9]
    random = torch.randn(50, 256, generator=torch.Generator().manual_seed(0)).double()
    candidates = torch.cat([units(directions), random / random.norm(dim=1, keepdim=True)]).float()
    origin = torch.zeros(1, 256)
    moved = sum((style(generator, n, candidates) - style(generator, n, origin)).square().sum(dim=1) for n in numbers)
    eigenvalues = torch.tensor([d.metadata["eigenvalue"] for d in directions])
    torch.testing.assert_close(moved[:2], eigenvalues, rtol=1e-4, atol=0)
    assert moved[0] > moved[1] > moved[2:].max()


def test_layers_are_the_ones_that_move(generator: Generator) -> None:
    code = InversionCode(generator.w_avg.expand(1, 10, -1))
    for direction in (*sefa(generator, "2-3", 1), *ganspace(generator, 1, layers="2-3")):
        moved = (direction.apply(code).w_plus != code.w_plus).any(dim=-1)[0]
        assert moved.tolist() == [False] * 2 + [True] * 2 + [False] * 6


def test_components_are_ordered_and_explain_the_variance(generator: Generator) -> None:
    directions = ganspace(generator, count=256)
    shares = [direction.metadata["variance_share"] for direction in directions]
    assert all(a >= b for a, b in pairwise(shares))
    assert sum(shares) == pytest.approx(1)
    w = sample_w(generator, 10_000, seed=0)
    total = w.var(dim=0).sum()
    assert float(directions[0].vector.square().sum() / total) == pytest.approx(shares[0], rel=1e-3)


def test_same_seed_same_directions_and_no_global_randomness(generator: Generator) -> None:
    state = torch.random.get_rng_state()
    first, second, other = (ganspace(generator, 1, samples=500, seed=seed)[0].vector for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g: sefa(g, count=257), "from 1 to 256"),
        (lambda g: ganspace(g, 0), "from 1 to 256"),
        (lambda g: sefa(g, "9"), "number 9, feeds no convolution"),
        (lambda g: sefa(g, "10"), "among 0-9"),
        (lambda g: ganspace(g, 1, samples=1), "2 or more"),
    ],
)
def test_what_does_not_fit_is_named(generator: Generator, make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(generator)

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from padinv.exceptions import ConfigError
from padinv.losses import Frozen, PerceptualLoss, PixelLoss, ReconstructionLoss, WeightedSum


class Features(ReconstructionLoss):
    """A distance in a network with every kind of state, beside a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = Frozen(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout()))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return self.scale * (self.frozen(reconstruction) - self.frozen(target)).square().mean()


def images() -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


def test_train_does_not_reach_the_network() -> None:
    loss = Features()
    before = loss(*images()).item()
    running_mean = loss.frozen.network[1].running_mean.clone()
    loss.train().requires_grad_(True)
    assert loss(*images()).item() == before
    assert loss.training
    assert not any(module.training for module in loss.frozen.network.modules())
    assert not any(parameter.requires_grad for parameter in loss.frozen.network.parameters())
    assert torch.equal(loss.frozen.network[1].running_mean, running_mean)


def test_only_the_rest_is_saved_loaded_and_optimized() -> None:
    loss = Features()
    assert list(loss.state_dict()) == [name for name, _ in loss.named_parameters()] == ["scale"]
    weights = loss.frozen.network[0].weight.clone()
    loss.load_state_dict({"scale": torch.tensor(2.0)}, strict=True)
    assert loss.scale.item() == 2
    assert torch.equal(loss.frozen.network[0].weight, weights)


def test_moves_reach_the_network() -> None:
    loss = Features().to(torch.float64)
    assert {tensor.dtype for tensor in loss.frozen.network.parameters()} == {torch.float64}
    assert loss.frozen.network[1].running_mean.dtype == torch.float64
    assert loss(*(image.double() for image in images())).dtype == torch.float64
    assert loss.to("meta").frozen.network[0].weight.is_meta


def test_copies_compute_the_same() -> None:
    loss = Features()
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other.frozen.network is not loss.frozen.network
        assert other(*images()).item() == loss(*images()).item()


def test_gradient_flows_through() -> None:
    reconstruction, target = images()
    reconstruction.requires_grad_()
    Features()(reconstruction, target).backward()
    assert reconstruction.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "loss",
    [
        Features(),
        PixelLoss(),
        PixelLoss(squared=False),
        PerceptualLoss(),
        WeightedSum([PixelLoss(), Features()], [1, 2]),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_each_image_by_itself(loss: ReconstructionLoss) -> None:
    a, b = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    values = loss.each(a, b)
    torch.testing.assert_close(values, torch.stack([loss(a[i : i + 1], b[i : i + 1]) for i in range(3)]))
    torch.testing.assert_close(values.mean(), loss(a, b))


def test_weighted_sum() -> None:
    a, b = images()
    inner = WeightedSum([PixelLoss()], [3.0])
    loss = WeightedSum([inner, features := Features()], [0.5, 2.0])
    torch.testing.assert_close(loss(a, b), 1.5 * PixelLoss()(a, b) + 2 * features(a, b))
    assert [type(part) for part in loss.parts()] == [PixelLoss, Features]
    torch.testing.assert_close(WeightedSum([PixelLoss(), PixelLoss()])(a, b), 2 * PixelLoss()(a, b))


@pytest.mark.parametrize(("count", "weights"), [(0, None), (1, []), (1, [-1.0]), (1, [float("nan")]), (2, [1.0])])
def test_weights_that_do_not_fit(count: int, weights: list[float] | None) -> None:
    with pytest.raises(ConfigError, match="one weight of 0 or more for each"):
        WeightedSum([PixelLoss()] * count, weights)

import sys
import urllib.error
import warnings
from collections.abc import Callable
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from padinv import ImageDataModule
from padinv.exceptions import CheckpointError, ConfigError, MissingPackageError, WeightsNotFoundError
from padinv.losses import PerceptualLoss
from published import published

BACKBONES = {
    "alex": ("alexnet-owt-7be5be79.pth", torchvision.models.alexnet),
    "vgg": ("vgg16-397923af.pth", torchvision.models.vgg16),
    "squeeze": ("squeezenet1_1-b8a52dc0.pth", torchvision.models.squeezenet1_1),
}


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with random backbones in it; torch checks their hashes when it fetches them, not when it finds them."""
    cache = tmp_path_factory.mktemp("torch") / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for filename, build in BACKBONES.values():
            features = build().features.state_dict(prefix="features.")
            torch.save({**features, "classifier.1.weight": torch.zeros(1)}, cache / filename)
    return cache.parent.parent


@pytest.fixture
def cached(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    monkeypatch.setattr("torch.hub.urlopen", _no_network)
    return torch_home / "hub" / "checkpoints"


def _no_network(*args: object, **kwargs: object) -> None:
    raise urllib.error.URLError("no network in tests")


def images(size: int = 64) -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(2, 2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1)


def portraits() -> Tensor:
    """The bundled validation portraits, (32, 3, 64, 64) in [-1, 1]."""
    data = ImageDataModule(val="congress64-val", resolution=64, batch_size=32, num_workers=0)
    data.setup("validate")
    return next(iter(data.val_dataloader()))["image"]


@pytest.mark.parametrize("net", BACKBONES)
def test_equals_lpips_with_the_same_weights(cached: Path, net: str) -> None:
    a, b = images()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = torch.load(cached / BACKBONES[net][0], weights_only=True)
    loaded = set()
    for name, parameter in reference.net.named_parameters():  # slice<n>.<i>.<rest>
        key = "features." + name.split(".", 1)[1]
        parameter.data.copy_(state[key])
        loaded.add(key)
    assert loaded == {key for key in state if key.startswith("features.")}
    expected = reference(a, b).mean()
    torch.testing.assert_close(PerceptualLoss(net, str(cached / BACKBONES[net][0]))(a, b), expected)
    assert expected > 1e-4


def test_gradient_reaches_the_reconstruction_only(cached: Path) -> None:
    a, b = (image.requires_grad_() for image in images())
    loss = PerceptualLoss()
    loss(a, b).backward()
    assert a.grad.abs().sum() > 0
    assert b.grad is None
    assert loss(a, a).item() == 0
    assert not loss.state_dict()
    assert not list(loss.parameters())


@pytest.mark.parametrize(("net", "size"), [("alex", 31), ("vgg", 16), ("squeeze", 17)])
def test_smallest_images(cached: Path, net: str, size: int) -> None:
    loss = PerceptualLoss(net)
    assert loss(*images(size)).isfinite()
    with pytest.raises(RuntimeError, match="too small"):
        loss(*images(size - 1))


def test_building_it_takes_no_random_numbers(cached: Path) -> None:
    before = torch.random.get_rng_state()
    PerceptualLoss("squeeze")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_from_a_file(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PerceptualLoss("vgg")(*images())
    state = torch.load(cached / BACKBONES["vgg"][0], weights_only=True)
    (tmp_path / "mine.pth").write_bytes((cached / BACKBONES["vgg"][0]).read_bytes())
    save_file(state, tmp_path / "mine.safetensors")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("mine.pth", "mine.safetensors"):
        assert torch.equal(PerceptualLoss("vgg", weights=str(tmp_path / name))(*images()), expected)


def test_alexnet_comes_with_padinv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, and a cache is not asked: everybody measures with the same weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", _no_network)
    loss = PerceptualLoss()
    people = portraits()
    assert loss.metric_name == "lpips"
    assert loss(people, people).item() == 0
    shifted, others = loss(people[..., 1:], people[..., :-1]), loss(people, people.roll(1, 0))
    assert shifted.item() == pytest.approx(0.0168, rel=0.02)  # measured once with torchvision's own file
    assert others.item() == pytest.approx(0.2319, rel=0.02)
    assert {tensor.dtype for tensor in loss.lpips.network.state_dict().values()} == {torch.float32}


def test_a_dead_position_has_a_finite_gradient() -> None:
    """Where no channel is active, the lpips package divides 0 by 0."""
    loss = PerceptualLoss()
    for parameter in loss.lpips.network.features[0].parameters():
        parameter.zero_()
    a = images()[0].requires_grad_()
    loss(a, images()[1]).backward()
    assert a.grad.isfinite().all()


def test_small_images_can_be_enlarged_first() -> None:
    a, b = images(32)
    loss = PerceptualLoss(size=64)
    larger = [F.interpolate(image, size=(64, 64), mode="bilinear") for image in (a, b)]
    assert torch.equal(loss(a, b), PerceptualLoss()(*larger))
    assert torch.equal(loss(*larger), PerceptualLoss()(*larger))  # no smaller than that
    assert not torch.equal(loss(a, b), PerceptualLoss()(a, b))
    assert loss.metric_name == "lpips_alex_64px"
    with pytest.raises(ConfigError, match="number of pixels, not 0"):
        PerceptualLoss(size=0)


def test_other_backbones_report_under_their_own_name(cached: Path) -> None:
    assert PerceptualLoss("vgg").metric_name == "lpips_vgg"
    assert PerceptualLoss("alex", str(cached / BACKBONES["alex"][0])).metric_name == "lpips"


def test_offline_without_a_cache(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFoundError) as error:
        PerceptualLoss("vgg")
    for part in ("vgg16-397923af.pth", str(tmp_path), "--model.lambda_per 0", "DiscriminatorFeatureLoss", "no network"):
        assert part in str(error.value)


def _damage(file: Path) -> None:
    file.write_bytes(b"<!doctype html>")


def _other_network(file: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, file)


def _no_state_dict(file: Path) -> None:
    torch.save([1, 2], file)


@pytest.mark.parametrize("write", [_damage, _other_network, _no_state_dict])
def test_refuses_other_files(tmp_path: Path, write: Callable[[Path], None]) -> None:
    file = tmp_path / "backbone.pth"
    write(file)
    with pytest.raises(CheckpointError, match=r"backbone\.pth"):
        PerceptualLoss(weights=str(file))


def test_refuses_a_missing_file_and_an_unknown_backbone(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no weights at .*nowhere\.pth"):
        PerceptualLoss(weights=str(tmp_path / "nowhere.pth"))
    with pytest.raises(ConfigError, match="net must be one of alex, vgg, squeeze, not 'resnet'"):
        PerceptualLoss("resnet")


def test_a_missing_package_is_named(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingPackageError, match="pip install lpips"):
        PerceptualLoss("squeeze")


PUBLISHED = {"alex": "alexnet-owt-7be5be79-features.pth", "vgg": "vgg16-397923af-features.pth"}


@pytest.mark.weights
@pytest.mark.parametrize(("net", "shift"), [("alex", 0.018), pytest.param("vgg", 0.046, marks=pytest.mark.slow)])
def test_published_weights_see_what_people_see(net: str, shift: float) -> None:
    loss = PerceptualLoss(net, str(published(PUBLISHED[net])))
    people = portraits()
    with torch.no_grad():
        same = loss(people, people)
        shifted = loss(people[..., 1:], people[..., :-1])
        others = loss.each(people, people.roll(1, 0))
    assert same.item() == 0
    assert shifted.item() == pytest.approx(shift, rel=0.15)
    assert shifted < 0.5 * others.min()
    assert 0.15 < others.mean() < 0.54


@pytest.mark.weights
def test_float16_moves_the_distance_by_less_than_a_thousandth() -> None:
    published_file, bundled = PerceptualLoss("alex", str(published(PUBLISHED["alex"]))), PerceptualLoss("alex")
    people = portraits()
    pairs = [(people, people.roll(1, 0)), (people[..., 1:], people[..., :-1]), (people, people.flip(-1))]
    for a, b in pairs:
        with torch.no_grad():
            torch.testing.assert_close(bundled.each(a, b), published_file.each(a, b), rtol=1e-3, atol=0)

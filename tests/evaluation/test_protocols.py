"""Each protocol re-computed by hand, as the project's published code has it, and how far each trap moves a number."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padinv.evaluation import PROTOCOLS, Evaluation, Files, Settings, evaluate, find_protocol, match
from padinv.exceptions import ConfigError, DataError
from padinv.images import from_bytes
from padinv.losses import PerceptualLoss
from padinv.metrics.structure import multi_scale_similarity
from padinv.sources import open_source

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def smooth(size: int, seed: int) -> NDArray[np.uint8]:
    """Low frequencies, edges and a little noise: what real pictures have."""
    random = np.random.default_rng(seed)
    base = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((size, size), 3)
    image = np.asarray(base).astype(float) + random.normal(0, 12, (size, size, 3))
    image[size // 3 : size // 2, size // 4 : size // 2] += 60
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Eleven photographs of 300 px and reconstructions of 512 px, blurred; the later ones are worse."""
    root = tmp_path_factory.mktemp("pairs")
    photographs, reconstructions = root / "photographs", root / "reconstructions"
    photographs.mkdir()
    reconstructions.mkdir()
    for number in range(11):
        image = Image.fromarray(smooth(300, number))
        image.save(photographs / f"{number:02}.png")
        side = 60 - 3 * number
        image.resize((side, side), 3).resize((512, 512), 3).save(reconstructions / f"{number:02}.png")
    return photographs, reconstructions


def pictures(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def measured(folders: tuple[Path, Path], protocol: str, **options: object) -> Evaluation:
    photographs, reconstructions = folders
    pairs = match(open_source(photographs), [open_source(reconstructions)])
    settings = Settings(find_protocol(protocol), batch_size=4, **options)  # type: ignore[arg-type]
    return evaluate(Files(pairs, ["r"]), settings)[0][0]


@pytest.fixture(scope="module")
def lpips() -> Callable[[Tensor, Tensor], float]:
    loss = PerceptualLoss("alex")

    def distance(a: Tensor, b: Tensor) -> float:
        with torch.no_grad():
            return float(loss(a, b))

    return distance


def ssim(x: Tensor, y: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """SSIM and its second factor, with the two-dimensional window of 11 px; (1, 3, H, W)."""
    line = torch.tensor([math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)])
    window = torch.outer(line, line) / line.sum() ** 2

    def mean(image: Tensor) -> Tensor:
        return F.conv2d(image, window.expand(3, 1, 11, 11), groups=3)

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = mean(x), mean(y)
    cs = (2 * (mean(x * y) - mx * my) + c2) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + c2)
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1) * cs, cs


def ms_ssim_piq(x: Tensor, y: Tensor) -> float:
    """Of images in [0, 1]: a product for each channel, then the mean."""
    values = []
    for scale in range(5):
        if scale:
            odd = max(x.shape[2] % 2, x.shape[3] % 2)
            x, y = (F.avg_pool2d(F.pad(image, [odd, 0, odd, 0], mode="replicate"), 2) for image in (x, y))
        whole, cs = ssim(x, y, 1.0)
        values.append((whole if scale == 4 else cs).mean(dim=(2, 3)).relu())
    return float(torch.stack([value**w for value, w in zip(values, WEIGHTS, strict=True)]).prod(dim=0).mean())


def ms_ssim_psp(x: Tensor, y: Tensor) -> float:
    """Of images in [-1, 1]: means over channels first, and a range that the reconstruction's pixels decide."""
    value = 1.0
    for scale, weight in enumerate(WEIGHTS):
        whole, cs = ssim(x, y, 2.0 if x.min() < -0.5 else 1.0)
        value *= float((whole if scale == 4 else cs).mean()) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return value


def frechet(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """As published: ‖μ - μ'‖² + Tr(Σ) + Tr(Σ') - 2·Tr((Σ·Σ')^½), here by the eigenvalues of Σ·Σ'."""
    x, y = (torch.cat(list(rows)).double() for rows in (a, b))
    sigma, other = x.T.cov(), y.T.cov()
    root = torch.linalg.eigvals(sigma @ other).sqrt().real.sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + sigma.trace() + other.trace() - 2 * root)


class MeanColours(torch.nn.Module):
    """Sixteen features that any size of picture has."""

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, (4, 4)).mean(dim=1).flatten(1)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest's import mode leaves this module out of sys.modules under its own name."""
    import sys
    from types import ModuleType

    module = ModuleType("own_features")
    module.MeanColours = MeanColours  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_features", module)


def test_default_by_hand(folders: tuple[Path, Path], lpips: Callable[[Tensor, Tensor], float]) -> None:
    result = measured(folders, "default", resolution=128, measures={"features": "own_features.MeanColours"})
    pairs = [
        [F.adaptive_avg_pool2d(tensor(image), 128) for image in pair]
        for pair in zip(*map(pictures, folders), strict=True)
    ]
    mse = [float((a - b).square().mean()) for a, b in pairs]
    assert result.metrics["mse"].value == pytest.approx(np.mean(mse), abs=1e-6)
    assert result.metrics["psnr"].value == pytest.approx(np.mean(10 * np.log10(4 / np.array(mse))), abs=1e-4)
    assert result.metrics["lpips"].value == pytest.approx(np.mean([lpips(b, a) for a, b in pairs]), abs=1e-5)
    eighth = [((x + 1) * 127.5).round() / 127.5 - 1 for pair in pairs for x in pair]
    vectors = [MeanColours()(x) for x in eighth]
    assert result.metrics["fd_meancolours"].value == pytest.approx(frechet(vectors[::2], vectors[1::2]), rel=1e-4)


def test_sfe_by_hand(folders: tuple[Path, Path], lpips: Callable[[Tensor, Tensor], float]) -> None:
    only = {"only": ["mse", "lpips", "fd"], "features": "own_features.MeanColours"}
    result = measured(folders, "sfe", measures=only)
    real, made = map(pictures, folders)
    small = [[tensor(image.resize((256, 256), Image.Resampling.BILINEAR)) for image in set_] for set_ in (real, made)]
    mse = [float(F.mse_loss(b, a)) for a, b in zip(*small, strict=True)]
    assert result.metrics["mse"].value == pytest.approx(np.mean(mse), abs=1e-6)
    distances = [lpips(b, a) for a, b in zip(*small, strict=True)]
    assert result.metrics["lpips"].value == pytest.approx(np.mean(distances), abs=1e-5)
    pair = PROTOCOLS["sfe"].prepare(real[5], made[5], 128)["structure"]
    ours = multi_scale_similarity(*(from_bytes(image)[None] for image in pair), "piq")  # type: ignore[misc]
    large = [tensor(image.resize((1024, 1024))) / 2 + 0.5 for image in (made[5], real[5])]
    assert ours.item() == pytest.approx(ms_ssim_piq(*large), abs=1e-4)
    vectors = [[MeanColours()(tensor(image)) for image in set_] for set_ in (real, made)]
    assert result.metrics["fd_meancolours"].value == pytest.approx(frechet(*vectors), rel=1e-4)


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG")
    return Image.open(file).convert("RGB")


def test_styleres_by_hand(folders: tuple[Path, Path], lpips: Callable[[Tensor, Tensor], float]) -> None:
    result = measured(folders, "styleres", measures={"features": "own_features.MeanColours"})
    real, made = map(pictures, folders)
    stored = [jpeg(image.resize((256, 256))) for image in real]  # dataset_tools.py; Pillow's default is bicubic
    pairs = [
        (tensor(image.resize((256, 256), Image.Resampling.BILINEAR)), tensor(target))
        for image, target in zip(made, stored, strict=True)
    ]
    assert result.metrics["mse"].value == pytest.approx(np.mean([float(F.mse_loss(*p)) for p in pairs]), abs=1e-6)
    assert result.metrics["lpips"].value == pytest.approx(np.mean([lpips(*pair) for pair in pairs]), abs=1e-5)
    by_hand = [ms_ssim_psp(*pair) for pair in pairs]
    assert result.values["ms_ssim"].tolist() == pytest.approx(by_hand, abs=1e-4)
    how = Image.Resampling.BILINEAR
    vectors = [
        [MeanColours()(tensor(image.resize((256, 256)).resize((299, 299), how))) for image in set_]
        for set_ in (stored, made)
    ]
    assert result.metrics["fd_meancolours"].value == pytest.approx(frechet(*vectors), rel=1e-4)


def test_padinv_by_hand(folders: tuple[Path, Path], lpips: Callable[[Tensor, Tensor], float]) -> None:
    only = {"only": ["mse", "lpips"], "features": None}
    result = measured(folders, "padinv", resolution=128, measures=only)
    real = [F.adaptive_avg_pool2d(tensor(image), 128) for image in pictures(folders[0])]
    made = [F.interpolate(tensor(image), size=(128, 128)) for image in pictures(folders[1])]
    mse = [float((a - b).square().mean()) for a, b in zip(real, made, strict=True)]
    assert result.metrics["mse"].value == pytest.approx(np.mean(mse), abs=1e-6)
    # Eight processes: 11 images and the first 5 again, two for each, one batch each; the mean of the batches' means.
    order = [*range(11), *range(5)]
    batches = [order[process::8] for process in range(8)]
    means = [lpips(torch.cat([made[i] for i in own]), torch.cat([real[i] for i in own])) for own in batches]
    assert result.metrics["lpips"].value == pytest.approx(np.mean(means), abs=1e-5)


def test_trap_of_nearest_neighbours(folders: tuple[Path, Path]) -> None:
    """Every second pixel aliases what areas average: the same pictures look a third sharper or noisier."""
    noisy = [np.asarray(image).astype(float) for image in pictures(folders[1])]
    random = np.random.default_rng(0)
    pair = (
        Image.fromarray(noisy[0].astype(np.uint8)),
        Image.fromarray((noisy[0] + random.normal(0, 40, noisy[0].shape)).clip(0, 255).astype(np.uint8)),
    )
    errors = {}
    for name in ("default", "padinv"):
        a, b = PROTOCOLS[name].prepare(*pair, 128)["pixels"]
        a, b = (x / 127.5 - 1 if x.dtype == torch.uint8 else x for x in (a, b))
        errors[name] = float((a - b).square().mean())
    assert errors["padinv"] > 8 * errors["default"]  # noise is averaged over 16 pixels, or over one


def test_trap_of_batches_and_duplicates() -> None:
    weights = PROTOCOLS["padinv"].weights(11)
    assert weights.mean() == pytest.approx(1)
    assert weights[:5] / weights[5] == pytest.approx(np.full(5, 2))  # they come twice, beside images that come once
    values = np.arange(11.0)
    assert (values * weights).mean() == pytest.approx(values.mean() - 0.9375, abs=1e-4)
    single = PROTOCOLS["padinv"].__class__("one", "", {}, batch_size=8)
    assert (values * single.weights(11)).mean() == pytest.approx((np.mean(range(8)) + 9) / 2)  # 6.25 instead of 5


def test_trap_of_jpeg_and_filters(folders: tuple[Path, Path]) -> None:
    """The very same pictures on both sides: only the default finds no error."""
    same = (folders[0], folders[0])
    for protocol, least in (("default", 0.0), ("sfe", 0.0), ("padinv", 0.0), ("styleres", 1e-3)):
        result = measured(same, protocol, resolution=128, measures={"only": ["mse"], "features": None})
        assert result.metrics["mse"].value >= least
        if protocol in ("default", "sfe"):
            assert result.metrics["mse"].value == 0


def test_trap_of_filters_and_sizes(folders: tuple[Path, Path]) -> None:
    """The same two sets. Pillow's filter adds a third to the error; sizes that differ make most of a distance."""
    only = {"only": ["mse", "fd"], "features": "random"}
    found = {
        name: measured(folders, name, resolution=256, measures=only).metrics for name in ("default", "sfe", "styleres")
    }
    mse, distance = ({name: metrics[key].value for name, metrics in found.items()} for key in ("mse", "fd_random"))
    assert mse["sfe"] > 1.3 * mse["default"]
    assert mse["styleres"] < 0.85 * mse["default"]  # JPEG smoothes what the reconstruction lacks
    assert distance["sfe"] > 10 * distance["default"]  # pictures as they are: 300 px against 512 px
    assert distance["styleres"] < 0.4 * distance["default"]  # both resized twice


def test_trap_of_forms_of_ms_ssim(folders: tuple[Path, Path]) -> None:
    a = torch.cat([tensor(image.resize((256, 256))) for image in pictures(folders[0])[:2]])
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    b = (a + noise * torch.tensor([0.0, 0.1, 1.0]).reshape(1, 3, 1, 1)).clamp(-1, 1)  # mostly in the blue
    values = {form: multi_scale_similarity(b, a, form).mean().item() for form in ("torchmetrics", "piq", "psp")}  # type: ignore[arg-type]
    assert len({round(value, 5) for value in values.values()}) == 3
    assert max(values.values()) - min(values.values()) > 1e-3


def test_default_refuses_to_enlarge() -> None:
    with pytest.raises(DataError, match="20 px, less than the 32 px"):
        PROTOCOLS["default"].prepare(Image.new("RGB", (20, 40)), Image.new("RGB", (64, 64)), 32)


def test_unknown_protocol() -> None:
    with pytest.raises(ConfigError, match="default, sfe, styleres, padinv"):
        find_protocol("pytorch-fid")

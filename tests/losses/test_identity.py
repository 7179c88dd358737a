import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from padinv.exceptions import CheckpointError, WeightsNotFoundError
from padinv.images import load_tensor
from padinv.losses import IdentityLoss, crop_face
from padinv.networks.arcface import ArcFace
from published import published
from recognition_model import write_recognition_model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recognition_model(tmp_path_factory.mktemp("pack") / "w600k_r50.onnx")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # the same on Windows
    return tmp_path


def images(size: int = 64) -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(2, 2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1)


def test_crop_sees_rows_35_to_222_and_columns_32_to_219() -> None:
    inside = torch.zeros(1, 3, 256, 256)
    inside[..., 35:223, 32:220] = 1
    assert torch.equal(crop_face(inside), torch.ones(1, 3, 112, 112))
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    crop = crop_face(torch.stack([rows, columns, rows + columns])[None])
    # 188 pixels to 112: the first and last cells average two pixels
    assert crop[0, 0, :, 0].aminmax() == (35.5, 221.5)
    assert crop[0, 1, 0, :].aminmax() == (32.5, 218.5)


def test_crop_resizes_to_256_px() -> None:
    small, _ = images()
    resized = F.interpolate(small, size=256, mode="bilinear", align_corners=False)
    torch.testing.assert_close(crop_face(small), crop_face(resized))


def test_is_one_minus_the_cosine_of_arcface(file: Path) -> None:
    a, b = images()
    network = ArcFace(file)
    expected = 1 - F.cosine_similarity(network(crop_face(a)), network(crop_face(b))).mean()
    loss = IdentityLoss(str(file))
    assert loss(a, b).item() == pytest.approx(expected.item(), abs=1e-6)
    assert expected > 1e-3
    assert loss(a, a).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(loss.embed(a).norm(dim=1), torch.ones(2))


def test_gradient_reaches_the_reconstruction_only(file: Path) -> None:
    a, b = (image.requires_grad_() for image in images())
    loss = IdentityLoss(str(file)).train()
    loss(a, b).backward()
    assert a.grad.abs().sum() > 0
    assert b.grad is None
    assert not loss.state_dict()
    assert not list(loss.parameters())


def test_a_pack_by_name_is_found_where_insightface_keeps_it(home: Path) -> None:
    pack = home / ".insightface" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    write_recognition_model(pack / "genderage.onnx", size=96, embedding=3)
    file = write_recognition_model(pack / "w600k_r50.onnx", seed=1)
    a, b = images()
    assert torch.equal(IdentityLoss()(a, b), IdentityLoss(str(file))(a, b))


def test_offline_without_a_pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("requests.get", no_network)
    with pytest.raises(WeightsNotFoundError) as error:
        IdentityLoss()
    for part in ("buffalo_l", str(home / ".insightface" / "models"), "--model.lambda_id 0", "no network"):
        assert part in str(error.value)
    assert not list((home / ".insightface" / "models").iterdir())


@pytest.mark.parametrize("weights", ["nowhere.onnx", "models/nowhere"])
def test_a_missing_path_is_not_taken_for_a_pack(home: Path, weights: str) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no weights at .*nowhere.*--model\.lambda_id 0"):
        IdentityLoss(weights)


def test_refuses_a_folder_without_a_recognition_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no recognition model"):
        IdentityLoss(str(tmp_path))


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fr_feature_batched", "fixed_batch"])
def test_a_published_network_tells_people_apart(kind: str) -> None:
    """Of those with a grey and a colour portrait, 128 px: the same person, and the next one in the list."""
    loss = IdentityLoss(str(published(f"mobilefacenet_{kind}.onnx")))
    table = published("labels.csv")
    people: dict[str, dict[str, str]] = {}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            people.setdefault(row["person"], {}).setdefault(row["kind"], row["file"])
    pairs = [(kinds["gray"], kinds["color"]) for kinds in people.values() if {"gray", "color"} <= set(kinds)]
    assert len(pairs) == 208
    if kind == "fixed_batch":
        pairs = pairs[::8]  # one image at a time takes longer
    with torch.no_grad():
        gray, colour = (
            torch.cat([loss.embed(load_tensor((table.parent / name).read_bytes(), 128)[None]) for name in names])
            for names in zip(*pairs, strict=True)
        )
    same, others = (gray * colour).sum(dim=1), (gray * colour.roll(1, 0)).sum(dim=1)
    assert same.mean().item() == pytest.approx(0.77, abs=0.02 if len(pairs) == 208 else 0.08)
    assert others.mean().item() == pytest.approx(0.03, abs=0.02 if len(pairs) == 208 else 0.08)
    assert same.std() < 0.25
    assert others.std() < 0.15

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from padinv.exceptions import CheckpointError, MissingPackageError
from padinv.networks.arcface import ArcFace
from recognition_model import weights_folder, write_recognition_model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recognition_model(tmp_path_factory.mktemp("pack") / "w600k_r50.onnx")


def faces(batch: int = 3) -> torch.Tensor:
    return torch.rand(batch, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1


def onnxruntime_output(file: Path, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.asarray(session.run(None, {"input.1": images.numpy()})[0]))


@pytest.mark.parametrize("batch", [1, 3])
def test_equals_onnxruntime(file: Path, batch: int) -> None:
    images = faces(batch)
    ours = ArcFace(file)(images)
    assert ours.shape == (batch, 512)
    torch.testing.assert_close(ours, onnxruntime_output(file, images), rtol=1e-4, atol=1e-4)
    assert ours.std() > 0.1  # an agreement about something


def test_gradient_is_the_networks_derivative(file: Path) -> None:
    network = ArcFace(file).double()
    images = faces(1).double().requires_grad_()
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).double()
    (gradient,) = torch.autograd.grad(network(images).square().sum(), images)
    h = 1e-6
    with torch.no_grad():
        up, down = (network(images + sign * h * direction).square().sum() for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (up - down) / (2 * h), rtol=1e-4, atol=0)


def test_stays_frozen_in_eval_mode(file: Path) -> None:
    network = ArcFace(file)
    before = network(faces())
    network.train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(network(faces()), before, rtol=0, atol=0)


def test_old_models_are_given_the_bytes_they_expect(tmp_path: Path) -> None:
    old = write_recognition_model(tmp_path / "old.onnx", bytes_in=True)
    in_bytes = faces() * 127.5 + 127.5
    torch.testing.assert_close(ArcFace(old)(faces()), onnxruntime_output(old, in_bytes), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("nested", [".", "antelopev2"])  # one pack is zipped with its folder
def test_picks_the_recognition_model_of_a_pack(tmp_path: Path, nested: str) -> None:
    folder = tmp_path / nested
    folder.mkdir(exist_ok=True)
    write_recognition_model(folder / "1k3d68.onnx", size=192, embedding=3309)
    write_recognition_model(folder / "genderage.onnx", size=96, embedding=3)
    recognition = write_recognition_model(folder / "w600k_r50.onnx")
    write_recognition_model(folder / "z_attributes.onnx", embedding=40)
    torch.testing.assert_close(ArcFace(tmp_path)(faces()), ArcFace(recognition)(faces()), rtol=0, atol=0)


def test_refuses_other_models(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no \.onnx file at all"):
        ArcFace(tmp_path)
    write_recognition_model(tmp_path / "genderage.onnx", size=96, embedding=3)
    for path in (tmp_path, tmp_path / "genderage.onnx"):
        with pytest.raises(CheckpointError, match=r"no recognition model.*genderage\.onnx"):
            ArcFace(path)


@pytest.mark.parametrize("content", [b"", b"<!doctype html>"])
def test_refuses_damaged_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "w600k_r50.onnx"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="w600k_r50"):
        ArcFace(file)


def test_weights_in_a_second_file_that_is_missing(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "w600k_r50.onnx"
    onnx.save_model(onnx.load(file), target, save_as_external_data=True, location="weights.data", size_threshold=0)
    (tmp_path / "weights.data").unlink()
    with pytest.raises(CheckpointError, match=r"w600k_r50\.onnx keeps its weights in a second file beside it"):
        ArcFace(target)


@pytest.mark.parametrize("package", ["onnx", "onnx2torch"])
def test_a_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"pip install {package}$"):
        ArcFace(file)


@pytest.mark.parametrize("fixed_batch", [False, True])
def test_a_batch_has_the_embeddings_of_its_images_whatever_batch_the_file_is_for(
    file: Path, tmp_path: Path, fixed_batch: bool
) -> None:
    model = write_recognition_model(tmp_path / "fixed.onnx", fixed_batch=fixed_batch)
    network = ArcFace(model)
    assert network.one_by_one == fixed_batch
    embeddings = network(faces())
    assert embeddings.shape == (3, 512)
    torch.testing.assert_close(embeddings, ArcFace(file)(faces()), rtol=1e-4, atol=1e-4)
    images = faces().requires_grad_()
    network(images).sum().backward()
    assert (images.grad.flatten(1).abs().sum(dim=1) > 0).all()


@pytest.mark.weights
def test_a_published_file_with_a_fixed_batch() -> None:
    folder = weights_folder()
    fixed, batched = (ArcFace(folder / f"mobilefacenet_{name}.onnx") for name in ("fixed_batch", "fr_feature_batched"))
    assert fixed.one_by_one
    assert not batched.one_by_one
    torch.testing.assert_close(fixed(faces()), batched(faces()), rtol=1e-3, atol=1e-3)

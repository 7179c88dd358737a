"""onnxruntime as a backend of the Inverter: the same results, from files that are checked."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from padinv import Generator, InversionCode, Inverter, PaddingCode, PadInvEncoder, load_generator
from padinv.checkpoints import fingerprint
from padinv.exceptions import CheckpointError, ConfigError
from padinv.export import ExportedPair, encoder_part, export_onnx, pair
from padinv.inversion import Inversion
from small_model import small_model

pytestmark = pytest.mark.skipif(not find_spec("onnxscript"), reason="needs onnxscript")


@pytest.fixture(scope="module")
def model() -> tuple[nn.Module, Generator]:
    return small_model()


@pytest.fixture(scope="module")
def folder(model: tuple[nn.Module, Generator], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both are, exported."""
    folder = tmp_path_factory.mktemp("exported")
    ExportedPair(*model, folder)
    return folder


@pytest.fixture(scope="module")
def inverters(model: tuple[nn.Module, Generator], folder: Path) -> tuple[Inverter, Inverter]:
    options = {"device": "cpu", "batch_size": 3}
    return Inverter(*model, **options), Inverter(*model, **options, backend="onnxruntime", exported=folder)


def compare(actual: Inversion, expected: Inversion) -> None:
    pairs = zip([*actual.code.tensors(), actual.images], [*expected.code.tensors(), expected.images], strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [1, 5])
def test_the_same_results(inverters: tuple[Inverter, Inverter], monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    images = torch.rand(count, 3, 8, 8) * 2 - 1
    expected, with_onnx = inverters[0].invert(images), inverters[1]
    for network in (with_onnx.encoder, with_onnx.generator.synthesis):
        monkeypatch.setattr(network, "forward", None)  # it is not torch that does it
    compare(with_onnx.invert(images), expected)


def test_refinement_is_torchs(inverters: tuple[Inverter, Inverter]) -> None:
    images = torch.rand(2, 3, 8, 8) - 0.5
    compare(*(inverter.invert(images, refine=2) for inverter in inverters))


def test_codes_that_the_file_does_not_take(inverters: tuple[Inverter, Inverter]) -> None:
    with_torch, with_onnx = inverters
    code = with_torch.encode(torch.rand(2, 3, 8, 8) * 2 - 1)
    for padding in (None, PaddingCode(None, {8: code.padding.rings[8]}), code.padding):
        other = InversionCode(code.w_plus, padding)  # the file takes features, too
        assert torch.equal(with_onnx.reconstruct(other), with_torch.reconstruct(other))
    with pytest.raises(ConfigError, match="This generator takes style latents"):
        with_onnx.reconstruct(InversionCode(code.w_plus[:, :2], code.padding))


def test_files_are_written_once(model: tuple[nn.Module, Generator], folder: Path) -> None:
    times = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    ExportedPair(*model, folder)
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == times


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Other weights and other options have another folder."""
    monkeypatch.setattr(pair, "cache_folder", lambda: tmp_path)
    exported = []
    monkeypatch.setattr(pair, "export_onnx", lambda part, path, plain_convolutions: exported.append(path.parent))
    monkeypatch.setattr(pair, "Session", lambda path, device: (_ for _ in ()).throw(CheckpointError(str(path))))
    encoder, generator = small_model()
    for change in (lambda: None, lambda: None, lambda: setattr(encoder, "config", {"a": 1}), encoder.double):
        change()
        with pytest.raises(CheckpointError):
            ExportedPair(encoder, generator)
    with torch.no_grad():
        next(generator.parameters()).add_(1)
    with pytest.raises(CheckpointError):
        ExportedPair(encoder, generator)
    with pytest.raises(CheckpointError):
        ExportedPair(encoder, generator, device="cuda")  # has algorithms of its own
    assert all(path.parent == tmp_path / "exported" for path in exported)
    assert [len({*exported[:n]}) for n in range(1, 7)] == [1, 1, 2, 2, 3, 4]


def test_a_bound_on_activations(model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    """Exported and folded, it holds as in the plain generator, and makes another network of the same weights."""
    encoder, plain = model
    generator = Generator(**{**plain.config, "conv_clamp": 0.2}).eval().requires_grad_(False)
    generator.load_state_dict(plain.state_dict())
    assert fingerprint(generator) != fingerprint(plain)
    images = torch.rand(3, 3, 8, 8) * 2 - 1
    for backend in ("torch", "onnxruntime"):
        inverter = Inverter(encoder, generator, device="cpu", backend=backend, exported=tmp_path)
        inversion = inverter.invert(images)
        compare(inversion, replace(inversion, images=generator.synthesis(*inversion.code.parts)))
        assert (inversion.images - plain.synthesis(*inversion.code.parts)).abs().max() > 0.1
    with pytest.raises(CheckpointError, match="was exported from the generator"):
        ExportedPair(encoder, plain, tmp_path)


def test_files_of_other_networks(model: tuple[nn.Module, Generator], folder: Path, tmp_path: Path) -> None:
    encoder, generator = model
    other_encoder, other_generator = small_model(seed=1)
    with pytest.raises(CheckpointError, match=r"encoder\.onnx was exported from the encoder \w+, but this one is"):
        ExportedPair(other_encoder, generator, folder)
    with pytest.raises(CheckpointError, match=r"encoder\.onnx was exported from the generator \w+, but this one is"):
        ExportedPair(encoder, other_generator, folder)
    (tmp_path / "encoder.onnx").write_bytes((folder / "encoder.onnx").read_bytes())
    (tmp_path / "generator.onnx").write_bytes((folder / "encoder.onnx").read_bytes())
    with pytest.raises(CheckpointError, match=r"generator\.onnx holds the part 'encoder', not 'generator'"):
        ExportedPair(encoder, generator, tmp_path)


def test_no_such_backend(model: tuple[nn.Module, Generator]) -> None:
    with pytest.raises(ConfigError, match="backend must be one of torch, onnxruntime, not 'tensorrt'"):
        Inverter(*model, device="cpu", backend="tensorrt")


@pytest.mark.slow
def test_without_padding(tmp_path: Path) -> None:
    encoder, generator = small_model(padded=False)
    images = torch.rand(2, 3, 8, 8) - 0.5
    expected = Inverter(encoder, generator, device="cpu").invert(images)
    inverter = Inverter(encoder, generator, device="cpu", backend="onnxruntime", exported=tmp_path)
    compare(inverter.invert(images), expected)


@pytest.mark.slow
def test_bundled_generator(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = load_generator("congress64")
    best = {"feature_resolutions": [16], "feature_pixels": True, "resize_to_rings": True}  # the preset features
    encoder = PadInvEncoder(generator.code_shape, resolution=64, depth=18, width=8, w_avg=generator.w_avg, **best)
    nn.init.normal_(encoder.feature_heads["16"].output.weight, std=0.01)
    export_onnx(encoder_part(encoder, generator), tmp_path / "encoder.onnx")
    images = torch.rand(5, 3, 64, 64) * 2 - 1
    with_onnx = Inverter(encoder, generator, device="cpu", backend="onnxruntime", exported=tmp_path)
    compare(with_onnx.invert(images), Inverter(encoder, generator, device="cpu").invert(images))

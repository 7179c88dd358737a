from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from padinv import Generator, InversionCode, PaddingCode, PadInvEncoder, load_generator
from padinv.checkpoints import fingerprint
from padinv.exceptions import CheckpointError, ConfigError, MissingPackageError
from padinv.export import (
    Description,
    Part,
    Session,
    encoder_part,
    export_onnx,
    export_torch,
    files,
    generator_part,
    joined_part,
    read_description,
)
from small_model import small_model

needs_onnx = pytest.mark.skipif(not find_spec("onnxscript"), reason="needs onnxscript")


@pytest.fixture(scope="module")
def model() -> tuple[nn.Module, Generator]:
    return small_model()


def make_part(name: str, encoder: nn.Module, generator: Generator) -> Part:
    if name == "generator":
        return generator_part(generator, feature_resolutions=[8])
    return {"encoder": encoder_part, "both": joined_part}[name](encoder, generator)


def inputs_and_outputs(
    name: str, encoder: nn.Module, generator: Generator, batch: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By the networks themselves. The padding is random, since with rings of zeros a wrong order would not show."""
    if name == "generator":
        shape = generator.code_shape
        rings = {r: torch.randn(batch, shape.channels[r], 4 * r + 4) for r in (4, 8, 16, 32) if r in shape.channels}
        padding = PaddingCode(torch.randn(batch, shape.channels[4], 4, 4), rings)
        features = {8: torch.randn(batch, shape.channels[8], 8, 8)}
        code = InversionCode(torch.randn(batch, shape.num_layers, shape.w_dim), padding, features)
        return code.named_tensors(), {"images": generator.synthesis(*code.parts)}
    images = torch.rand(batch, 3, encoder.resolution, encoder.resolution) * 2 - 1
    code = encoder(images)
    reconstructions = {"reconstructions": generator.synthesis(*code.parts)} if name == "both" else {}
    return {"images": images}, {**reconstructions, **code.named_tensors()}


def compare(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=1e-4)


@needs_onnx
@pytest.mark.parametrize(
    "name", ["both", *(pytest.param(name, marks=pytest.mark.slow) for name in ("encoder", "generator"))]
)
@torch.no_grad()
def test_onnx(name: str, model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    description = export_onnx(make_part(name, *model), path := tmp_path / "new" / "part.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["part.onnx"]
    assert read_description(path) == description
    session = Session(path)
    for batch in (1, 5):
        inputs, expected = inputs_and_outputs(name, *model, batch)
        assert session.takes(inputs)
        compare(session(inputs), expected)


@pytest.mark.parametrize(
    "name", ["generator", *(pytest.param(name, marks=pytest.mark.slow) for name in ("encoder", "both"))]
)
@torch.no_grad()
def test_torch(name: str, model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    description = export_torch(make_part(name, *model), path := tmp_path / "part.pt2")
    assert read_description(path) == description
    program = torch.export.load(path).module()
    for batch in (1, 5):
        inputs, expected = inputs_and_outputs(name, *model, batch)
        compare(program(inputs if name == "generator" else inputs["images"]), expected)


@pytest.mark.slow
def test_torch_runs_without_padinv(model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    export_torch(joined_part(*model), tmp_path / "part.pt2")
    code = (
        "import sys; sys.modules['padinv'] = None\n"  # importing it is an error
        "import torch\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "print(program(torch.zeros(3, 3, 8, 8))['reconstructions'].shape)"
    )
    out = subprocess.check_output([sys.executable, "-W", "ignore", "-c", code, tmp_path / "part.pt2"], text=True)
    assert out.strip() == "torch.Size([3, 3, 8, 8])"


def test_what_a_file_says(model: tuple[nn.Module, Generator]) -> None:
    encoder, generator = model
    names = (fingerprint(generator), fingerprint(encoder))
    assert encoder_part(*model).description == Description("encoder", *names, reads=8)
    assert joined_part(*model).description == Description("both", *names, reads=8, writes=8)
    description = generator_part(generator).description
    assert description == Description("generator", names[0], writes=8)
    assert Description.from_json(description.to_json()) == description


@pytest.mark.parametrize(
    ("rings", "const", "expected"),
    [
        (None, True, ["w_plus", "const", "ring_4", "ring_8"]),
        ([8, 4], False, ["w_plus", "ring_4", "ring_8"]),
        ([], True, ["w_plus", "const"]),
        ([], False, ["w_plus"]),
    ],
)
@torch.no_grad()
def test_what_goes_into_a_generator(rings: list[int] | None, const: bool, expected: list[str]) -> None:
    _, generator = small_model()
    part = generator_part(generator, rings, const)
    inputs = part.sample(3)
    assert list(inputs) == expected
    # Zero rings and the learned constant are none at all.
    torch.testing.assert_close(part.module(inputs)["images"], generator.synthesis(inputs["w_plus"]))


def test_no_such_ring() -> None:
    with pytest.raises(ConfigError, match=r"rings names \[32\] px, but this generator has layers at \[4, 8\] px"):
        generator_part(small_model()[1], [4, 32])


@pytest.mark.slow
@torch.no_grad()
def test_the_networks_stay_as_they_are(model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    encoder, generator = small_model()
    encoder.train().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        export_torch(joined_part(encoder, generator), tmp_path / "part.pt2")
    assert encoder.training
    assert encoder.convolution.weight.requires_grad
    inputs, expected = inputs_and_outputs("both", encoder, generator, 2)
    compare(torch.export.load(tmp_path / "part.pt2").module()(inputs["images"]), expected)


# 8 bits --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_onnx
@torch.no_grad()
def test_int8(model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    part = generator_part(model[1])
    export_onnx(part, tmp_path / "exact.onnx")
    description = export_onnx(part, path := tmp_path / "int8.onnx", int8=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["exact.onnx", "int8.onnx"]
    assert read_description(path) == description
    inputs = part.sample(8)
    exact, rough = (Session(tmp_path / name)(inputs)["images"] for name in ("exact.onnx", "int8.onnx"))
    mse = float((exact - rough).square().mean())
    assert description.int8["mse"] == pytest.approx(mse, rel=1e-3)
    assert 10 ** (-description.int8["psnr"] / 10) * 4 == pytest.approx(mse, rel=1e-3)
    assert 0 < mse < 0.01 * float(exact.var())
    kinds = {node.op_type for node in _graph(path).node}
    assert {"ConvInteger", "MatMulInteger"} <= kinds
    assert not {"Conv", "Gemm"} & kinds


def _graph(path: Path) -> object:
    import onnx

    return onnx.load(path).graph


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("write", "ending"), [(export_onnx, "onnx"), (export_torch, "pt2")])
def test_what_cannot_be_written(write: object, ending: str, model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    part = generator_part(model[1])
    if ending == "onnx" and not find_spec("onnxscript"):
        pytest.skip("needs onnxscript")
    with pytest.raises(CheckpointError, match=rf"part\.safetensors must end in \.{ending}"):
        write(part, tmp_path / "part.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        write(part, tmp_path / "file" / f"part.{ending}")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "part.onnx").write_bytes(b"no ONNX")
    with pytest.raises(CheckpointError, match=r"part\.onnx is no ONNX file that padinv has exported"):
        Session(tmp_path / "part.onnx")
    (tmp_path / "part.pt2").write_bytes(b"no program")
    with pytest.raises(CheckpointError, match=r"part\.pt2 is no program that padinv has exported"):
        read_description(tmp_path / "part.pt2")
    program = torch.export.export(nn.ReLU(), (torch.zeros(2),))
    torch.export.save(program, tmp_path / "other.pt2")
    with pytest.raises(CheckpointError, match=r"other\.pt2 is no program that padinv has exported"):
        read_description(tmp_path / "other.pt2")


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, model: tuple[nn.Module, Generator], tmp_path: Path) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "padinv\[export\]"'):
        export_onnx(generator_part(model[1]), tmp_path / "part.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match="pip install onnxruntime"):
        Session(tmp_path / "part.onnx")


def test_no_such_device(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot compute on mps"):
        Session(tmp_path / "part.onnx", "mps")


# True networks -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_onnx
@torch.no_grad()
def test_fast_convolutions(tmp_path: Path) -> None:
    """Where it is wanted, with the same results, and never with weights of 8 bits."""
    torch.manual_seed(0)
    part = generator_part(Generator(16).eval())
    for name, options in {"with": {}, "without": {"plain_convolutions": True}, "int8": {"int8": True}}.items():
        export_onnx(part, tmp_path / f"{name}.onnx", **options)
        tiles = [node for node in _graph(tmp_path / f"{name}.onnx").node if _kernel(node) == [6, 6]]
        assert len(tiles) == (1 if name == "with" else 0)
        transposed = [node for node in _graph(tmp_path / f"{name}.onnx").node if node.op_type == "ConvTranspose"]
        assert len(transposed) == (2 if name == "with" else 4)  # images are doubled by two of them
    inputs = part.sample(3)
    fast, plain = (Session(tmp_path / f"{name}.onnx")(inputs)["images"] for name in ("with", "without"))
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-4 * float(plain.abs().max()))


def _kernel(node: object) -> list[int] | None:
    return next((list(a.ints) for a in node.attribute if node.op_type == "Conv" and a.name == "kernel_shape"), None)


@pytest.mark.slow
@needs_onnx
@pytest.mark.parametrize("name", ["encoder", "generator", "both"])
@torch.no_grad()
def test_bundled_generator(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = load_generator("congress64")
    best = {"feature_resolutions": [16], "feature_pixels": True, "resize_to_rings": True}  # the preset features
    encoder = PadInvEncoder(generator.code_shape, resolution=64, depth=18, width=8, w_avg=generator.w_avg, **best)
    nn.init.normal_(encoder.eval().feature_heads["16"].output.weight, std=0.01)
    export_onnx(make_part(name, encoder, generator), tmp_path / "part.onnx")
    session = Session(tmp_path / "part.onnx")
    for batch in (1, 5):
        inputs, expected = inputs_and_outputs(name, encoder, generator, batch)
        compare(session(inputs), expected)


@pytest.mark.slow
@needs_onnx
@torch.no_grad()
def test_published_size(tmp_path: Path) -> None:
    """IResNet-50-SE and StyleGAN2 at 256 px; 1.2 GB of weights."""
    torch.manual_seed(0)
    generator = Generator(256).eval()
    encoder = PadInvEncoder(generator.code_shape).eval()
    export_onnx(joined_part(encoder, generator), tmp_path / "both.onnx")
    inputs, expected = inputs_and_outputs("both", encoder, generator, 1)
    scale = float(expected["reconstructions"].abs().max())  # random weights overshoot [-1, 1] by far
    actual = Session(tmp_path / "both.onnx")(inputs)
    torch.testing.assert_close(actual["reconstructions"], expected["reconstructions"], rtol=0, atol=1e-4 * scale)

from __future__ import annotations

import inspect
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import formats
from image_files import noise
from padinv import Generator, InversionCode, Inverter, PadInvEncoder, load_generator
from padinv.batches import ImageRangeWarning
from padinv.checkpoints import fingerprint, save_network
from padinv.checkpoints.native import LIGHTNING_KEY
from padinv.checkpoints.sources import BUNDLED
from padinv.codes import CodeShape
from padinv.exceptions import CheckpointError, ConfigError, DataError
from padinv.images import square, to_tensor
from padinv.inversion import FFHQ, centre_square, face_square, warp
from padinv.inversion import inverter as module
from padinv.sources import bundled_path

FACE = torch.tensor([[18.0, 20.0], [30.0, 20.0], [24.0, 26.0], [19.0, 32.0], [29.0, 32.0]])


def make_encoder(code: CodeShape, resolution: int = 32, **options: object) -> PadInvEncoder:
    """Random weights, but of the scale of trained ones."""
    torch.manual_seed(0)
    encoder = PadInvEncoder(code, resolution=resolution, depth=18, width=4, **options)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 2.0)
    for head in encoder.feature_heads.values():
        nn.init.normal_(head.output.weight, std=0.1)
    return encoder


@pytest.fixture(scope="module")
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


@pytest.fixture(scope="module")
def encoder(generator: Generator) -> PadInvEncoder:
    best = {
        "feature_resolutions": [8, 16],
        "feature_pixels": True,
        "resize_to_rings": True,
    }  # as the preset features has it, and finer
    return make_encoder(generator.code_shape, w_avg=generator.w_avg, **best)


@pytest.fixture(scope="module")
def inverter(encoder: PadInvEncoder, generator: Generator) -> Inverter:
    return Inverter(encoder, generator, device="cpu", batch_size=4)


def photograph(width: int = 48, height: int = 60, seed: int = 0) -> Tensor:
    return to_tensor(noise((width, height), seed))


def test_images_come_back_with_all_that_belongs_to_them(inverter: Inverter, generator: Generator) -> None:
    images = torch.rand(6, 3, 32, 32) * 2 - 1
    inversion = inverter.invert(images)
    assert inversion.names == tuple(f"image-{i}" for i in range(6))
    assert inversion.crop == (centre_square((32, 32)),) * 6
    assert inversion.generator == inversion.fingerprint == inverter.fingerprint == fingerprint(generator)
    assert not inversion.aligned
    assert torch.equal(inversion.targets, images)
    torch.testing.assert_close(inversion.images, generator.synthesis(*inversion.code.parts))
    assert torch.equal(inverter.reconstruct(inversion.code), inversion.images)


def test_takes_what_the_commands_take(tmp_path: Path, inverter: Inverter) -> None:
    for seed in range(2):
        noise((40, 48), seed).save(tmp_path / f"{seed}.png")
    paths = [f"{tmp_path}/{seed}.png" for seed in range(2)]
    expected = inverter.invert(paths)
    for kind in (tmp_path, f"{tmp_path}/", f"{tmp_path}/*.png", [paths[0], f"{tmp_path}/[1-9].png"]):
        inversion = inverter.invert(kind)
        assert list(inversion.names) == paths
        assert torch.equal(inversion.targets, expected.targets)
    landmarks = {f"{seed}.png": FACE for seed in range(2)}
    assert inverter.invert(tmp_path, align=True, landmarks=landmarks).aligned


def test_takes_bundled_photographs(inverter: Inverter) -> None:
    inversion = inverter.invert("congress64-val")
    assert len(inversion) == 32
    assert all(name.startswith(str(bundled_path("congress64-val"))) for name in inversion.names)


def test_every_kind_of_photograph(tmp_path: Path, inverter: Inverter) -> None:
    image = noise((40, 48))
    image.save(tmp_path / "photo.png")
    array = np.asarray(image)
    inversion = inverter.invert([tmp_path / "photo.png", image, array, to_tensor(image)])
    assert inversion.names == (str(tmp_path / "photo.png"), "image-1", "image-2", "image-3")
    assert all(torch.equal(inversion.targets[i], inversion.targets[0]) for i in range(4))
    assert torch.equal(inverter.invert(str(tmp_path / "photo.png")).targets, inversion.targets[:1])


@pytest.mark.parametrize("size", [(48, 60), (32, 100), (20, 9)])
def test_the_middle_is_taken_as_for_training(inverter: Inverter, size: tuple[int, int]) -> None:
    image = noise(size)
    inversion = inverter.invert(image)
    assert torch.equal(inversion.targets[0], to_tensor(square(image, 32)))
    assert inversion.crop == (centre_square(size),)


@pytest.fixture(scope="module")
def bundled() -> tuple[PadInvEncoder, Generator]:
    generator = load_generator("congress64")
    return make_encoder(generator.code_shape, 64, w_avg=generator.w_avg), generator


@pytest.mark.parametrize("batch_size", [3, 16])
def test_company_makes_no_difference_but_for_rounding(
    bundled: tuple[PadInvEncoder, Generator], batch_size: int
) -> None:
    images = torch.rand(16, 3, 64, 64) * 2 - 1
    alone = Inverter(*bundled, device="cpu", batch_size=1).invert(images)
    together = Inverter(*bundled, device="cpu", batch_size=batch_size).invert(images)
    pairs = zip([*alone.code.tensors(), alone.images], [*together.code.tensors(), together.images], strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(one.abs().max()))
    pixels = [((images.images + 1) * 127.5).round().clamp(0, 255) for images in (alone, together)]
    assert (pixels[0] - pixels[1]).abs().max() <= 1


def test_with_a_batch_size_of_one_company_makes_no_difference(bundled: tuple[PadInvEncoder, Generator]) -> None:
    images = torch.rand(3, 3, 64, 64) * 2 - 1
    inverter = Inverter(*bundled, device="cpu", batch_size=1)
    together = inverter.invert(images)
    for i, image in enumerate(images):
        alone = inverter.invert(image)
        assert torch.equal(alone.images[0], together.images[i])
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone.code.tensors(), together.code.tensors(), strict=True))


def test_twice_the_same(inverter: Inverter) -> None:
    image = photograph()
    assert torch.equal(inverter.invert(image).images, inverter.invert(image).images)


def test_an_encoder_of_smaller_images_than_the_generators(bundled: tuple[PadInvEncoder, Generator]) -> None:
    _, generator = bundled
    inverter = Inverter(make_encoder(generator.code_shape, 32), generator, device="cpu")
    image = noise((100, 90))
    inversion = inverter.invert(image)
    assert inversion.images.shape == (1, 3, 64, 64)
    assert torch.equal(inversion.targets[0], to_tensor(square(image, 64)))
    expected = inverter.encode(to_tensor(square(image, 32))[None])
    assert torch.equal(inversion.code.w_plus, expected.w_plus)


def test_the_callers_networks_stay_as_they_are(generator: Generator) -> None:
    encoder = make_encoder(generator.code_shape).train()
    inverter = Inverter(encoder, generator, device="cpu")
    inverter.invert(photograph(), refine=1)
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    layers = (encoder.backbone.stages[0][0], generator.synthesis.blocks["8"])
    assert all(weight.is_contiguous() for layer in layers for weight in layer.parameters())
    for network in (inverter.encoder, inverter.generator):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_codes_can_be_optimized_afterwards(inverter: Inverter) -> None:
    code = inverter.invert(photograph()).code.requires_grad_()
    inverter.generator.synthesis(*code.parts).sum().backward()
    assert code.w_plus.grad.abs().sum() > 0


@pytest.mark.parametrize(("options", "asked"), [({}, 1), ({"keep_memory": False}, 0), ({"device": "meta"}, 0)])
def test_freed_memory_is_kept_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
    encoder: PadInvEncoder,
    generator: Generator,
    options: dict[str, object],
    asked: int,
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(module, "keep_freed_memory", lambda: calls.append(True))
    Inverter(encoder, generator, **{"device": "cpu", **options})
    assert len(calls) == asked


def test_half_precision(inverter: Inverter, encoder: PadInvEncoder, generator: Generator) -> None:
    half = Inverter(encoder, generator, device="cpu", precision="bf16")
    expected, actual = (each.invert(photograph()) for each in (inverter, half))
    assert actual.code.w_plus.dtype == actual.images.dtype == torch.float32
    difference = (actual.images - expected.images).abs().max() / expected.images.abs().max()
    assert 0 < difference < 0.05
    refined = half.invert(photograph(), refine=10)
    assert (refined.images - refined.targets).square().mean() < (actual.images - actual.targets).square().mean()


@pytest.mark.parametrize("options", [{"precision": "8"}, {"precision": "bf16", "backend": "onnxruntime"}])
def test_precisions_that_cannot_be(encoder: PadInvEncoder, generator: Generator, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="precision must be one of 32, bf16, 16, and 32 unless the backend is torch"):
        Inverter(encoder, generator, **options)


@pytest.mark.slow
def test_compiled_networks_make_the_same_images(
    inverter: Inverter, encoder: PadInvEncoder, generator: Generator
) -> None:
    compiled = Inverter(encoder, generator, device="cpu", compile=True)
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    expected, actual = inverter.invert(images), compiled.invert(images)
    torch.testing.assert_close(actual.images, expected.images, rtol=0, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2


# Alignment -----------------------------------------------------------------------------------------------------------


def test_given_landmarks(encoder: PadInvEncoder, generator: Generator) -> None:
    image = photograph()
    for recipe in (FFHQ, None):
        options = {} if recipe is None else {"recipe": recipe}
        inverter = Inverter(encoder, generator, device="cpu", **options)
        inversion = inverter.invert(image, align=True, landmarks=FACE)
        assert inversion.aligned
        assert inversion.crop == (face_square(FACE, (48, 60), inverter.recipe),)
        assert torch.equal(inversion.targets[0], warp(image, inversion.crop[0], 32))


def test_landmarks_from_a_file(tmp_path: Path, inverter: Inverter) -> None:
    noise((48, 60)).save(tmp_path / "photo.png")
    (tmp_path / "landmarks.json").write_text(json.dumps({"photo.png": {"landmarks": FACE.tolist()}}))
    inversion = inverter.invert(tmp_path / "photo.png", align=True, landmarks=tmp_path / "landmarks.json")
    assert inversion.crop == (face_square(FACE, (48, 60)),)


def test_names_find_landmarks(inverter: Inverter) -> None:
    image = noise((48, 60))
    inversion = inverter.invert([image], align=True, landmarks={"photo.png": FACE}, names=["folder/photo.png"])
    assert inversion.names == ("folder/photo.png",)
    assert inversion.crop == (face_square(FACE, (48, 60)),)
    with pytest.raises(DataError, match=r"no entry for other\.png"):
        inverter.invert(image, align=True, landmarks={"photo.png": FACE}, names=["other.png"])
    with pytest.raises(DataError, match=r"^photo\.png: The landmarks lie outside"):
        inverter.invert(image, align=True, landmarks={"photo.png": FACE + 200}, names=["photo.png"])


def test_found_faces(encoder: PadInvEncoder, generator: Generator) -> None:
    def detect(photograph: Tensor) -> Tensor:
        return torch.stack([FACE, 0.5 * FACE])[: 1 + (photograph.shape[-1] > 48)]

    inverter = Inverter(encoder, generator, device="cpu", batch_size=2, detector=detect)
    images = [photograph(), photograph(64), photograph()]
    inversion = inverter.invert(images, align=True, faces="all")
    assert inversion.names == ("image-0", "image-1", "image-1", "image-2")
    assert inversion.crop[2] == face_square(0.5 * FACE, (64, 60))
    assert inverter.invert(images, align=True).names == ("image-0", "image-1", "image-2")


def test_no_face(encoder: PadInvEncoder, generator: Generator) -> None:
    inverter = Inverter(encoder, generator, device="cpu", detector=lambda _: torch.empty(0, 5, 2))
    with pytest.raises(DataError, match="No face was found in image-0"):
        inverter.invert(photograph(), align=True)


def test_the_detector_is_made_once_and_only_when_needed(
    monkeypatch: pytest.MonkeyPatch, encoder: PadInvEncoder, generator: Generator
) -> None:
    made: list[object] = []

    def make() -> Callable[[Tensor], Tensor]:
        made.append(object())
        return lambda _: FACE[None]

    monkeypatch.setattr(module, "find_detector", make)
    inverter = Inverter(encoder, generator, device="cpu")
    inverter.invert(photograph())
    inverter.invert(photograph(), align=True, landmarks=FACE)
    assert not made
    inverter.invert(photograph(), align=True)
    inverter.invert(photograph(), align=True)
    assert len(made) == 1


# Refinement and progress ---------------------------------------------------------------------------------------------


def test_refinement_comes_nearer(inverter: Inverter) -> None:
    images = torch.rand(5, 3, 32, 32) - 0.5
    plain, refined = inverter.invert(images), inverter.invert(images, refine=10)
    errors = [(inversion.images - images).square().mean(dim=(1, 2, 3)) for inversion in (plain, refined)]
    assert (errors[1] < errors[0]).all()


def test_refinement_in_inference_mode(encoder: PadInvEncoder, generator: Generator) -> None:
    image = photograph()
    expected = Inverter(encoder, generator, device="cpu").invert(image, refine=3)
    with torch.inference_mode():
        actual = Inverter(encoder, generator, device="cpu").invert(image, refine=3)
    assert torch.equal(actual.images, expected.images)


def test_each_step_is_told(encoder: PadInvEncoder, generator: Generator) -> None:
    steps: list[tuple[int, int]] = []
    inverter = Inverter(encoder, generator, device="cpu", batch_size=2)
    inverter.invert(torch.zeros(3, 3, 32, 32), refine=2, on_step=lambda step, lowest: steps.append((step, len(lowest))))
    assert steps == [(1, 2), (2, 2), (1, 1), (2, 1)]


@pytest.mark.parametrize(("refine", "total", "unit"), [(0, "5/5", "image/s"), (3, "15/15", "step/s")])
def test_progress(capsys: pytest.CaptureFixture[str], inverter: Inverter, refine: int, total: str, unit: str) -> None:
    images = torch.rand(5, 3, 32, 32) - 0.5
    inverter.invert(images, refine=refine)
    assert not capsys.readouterr().err
    inverter.invert(images, refine=refine, progress=True)
    shown = capsys.readouterr().err
    assert f"| {total} " in shown.split("\r")[-1]
    assert unit in shown


# From a name, a folder, a file ---------------------------------------------------------------------------------------


def check(inverter: Inverter, encoder: PadInvEncoder, generator: Generator) -> None:
    assert fingerprint(inverter.encoder) == fingerprint(encoder)
    assert fingerprint(inverter.generator) == fingerprint(generator)


def test_from_a_folder(tmp_path: Path, encoder: PadInvEncoder, generator: Generator) -> None:
    save_network(encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError, match=r"There is no .*generator\.safetensors: a model's folder holds"):
        Inverter.from_pretrained(tmp_path)
    check(Inverter.from_pretrained(tmp_path, generator, device="cpu"), encoder, generator)
    save_network(generator, tmp_path / "generator.safetensors")
    check(Inverter.from_pretrained(tmp_path, device="cpu"), encoder, generator)


def test_from_an_encoder_and_a_generator(tmp_path: Path, encoder: PadInvEncoder, generator: Generator) -> None:
    path = save_network(encoder, tmp_path / "e.safetensors")
    other = save_network(generator, tmp_path / "g.safetensors")
    check(Inverter.from_pretrained(path, other, device="cpu"), encoder, generator)
    check(Inverter.from_pretrained(path, generator, device="cpu"), encoder, generator)
    with pytest.raises(CheckpointError, match="without its generator, and does not name it: give it as generator="):
        Inverter.from_pretrained(path)


def test_from_a_bundled_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundled: tuple[PadInvEncoder, Generator]
) -> None:
    path = save_network(bundled[0], tmp_path / "e.safetensors")
    monkeypatch.setitem(BUNDLED, "congress64", {**BUNDLED["congress64"], PadInvEncoder: str(path)})
    check(Inverter.from_pretrained("congress64", device="cpu"), *bundled)


def save_run(path: Path, encoder: PadInvEncoder, generator: str) -> Path:
    """What PadInvModule leaves in a checkpoint."""
    state = {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
    ours = {"generator": generator, "PadInvEncoder": encoder.config}
    others = Namespace(a="what torch.load would refuse")
    torch.save({LIGHTNING_KEY: ours, "state_dict": state, "hyper_parameters": others}, path)
    return path


def test_from_a_run_on_the_bundled_generator(tmp_path: Path, bundled: tuple[PadInvEncoder, Generator]) -> None:
    run = save_run(tmp_path / "last.ckpt", bundled[0], fingerprint(bundled[1]))
    check(Inverter.from_pretrained(run, device="cpu"), *bundled)


def test_from_a_run_on_another_generator(tmp_path: Path, encoder: PadInvEncoder, generator: Generator) -> None:
    name = fingerprint(generator)
    run = save_run(tmp_path / "last.ckpt", encoder, name)
    with pytest.raises(CheckpointError, match=f"without its generator, {name}, which is not bundled"):
        Inverter.from_pretrained(run)
    with pytest.raises(CheckpointError, match=f"trained for the generator {name}, but this one is "):
        Inverter.from_pretrained(run, "congress64")
    check(Inverter.from_pretrained(run, generator, device="cpu"), encoder, generator)


def test_an_encoder_that_names_its_generator(tmp_path: Path, bundled: tuple[PadInvEncoder, Generator]) -> None:
    """Files of save_network, once their description holds the fingerprint."""
    from safetensors.torch import save_file

    encoder, generator = bundled
    description = {"network": "PadInvEncoder", "config": encoder.config, "generator": fingerprint(generator)}
    path = tmp_path / "e.safetensors"
    save_file(encoder.state_dict(), str(path), {"padinv": json.dumps(description)})
    check(Inverter.from_pretrained(path, device="cpu"), encoder, generator)


@pytest.mark.parametrize("latent_avg", [None, torch.full((32,), 2.0)])
def test_published_files_hold_both(tmp_path: Path, latent_avg: Tensor | None) -> None:
    networks = {
        "encoder": formats.state("psp", "encoder", divide=16),
        "decoder": formats.shrink(formats.state("rosinality", "g_ema"), "(?!)", width=32),
    }
    state = {f"{prefix}.{key}": tensor for prefix, part in networks.items() for key, tensor in part.items()}
    torch.save({"state_dict": state, "latent_avg": latent_avg}, path := tmp_path / "psp.pt")
    inverter = Inverter.from_pretrained(path, device="cpu")
    assert inverter.resolution == 256
    assert fingerprint(inverter.generator) == fingerprint(load_generator(path))
    assert torch.equal(inverter.encoder.w_avg, inverter.generator.w_avg)
    inversion = inverter.invert(photograph())
    assert inversion.images.shape == inversion.targets.shape == (1, 3, 64, 64)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": -1}, "refine is a number of steps, 0 for none, not -1"),
        ({"landmarks": FACE}, "set align=True"),
        ({"faces": "all"}, "set align=True"),
    ],
)
def test_options_that_do_not_fit(inverter: Inverter, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        inverter.invert(photograph(), **options)


def test_batch_size_must_be_positive(encoder: PadInvEncoder, generator: Generator) -> None:
    with pytest.raises(ConfigError, match="batch_size must be 1 or more, not 0"):
        Inverter(encoder, generator, batch_size=0)


def test_networks_that_do_not_fit_each_other(encoder: PadInvEncoder, bundled: tuple[PadInvEncoder, Generator]) -> None:
    with pytest.raises(ConfigError, match=r"predicts 8 latents of 16 and .* takes 10 latents of 256 and rings of"):
        Inverter(encoder, bundled[1])


class Plain(nn.Module):
    """Somebody's own encoder to W+."""

    def __init__(self, resolution: int | None) -> None:
        super().__init__()
        self.resolution = resolution

    def forward(self, images: Tensor) -> InversionCode:
        return InversionCode(images.mean(dim=(1, 2, 3)).view(-1, 1, 1).expand(-1, 8, 16))


def test_an_encoder_of_ones_own(generator: Generator) -> None:
    assert Inverter(Plain(32), generator, device="cpu").invert(photograph()).code.padding is None
    with pytest.raises(ConfigError, match="give it a resolution"):
        Inverter(Plain(None), generator)


def test_unreadable_photographs_are_named(tmp_path: Path, inverter: Inverter) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png cannot be read: it is not an image"):
        inverter.invert([photograph(), tmp_path / "text.png"])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "device cuda: there is none on this machine"),
        ("cuda:7", "device cuda:7: there is none"),
        ("mps", "device mps: there is none"),
        ("tpu", "device must be cpu, cuda, cuda:N or mps, not 'tpu'"),
        ("cpu:1", "device cpu:1: there are 1, counted from 0"),
        ("xpu", "device xpu: this torch cannot compute there"),
        ("", "device must be cpu"),
        (3.5, "device must be cpu"),
    ],
)
def test_a_device_that_is_not_there_is_a_sentence(
    device: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        Inverter.from_pretrained("congress64", device=device)


def test_representation_is_one_line() -> None:
    line = "Inverter(PadInvEncoder 64 px, Generator 64 px, float32 on cpu by torch, batch_size=16)"
    assert repr(Inverter.from_pretrained("congress64", device="cpu")) == line


@pytest.mark.parametrize("method", ["invert", "encode"])
def test_tensors_in_another_range(method: str) -> None:
    inverter = Inverter.from_pretrained("congress64", device="cpu")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with pytest.warns(ImageRangeWarning, match="no value below 0"):
        getattr(inverter, method)(images)
    for wrong in (images * 255, (images * 255).byte()):
        with pytest.raises(DataError, match=r"255|uint8"):
            getattr(inverter, method)(wrong)


def test_what_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    inverter = Inverter.from_pretrained("congress64", device="cpu")
    code = inverter.encode(torch.zeros(2, 3, 64, 64))
    code.w_plus[1] = torch.nan
    with pytest.raises(DataError, match=r"^image-1: the networks give NaN or infinite numbers"):
        inverter.reconstruct(code)
    monkeypatch.setattr(inverter._pair, "encode", lambda images: code)
    with pytest.raises(DataError, match=r"^b\.png: the networks give NaN or infinite numbers"):
        inverter.invert([torch.zeros(3, 64, 64)] * 2, names=["a.png", "b.png"])


def test_options_of_from_pretrained_are_those_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = list(inspect.signature(Inverter).parameters.values())[2:]
    types = {name: hint.__forward_arg__ for name, hint in module.InverterOptions.__annotations__.items()}
    assert {parameter.name: parameter.annotation for parameter in parameters} == types
    monkeypatch.setattr(module, "load_pair", None)  # it is not asked
    with pytest.raises(TypeError, match="batchsize"):
        Inverter.from_pretrained("congress64", batchsize=2)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="device must be"):
        Inverter.from_pretrained("congress64", device="tpu9000")

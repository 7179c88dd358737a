"""The same on a GPU as on a CPU: bundled model, commands, training, export. Runs where there is a CUDA device.

``PADINV_TEST_GPU=cpu pytest -m gpu`` tries the tests themselves on a CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy

from fitting import ENCODER, fit
from padinv import Discriminator, Generator, Inversion, Inverter, PadInvModule, load_generator
from padinv.cli import main
from padinv.export import ExportedPair
from padinv.gan import AdaptiveAugmentation, StyleGAN2Module
from padinv.images import decode, square, to_tensor
from padinv.inversion import refine
from padinv.inversion.alignment import centre_square, warp
from padinv.losses import DiscriminatorFeatureLoss
from padinv.sources.opening import open_source

pytestmark = pytest.mark.gpu
BUNDLED = "congress64"
HALF = {"32": 0.01, "bf16": 0.02, "16": 0.02}
"""How far the mean squared error may be from the CPU's, by precision."""


@pytest.fixture(scope="module")
def portraits() -> torch.Tensor:
    """Sixteen of the bundled portraits, (16, 3, 64, 64)."""
    source = open_source("congress64-val")
    return torch.stack([to_tensor(square(decode(source.read(i)), 64)) for i in range(16)])


@pytest.fixture(scope="module")
def on_cpu(portraits: torch.Tensor) -> Inversion:
    return Inverter.from_pretrained(BUNDLED, device="cpu", keep_memory=False).invert(portraits)


def accelerator(gpu: torch.device) -> dict[str, Any]:
    return {"accelerator": "gpu" if gpu.type == "cuda" else "cpu", "devices": 1}


def skip_float16_on_a_cpu(gpu: torch.device, precision: str) -> None:
    if precision == "16-mixed" and gpu.type == "cpu":
        pytest.skip("Lightning has no float16 on a CPU")


def error(inversion: Inversion, portraits: torch.Tensor) -> float:
    return float((inversion.images.cpu() - portraits).square().mean())


@pytest.mark.parametrize("precision", HALF)
def test_the_bundled_model_is_as_good(
    gpu: torch.device, precision: Any, portraits: torch.Tensor, on_cpu: Inversion
) -> None:
    inverter = Inverter.from_pretrained(BUNDLED, device=gpu, precision=precision, keep_memory=False)
    assert error(inverter.invert(portraits), portraits) == pytest.approx(error(on_cpu, portraits), rel=HALF[precision])


def test_refinement(gpu: torch.device, portraits: torch.Tensor) -> None:
    errors = []
    for device in (gpu, torch.device("cpu")):
        inverter = Inverter.from_pretrained(BUNDLED, device=device, keep_memory=False)
        errors.append(error(inverter.invert(portraits[:2], refine=20), portraits[:2]))
    assert errors[0] == pytest.approx(errors[1], rel=0.05)


def test_twice_the_same_bit_for_bit(gpu: torch.device, tmp_path: Path) -> None:
    """In a process of its own: cuBLAS reads its setting when it starts."""
    code = f"""
import torch
from padinv import Inverter
torch.use_deterministic_algorithms(True)
results = [Inverter.from_pretrained("{BUNDLED}", device="{gpu}", keep_memory=False).invert(
    torch.linspace(-1, 1, 3 * 64 * 64).view(3, 64, 64), refine=3) for _ in range(2)]
assert all(torch.equal(a, b) for a, b in zip(*(r.code.tensors() for r in results), strict=True))
assert torch.equal(*(r.images for r in results))
"""
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path, timeout=300)


def test_alignment(gpu: torch.device) -> None:
    photograph = torch.rand(3, 70, 90) * 2 - 1
    crop = centre_square((90, 70))
    torch.testing.assert_close(
        warp(photograph.to(gpu), crop, 32).cpu(), warp(photograph, crop, 32), rtol=1e-4, atol=1e-4
    )


def test_augmentation(gpu: torch.device) -> None:
    augment = AdaptiveAugmentation(probability=0.8).to(gpu)
    torch.manual_seed(0)
    images = augment(torch.rand(8, 3, 32, 32, device=gpu) * 2 - 1)
    assert images.device.type == gpu.type
    assert images.isfinite().all()


def test_a_code_saved_there_is_read_on_a_cpu(
    gpu: torch.device, portraits: torch.Tensor, on_cpu: Inversion, tmp_path: Path
) -> None:
    inverter = Inverter.from_pretrained(BUNDLED, device=gpu, keep_memory=False)
    path = inverter.invert(portraits[:2]).save(tmp_path / "code.safetensors")
    loaded = Inversion.load(path, load_generator(BUNDLED))
    assert loaded.images.device.type == "cpu"
    torch.testing.assert_close(loaded.code.w_plus, on_cpu.code.w_plus[:2], rtol=1e-3, atol=1e-3)


def test_command(gpu: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["invert", "congress64-val", "--model", BUNDLED, "--device", str(gpu), "-o", "out", "--precision", "bf16"]
    assert main(words) == 0
    assert (tmp_path / "out" / "metrics.jsonl").read_text().count("\n") > 16


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        ("32-true", {"ema_images": 8.0, "channels_last": True}),
        ("bf16-mixed", {"accumulate": 2, "clip_norm": 1.0, "channels_last": True}),
        ("16-mixed", {"checkpoint_activations": True, "clip_norm": 1.0}),
    ],
)
def test_training(
    gpu: torch.device,
    precision: str,
    options: dict[str, Any],
    generator_file: str,
    discriminator_file: str,
    picture_folder: Path,
) -> None:
    skip_float16_on_a_cpu(gpu, precision)
    torch.manual_seed(0)
    perceptual = DiscriminatorFeatureLoss(discriminator_file)
    module = PadInvModule(
        generator_file, discriminator_file, ENCODER, perceptual_loss=perceptual, lambda_adv=0.05, **options
    )
    before = [parameter.detach().clone() for parameter in module.encoder.parameters()]
    # Under 16-mixed the scale is too large at first, and is halved after each step that it spoils.
    steps = 12 if precision == "16-mixed" else 4
    _, recorder = fit(module, picture_folder, steps, precision=precision, **accelerator(gpu))
    assert len(recorder.metrics) == steps
    after = [parameter.detach().cpu() for parameter in module.encoder.parameters()]
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_gan_training(gpu: torch.device, precision: str, picture_folder: Path) -> None:
    skip_float16_on_a_cpu(gpu, precision)
    torch.manual_seed(0)
    channels = {4: 8, 8: 8, 16: 8, 32: 8}
    module = StyleGAN2Module(
        Generator(32, z_dim=8, w_dim=8, mapping_layers=1, channels=channels),
        Discriminator(32, channels=channels),
        augmentation=AdaptiveAugmentation(probability=0.8),
        channels_last=True,
    )
    _, recorder = fit(module, picture_folder, 5, precision=precision, **accelerator(gpu))
    assert len(recorder.metrics) == 5
    assert all(parameter.isfinite().all() for parameter in module.generator.parameters())


def test_resumed_run_is_the_same_run(
    gpu: torch.device, generator_file: str, picture_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(False))  # the Trainer leaves it on

    def module() -> PadInvModule:
        torch.manual_seed(0)
        return PadInvModule(generator_file, encoder=ENCODER, lambda_per=0.0)

    whole, resumed = module(), module()
    options = {"deterministic": True, **accelerator(gpu)}
    fit(whole, picture_folder, 4, **options)
    trainer, _ = fit(resumed, picture_folder, 2, **options)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = module()
    fit(resumed, picture_folder, 4, ckpt=tmp_path / "half.ckpt", **options)
    for a, b in zip(whole.encoder.parameters(), resumed.encoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_ddp_with_nccl(gpu: torch.device, generator_file: str, discriminator_file: str, picture_folder: Path) -> None:
    torch.manual_seed(0)
    module = PadInvModule(generator_file, discriminator_file, ENCODER, lambda_per=0.0, lambda_adv=0.05)
    strategy = DDPStrategy(process_group_backend="nccl" if gpu.type == "cuda" else "gloo")
    _, recorder = fit(module, picture_folder, 3, strategy=strategy, **accelerator(gpu))
    assert len(recorder.metrics) == 3


@pytest.mark.skipif(not find_spec("onnxscript"), reason="needs onnxscript")
def test_what_was_trained_there_runs_in_onnxruntime_on_a_cpu(
    gpu: torch.device, generator_file: str, picture_folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = PadInvModule(generator_file, encoder=ENCODER, lambda_per=0.0)
    fit(module, picture_folder, 2, **accelerator(gpu))
    encoder, images = module.encoder.eval().cpu(), torch.rand(2, 3, 32, 32) * 2 - 1
    pair = ExportedPair(encoder, module.generator.cpu(), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(pair.encode(images).w_plus, encoder(images).w_plus, rtol=1e-3, atol=1e-4)


def test_refine_leaves_its_input_where_it_is(gpu: torch.device, portraits: torch.Tensor) -> None:
    inverter = Inverter.from_pretrained(BUNDLED, device=gpu, keep_memory=False)
    code = inverter.encode(portraits[:1])
    refined = refine(code, inverter.generator, portraits[:1].to(gpu), 2)
    assert {tensor.device.type for tensor in (*code.tensors(), *refined.tensors())} == {gpu.type}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # Dynamo itself looks
def test_compiled_training(gpu: torch.device, generator_file: str, picture_folder: Path) -> None:
    """The last of all: compiling takes a minute."""
    torch.manual_seed(0)
    module = PadInvModule(generator_file, encoder=ENCODER, lambda_per=0.0, report_lpips=False, compile=True)
    _, recorder = fit(module, picture_folder, 2, precision="bf16-mixed", **accelerator(gpu))
    assert len(recorder.metrics) == 2
    assert all(parameter.isfinite().all() for parameter in module.encoder.parameters())

"""What would fail on a GPU, found without one: on fake tensors, which have a device and a type, and no numbers.

They tell of tensors that meet on two devices, of what must go to the CPU first, and of types under autocast. They tell
nothing of values: tests/test_gpu.py does, where there is a GPU. Forward passes run on a fake "cuda"; gradients on
"meta", because autograd asks for a GPU's streams.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from fake_gpu import fake_gpu, fake_strategy
from fitting import quiet_trainer, small_module
from padinv import Discriminator, Generator, InversionCode, Inverter, PaddingCode, PadInvEncoder
from padinv.editing import (
    Direction,
    blend,
    drag,
    face_mask,
    ganspace,
    interpolate,
    mix,
    sefa,
    transfer,
    transport,
    truncate,
)
from padinv.gan import AdaptiveAugmentation, ProjectedDiscriminator, StyleGAN2Module
from padinv.inversion import paste_back, refine
from padinv.inversion.alignment import centre_square, warp
from padinv.inversion.inversion import synthesize
from padinv.losses import AdversarialLoss, DiscriminatorFeatureLoss, PerceptualLoss
from padinv.losses.identity import crop_face
from padinv.metrics import FrechetDistance, RandomFeatures, reconstruction_metrics
from padinv.networks import encode
from padinv.networks.heads import bicubic_by_products as by_products
from padinv.pictures import contact_sheet, ring_heat_maps

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 8}
ENCODERS: dict[str, dict[str, Any]] = {
    "published": {},
    "all designs": {"up_rings": True, "style_scales_rings": True, "resize_to_rings": True, "first_for_all": True},
    "features": {"feature_resolutions": [8, 32], "feature_fusion": True, "feature_pixels": True},
    "two passes": {"passes": 2, "padding_from_all_levels": True},
    "latents alone": {"padded_resolutions": [], "replace_const": False},
}


def networks(**options: Any) -> tuple[Generator, PadInvEncoder]:
    generator = Generator(32, z_dim=8, w_dim=8, mapping_layers=1, channels=CHANNELS).requires_grad_(False).eval()
    return generator, PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4, **options).eval()


def images(kind: str, count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, device=kind) * 2 - 1


def code_on(kind: str) -> InversionCode:
    """The code of two images, with all parts."""
    rings = {r: torch.randn(2, 8, 4 * r + 4, device=kind) for r in (4, 8)}
    padding = PaddingCode(torch.randn(2, 8, 4, 4, device=kind), rings)
    return InversionCode(torch.randn(2, 8, 8, device=kind), padding, {8: torch.randn(2, 8, 8, 8, device=kind)})


def there(value: Any, kind: str = "cuda") -> bool:
    """Whether all tensors are on the device."""
    if isinstance(value, Tensor):
        return value.device.type == kind
    if isinstance(value, InversionCode):
        return all(there(tensor, kind) for tensor in value.tensors())
    return all(there(one, kind) for one in value)


def test_tensors_of_two_devices_do_not_meet() -> None:
    """And all else that these tests rely on."""
    with fake_gpu("cuda"):
        x = torch.ones(2, device="cuda")
        refused: list[Callable[[], object]] = [
            lambda: x + torch.ones(2),
            lambda: x.numpy(),
            lambda: torch.ones(2, dtype=torch.bfloat16).numpy(),
            lambda: torch.randn(2, device="cuda", generator=torch.Generator()),
            lambda: torch.ones(2)[x.long()],
        ]
        for operation in refused:
            with pytest.raises((RuntimeError, TypeError)):
                operation()
        assert (x + 1)[x > 0].device.type == "cuda"
        assert (x.cpu() + torch.ones(2)).numpy().shape == (2,)
        assert float(x.sum()) == 0.5


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("published", None),
        ("all designs", torch.bfloat16),
        ("features", torch.float16),
        ("two passes", torch.bfloat16),
        ("latents alone", None),
    ],
)
def test_networks(name: str, half: torch.dtype | None) -> None:
    generator, encoder = networks(**ENCODERS[name])
    discriminator = Discriminator(32, channels=CHANNELS)
    with fake_gpu("cuda"), nullcontext() if half is None else torch.autocast("cuda", half), torch.inference_mode():
        for network in (generator, encoder, discriminator):
            network.to("cuda")
        synthesis = generator.synthesis
        code = encode(encoder, images("cuda"), lambda code: synthesis(*code.parts), synthesis)
        made = synthesis(*code.parts, noise="random")
        sampled = generator(torch.randn(2, 8, device="cuda"), 0.7, noise="none")
        scores = discriminator(made)
        assert there([code, made, sampled, scores])
        assert made.dtype == torch.float32
        assert scores.dtype == half or torch.float32


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_inverter(precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.inversion.inverter.find_device", torch.device)
    generator, encoder = networks(**ENCODERS["features"])
    with fake_gpu("cuda"):
        inverter = Inverter(encoder, generator, device="cuda", precision=precision)
        inversion = inverter.invert(torch.rand(3, 40, 30) * 2 - 1)
        assert inversion.targets is not None
        assert there([inversion.code, inversion.images, inversion.targets])
        assert inversion.images.dtype == torch.float32
        assert there(inverter.reconstruct(inverter.encode(images("cpu"))))
        assert there(inversion.cpu().code, "cpu")
        assert inversion.pil()[0].size == (32, 32)


def test_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder's resizing then has a gradient that is deterministic on GPUs."""
    seen: list[int] = []
    monkeypatch.setattr(
        "padinv.networks.heads.bicubic_by_products", lambda x, size: seen.append(size) or by_products(x, size)
    )
    _, encoder = networks()
    with fake_gpu("cuda"), torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        torch.use_deterministic_algorithms(True)
        try:
            assert there(encoder.to("cuda")(images("cuda")))
        finally:
            torch.use_deterministic_algorithms(False)
    assert seen == [34]


EDITS: dict[str, Callable[[Generator, InversionCode], Any]] = {
    "blend": lambda g, c: blend(c[0], c, features=[8], mask=face_mask(32)),
    "mix": lambda g, c: mix(c[0], c, "4-"),
    "interpolate": lambda g, c: list(interpolate(c[0], c[1], 3)),
    "truncate": lambda g, c: truncate(c, g, 0.5, 4),
    "transfer": lambda g, c: transfer(c[0], c[1], c, 0.5),
    "transport": lambda g, c: transport(c, truncate(c, g, 0.5), g),
    "sefa": lambda g, c: sefa(g, count=2)[0].apply(c, 2.0),
    "ganspace": lambda g, c: ganspace(g, 2, samples=20)[0].apply(c, torch.tensor([1.0, 2.0])),
    "direction": lambda g, c: Direction("one", torch.ones(8), (1, 2), intercept=0.5).distance(c),
    "reconstruct": lambda g, c: synthesize(g, c),
}


@pytest.mark.parametrize("edit", EDITS)
def test_editing(edit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.editing.unsupervised.fingerprint", lambda _: "some")
    generator = networks()[0]
    with fake_gpu("cuda"), torch.inference_mode():
        assert there(EDITS[edit](generator.to("cuda"), code_on("cuda")))


def test_drag() -> None:
    generator = networks()[0]
    with fake_gpu("meta"):
        options: Any = {"steps": 1, "mask": torch.ones(32, 32), "tolerance": 0.1}
        assert there(drag(code_on("meta")[0], generator.to("meta"), [(10, 10)], [(20, 20)], **options), "meta")


def test_pictures() -> None:
    with fake_gpu("cuda"):
        padding = code_on("cuda").padding
        assert padding is not None
        assert there([contact_sheet([images("cuda")]), ring_heat_maps(padding)], "cpu")


def test_alignment() -> None:
    crop = centre_square((64, 64))
    with fake_gpu("cuda"):
        photograph = images("cuda", 1, 64)[0]
        face = warp(photograph, crop, 32)
        assert there([face, paste_back(photograph, face, crop), paste_back(photograph, face.cpu(), crop, match=True)])


@pytest.mark.parametrize("half", [None, torch.bfloat16], ids=str)
def test_metrics(half: torch.dtype | None) -> None:
    metrics = reconstruction_metrics(32)
    frechet, perceptual = FrechetDistance(RandomFeatures(width=4), 32), PerceptualLoss("alex", size=48)
    with fake_gpu("cuda"), nullcontext() if half is None else torch.autocast("cuda", half):
        a, b = images("cuda", 4), images("cuda", 4)
        metrics.to("cuda").update(a, b)
        assert there(list(metrics.compute().values()))
        frechet.to("cuda")
        for real in (True, False):
            frechet.update(a, real=real)
        assert there([frechet.real_features_sum, perceptual.to("cuda").each(a, b), crop_face(a)])


# Gradients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 16])
def test_refinement(size: int) -> None:
    generator = networks()[0]
    losses = [(1.0, PerceptualLoss("alex"))] if size == 32 else None
    seen: list[Tensor] = []
    with fake_gpu("meta") as mode:
        mode.truth = False  # no image is done
        for _, loss in losses or ():
            loss.to("meta")
        options: Any = {"regularization": 0.1, "features": [16], "on_step": lambda _, lowest: seen.append(lowest)}
        targets = images("meta", 2, size)
        assert there(refine(code_on("meta"), generator.to("meta"), targets, 2, losses=losses, **options), "meta")
        assert there(seen, "meta")


class Batches(torch.utils.data.Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": torch.rand(3, 32, 32), "name": str(i)}


class Where(Callback):
    """Checks, after training, where the module's tensors are."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert there([*pl_module.parameters(), *pl_module.buffers()], "meta")


def fit(module: LightningModule) -> None:
    """A step and a validation under Lightning's Trainer, on the fake device."""
    loader = torch.utils.data.DataLoader(Batches(), batch_size=4)
    with fake_gpu("meta"):
        options: Any = {"accelerator": "auto", "strategy": fake_strategy(), "max_epochs": 1}
        quiet_trainer(Where(), **options).fit(module, loader, loader)


@pytest.mark.slow
def test_encoder_training(discriminator_file: str) -> None:
    generator, encoder = networks(**ENCODERS["features"])
    module = small_module(
        generator,
        discriminator=discriminator_file,
        encoder=lambda _: encoder.train(),
        perceptual_loss=DiscriminatorFeatureLoss(discriminator_file),
        lambda_per=0.8,
        lambda_adv=0.05,
        lambda_feat=0.1,
        feature_dropout=0.5,
        cycle=0.1,
        ema_images=100.0,
        clip_norm=1.0,
        channels_last=True,
        checkpoint_activations=True,
    )
    fit(module)


@pytest.mark.slow
def test_gan_training() -> None:
    module = StyleGAN2Module(
        networks()[0],
        Discriminator(32, channels=CHANNELS),
        augmentation=AdaptiveAugmentation(probability=0.8),
        adversarial_loss=AdversarialLoss(r1_every=1),
        projected=ProjectedDiscriminator(RandomFeatures(width=4), resolution=32, width=8),
        path_length_every=1,
        fid=FrechetDistance(RandomFeatures(width=4), 32),
        fid_samples=4,
        channels_last=True,
    )
    fit(module)

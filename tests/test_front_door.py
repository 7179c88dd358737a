"""Whatever of the wrong kind a public function is given, it says so in one sentence; nothing is computed with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from padinv import (
    Discriminator,
    Generator,
    ImageDataModule,
    InversionCode,
    Inverter,
    PaddingCode,
    PadInvEncoder,
    load_discriminator,
    load_encoder,
    load_generator,
    open_checkpoint,
)
from padinv.exceptions import PadInvError
from padinv.sources.finding import find_photographs
from padinv.sources.opening import open_source
from small_model import SmallEncoder, small_model

LOADERS: tuple[Callable[[Any], Any], ...] = (
    load_generator,
    load_encoder,
    load_discriminator,
    open_checkpoint,
    Inverter.from_pretrained,
)


@pytest.mark.parametrize(
    "source", [None, 3, b"congress64", ["congress64"], torch.nn.Identity(), "", "~no-such-user/a.pth"]
)
@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_sources_of_networks(load: Callable[[Any], Any], source: Any) -> None:
    with pytest.raises(
        PadInvError, match=r"must be text, not a|A path is empty|a user whom this machine does not have"
    ):
        load(source)


@pytest.mark.parametrize("source", ["", "~no-such-user/a.png"])
def test_sources_of_photographs(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty word, as of a shell's variable that is not set, is not the current folder."""
    encoder, generator = small_model()
    monkeypatch.chdir(tmp_path)
    message = "is empty|a user whom this machine does not have"
    for read in (open_source, lambda path: find_photographs([path]), Inverter(encoder, generator).invert):
        with pytest.raises(PadInvError, match=message):
            read(source)
    with pytest.raises(PadInvError, match=message):
        ImageDataModule(train=source, resolution=8).setup("fit")


@pytest.fixture(scope="module")
def model() -> tuple[SmallEncoder, Generator]:
    return small_model()


LATENTS: dict[str, Any] = {
    "None": None,
    "text": "a",
    "a list": [1.0],
    "an array": np.zeros((2, 4, 8), np.float32),
    "whole numbers": torch.zeros(2, 4, 8, dtype=torch.long),
    "bytes": torch.zeros(2, 4, 8, dtype=torch.uint8),
    "complex": torch.zeros(2, 4, 8, dtype=torch.complex64),
    "double": torch.zeros(2, 4, 8).double(),
    "half": torch.zeros(2, 4, 8).half(),
    "elsewhere": torch.zeros(2, 4, 8, device="meta"),
    "W": torch.zeros(2, 8),
    "short": torch.zeros(2, 3, 8),
    "four axes": torch.zeros(1, 2, 4, 8),
}


@pytest.mark.parametrize("kind", LATENTS)
def test_latents(kind: str, model: tuple[SmallEncoder, Generator]) -> None:
    with pytest.raises(PadInvError, match=r"must be a tensor|floating-point|cast one|move one|takes style latents"):
        model[1].synthesis(LATENTS[kind])


@pytest.mark.parametrize("kind", [kind for kind in LATENTS if kind not in ("W", "short")])
def test_samples(kind: str, model: tuple[SmallEncoder, Generator]) -> None:
    z = LATENTS[kind][:, 0] if isinstance(LATENTS[kind], torch.Tensor) else LATENTS[kind]
    with pytest.raises(PadInvError, match=r"must be a tensor|floating-point|cast one|move one|takes latents z"):
        model[1](z)


@pytest.mark.parametrize(
    "options", [{"noise": "x"}, {"noise": None}, {"truncation_psi": float("nan")}, {"truncation_psi": "1"}]
)
def test_options_of_samples(options: dict[str, Any], model: tuple[SmallEncoder, Generator]) -> None:
    with pytest.raises(PadInvError, match=r"noise must be one of const, random, none|must be a finite number"):
        model[1](torch.zeros(1, 8), **options)


IMAGES: dict[str, Any] = {
    "None": None,
    "an array": np.zeros((1, 3, 32, 32), np.float32),
    "bytes": torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
    "double": torch.zeros(1, 3, 32, 32).double(),
    "elsewhere": torch.zeros(1, 3, 32, 32, device="meta"),
    "no batch": torch.zeros(3, 32, 32),
    "small": torch.zeros(1, 3, 16, 16),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_of_networks(kind: str) -> None:
    generator = Generator(32, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 4, 32: 4})
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=2)
    discriminator = Discriminator(32, channels={4: 8, 8: 8, 16: 4, 32: 4})
    for network in (encoder, discriminator):
        with pytest.raises(PadInvError, match=r"must be a tensor|floating-point|cast one|move one|images \(B, 3"):
            network(IMAGES[kind])


def test_no_images() -> None:
    with pytest.raises(PadInvError, match="A batch has no images"):
        Discriminator(8, channels={4: 4, 8: 4})(torch.zeros(0, 3, 8, 8))


def test_images_of_other_precision_are_cast(model: tuple[SmallEncoder, Generator]) -> None:
    inverter = Inverter(*model, device="cpu")
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    expected = inverter.encode(images).w_plus
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert torch.allclose(inverter.encode(images.to(dtype)).w_plus, expected, atol=0.05)


@pytest.mark.parametrize("tensor", [torch.zeros(1, 3, 8, 8, device="meta"), torch.zeros(1, 3, 8, 8).to_sparse()])
def test_tensors_without_numbers(tensor: torch.Tensor, model: tuple[SmallEncoder, Generator]) -> None:
    inverter = Inverter(*model, device="cpu")
    for function in (inverter.invert, inverter.encode):
        with pytest.raises(PadInvError, match="dense"):
            function(tensor)


RING = torch.zeros(2, 8, 20)
PARTS: dict[str, Callable[[], object]] = {
    "constant of text": lambda: PaddingCode("a"),  # type: ignore[arg-type]
    "constant without a batch": lambda: PaddingCode(torch.zeros(8, 4, 4)),
    "constant of 8 px": lambda: PaddingCode(torch.zeros(2, 8, 8, 8)),
    "rings in a list": lambda: PaddingCode(None, [RING]),  # type: ignore[arg-type]
    "ring by a word": lambda: PaddingCode(None, {"4": RING}),  # type: ignore[dict-item]
    "no ring": lambda: PaddingCode(None, {4: None}),  # type: ignore[dict-item]
    "ring as an array": lambda: PaddingCode(None, {4: RING.numpy()}),  # type: ignore[dict-item]
    "no latents": lambda: InversionCode(None),  # type: ignore[arg-type]
    "latents as an array": lambda: InversionCode(np.zeros((2, 4, 8))),  # type: ignore[arg-type]
    "padding as a tensor": lambda: InversionCode(torch.zeros(2, 4, 8), RING),  # type: ignore[arg-type]
    "features in a list": lambda: InversionCode(torch.zeros(2, 4, 8), None, [RING]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_codes(name: str) -> None:
    with pytest.raises(PadInvError, match=r"must be a tensor|by resolution|has shape \(B, C, 4, 4\)|is a PaddingCode"):
        PARTS[name]()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1.5}, "batch_size must be 1 or more, not 1.5"),
        ({"batch_size": None}, "batch_size must be 1 or more, not None"),
        ({"generator": None}, "The generator must be a padinv.Generator, not a NoneType"),
        ({"generator": "congress64"}, "The generator must be a padinv.Generator, not a str"),
        ({"encoder": "congress64"}, "give it a resolution"),
        ({"device": "cuda:99"}, "there is none|there are"),
    ],
)
def test_inverter(options: dict[str, Any], message: str, model: tuple[SmallEncoder, Generator]) -> None:
    with pytest.raises(PadInvError, match=message):
        Inverter(**{"encoder": model[0], "generator": model[1], **options})


@pytest.mark.parametrize("refine", [-1, 1.5, "a", None, float("nan")])
def test_steps_of_refinement(refine: Any, model: tuple[SmallEncoder, Generator]) -> None:
    with pytest.raises(PadInvError, match="refine is a number of steps"):
        Inverter(*model, device="cpu").invert(torch.zeros(1, 3, 8, 8), refine=refine)


@pytest.mark.parametrize("width", [0, -1, 1.5, "8"])
@pytest.mark.parametrize("name", ["z_dim", "w_dim", "mapping_layers", "mapping_width"])
def test_widths_of_generators(name: str, width: Any) -> None:
    with pytest.raises(PadInvError, match=f"{name} must be 1 or more"):
        Generator(8, channels={4: 4, 8: 4}, **{name: width})


@pytest.mark.parametrize("resolution", [0, -8, 48, 8.0, "8", None])
def test_resolutions(resolution: Any) -> None:
    for network in (Generator, Discriminator):
        with pytest.raises(PadInvError, match="resolution must be a power of two from 8 to 1024"):
            network(resolution)

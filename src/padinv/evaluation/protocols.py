"""Protocols: how two pictures are made comparable, and how an average over images is taken.

The same pictures give numbers that differ by up to a third under the procedures of published projects. Each procedure
has a name here, as its code has it, and the name stands beside every number.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padinv.exceptions import ConfigError, DataError
from padinv.images import from_bytes, square
from padinv.metrics.structure import Form

View: TypeAlias = Callable[[Image.Image, Image.Image, int], tuple[Tensor, Tensor]]
"""Photograph, reconstruction (8-bit RGB) and the evaluation's resolution to the two tensors that are compared: uint8,
or float32 in [-1, 1], (3, H, W)."""


@dataclass(frozen=True)
class Protocol:
    """How numbers are computed.

    Args:
        name: printed beside each number.
        about: the procedure in plain sentences.
        views: name → how a pair is prepared.
        pixels: the view of MSE, PSNR, LPIPS and the other distances of pictures.
        structure: the view of MS-SSIM.
        features: the view of distances between sets.
        form: which form of MS-SSIM is computed.
        side: pixels of the side of what is compared, if the protocol has its own.
        batch_size: over how many images LPIPS is averaged first; None for the mean of all images.
        processes: how many share the images; the first images come a second time, so that all get as many.
    """

    name: str
    about: str
    views: Mapping[str, View] = field(repr=False)
    pixels: str = "pixels"
    structure: str = "pixels"
    features: str = "pixels"
    form: Form = "torchmetrics"
    side: int | None = None
    batch_size: int | None = None
    processes: int = 1

    def prepare(self, photograph: Image.Image, reconstruction: Image.Image, resolution: int) -> dict[str, list[Tensor]]:
        """The reconstruction and the photograph, in this order, in each view.

        Args:
            photograph: 8-bit RGB.
            reconstruction: 8-bit RGB.
            resolution: R, if the protocol has none of its own.

        Raises:
            DataError: if the pair cannot be compared; gives the reason only.
        """
        views = {}
        for name, view in self.views.items():
            target, made = view(photograph, reconstruction, resolution)
            if name != self.features and made.shape != target.shape:
                raise DataError(f"its sizes are {tuple(made.shape[1:])} and {tuple(target.shape[1:])}")
            views[name] = [made, target]
        return views

    def weights(self, count: int) -> NDArray[np.float64]:
        """How much the LPIPS of each image counts, (N,), with a mean of 1: 1 for all, unless it is averaged by batches.

        >>> PROTOCOLS["default"].weights(3).tolist()
        [1.0, 1.0, 1.0]
        """
        if self.batch_size is None:
            return np.ones(count)
        rows = np.arange(-(-count // self.processes) * self.processes) % count
        batches = [
            own[start : start + self.batch_size]
            for own in (rows[process :: self.processes] for process in range(self.processes))
            for start in range(0, len(own), self.batch_size)
        ]
        weights = np.zeros(count)
        for batch in batches:
            np.add.at(weights, batch, count / (len(batch) * len(batches)))
        return weights


def pixels_of(image: Image.Image) -> Tensor:
    """8-bit RGB as uint8 (3, H, W), whose channels lie together in memory, as in the picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def pooled(image: Image.Image, resolution: int) -> Tensor:
    """The largest square in the middle, averaged by areas to (3, R, R), without aliasing or rounding.

    Raises:
        DataError: if the image is smaller; gives the reason only.
    """
    side = min(image.size)
    if side < resolution:
        raise DataError(
            f"one side has {side} px, less than the {resolution} px of the comparison; --resolution {side} fits"
        )
    if image.width != image.height:
        image = square(image, side)
    pixels = pixels_of(image)
    return pixels if side == resolution else F.adaptive_avg_pool2d(from_bytes(pixels), resolution)


def resized(image: Image.Image, side: int, how: Image.Resampling) -> Tensor:
    """Resized by Pillow, whatever its shape; a picture of that size stays as it is."""
    return pixels_of(image if image.size == (side, side) else image.resize((side, side), how))


def _default(photograph: Image.Image, reconstruction: Image.Image, resolution: int) -> tuple[Tensor, Tensor]:
    return pooled(photograph, resolution), pooled(reconstruction, resolution)


def _bilinear(photograph: Image.Image, reconstruction: Image.Image, _: int) -> tuple[Tensor, Tensor]:
    how = Image.Resampling.BILINEAR  # torchvision's Resize of a Pillow image
    return resized(photograph, 256, how), resized(reconstruction, 256, how)


def _bicubic_1024(photograph: Image.Image, reconstruction: Image.Image, _: int) -> tuple[Tensor, Tensor]:
    how = Image.Resampling.BICUBIC  # Pillow's own default
    return resized(photograph, 1024, how), resized(reconstruction, 1024, how)


def _as_they_are(photograph: Image.Image, reconstruction: Image.Image, _: int) -> tuple[Tensor, Tensor]:
    return pixels_of(photograph), pixels_of(reconstruction)


def as_jpeg(image: Image.Image) -> Image.Image:
    """What is left of a picture when Pillow has saved it as JPEG by its defaults: quality 75, colours at half size."""
    file = io.BytesIO()
    image.save(file, "JPEG")
    return Image.open(file).convert("RGB")


def _prepared(photograph: Image.Image) -> Image.Image:
    """A photograph as StyleRes's dataset_tools.py writes it."""
    return as_jpeg(photograph.resize((256, 256), Image.Resampling.BICUBIC))


def _styleres(photograph: Image.Image, reconstruction: Image.Image, _: int) -> tuple[Tensor, Tensor]:
    return pixels_of(_prepared(photograph)), resized(reconstruction, 256, Image.Resampling.BILINEAR)


def _stargan(photograph: Image.Image, reconstruction: Image.Image, _: int) -> tuple[Tensor, Tensor]:
    made = reconstruction.resize((256, 256), Image.Resampling.BICUBIC)
    how = Image.Resampling.BILINEAR
    return resized(_prepared(photograph), 299, how), resized(made, 299, how)


def _nearest(photograph: Image.Image, reconstruction: Image.Image, resolution: int) -> tuple[Tensor, Tensor]:
    target = pooled(photograph, resolution)
    made = pixels_of(reconstruction)
    if made.shape != target.shape:
        made = F.interpolate(made[None].float(), size=target.shape[-2:])[0].byte()
    return target, made


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "default",
            "The largest square in the middle of both pictures is averaged by areas to the encoder's resolution. Every "
            "number is the mean over images, each once. MS-SSIM has as many scales as there is room for.",
            {"pixels": _default},
        ),
        Protocol(
            "sfe",
            "StyleFeatureEditor (Bobkov et al. 2024): Pillow's bilinear filter to 256 px for MSE and LPIPS, its "
            "bicubic one to 1024 px for piq's MS-SSIM; pytorch-fid on the pictures as they are.",
            {"pixels": _bilinear, "structure": _bicubic_1024, "features": _as_they_are},
            structure="structure",
            features="features",
            form="piq",
            side=256,
        ),
        Protocol(
            "styleres",
            "StyleRes (Pehlivan et al. 2023): photographs are resized to 256 px by Pillow's bicubic filter and saved "
            "as JPEG of quality 75, reconstructions are not; pSp's MS-SSIM, on [-1, 1]; for StarGAN-v2's FID both are "
            "resized to 256 px (bicubic) and then to 299 px (bilinear).",
            {"pixels": _styleres, "features": _stargan},
            features="features",
            form="psp",
            side=256,
        ),
        Protocol(
            "padinv",
            "PadInv (Bai et al. 2022), eight processes: every fourth pixel of each fourth row of a 1024 px "
            "reconstruction is taken (nearest neighbour), LPIPS is averaged over batches of 8 first, and the first "
            "images come twice, so that all processes have as many.",
            {"pixels": _nearest},
            batch_size=8,
            processes=8,
        ),
    )
}
"""Name → protocol."""


def find_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"--protocol must be one of {', '.join(PROTOCOLS)}, not {name!r}.")
    return PROTOCOLS[name]

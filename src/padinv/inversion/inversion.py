"""The result of inverting photographs, and its file."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from padinv._version import __version__
from padinv.checkpoints import fingerprint
from padinv.checkpoints.native import parse_description, read_tensors, save_tensors
from padinv.codes import InversionCode
from padinv.exceptions import CheckpointError, ConfigError, PadInvError
from padinv.images import to_array
from padinv.inversion.alignment import Crop, centre_square
from padinv.inversion.latents import read_latents
from padinv.inversion.matching import resolution_remark
from padinv.inversion.paste import paste_back, paste_into
from padinv.networks import Generator
from padinv.pictures import contact_sheet
from padinv.sources.finding import LATENT_SUFFIXES
from padinv.typing import PathLike

logger = logging.getLogger("padinv")

Picture = TypeVar("Picture", Tensor, Image.Image)

METADATA_KEY = "padinv_inversion"

MOST_SHOWN = 8
"""The number of images that a notebook shows side by side."""


@dataclass(frozen=True, eq=False, repr=False)
class Inversion:
    """The codes of B faces or other squares of photographs, and the generator's images of them.

    Args:
        code: the latents, padding and features.
        images: the reconstructions (B, 3, H, W), in [-1, 1] except where they overshoot.
        crop: the place of each in its photograph.
        names: the name of each image's photograph; several faces of a photograph share its name.
        fingerprint: names the generator that the codes are for (:func:`padinv.checkpoints.fingerprint`).
        aligned: whether the squares follow the faces, or are the middle of the photographs.
        targets: those squares themselves, (B, 3, H, W) in [-1, 1]; they are not saved.
        detector: what found the faces (:func:`padinv.inversion.find_detector` takes the name); None if the landmarks
            were given, or nothing was aligned.

    Raises:
        ConfigError: if their numbers of images differ.
    """

    code: InversionCode
    images: Tensor
    crop: tuple[Crop, ...]
    names: tuple[str, ...]
    fingerprint: str
    aligned: bool = False
    targets: Tensor | None = None
    detector: str | None = None

    def __post_init__(self) -> None:
        counts = [len(part) for part in (self.code, self.images, self.crop, self.names)]
        counts += [] if self.targets is None else [len(self.targets)]
        if len(set(counts)) != 1:
            raise ConfigError(f"All parts of an Inversion must be of one number of images, not {counts}.")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Inversion:
        """Selects images; a single one keeps its batch dimension of 1."""
        if isinstance(index, int | slice):
            chosen = range(len(self))[index]
            index = [chosen] if isinstance(chosen, int) else list(chosen)
        return replace(
            self,
            code=self.code[index],
            images=self.images[index],
            crop=tuple(self.crop[i] for i in index),
            names=tuple(self.names[i] for i in index),
            targets=None if self.targets is None else self.targets[index],
        )

    def __iter__(self) -> Iterator[Inversion]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        kind = "faces" if self.aligned else "squares"
        return f"Inversion({len(self)} {kind}, images {tuple(self.images.shape)}, {self.code}, for {self.fingerprint})"

    @property
    def generator(self) -> str:
        """The former name of ``fingerprint``."""
        return self.fingerprint

    def _repr_png_(self) -> bytes:
        """Draws the picture for notebooks: the first squares, and their reconstructions below."""
        from torchvision.utils import save_image

        file = io.BytesIO()
        save_image(self[:MOST_SHOWN]._sheet(), file, format="PNG")
        return file.getvalue()

    def _sheet(self, tile: int = 128) -> Tensor:
        return contact_sheet([self.images] if self.targets is None else [self.targets, self.images], tile)

    def pil(self) -> list[Image.Image]:
        """Makes Pillow images of the reconstructions, RGB of 8 bits."""
        return [Image.fromarray(image) for image in to_array(self.images)]

    def to(self, device: torch.device | str) -> Inversion:
        """Moves every tensor to a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, code=self.code.to(device), images=self.images.to(device), targets=targets)

    def cpu(self) -> Inversion:
        """Moves every tensor to the CPU."""
        return self.to("cpu")

    def paste(
        self, photograph: Picture, images: Tensor | None = None, feather: float = 0.1, *, match: bool = False
    ) -> Picture:
        """Lays images back into the photograph that they were taken from, with :func:`~padinv.inversion.paste_back`.

        Args:
            photograph: (3, H, W) in [-1, 1], or a Pillow image, which keeps its colour profile and transparency
                (:func:`~padinv.inversion.paste_into`). All images of this inversion go into it, as for several faces;
                select those of one photograph first, for instance ``inversion[0]``.
            images: (B, 3, R, R), for instance edited; the reconstructions if not given.
            feather: width of the fading, as a part of the square's side.
            match: whether the faces get the photograph's sharpness and grain, as in the commands; a warning is logged
                if the photograph's face has more than twice the resolution of the image.

        Returns:
            A new tensor (3, H, W), or a new image.

        Raises:
            ConfigError: if there is not one image for each place.
            DataError: if the photograph has another size than the one they were taken from.
        """
        images = self.images if images is None else images
        if len(images) != len(self):
            raise ConfigError(f"There are {len(self)} places in this inversion, but {len(images)} images to paste.")
        places = list(zip(images, self.crop, strict=True))
        remarks = zip(self.names, (resolution_remark(crop.side, images.shape[-1]) for crop in self.crop), strict=True)
        for name, remark in remarks if match else ():
            if remark:
                logger.warning("%s: %s.", name, remark)
        if isinstance(photograph, Image.Image):
            return paste_into(photograph, places, feather, match=match)
        for image, crop in places:
            photograph = paste_back(photograph, image.to(photograph), crop, feather, match=match)
        return photograph

    def draw(self, path: PathLike, tile: int = 128) -> Path:
        """Draws the squares of the photographs, and below each its reconstruction.

        Args:
            path: the file; its ending says of what kind, such as PNG. Without ``targets``, as after :meth:`load`, it
                shows reconstructions alone.
            tile: smallest height of an image in pixels.

        Returns:
            The path.

        Raises:
            ConfigError: if it cannot be written.
        """
        from padinv.pictures import save_picture

        save_picture(self._sheet(tile), path)
        return Path(path)

    def save(self, path: PathLike, images: bool = True) -> Path:
        """Writes a safetensors file: the tensors, and in the metadata everything needed to check and to place them.

        Args:
            path: the file.
            images: whether the reconstructions go into it, too. Without them it takes a fraction of the space, and
                loading generates them again, the same except for rounding.

        Returns:
            The path.

        Raises:
            CheckpointError: if it cannot be written.
        """
        description = {
            "version": __version__,
            "generator": self.fingerprint,
            "aligned": self.aligned,
            "detector": self.detector,
            "crop": [crop.to_dict() for crop in self.crop],
            "names": self.names,
        }
        tensors = self.code.named_tensors() | ({"images": self.images} if images else {})
        return save_tensors(tensors, path, description, METADATA_KEY)

    @classmethod
    def load(cls, path: PathLike, generator: Generator) -> Inversion:
        """Reads what :meth:`save` has written, or latents of other tools, onto the generator's device.

        Args:
            path: the file; ``.pt``, ``.npy`` and ``.npz`` are those of others (:func:`padinv.inversion.read_latents`).
            generator: the one that the codes are for.

        Returns:
            The inversion in float32, bit for bit as it was saved if it was in that.

        Raises:
            CheckpointError: if the file is damaged, holds no inversion, or one of another generator, of other shapes or
                with numbers that are not finite.
        """
        return read_inversion(path, generator, fingerprint(generator))


def read_inversion(path: PathLike, generator: Generator, expected: str) -> Inversion:
    """Does what :meth:`Inversion.load` does, with the generator's fingerprint given: it serves many files."""
    path = os.fspath(path)
    if path.lower().endswith(LATENT_SUFFIXES):
        # Other tools' latents are for whole images, and for this generator.
        code, names = read_latents(path, generator)
        square = centre_square((generator.resolution, generator.resolution))
        return Inversion(code, synthesize(generator, code), (square,) * len(code), names, expected)
    try:
        metadata, tensors = read_tensors(Path(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from error
    text = metadata.get(METADATA_KEY)
    # Copied to memory that torch has aligned: the last bit of matrix products depends on the alignment.
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    if text is None:
        raise CheckpointError(f"{path} is a safetensors file, but holds no inversion: give one that padinv has saved.")
    try:
        description = parse_description(text, path)
        made_with = str(description["generator"])
        if made_with != expected:
            raise CheckpointError(
                f"{path} was made with the generator {made_with}, but this one is {expected}: load the generator that "
                "it was made with, or invert the photograph anew."
            )
        return _build(tensors, description, generator)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # ours among them: what does not fit together
        if path in str(error):
            raise
        problem = str(error).rstrip(".") if isinstance(error, PadInvError) else "they are not what padinv writes"
        raise CheckpointError(f"{path} is damaged: its parts make no sense ({problem}).") from error


def synthesize(generator: Generator, code: InversionCode) -> Tensor:
    """Generates images one at a time, so that they do not depend, to the bit, on what else is in the batch."""
    with torch.no_grad():
        return torch.cat([generator.synthesis(*one.parts) for one in code])


def _build(tensors: dict[str, Tensor], description: dict[str, Any], generator: Generator) -> Inversion:
    device = generator.w_avg.device
    images = tensors.pop("images", None)
    if odd := [str(tensor.dtype) for tensor in tensors.values() if not tensor.is_floating_point()]:
        raise CheckpointError(f"codes are floating-point numbers, not {', '.join(odd)}")
    code = InversionCode.from_named_tensors(tensors).to(device, torch.float32)
    generator.synthesis.check(*code.parts)
    if not code.is_finite().all():
        raise CheckpointError("its code has NaN or infinite numbers")
    if images is None:
        images = synthesize(generator, code)
    return Inversion(
        code,
        images.to(device, torch.float32),
        tuple(map(Crop.from_dict, description["crop"])),
        tuple(map(str, description["names"])),
        str(description["generator"]),
        bool(description["aligned"]),
        detector=None if (found := description.get("detector")) is None else str(found),
    )

"""Measures a trained encoder on held-out images, image by image, for the tables of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.comparison.training import Run
from padinv.data import ImageDataModule
from padinv.evaluation.inverted import timed
from padinv.exceptions import CheckpointError, ConfigError, DataError
from padinv.files import writing
from padinv.inversion import Inverter
from padinv.losses import IdentityLoss, PerceptualLoss, PixelLoss, ReconstructionLoss
from padinv.metrics import ms_ssim_scales, multi_scale_similarity
from padinv.metrics.collection import LPIPS_SMALLEST
from padinv.pictures import save_picture

FACES = 12
"""The number of faces on the sheet."""

BATCH = 16
"""Images that go through a metric's network at once."""

REPEATS = 5
"""Of the measurement of time, of which the shortest counts: other programs only ever make it longer."""

LOWER, HIGHER = "lower is better", "higher is better"

METRICS = {
    "mse": ("MSE", LOWER),
    "lpips": ("LPIPS (AlexNet)", LOWER),
    "ms_ssim": ("MS-SSIM", HIGHER),
    "id": ("identity, 1 - cos", LOWER),
}
"""Name → its heading, and which way is better."""


@dataclass(frozen=True)
class Measured:
    """What a run's encoder does to the held-out images.

    Args:
        names: the names of the N images.
        values: metric → N numbers.
        milliseconds: the time to encode and generate an image.
        numbers: how many the code of an image holds.
        images_seen: how many images the training saw.
        machine: the one on which time was measured.
    """

    names: list[str]
    values: dict[str, list[float]]
    milliseconds: float
    numbers: int
    images_seen: int
    machine: str


class Ruler:
    """The metrics of a comparison, made once for all rows.

    Args:
        identity: file of a recognition network; identity is left out if not given.
        device: where to compute; a CUDA device if there is one, else the CPU, if not given.
        keep_memory: as for the :class:`~padinv.Inverter`.
    """

    def __init__(
        self, identity: str | None = None, device: torch.device | str | None = None, keep_memory: bool = True
    ) -> None:
        self.device, self.keep_memory = device, keep_memory
        self.identity = identity
        self.losses: dict[str, ReconstructionLoss] = {"mse": PixelLoss(), "lpips": PerceptualLoss("alex")}
        if identity is not None:
            self.losses["id"] = IdentityLoss(identity)

    def metrics(self, resolution: int) -> list[str]:
        """The metrics of images of a resolution, in the order of METRICS."""
        small = {"lpips"} if resolution < LPIPS_SMALLEST else set()
        small |= set() if ms_ssim_scales(resolution) else {"ms_ssim"}
        return [name for name in METRICS if name in {*self.losses, "ms_ssim"} - small]

    def measure(self, run: Run) -> Measured:
        """Measures a finished run, or reads what was measured of it before.

        It writes ``measured.json`` beside the run, and ``faces.png``: photographs, and below them their
        reconstructions.

        Raises:
            DataError: if there are no images to measure on.
        """
        asked = {"images": run.held_out, "identity": self.identity}
        path = run.folder / "measured.json"
        if (known := _read(path, asked)) is not None:
            return known
        module, data = run.module()
        images, names = held_out(data)
        encoder: Any = getattr(module.inference_encoder, "module", module.inference_encoder)
        inverter = Inverter(encoder, module.generator, device=self.device, keep_memory=self.keep_memory)
        code = inverter.encode(images)
        reconstructions = inverter.reconstruct(code)
        if reconstructions.shape[-1] > module.resolution:
            reconstructions = F.adaptive_avg_pool2d(reconstructions, module.resolution)
        measured = Measured(
            names,
            self._values(reconstructions, images.to(reconstructions), module.resolution),
            milliseconds(inverter, images),
            sum(tensor[0].numel() for tensor in code.tensors()),
            int(module.images_seen),
            _machine(inverter.device),
        )
        shown = chosen(len(images))
        save_picture(torch.cat([strip(images[shown]), strip(reconstructions[shown])], dim=1), run.folder / "faces.png")
        with writing(path, ConfigError) as file:
            file.write_text(json.dumps({"asked": asked, **vars(measured)}), encoding="utf-8")
        return measured

    @torch.inference_mode()
    def _values(self, reconstructions: Tensor, images: Tensor, resolution: int) -> dict[str, list[float]]:
        measures = {name: loss.to(images.device).each for name, loss in self.losses.items()}
        measures["ms_ssim"] = multi_scale_similarity
        pairs = list(zip(torch.split(reconstructions, BATCH), torch.split(images, BATCH), strict=True))
        return {
            name: torch.cat([measures[name](*pair) for pair in pairs]).tolist() for name in self.metrics(resolution)
        }


def held_out(data: ImageDataModule) -> tuple[Tensor, list[str]]:
    """The images to measure on: those of ``test``, else of ``val``. (N, 3, R, R) in [-1, 1], and their names.

    Raises:
        DataError: if there are none.
    """
    stage = "test" if data.paths["test"] is not None else "validate"
    data.setup(stage)
    batches = list(data.test_dataloader() if stage == "test" else data.val_dataloader())
    if not batches:
        raise DataError("There are no images to measure on: give --data.test.")
    return torch.cat([batch["image"] for batch in batches]), [name for batch in batches for name in batch["name"]]


def chosen(count: int) -> list[int]:
    """The numbers of the faces on the sheet, spread over all images.

    >>> chosen(4), len(chosen(116))
    ([0, 1, 2, 3], 12)
    """
    shown = min(FACES, count)
    return [i * count // shown for i in range(shown)]


def strip(images: Tensor) -> Tensor:
    """Images (N, 3, R, R) in [-1, 1] side by side, (3, R, N · R) in [0, 1]."""
    return torch.cat(list(images.detach().float().cpu().clamp(-1, 1) / 2 + 0.5), dim=-1)


def milliseconds(inverter: Inverter, images: Tensor) -> float:
    """The time that encoder and generator take for one image, in a batch of 16 or of all images."""
    batch = images[: inverter.batch_size]
    times = [timed(inverter, batch)[0] for _ in range(REPEATS + 1)]  # the first one warms up
    return 1000 * min(times[1:]) / len(batch)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _read(path: Path, asked: Mapping[str, Any]) -> Measured | None:
    """What was measured before, if it was the same that is asked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Measured(**content) if content.pop("asked", None) == asked else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: remove it, to measure again.") from error

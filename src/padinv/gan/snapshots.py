"""What a run writes at each validation: pictures of samples, and networks to use."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from padinv.checkpoints.native import save_network
from padinv.exceptions import ConfigError
from padinv.gan.module import StyleGAN2Module
from padinv.networks import Generator
from padinv.pictures import contact_sheet, save_picture
from padinv.training.callbacks.pictures import log_image
from padinv.training.callbacks.report import RunReport
from padinv.training.run import make_run_directory


class SamplePictures(Callback):
    """At each validation, draws what the generator makes of the same z: ``pictures/samples-IMAGES.png``.

    With a logger that takes images (W&B, TensorBoard) they are logged, too. Noise is constant.

    Args:
        rows: number of rows of the sheet.
        columns: number of samples in a row.
        truncation_psi: 1 shows the generator's whole variety; smaller values show less of it, in better pictures.
        seed: seeds z.
        tile: smallest height of a sample in pixels.
    """

    def __init__(
        self, rows: int = 4, columns: int = 8, truncation_psi: float = 1.0, seed: int = 0, tile: int = 64
    ) -> None:
        if rows < 1 or columns < 1:
            raise ConfigError(f"rows and columns of SamplePictures must be 1 or more, not {rows} and {columns}.")
        self.rows, self.columns, self.truncation_psi, self.seed, self.tile = rows, columns, truncation_psi, seed, tile

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, writes and logs."""
        folder = make_run_directory(trainer) / "pictures"
        if not isinstance(pl_module, StyleGAN2Module) or not trainer.is_global_zero:
            return
        folder.mkdir(parents=True, exist_ok=True)
        images = int(pl_module.images_seen)
        sheet = self.draw(pl_module.generator_ema)
        save_picture(sheet, folder / f"samples-{images:08d}.png")
        for logger in trainer.loggers:
            log_image(logger, "pictures/samples", sheet, images)

    @torch.inference_mode()
    def draw(self, generator: Generator) -> Tensor:
        """Draws a sheet (3, H', W') in [0, 1]."""
        random = torch.Generator().manual_seed(self.seed)
        z = torch.randn(self.rows, self.columns, generator.config["z_dim"], generator=random)
        return contact_sheet([generator(row.to(generator.w_avg.device), self.truncation_psi) for row in z], self.tile)


class NetworkFiles(Callback):
    """At each validation, writes ``networks/generator.safetensors``, the average, and ``discriminator.safetensors``.

    ``load_generator`` and ``load_discriminator`` take them, and so do all of padinv's commands.

    Args:
        keep: whether to write ``generator-IMAGES.safetensors``, too, to choose from later.
    """

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes."""
        folder = make_run_directory(trainer) / "networks"
        if not isinstance(pl_module, StyleGAN2Module) or not trainer.is_global_zero or trainer.sanity_checking:
            return
        folder.mkdir(parents=True, exist_ok=True)
        networks: dict[str, nn.Module] = {
            "generator": pl_module.generator_ema,
            "discriminator": pl_module.discriminator,
        }
        if self.keep:
            networks[f"generator-{int(pl_module.images_seen):08d}"] = pl_module.generator_ema
        for name, network in networks.items():
            save_network(network, folder / f"{name}.safetensors")


class GanReport(RunReport):
    """The report of a run that made a generator."""

    def files(self, folder: Path) -> dict[str, Path]:
        """The files that a run may have written, by what they are."""
        pictures = sorted((folder / "pictures").glob("samples-*.png"))
        return {
            **super().files(folder),
            "picture": pictures[-1] if pictures else folder / "pictures",
            "generator": folder / "networks" / "generator.safetensors",
        }

"""A module that inverts a frozen generator: what validation, test and prediction do with its encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MetricCollection

from padinv.batches import batch_images, check_images
from padinv.codes import InversionCode
from padinv.evaluation.results import Evaluation, ordering_metric
from padinv.evaluation.trial import Trial
from padinv.losses import Frozen, ReconstructionLoss
from padinv.metrics import PerImage, reconstruction_metrics
from padinv.networks import Generator, encode
from padinv.networks.passes import pooled
from padinv.training.alternating import AlternatingModule


class InvertingModule(AlternatingModule):
    """Encodes images, reconstructs them, and measures how near the reconstructions are."""

    _generator: Frozen
    encoder: nn.Module
    encoder_ema: AveragedModel | None  # None if the run keeps no average
    resolution: int  # of the images that are compared, in pixels
    report_lpips: bool
    test_features: str | None  # a network for distances between sets in a test
    reconstruction_losses: nn.ModuleDict  # each is a metric, too

    def configure_metrics(self) -> None:
        """Builds the metrics of validation and test."""
        losses = [loss for loss in self.reconstruction_losses.values() if isinstance(loss, ReconstructionLoss)]
        metrics = reconstruction_metrics(self.resolution, losses, lpips=self.report_lpips)
        self.val_metrics: MetricCollection = metrics.clone(prefix="val/")
        self.test_metrics: MetricCollection = metrics.clone(prefix="test/")
        self.test_evaluation: Evaluation | None = None

    @property
    def generator(self) -> Generator:
        """The frozen generator."""
        network = self._generator.network
        assert isinstance(network, Generator)
        return network

    @property
    def inference_encoder(self) -> nn.Module:
        """The encoder to use: its moving average if the run keeps one."""
        return self.encoder if self.encoder_ema is None else self.encoder_ema

    def forward(self, images: Tensor) -> InversionCode:
        """Encodes images (B, 3, H, W) in [-1, 1] with the encoder to use."""
        check_images(images)
        return self._encode(images)

    def _encode(self, images: Tensor) -> InversionCode:
        synthesis = self.generator.synthesis
        return encode(self.inference_encoder, self.in_memory_format(images), self.reconstruct, synthesis)

    def reconstruct(self, code: InversionCode) -> Tensor:
        """Synthesizes, and pools to the encoder's resolution, at which images are compared (B, 3, H, W)."""
        return pooled(self.generator.synthesis(*code.parts), self.resolution)

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Updates the metrics with {"image": (B, 3, H, W) in [-1, 1]}."""
        images = batch_images(batch, values=batch_idx == 0)
        self.val_metrics.update(self.reconstruct(self._encode(images)), images)

    def on_test_epoch_start(self) -> None:
        """Forgets an earlier test."""
        self.trial = Trial(self.resolution, self.test_features, self.device)

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Updates the metrics with {"image": (B, 3, H, W) in [-1, 1]}."""
        images = batch_images(batch, values=batch_idx == 0)
        reconstruction = self.reconstruct(self._encode(images))
        self.test_metrics.update(reconstruction, images)
        metrics = self._each_test_metric()
        values = metrics[ordering_metric(metrics)].values[-len(images) :]
        self.trial.add(values, reconstruction, images, batch.get("name"))

    def on_test_epoch_end(self) -> None:
        """Logs the metrics as test/mse, test/psnr and so on, and keeps them with their intervals."""
        self.log_at_images(self.test_metrics.compute(), sync_dist=True)
        values = {
            name: metric.gathered_values().double().cpu().numpy() for name, metric in self._each_test_metric().items()
        }
        self.test_evaluation = self.trial.finish(values)
        sets = {name: number.value for name, number in self.test_evaluation.metrics.items() if name not in values}
        self.log_at_images({f"test/{name}": value for name, value in sets.items()}, sync_dist=True)
        self.test_metrics.reset()

    def _each_test_metric(self) -> dict[str, PerImage]:
        metrics = self.test_metrics.items(keep_base=True)
        return {name: metric for name, metric in metrics if isinstance(metric, PerImage)}

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Inverts a batch.

        Returns:
            {"name": the files, "code": an InversionCode, "reconstruction": (B, 3, H, W)}.
        """
        images = batch_images(batch, values=batch_idx == 0)
        names = batch.get("name", [f"{batch_idx}-{i}" for i in range(len(images))])
        code = self._encode(images)
        return {"name": names, "code": code, "reconstruction": self.generator.synthesis(*code.parts)}

"""Measures pairs of pictures, a batch at a time: one number for each image, and features for distances between sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from padinv.evaluation.protocols import Protocol
from padinv.exceptions import ConfigError, WeightsNotFoundError
from padinv.images import from_bytes
from padinv.losses.discriminator_features import DiscriminatorFeatureLoss
from padinv.losses.identity import IdentityLoss
from padinv.losses.perceptual import PerceptualLoss
from padinv.metrics.collection import LPIPS_SMALLEST
from padinv.metrics.distribution import FeatureStore
from padinv.metrics.features import FeatureVectors, feature_label, feature_network
from padinv.metrics.per_image import Measure, PerImage, mean_square, peak_signal_to_noise
from padinv.metrics.structure import ms_ssim_scales, multi_scale_similarity

HIGHER_IS_BETTER = frozenset({"psnr", "ms_ssim", "identity", "images_per_second", "kept_at_equal_change"})
"""All other numbers are better if they are lower."""

ABOUT = {
    "mse": "mean square of the difference, pixels in [-1, 1]",
    "psnr": "dB, of a range of 2",
    "ms_ssim": "multi-scale structural similarity",
    "lpips": "distance in AlexNet's features",
    "lpips_vgg": "distance in VGG16's features",
    "identity": "cosine of the faces' embeddings",
    "features": "distance in the discriminator's features",
    "fid": "Fréchet distance of the sets, Inception's features",
    "kid": "kernel distance of the sets, Inception's features",
    "lec": "mean square after edit, inversion, and the edit undone",
    "kept_at_equal_change": "likeness of edits, over the change of the attribute",
    "latency_ms": "ms for one photograph at a time, median",
    "images_per_second": "in batches",
    "numbers_in_code": "numbers that a code holds",
}
"""What each number is, in a few words."""

CHEAP = ("mse", "psnr")
"""Metrics that take less time than decoding on a CPU."""


@dataclass
class Measures:
    """What is measured: networks and functions, shared by all methods that are compared.

    Args:
        per_image: name → the view, and what measures it.
        device: the device of the networks.
        features: maps images (B, 3, H, W) in [-1, 1] to vectors (B, D); None for no distances between sets.
        label: the name of the features: "inception", or what stands behind ``fd_``.
        set_names: the names of the distances between sets.
    """

    per_image: dict[str, tuple[str, Measure]]
    device: torch.device
    features: FeatureVectors | None = None
    label: str = ""
    set_names: tuple[str, ...] = ()


def set_names(label: str) -> tuple[str, str]:
    """The names of the Fréchet and the kernel distance in a network's features: only Inception's are FID and KID.

    >>> set_names("inception"), set_names("alexnet")
    (('fid', 'kid'), ('fd_alexnet', 'kd_alexnet'))
    """
    return ("fid", "kid") if label == "inception" else (f"fd_{label}", f"kd_{label}")


def build_measures(
    protocol: Protocol,
    resolution: int,
    *,
    only: Sequence[str] | None = None,
    features: str | None = "alexnet",
    identity: str | None = None,
    discriminator: str | None = None,
    vgg: str | None = None,
    device: torch.device | str = "cpu",
) -> Measures:
    """Makes the measures of a protocol.

    Args:
        protocol: the protocol.
        resolution: side of the pictures, in pixels.
        only: names of the metrics to measure; all that can be, if not given. "fd" and "kd" stand for both distances
            between sets, whatever their features.
        features: a network (:func:`padinv.metrics.feature_network`) for distances between sets; None for none.
        identity: a recognition model; it should be another than the loss's.
        discriminator: name or file of a discriminator, for the distance in its features.
        vgg: a file with VGG16's convolutions, for LPIPS in its features, too.
        device: the device of the networks.

    Raises:
        ConfigError: if a metric has no such name, or needs something that is not given.
        PadInvError: if a network cannot be loaded.
    """
    device = torch.device(device)
    resolution = protocol.side or resolution
    makers: dict[str, Callable[[], tuple[str, Measure]]] = {
        "mse": lambda: (protocol.pixels, mean_square),
        "psnr": lambda: (protocol.pixels, peak_signal_to_noise),
    }
    if ms_ssim_scales(1024 if protocol.structure != protocol.pixels else resolution):
        makers["ms_ssim"] = lambda: (protocol.structure, lambda a, b: multi_scale_similarity(a, b, protocol.form))
    if resolution >= LPIPS_SMALLEST:
        makers["lpips"] = lambda: (protocol.pixels, perceptual_measure("alex", None, device))
    if vgg is not None:
        makers["lpips_vgg"] = lambda: (protocol.pixels, perceptual_measure("vgg", vgg, device))
    if identity is not None:
        makers["identity"] = lambda: (protocol.pixels, identity_measure(identity, device))
    if discriminator is not None:
        makers["features"] = lambda: (protocol.pixels, DiscriminatorFeatureLoss(discriminator).to(device).each)
    sets = () if features is None else set_names(feature_label(features))
    both = ("fd", "kd") if sets else ()
    if unknown := [name for name in only or () if name not in (*makers, *sets, *both)]:
        raise ConfigError(
            f"--metrics names {', '.join(unknown)}: there are {', '.join([*makers, *sets])}; identity, features and "
            "lpips_vgg need --identity, --discriminator and --vgg, fid and kid --features inception, and times --model."
        )
    chosen = {name: make() for name, make in makers.items() if only is None or name in only}
    wanted = sets if only is None or set(both) & set(only) else tuple(name for name in sets if name in only)
    if features is None or not wanted:
        return Measures(chosen, device)
    network, label = feature_network(features)
    return Measures(chosen, device, FeatureVectors(network, resolution).to(device), label, wanted)


def perceptual_measure(net: str, weights: str | None, device: torch.device) -> Measure:
    """LPIPS of each image, in the features of AlexNet or VGG16."""
    with _named("--vgg", weights):
        loss = PerceptualLoss(net, weights)  # type: ignore[arg-type]
    network = loss.to(device).to(memory_format=torch.channels_last).lpips

    def measure(made: Tensor, target: Tensor) -> Tensor:  # on a CPU a third faster with channels last, as in files
        made, target = (images.contiguous(memory_format=torch.channels_last) for images in (made, target))
        distances: Tensor = network(made, target)
        return distances

    return measure


def identity_measure(path: str, device: torch.device) -> Measure:
    """The cosine of the embeddings of two faces."""
    with _named("--identity", path):
        loss = IdentityLoss(path).to(device)
    return lambda made, target: 1 - loss.each(made, target)


@contextmanager
def _named(option: str, given: str | None) -> Iterator[None]:
    """Names the option whose weights are missing, instead of those of a training."""
    try:
        yield
    except WeightsNotFoundError as error:
        if given is None:
            raise
        raise WeightsNotFoundError(
            f"There are no weights at {option} {given}: mend the path, or leave it out."
        ) from error


class Evaluator:
    """Measures the reconstructions of one method.

    Args:
        measures: what to measure.
        protocol: how pictures are compared.
        photographs: their features, if another method's evaluator keeps them.
    """

    def __init__(self, measures: Measures, protocol: Protocol, photographs: FeatureStore | None = None) -> None:
        self.measures = measures
        self.protocol = protocol
        self.errors = PerImage(mean_square)  # PSNR is made of it, too
        self.metrics = {name: PerImage(measure) for name, (_, measure) in measures.per_image.items()}
        self.keeps_photographs = photographs is None
        self.photographs = FeatureStore() if photographs is None else photographs
        self.reconstructions = FeatureStore()

    @torch.inference_mode()
    def update(self, views: Mapping[str, tuple[Tensor | list[Tensor], Tensor | list[Tensor]]]) -> None:
        """Adds a batch, as :meth:`Protocol.prepare` makes it: in each view, reconstructions and photographs."""
        device = self.measures.device
        for view in {view for view, _ in self.measures.per_image.values()}:
            made, target = (_stacked(images).to(device) for images in views[view])
            names = [name for name, (of, _) in self.measures.per_image.items() if of == view]
            if made.dtype != target.dtype:  # one was resized, the other had the size
                made, target = from_bytes(made), from_bytes(target)
            if set(CHEAP) & set(names):
                self.errors.update(made, target)  # in 8 bits, if the view is
                names = [name for name in names if name not in CHEAP]
            if names:
                made, target = from_bytes(made), from_bytes(target)
            for name in names:
                self.metrics[name].update(made, target)
        if (network := self.measures.features) is not None:
            stores = [self.reconstructions, *([self.photographs] if self.keeps_photographs else [])]
            for store, images in zip(stores, views[self.protocol.features], strict=False):
                parts = [images] if isinstance(images, Tensor) else [image[None] for image in images]
                for part in parts:
                    store.append(network(from_bytes(part.to(device))))

    def values(self) -> dict[str, NDArray[np.float64]]:
        """Metric → the value of each image so far, (N,)."""
        found = {name: metric.values.double().cpu().numpy() for name, metric in self.metrics.items()}
        errors = self.errors.values.double().cpu().numpy()
        with np.errstate(divide="ignore"):
            cheap = {"mse": errors, "psnr": 10 * np.log10(4 / errors)}
        return {name: cheap.get(name, values) for name, values in found.items()}


def _stacked(images: Tensor | list[Tensor]) -> Tensor:
    return images if isinstance(images, Tensor) else torch.stack(images)

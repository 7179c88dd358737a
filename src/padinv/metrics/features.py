"""Networks whose features compare sets of images: Inception, AlexNet, a random network, or any other."""

from __future__ import annotations

import copy
import os
import re
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from pkgutil import resolve_name
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.exceptions import CheckpointError, ConfigError, MissingPackageError, WeightsNotFoundError
from padinv.files import local_path
from padinv.images import from_bytes, to_bytes
from padinv.losses.base import Frozen
from padinv.typing import PathLike


class RandomFeatures(nn.Module):
    """An untrained network: four stages of two convolutions, each stage half the size and twice the width.

    It needs no weights and favours no data set. Its features tell colours and textures apart well, and faces less well
    than those of a network trained on faces. The first filters sum to 0, because brightness would drown out everything
    else. A quarter of the images themselves is a feature, too, so that mean colours count.

    Args:
        seed: seeds the weights.
        width: channels of the first stage.

    >>> [tuple(features.shape) for features in RandomFeatures(width=4)(torch.zeros(2, 3, 64, 64))]
    [(2, 3, 64, 64), (2, 4, 32, 32), (2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4)]
    """

    def __init__(self, seed: int = 0, width: int = 32) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)

        def convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
            # Made on "meta", it takes no random numbers from the global generator, which training uses.
            conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False, device="meta").to_empty(device="cpu")
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=random)
            if inputs == 3:
                with torch.no_grad():
                    conv.weight -= conv.weight.mean(dim=(2, 3), keepdim=True)
            return conv

        widths = [3, *(width << stage for stage in range(4))]
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(i, o, 1), nn.ReLU(), convolution(o, o, 2), nn.ReLU()) for i, o in pairwise(widths)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """A quarter of images (B, 3, H, W), and the maps after each stage, the finest first."""
        maps = [images / 4]
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Inception(nn.Module):
    """The Inception network of the literature, 2048 features, with torch-fidelity's weights and resizing.

    Raises:
        MissingPackageError: without torch-fidelity.
        WeightsNotFoundError: if its weights are not in torch's cache and cannot be downloaded.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise MissingPackageError("Inception's features need torch-fidelity: pip install torch-fidelity") from error
        try:
            self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        except URLError as error:
            raise WeightsNotFoundError(
                f"Inception's weights could not be downloaded ({error.reason}): put torch-fidelity's "
                f"weights-inception-2015-12-05-6726825d.pth into {torch.hub.get_dir()}/checkpoints, or take other "
                'features, such as "random".'
            ) from error
        except (RuntimeError, EOFError, UnpicklingError, KeyError) as error:  # what torch raises for half a download
            raise CheckpointError(
                f"Inception's weights in {torch.hub.get_dir()}/checkpoints are damaged, or of another network: remove "
                f"weights-inception-2015-12-05-6726825d.pth there, and try again ({_first_line(error)})."
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048) of images (B, 3, H, W) in [-1, 1]."""
        features: Tensor = self.network(to_bytes(images))[0]
        return features


class TorchvisionInception(nn.Module):
    """torchvision's Inception v3 up to its last mean, 2048 features, as StarGAN v2's FID has it, and StyleRes's.

    It is another network than that of pytorch-fid and torch-fidelity: other weights, means over windows that count
    the padding, no maximum in the last block, and ImageNet's mean and deviation instead of [-1, 1]. Its distances are
    others, too. The weights are torchvision's, in torch's cache or fetched into it. Images of another size than 299 px
    are resized, bilinearly, with antialiasing.

    Raises:
        WeightsNotFoundError: if the weights are not in torch's cache and cannot be downloaded.
        CheckpointError: if the file does not hold them.
    """

    mean: Tensor
    deviation: Tensor
    side = 299
    file = "inception_v3_google-0cc3c7bd.pth"

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import Inception_V3_Weights, inception_v3

        network = inception_v3(weights=None, init_weights=False)
        folder = f"{torch.hub.get_dir()}/checkpoints"
        try:
            state = torch.hub.load_state_dict_from_url(
                Inception_V3_Weights.IMAGENET1K_V1.url, map_location="cpu", weights_only=True, progress=False
            )
            network.load_state_dict(state)
        except URLError as error:
            raise WeightsNotFoundError(
                f"Inception's weights could not be downloaded ({error.reason}): put torchvision's {self.file} into "
                f'{folder}, or take other features, such as "alexnet".'
            ) from error
        except (RuntimeError, EOFError, UnpicklingError, TypeError) as error:
            raise CheckpointError(
                f"{folder}/{self.file} is damaged, or holds another network: remove it, and try again "
                f"({_first_line(error)})."
            ) from error
        left = ("AuxLogits", "avgpool", "dropout", "fc")
        self.layers = nn.Sequential(*(layer for name, layer in network.named_children() if name not in left))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, 2048, 8, 8), whose means are the features, of images (B, 3, H, W) in [-1, 1]."""
        if images.shape[-2:] != (self.side, self.side):
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        maps: Tensor = self.layers((images / 2 + 0.5 - self.mean) / self.deviation)
        return maps


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".:")


class AlexNetFeatures(nn.Module):
    """AlexNet's third to fifth convolutions, behind their ReLU, of images resized to 128 px; its weights come along.

    Their means over positions, 896 numbers, are the features of ``fd_alexnet``: a Fréchet distance that can be computed
    offline. It is no FID, and compares with none.
    """

    side = 128

    def __init__(self) -> None:
        super().__init__()
        from padinv.losses.perceptual import PerceptualLoss

        self.network: Any = PerceptualLoss("alex").lpips.network

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 3, H, W) in [-1, 1]: (B, 384, 7, 7), (B, 256, 7, 7), (B, 256, 7, 7)."""
        if images.shape[-2:] != (self.side, self.side):
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        x = (images - self.network.shift) / self.network.scale
        maps = []
        for part in self.network.slices:
            x = self.network.features[part](x)
            maps.append(x)
        return maps[2:]


class OnnxFeatures(nn.Module):
    """The network in an ONNX file, run by onnxruntime: images (N, 3, H, W) in [-1, 1] to its first output.

    Images are resized to the size that the file declares, if it declares one. A file for a batch of 1 gets the images
    one at a time.

    Raises:
        CheckpointError: if the file cannot be read, or takes something else.
    """

    def __init__(self, path: PathLike) -> None:
        super().__init__()
        import onnxruntime

        self.path = os.fspath(path)
        if not os.path.exists(path):  # noqa: PTH110 (a path may be text)
            raise CheckpointError(f"There is no file {self.path!r} with a network for features.")
        try:
            self.session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes have no common base
            raise CheckpointError(f"{os.fspath(path)} is not an ONNX file, or is damaged: {error}") from error
        given = self.session.get_inputs()
        if len(given) != 1 or len(given[0].shape) != 4 or given[0].shape[1] not in (3, None, "C", "channels"):
            raise CheckpointError(f"{os.fspath(path)} must take images (N, 3, H, W), and nothing else.")
        self.name = given[0].name
        batch, _, *size = given[0].shape
        self.one_by_one = batch == 1
        self.size = tuple(size) if all(isinstance(side, int) and side > 0 for side in size) else None

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxFeatures:
        return self  # a session cannot be copied, and has nothing to train

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, N), or maps of them, of images (B, 3, H, W) in [-1, 1]."""
        if self.size is not None and images.shape[-2:] != self.size:
            images = F.interpolate(images, size=self.size, mode="bilinear", antialias=True)
        parts = torch.split(images, 1) if self.one_by_one else [images]
        try:
            found = [self.session.run(None, {self.name: part.float().cpu().numpy()})[0] for part in parts]
        except Exception as error:  # onnxruntime's own classes have no common base
            raise CheckpointError(
                f"{self.path} does not take {len(parts[0])} images of {images.shape[-2]}x{images.shape[-1]} px "
                f"({_first_line(error)})."
            ) from error
        return torch.from_numpy(np.concatenate(found)).to(images.device)


NETWORKS: dict[str, type[nn.Module]] = {
    "alexnet": AlexNetFeatures,
    "inception_torchvision": TorchvisionInception,
    "inception": Inception,
    "random": RandomFeatures,
}


def feature_network(name: str) -> tuple[nn.Module, str]:
    """A network by its name, class path or ONNX file, and the name of distances in its features.

    Args:
        name: one of :data:`NETWORKS`; a class such as ``mypackage.MyFeatures``, called without
            arguments; or an ``.onnx`` file.

    Returns:
        The network, and "inception", or what stands behind ``fd_``: only Inception's distance is called FID.

    Raises:
        ConfigError: if there is no such class, or it is no network.
        CheckpointError: if the file cannot be read.
        MissingPackageError: if a package is missing for it.
        WeightsNotFoundError: if its weights are not here and cannot be downloaded.
    """
    if name in NETWORKS:
        return NETWORKS[name](), feature_label(name)
    if name.endswith(".onnx"):
        return OnnxFeatures(local_path(name)), feature_label(name)
    try:
        network = resolve_name(name)() if "." in name else None
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"--features {name}: there is no such class to call without arguments ({error}).") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"--features must be {', '.join(NETWORKS)}, a class path or an .onnx file, not {name!r}.")
    return network, feature_label(name)


def feature_label(name: str) -> str:
    """What :func:`feature_network` calls a network, which need not be there.

    >>> feature_label("alexnet"), feature_label("nets/My Net.onnx"), feature_label("mypackage.MyFeatures")
    ('alexnet', 'my_net', 'myfeatures')
    """
    if name.endswith(".onnx"):
        return re.sub(r"\W+", "_", Path(name).stem).lower()
    return name if name in NETWORKS else name.rpartition(".")[2].lower()


class FeatureVectors(Frozen):
    """Adapts a network: one vector for each image, which is clamped and rounded to 8 bits.

    Args:
        network: any that :class:`FrechetDistance` takes; it is copied.
        resolution: side of the images, in pixels.

    Raises:
        ConfigError: if the network gives something else than a vector, or maps, for each image.
    """

    def __init__(self, network: nn.Module, resolution: int) -> None:
        super().__init__(copy.deepcopy(network))
        self.num_features = self(torch.zeros(1, 3, resolution, resolution)).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, 3, H, W) in [-1, 1] to (B, N); maps of features become their means."""
        # Real images come from 8-bit files: generated ones are rounded the same.
        rounded = from_bytes(to_bytes(images))
        with torch.autocast(images.device.type, enabled=False):
            found = self.network(rounded)
        maps = list(found) if isinstance(found, list | tuple) else [found]
        shapes = [tuple(x.shape) if isinstance(x, Tensor) and x.is_floating_point() else () for x in maps]
        name = getattr(self.network, "path", type(self.network).__name__)
        if not maps or any(len(shape) not in (2, 4) or shape[0] != len(images) for shape in shapes):
            raise ConfigError(
                f"{name} gives {', '.join(map(str, shapes)) or 'nothing'} for {len(images)} "
                "images: features are vectors (N, D), maps (N, D, h, w), or a list of these, of floating-point numbers."
            )
        vectors = torch.cat([x if x.ndim == 2 else x.mean(dim=(2, 3)) for x in maps], dim=1)
        if not vectors.isfinite().all():
            raise ConfigError(f"{name} gives NaN or infinite features: take another network, or mend its weights.")
        return vectors

"""Pretrained weights of other projects as typed values: source, hash, licence, and the images they take."""

from __future__ import annotations

import http.client
import io
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from padinv.exceptions import CheckpointError, ConfigError, MissingPackageError, WeightsNotFoundError
from padinv.typing import PathLike


@dataclass(frozen=True)
class Weights:
    """A file of weights that PyTorch's own downloader keeps in its cache, ``$TORCH_HOME/hub/checkpoints``.

    A file found in the cache is not checked again: it got there after a check of its hash, in one move, or from the
    user.

    Attributes:
        filename: its name in the cache.
        url: the address that it is fetched from.
        hash_prefix: the first hexadecimal digits of its SHA-256; None if its publisher states none.
        licence: the terms of its use.
        input_range: the range of the images that the network takes.
        input_size: the side of these images in pixels, the smallest if there is a choice.
        instead: the option that does without the file; the error message names it.
        bundled: its name under ``padinv/assets``, if it comes with padinv: the cache and the network are not asked.
        megabytes: the size of what would be fetched, if its publisher states it.
    """

    filename: str
    url: str
    hash_prefix: str | None
    licence: str
    input_range: tuple[float, float]
    input_size: int
    instead: str
    bundled: str | None = None
    megabytes: float | None = None

    @property
    def folder(self) -> Path:
        """The folder that should hold the file."""
        return Path(torch.hub.get_dir()) / "checkpoints"

    def resolve(self, override: PathLike | None = None) -> Path:
        """Finds the file, or fetches it.

        Args:
            override: the user's own file or folder, which is taken instead; nothing is fetched.

        Returns:
            A path that exists.

        Raises:
            WeightsNotFoundError: if ``override`` does not exist, or nothing is in the cache and nothing can be fetched.
        """
        if override is not None:
            path = Path(override).expanduser()
            if not path.exists():
                raise WeightsNotFoundError(f"There are no weights at {path}: mend the path, or use {self.instead}.")
            return path
        if self.bundled is not None:
            return Path(str(files("padinv") / "assets" / self.bundled))
        path = self.folder / self.filename
        if path.exists():
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(path)
        except (OSError, RuntimeError, http.client.HTTPException, zipfile.BadZipFile) as error:
            raise WeightsNotFoundError(
                f"{self.filename} is not in {path.parent} and could not be fetched from {self.url} ({reason(error)}): "
                f"put it there, or use {self.instead}."
            ) from error
        return path

    def _fetch(self, path: Path) -> None:
        torch.hub.download_url_to_file(self.url, str(path), self.hash_prefix)


def reason(error: BaseException) -> str:
    """Says in a few words why something could not be fetched, in the system's words if it raised the error.

    Network libraries wrap those words, such as "Name or service not known", in a paragraph of their own.

    >>> reason(RuntimeError("<urlopen error [Errno -2] …>")), reason(OSError(28, "No space left"))
    ('<urlopen error [Errno -2] …>', 'No space left')
    """
    inner: BaseException | None = error
    seen: list[BaseException] = []
    while isinstance(inner, BaseException) and inner not in seen:
        if isinstance(inner, OSError) and inner.strerror and isinstance(inner.errno, int):
            return inner.strerror
        seen.append(inner)
        behind = [getattr(inner, "reason", None), *inner.args, inner.__cause__, inner.__context__]
        inner = next((other for other in behind if isinstance(other, BaseException)), None)
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text if len(text) <= 100 else f"{text[:100]}…"


class FacePack(Weights):
    """An InsightFace model pack, a folder of ONNX files, where InsightFace keeps it: ``~/.insightface/models``."""

    @property
    def folder(self) -> Path:
        """The folder that should hold the pack."""
        return Path("~/.insightface/models").expanduser()

    def _fetch(self, path: Path) -> None:
        try:
            from insightface.utils.storage import ensure_available
        except ImportError as error:
            raise MissingPackageError(f"Fetching {self.filename} needs insightface: pip install insightface") from error
        # InsightFace unpacks in place, and another process or a second try would take half a pack for a whole one.
        # It prints its folders; its progress bar, on the error stream, stays.
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch, redirect_stdout(io.StringIO()):
            fetched = ensure_available("models", self.filename, root=scratch)
            try:
                Path(fetched).replace(path)
            except OSError:
                if not path.exists():  # otherwise another process has been faster
                    raise


def lpips_backbone(net: str) -> Weights:
    """Describes torchvision's ImageNet weights of the network behind LPIPS.

    Args:
        net: ``alex``, ``vgg`` or ``squeeze``.

    Raises:
        ConfigError: if it is none of these.
    """
    from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

    # The smallest images that leave a last feature map; torchvision's own numbers include the classifier.
    sizes = {
        "alex": (AlexNet_Weights.IMAGENET1K_V1, 31),
        "vgg": (VGG16_Weights.IMAGENET1K_V1, 16),
        "squeeze": (SqueezeNet1_1_Weights.IMAGENET1K_V1, 17),
    }
    if net not in sizes:
        raise ConfigError(f"net must be one of {', '.join(sizes)}, not {net!r}.")
    weights, size = sizes[net]
    filename = weights.url.rpartition("/")[2]
    return Weights(
        filename=filename,
        url=weights.url,
        hash_prefix=filename.removesuffix(".pth").rpartition("-")[2],  # torch.hub's naming rule
        licence="BSD-3-Clause (torchvision); trained on ImageNet",
        input_range=(-1.0, 1.0),  # LPIPS normalises images itself
        input_size=size,
        instead="perceptual_loss.net alex, which comes with padinv, perceptual_loss: DiscriminatorFeatureLoss, or none "
        "(--model.lambda_per 0 --model.perceptual_loss null)",
        bundled="alexnet-features.safetensors" if net == "alex" else None,
        megabytes=weights.meta.get("_file_size"),
    )


def lpips_heads(net: str) -> Mapping[str, Tensor]:
    """Reads LPIPS's linear heads from the lpips package, which is not imported: that would take seconds.

    Args:
        net: ``alex``, ``vgg`` or ``squeeze``.

    Raises:
        MissingPackageError: if lpips is not installed.
    """
    package = find_spec("lpips")
    if package is None or package.origin is None:
        raise MissingPackageError("PerceptualLoss needs lpips: pip install lpips")
    return read_state_dict(Path(package.origin).parent / "weights" / "v0.1" / f"{net}.pth")


def face_pack(name: str = "buffalo_l") -> FacePack:
    """Describes an InsightFace model pack by its name, such as ``buffalo_l`` or ``antelopev2``."""
    return FacePack(
        filename=name,
        url=f"https://github.com/deepinsight/insightface/releases/download/model-zoo/{name}.zip",
        hash_prefix=None,
        licence="non-commercial research only (InsightFace)",
        input_range=(-1.0, 1.0),
        input_size=112,
        instead="--model.lambda_id 0 --model.identity_loss null",
    )


def read_state_dict(path: PathLike) -> Mapping[str, Tensor]:
    """Reads tensors, and nothing but tensors, from a PyTorch file or safetensors.

    Raises:
        CheckpointError: if the file is damaged, or no state dict.
    """
    if os.fspath(path).endswith(".safetensors"):
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{os.fspath(path)} is not a safetensors file, or is damaged: {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        said = "it is no file of tensors alone" if isinstance(error, pickle.UnpicklingError) else reason(error)
        raise CheckpointError(f"{os.fspath(path)} is not a PyTorch weights file, or is damaged: {said}.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{os.fspath(path)} does not hold a state dict: give a file of named tensors.")
    return state

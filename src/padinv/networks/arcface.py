"""ArcFace (Deng et al. 2019) from an InsightFace recognition model, made differentiable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from padinv.exceptions import CheckpointError, MissingPackageError
from padinv.typing import PathLike

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto
    from typing_extensions import Self


class ArcFace(nn.Module):
    """Face embeddings that gradients flow through, with the weights of an InsightFace ONNX file.

    A graph that was exported for one image gets its images one at a time. The network stays in eval mode, and its
    weights and BatchNorm statistics stay as they are in the file.

    Args:
        path: an ``.onnx`` file, or a folder (such as an InsightFace model pack) with a recognition model: the one with
            input (N, 3, 112, 112) and output (N, 512).

    Raises:
        CheckpointError: if there is no recognition model, or the file cannot be read.
        MissingPackageError: if onnx or onnx2torch is not installed.
    """

    def __init__(self, path: PathLike) -> None:
        super().__init__()
        try:
            import onnx2torch
        except ImportError as error:
            raise MissingPackageError("ArcFace needs onnx2torch: pip install onnx2torch") from error
        model = find_recognition_model(path)
        # Older files take [0, 255] and begin by normalising it; the current ones take [-1, 1].
        self.takes_bytes = {"Sub", "Mul"} <= {node.op_type for node in model.graph.node[:8]}
        # A graph rather than its path: onnx2torch would write a temporary file beside the weights.
        self.network: nn.Module = onnx2torch.convert(model)
        self.eval().requires_grad_(False)
        self.one_by_one = not self._takes_batches(path)

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode."""
        return super().train(False)

    def _takes_batches(self, path: PathLike) -> bool:
        """Whether two images at once have the embeddings that each has alone.

        Many files were exported with a batch of 1 and reshape to it: they turn two images into one row of the wrong
        length, or fail. The declared batch size does not tell, since most files declare 1 and take any.

        Raises:
            CheckpointError: if the graph does not embed even one image.
        """
        images = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
        try:
            alone = torch.cat([self._embed(image[None]) for image in images])
        except Exception as error:  # onnx2torch's operators raise errors of any class
            raise CheckpointError(f"{path} does not compute an embedding of one face ({error}).") from error
        if alone.shape != (2, 512):
            raise CheckpointError(f"{path} makes {tuple(alone.shape)} of two faces, one after another, not (2, 512).")
        try:
            together = self._embed(images)
        except Exception:  # a graph for one image can break at any operator
            return False
        return together.shape == alone.shape and torch.allclose(together, alone, rtol=1e-3, atol=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        """Embeds aligned faces (B, 3, 112, 112), RGB in [-1, 1]: (B, 512), not normalised.

        [-1, 1] is what InsightFace makes of bytes by (x - 127.5) / 127.5.
        """
        if self.one_by_one:
            return torch.cat([self._embed(image[None]) for image in images])
        return self._embed(images)

    def _embed(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.network(images * 127.5 + 127.5 if self.takes_bytes else images)
        return embeddings


def find_recognition_model(path: PathLike) -> ModelProto:
    """Reads the ONNX file at a path, or the only one in a folder that embeds faces.

    Raises:
        CheckpointError: if there is none, or a file cannot be read.
        MissingPackageError: if onnx is not installed.
    """
    path = Path(path)
    files = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
    for file in files:
        model = _read_onnx(file)
        if _is_recognition_model(model):
            return model
    found = ", ".join(file.name for file in files) or "no .onnx file at all"
    raise CheckpointError(f"{path} has no recognition model, (N, 3, 112, 112) to (N, 512), but {found}.")


def _read_onnx(file: Path) -> ModelProto:
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx.checker import ValidationError
    except ImportError as error:
        raise MissingPackageError("ArcFace needs onnx: pip install onnx") from error
    try:
        return onnx.load(file)
    except ValidationError as error:  # onnx looks for a second file
        raise CheckpointError(
            f"{file} keeps its weights in a second file beside it, which is missing or damaged: copy both."
        ) from error
    except (OSError, DecodeError) as error:
        raise CheckpointError(f"{file} is not an ONNX file, or is damaged: fetch it again ({error}).") from error


def _is_recognition_model(model: ModelProto) -> bool:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]  # older files list weights as inputs
    if len(inputs) != 1 or len(model.graph.output) != 1:
        return False
    return _shape(inputs[0])[1:] == [3, 112, 112] and _shape(model.graph.output[0])[1:] == [512]


def _shape(value: ValueInfoProto) -> list[int]:
    """The dimensions of an input or output, 0 where one is free."""
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]

"""Runs an exported ONNX file by onnxruntime, and reads what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from padinv._version import __version__
from padinv.exceptions import CheckpointError, ConfigError, MissingPackageError
from padinv.typing import PathLike

METADATA_KEY = "padinv"

PartName = Literal["encoder", "generator", "both"]


@dataclass(frozen=True)
class Description:
    """The metadata of an exported file.

    Args:
        part: the networks that it holds.
        generator: the fingerprint (:func:`padinv.checkpoints.fingerprint`) of the generator that the codes are for.
        encoder: the fingerprint of the encoder; None in a file of the generator alone.
        reads: the side of the images that go in, in pixels; None if codes go in.
        writes: the side of the images that come out, in pixels; None if codes come out.
        int8: what weights of 8 bits cost, if the file has them (:func:`padinv.export.files.loss_of_quality`).
        version: the version of padinv that wrote it.
    """

    part: PartName
    generator: str
    encoder: str | None = None
    reads: int | None = None
    writes: int | None = None
    int8: Mapping[str, float] | None = None
    version: str = __version__

    def to_json(self) -> str:
        """Makes the JSON text that a file holds."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Undoes :meth:`to_json`.

        Raises:
            ValueError: if the text is not JSON.
            TypeError: if the JSON is not a description.
        """
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)


class Session:
    """A loaded ONNX file: named tensors in, named tensors out. It uses as many threads as torch.

    Args:
        path: the file.
        device: where to compute; the tensors themselves may be anywhere.

    Raises:
        CheckpointError: if it is damaged, or not of padinv.
        ConfigError: if onnxruntime cannot compute there.
        MissingPackageError: if onnxruntime is missing.

    Attributes:
        description: the file's metadata.
    """

    def __init__(self, path: PathLike, device: torch.device | str = "cpu") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPackageError("ONNX files are run by onnxruntime: pip install onnxruntime") from error
        self.device = torch.device(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads wait busily for the next operator but not for the next call, since two sessions share the cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3  # errors only: it warns of every weight that it folds
        providers = [_provider(self.device, onnxruntime.get_available_providers())]
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
            text = self.session.get_modelmeta().custom_metadata_map[METADATA_KEY]
            self.description = Description.from_json(text)
        except Exception as error:  # onnxruntime's errors have no common class
            if "external data" in str(error).lower():
                raise CheckpointError(
                    f"{path} keeps its weights in a second file beside it, which is missing or damaged: copy both."
                ) from error
            raise CheckpointError(f"{path} is no ONNX file that padinv has exported, or damaged ({error}).") from error
        self.shapes = {node.name: tuple(node.shape[1:]) for node in self.session.get_inputs()}
        self.outputs = [node.name for node in self.session.get_outputs()]

    def takes(self, tensors: Mapping[str, Tensor]) -> bool:
        """Tells whether these are the inputs of the network, of the right shapes, in a batch of any size."""
        return {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()} == self.shapes

    def __call__(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the network.

        Args:
            tensors: its inputs by name, float32.

        Returns:
            Its outputs by name, on the device of the session.
        """
        arrays = {name: tensor.detach().float().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        results = self.session.run(self.outputs, arrays)
        return {
            name: torch.from_numpy(result).to(self.device) for name, result in zip(self.outputs, results, strict=True)
        }


def _provider(device: torch.device, available: list[str]) -> str | tuple[str, dict[str, Any]]:
    if device.type == "cpu":
        return "CPUExecutionProvider"
    if device.type != "cuda" or "CUDAExecutionProvider" not in available:
        raise ConfigError(
            f"onnxruntime, as it is installed, cannot compute on {device}: use the CPU, or on CUDA devices "
            "pip install onnxruntime-gpu."
        )
    return "CUDAExecutionProvider", {"device_id": device.index or 0}

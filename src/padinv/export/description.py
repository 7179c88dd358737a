"""What an exported file says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from padinv._version import __version__

METADATA_KEY = "padinv"

PartName = Literal["encoder", "generator", "both"]


@dataclass(frozen=True)
class Description:
    """The metadata of an exported file.

    Args:
        part: which of the networks it holds.
        generator: fingerprint (:func:`padinv.checkpoints.fingerprint`) of the generator that the codes are for.
        encoder: fingerprint of the encoder; None in a file of the generator alone.
        reads: side of the images that go in, in pixels; None if codes go in.
        writes: side of the images that come out, in pixels; None if codes come out.
        int8: if the weights are of 8 bits, what it costs (:func:`padinv.export.quantization.loss_of_quality`).
        version: of the padinv that wrote it.
    """

    part: PartName
    generator: str
    encoder: str | None = None
    reads: int | None = None
    writes: int | None = None
    int8: Mapping[str, float] | None = None
    version: str = __version__

    def to_json(self) -> str:
        """The JSON text that a file holds."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Description:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: if the text is not JSON.
            TypeError: if the JSON is not a description.
        """
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)

"""Networks as files that run without padinv: ONNX, and programs of ``torch.export``."""

from padinv.export.files import export_onnx, export_torch, read_description
from padinv.export.pair import ExportedPair
from padinv.export.parts import Part, encoder_part, generator_part, joined_part
from padinv.export.session import Description, Session

__all__ = [
    "Description",
    "ExportedPair",
    "Part",
    "Session",
    "encoder_part",
    "export_onnx",
    "export_torch",
    "generator_part",
    "joined_part",
    "read_description",
]

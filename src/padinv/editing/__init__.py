"""Edits inversion codes: each task is a function that takes a batch of codes and returns a new one."""

from padinv.editing.combining import blend, face_mask, interpolate, mix, transfer, truncate
from padinv.editing.direction_files import Directions, load_directions, save_directions
from padinv.editing.directions import Direction
from padinv.editing.dragging import DragStep, Point, drag, drag_steps
from padinv.editing.imported import import_boundary, import_directions
from padinv.editing.layers import Layers, parse_layers
from padinv.editing.linear import linear
from padinv.editing.seen import remarks, seen_range
from padinv.editing.transport import transport
from padinv.editing.unsupervised import ganspace, sefa

__all__ = [
    "Direction",
    "Directions",
    "DragStep",
    "Layers",
    "Point",
    "blend",
    "drag",
    "drag_steps",
    "face_mask",
    "ganspace",
    "import_boundary",
    "import_directions",
    "interpolate",
    "linear",
    "load_directions",
    "mix",
    "parse_layers",
    "remarks",
    "save_directions",
    "seen_range",
    "sefa",
    "transfer",
    "transport",
    "truncate",
]

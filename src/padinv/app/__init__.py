"""The studio: inversion and editing on a page in the browser.

:class:`Studio` and the functions beside it do the work, and know nothing of a page. Only the modules ``page`` and
``server`` need gradio.
"""

from padinv.app.edits import (
    Shown,
    blend_photographs,
    compare,
    drag_points,
    edit,
    mask_of,
    read_points,
    sample,
    transfer_edit,
)
from padinv.app.studio import Limits, Sitting, Studio

__all__ = [
    "Limits",
    "Shown",
    "Sitting",
    "Studio",
    "blend_photographs",
    "compare",
    "drag_points",
    "edit",
    "mask_of",
    "read_points",
    "sample",
    "transfer_edit",
]

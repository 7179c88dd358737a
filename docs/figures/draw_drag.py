"""Draws docs/figures/drag.png: bundled portraits, each with a handle and its target, and dragged.

    python docs/figures/draw_drag.py

It takes half a minute on a CPU.
"""

from __future__ import annotations

import torch

from padinv import Inverter
from padinv.editing import drag
from padinv.images import decode
from padinv.pictures import contact_sheet, mark_points, save_picture
from padinv.sources.finding import find_photographs

CHOSEN = {
    "color-J000305": [((32, 18), (32, 15))],
    "color-N000188": [((32, 18), (32, 15))],
    "color-S001192": [((32, 47), (32, 45))],
    "color-R000588": [((32, 47), (32, 45))],
}
"""Portrait → handles with their targets: two higher foreheads, two mouths up."""
REFINE = 60

source = find_photographs(["congress64-val"])
places = {source.name(place).rsplit("/", 1)[-1].rsplit(".", 1)[0]: place for place in range(len(source))}
inverter = Inverter.from_pretrained("congress64")
inversion = inverter.invert([decode(source.read(places[name])) for name in CHOSEN], refine=REFINE)
marked, dragged = [], []
for one, points in zip(inversion, CHOSEN.values(), strict=True):
    starts, ends = zip(*points, strict=True)
    marked.append(mark_points(one.images[0], starts, ends))
    dragged.append(inverter.reconstruct(drag(one.code, inverter.generator, starts, ends))[0])
assert inversion.targets is not None  # only a loaded inversion has none
rows = [list(inversion.targets), marked, dragged]
big = [torch.stack([contact_sheet([image[None]], gap=0) * 2 - 1 for image in row]) for row in rows]
save_picture(contact_sheet(big), "docs/figures/drag.png")

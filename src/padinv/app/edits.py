"""The tabs of the studio as functions: each takes what a visitor has and asks for, and returns what is shown."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padinv.app.studio import Sitting, Studio
from padinv.codes import InversionCode
from padinv.editing import Point, blend, drag_steps, face_mask, mix, parse_layers, remarks, transfer
from padinv.editing.combining import check_finite
from padinv.exceptions import ConfigError
from padinv.images import square, to_image
from padinv.inversion import Inversion, centre_square

BEST = 200
"""Steps of refinement that leave a twenty-fifth of the encoder's error on the bundled portraits."""

KEPT = 3600
"""Seconds for which files to take along are kept."""

NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
PAIR = re.compile(f"{NUMBER},{NUMBER}(?::{NUMBER},{NUMBER})?")

IMPORTS = {
    "dataclasses": ["replace"],
    "padinv": ["InversionCode", "Inverter"],
    "padinv.editing": ["blend", "drag", "face_mask", "load_directions", "mix", "sefa", "transfer"],
    "padinv.images": ["to_tensor"],
    "padinv.inversion": ["refine"],
}
"""Modules, and the names in them that scripts use."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What is on the screen.

    Args:
        code: the code of one image.
        image: what the generator makes of it, (1, 3, R, R).
        lines: the lines of Python that make both again, as ``code`` and ``image``.
        photographs: the files that these lines read, by name.
        remarks: sentences for the visitor.
        handles: where the handles of a drag are.
    """

    code: InversionCode
    image: Tensor
    lines: tuple[str, ...]
    photographs: Mapping[str, Image.Image]
    remarks: tuple[str, ...] = ()
    handles: tuple[Point, ...] = ()

    @property
    def script(self) -> str:
        """Joins the lines to a whole program."""
        text = "\n".join(self.lines)
        used = {home: [n for n in names if re.search(rf"\b{n}[(.]", text)] for home, names in IMPORTS.items()}
        imports = [f"from {home} import {', '.join(names)}" for home, names in used.items() if names]
        if "Image.open" in text:
            imports.insert(0, "from PIL import Image")
        if "torch." in text:
            imports = ["import torch", "", *imports]
        return "\n".join([*imports, "", text, ""])

    def write(self, studio: Studio, folder: Path) -> list[Path]:
        """Writes what is on the screen into a new folder inside of ``folder``: image, code, script, photographs.

        What was written there more than an hour ago goes.
        """
        for old in folder.glob("taken-*"):
            if time.time() - old.stat().st_mtime > KEPT:
                shutil.rmtree(old, ignore_errors=True)
        place = Path(tempfile.mkdtemp(prefix="taken-", dir=folder))
        to_image(self.image[0]).save(place / "image.png")
        size = studio.inverter.generator.resolution
        crop = (centre_square((size, size)),)
        inversion = Inversion(self.code, self.image, crop, ("studio",), studio.inverter.fingerprint)
        inversion.save(place / "code.safetensors", images=False)
        (place / "reproduce.py").write_text(self.script, encoding="utf-8")
        for name, photograph in self.photographs.items():
            photograph.save(place / f"{name}.png")
        return sorted(place.iterdir())


def inverted(studio: Studio, sitting: Sitting) -> Shown:
    """Shows the reconstruction."""
    return _show(studio, sitting.code, [f"code = {sitting.name}"], [sitting], image=sitting.inversion.images)


def edit(
    studio: Studio,
    sitting: Sitting,
    strengths: Mapping[str, float],
    layers: str = "",
    padding: bool = True,
) -> Shown:
    """Moves a code along directions.

    Args:
        studio: has the directions.
        sitting: has the code to edit.
        strengths: name of a direction → its strength; 0 does nothing.
        layers: which latents move, "0-5"; those of the direction if empty.
        padding: whether the padding moves, if the direction moves it.

    Raises:
        ConfigError: if there are no such layers.
    """
    chosen = layers.strip() or None
    parse_layers(chosen, studio.inverter.generator.num_layers)
    code, said, lines = sitting.code, [], [f"code = {sitting.name}"]
    for name, strength in strengths.items():
        if strength == 0:
            continue
        direction = studio.directions[name]
        options = [] if chosen is None else [f"layers={json.dumps(chosen)}"]
        options += [] if padding else ["padding_strength=0.0"]
        code = direction.apply(code, strength, chosen, None if padding else 0.0)
        lines.append(
            f"code = directions[{json.dumps(name)}].apply({', '.join(['code', format(strength, 'g'), *options])})"
        )
        said += remarks(direction, strength, studio.inverter.generator)
    if len(lines) > 1:
        known = f"load_directions({json.dumps(studio.model)}, inverter.generator)"
        if all(direction.kind == "sefa" for direction in studio.directions.values()):
            known = f"{{each.name: each for each in sefa(inverter.generator, count={len(studio.directions)})}}"
        lines.insert(0, f"directions = {known}")
    return _show(studio, code, lines, [sitting], said)


def read_points(text: str) -> tuple[list[Point], list[Point]]:
    """Reads the points of a drag: handles, and their targets, of which the last may still be missing.

    Args:
        text: what the visitor wrote, such as "32,46:32,43; 20,30:20,28".

    Raises:
        ConfigError: if it is something else.

    >>> read_points("32,46:32,43; 20,30")
    ([(32.0, 46.0), (20.0, 30.0)], [(32.0, 43.0)])
    """
    handles: list[Point] = []
    targets: list[Point] = []
    for part in filter(None, (part.strip() for part in re.split(r"[;\n]", text))):
        if (found := PAIR.fullmatch(part)) is None or len(targets) < len(handles):
            raise ConfigError(f"Points are handles and targets such as 32,46:32,43; 20,30:20,28, not {text!r}.")
        x, y, to_x, to_y = found.groups()
        handles.append((float(x), float(y)))
        if to_x is not None:
            targets.append((float(to_x), float(to_y)))
    return handles, targets


def mask_of(painted: NDArray[np.uint8] | None, size: int) -> Tensor | None:
    """Makes the mask (R, R) of a painting (H, W, 4): 1 where there is paint; None if there is none."""
    if painted is None or painted.ndim != 3 or not painted[..., 3].any():
        return None
    paint = Image.fromarray(np.where(painted[..., 3] > 0, 255, 0).astype(np.uint8)).convert("RGB")
    return (torch.from_numpy(np.array(square(paint, size)))[..., 0] > 127).float()


def drag_points(
    studio: Studio, sitting: Sitting, points: str, mask: Tensor | None = None, steps: int = 50, padding: bool = True
) -> Iterator[Shown]:
    """Drags points, and shows each step.

    Args:
        studio: has the generator.
        sitting: has the code to drag.
        points: the points, as :func:`read_points` takes them.
        mask: (R, R), above 0 where the image may change.
        steps: the largest number of steps, within the limit.
        padding: whether the padding moves, too.

    Raises:
        ConfigError: if there are no points, or a target is missing.
    """
    handles, targets = read_points(points)
    if not handles:
        raise ConfigError("Click on the picture: first where to take hold, then where that should go.")
    if len(targets) < len(handles):
        raise ConfigError("The last handle has no target yet: click where it should go.")
    generator = studio.inverter.generator
    for step in drag_steps(
        sitting.code, generator, handles, targets, mask=mask, steps=min(steps, studio.limits.steps), padding=padding
    ):
        studio.go_on()
        lines = [
            "code = drag(",
            f"    {sitting.name},",
            "    inverter.generator,",
            f"    handles={handles},",
            f"    targets={targets},",
            *(['    mask=to_tensor(Image.open("mask.png").convert("RGB"))[0],'] if mask is not None else []),
            f"    steps={step.number},",
            *([] if padding else ["    padding=False,"]),
            ")",
        ]
        far = max(step.distances)
        said = f"Step {step.number}: {far:.1f} px to go." if far > 1 else f"There after {step.number} steps."
        shown = _show(studio, step.code, lines, [sitting], [said], image=step.image)
        extra = {} if mask is None else {"mask": Image.fromarray((mask.numpy() * 255).astype(np.uint8))}
        yield replace(shown, handles=step.handles, photographs={**shown.photographs, **extra})


def blend_photographs(
    studio: Studio,
    contour: Sitting,
    details: Sitting,
    rings: Sequence[int],
    const: bool = True,
    layers: str = "",
    features: Sequence[int] = (),
    face: bool = False,
) -> Shown:
    """Takes the padding of one photograph and the latents of another.

    Args:
        studio: has the generator.
        contour: the photograph that gives the rings.
        details: the photograph that gives the rest.
        rings: resolutions at which the ring is the contour's.
        const: whether the constant is the contour's.
        layers: which latents are the details'; all if empty.
        features: resolutions at which features are the contour's.
        face: whether the other features are the details' on the face alone, and the contour's around it.
    """
    chosen = layers.strip() or None
    details_code, lines = details.code, []
    if chosen is not None:
        w_plus = mix(contour.code, details.code, chosen).w_plus
        details_code = replace(details.code, w_plus=w_plus)
        lines.append(f'details = replace(details, w_plus=mix(contour, details, "{chosen}").w_plus)')
    mask = face_mask(64) if face else None
    code = blend(contour.code, details_code, rings=rings, const=const, features=features, mask=mask)
    more = f", features={sorted(features)}" if features else ""
    more += ", mask=face_mask(64)" if face else ""
    lines.append(f"code = blend(contour, details, rings={sorted(rings)}, const={const}{more})")
    return _show(studio, code, lines, [contour, details])


def transfer_edit(
    studio: Studio, before: Sitting, after: Sitting, target: Sitting, strength: float = 1.0, padding: float = 1.0
) -> Shown:
    """Does to the target what was done between two photographs."""
    check_finite(strength=strength, padding=padding)
    code = transfer(before.code, after.code, target.code, strength, padding)
    line = f"code = transfer(before, after, target, strength={strength:g}, padding_strength={padding:g})"
    return _show(studio, code, [line], [before, after, target])


def sample(studio: Studio, seed: int, psi: float = 0.7, other: int | None = None, layers: str = "4-") -> Shown:
    """Makes an image out of nothing but a number.

    Args:
        studio: has the generator.
        seed: the seed of the latent.
        psi: the truncation: 1 leaves it, 0 is the mean.
        other: the seed of a second one, whose latents of ``layers`` are mixed in; none if not given.
        layers: which latents are mixed in, such as "4-".

    Raises:
        ConfigError: if psi is not finite, or there are no such layers.
    """
    check_finite(truncation=psi)
    generator = studio.inverter.generator
    width = generator.config["z_dim"]

    def latents(number: int) -> InversionCode:
        z = torch.randn(1, width, generator=torch.Generator().manual_seed(number)).to(generator.w_avg)
        with torch.no_grad():
            return InversionCode(generator.broadcast(generator.truncate(generator.mapping(z), psi)).contiguous())

    lines = [
        "def latents(seed):",
        f"    z = torch.randn(1, {width}, generator=torch.Generator().manual_seed(seed)).to(inverter.device)",
        f"    w = inverter.generator.truncate(inverter.generator.mapping(z), {psi:g})",
        "    return InversionCode(inverter.generator.broadcast(w))",
        "",
        f"code = latents({seed})",
    ]
    code = latents(seed)
    if other is not None:
        code = mix(code, latents(other), layers)
        lines.append(f'code = mix(code, latents({other}), "{layers}")')
    return _show(studio, code, lines, [])


def compare(studio: Studio, sitting: Sitting, steps: int = 60) -> Iterator[list[tuple[str, Tensor, dict[str, float]]]]:
    """Shows what padding is for: the photograph from latents alone, with padding, and as well as it can be had.

    Yields:
        Rows of a label, an image (1, 3, R, R) and its metrics, one more each time.
    """
    inverter, target = studio.inverter, sitting.target
    start = inverter.encode(torch.nn.functional.adaptive_avg_pool2d(target, inverter.resolution))
    bare = InversionCode(start.w_plus)
    plans = [(f"W+ only, {steps} steps", bare, steps), (f"with padding, {steps} steps", start, steps)]
    plans.append((f"the best: padding, {BEST} steps", start, BEST))
    rows: list[tuple[str, Tensor, dict[str, float]]] = []
    for label, code, count in plans:
        image = inverter.reconstruct(studio.refine(code, target, count))
        rows = [*rows, (label, image, studio.measure(image, target))]
        yield rows


def _show(
    studio: Studio,
    code: InversionCode,
    lines: Sequence[str],
    sittings: Sequence[Sitting],
    said: Sequence[str] = (),
    **given: Any,
) -> Shown:
    """Generates the image, and puts the lines that invert the photographs before the others."""
    image = given.get("image")
    if image is None:
        image = studio.inverter.reconstruct(code)
    before = [line for sitting in sittings for line in sitting.script()]
    whole = (*studio.preamble, *before, *lines, "image = inverter.reconstruct(code)")
    return Shown(code, image, whole, {one.name: one.photograph for one in sittings}, tuple(said))

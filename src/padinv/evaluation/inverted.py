"""Makes pairs by a model: inverts each photograph, and compares it with what the generator makes of its code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from padinv.codes import InversionCode
from padinv.evaluation.groups import groups_of
from padinv.evaluation.pairs import Batch, Sample, Settings, collate, read_picture, short_names
from padinv.evaluation.results import Number, Sampling
from padinv.exceptions import DataError, PadInvError
from padinv.feature_maps import draw_code
from padinv.images import to_image
from padinv.inversion import Inversion, Inverter
from padinv.sources.folders import Names
from padinv.sources.opening import Source


class Inverted:
    """Photographs and what a model makes of them.

    Reconstructions are rounded to 8 bits first, so that numbers are those of the files that ``padinv invert`` writes.

    Args:
        photographs: their source.
        inverter: the model.
        method: its name.
        align: whether to turn and crop to the face; the crop is then the photograph that is compared.
        refine: steps of optimization for each code.
        facts: further entries of the JSON, which say what the model is.
    """

    def __init__(
        self,
        photographs: Source,
        inverter: Inverter,
        method: str,
        *,
        align: bool = False,
        refine: int = 0,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.photographs = photographs
        self.inverter = inverter
        self.methods: tuple[str, ...] = (method,)
        self.align = align
        self.refine = refine
        self.facts: dict[str, Any] = {
            **(facts or {}),
            "fingerprint": inverter.fingerprint,
            "align": align,
            "refine": refine,
        }
        self.names: Sequence[str] = Names(short_names(photographs))

    def resolution(self) -> int:
        """The encoder's."""
        return self.inverter.resolution

    def batches(self, settings: Settings) -> Iterator[Batch]:
        """All photographs and what the model makes of them, in their order."""
        for start in range(0, len(self.photographs), settings.batch_size):
            indices = range(start, min(start + settings.batch_size, len(self.photographs)))
            samples: dict[int, Sample] = {}
            read: dict[int, Image.Image] = {}
            for index in indices:
                try:
                    read[index] = self._read(index)
                except DataError as error:
                    samples[index] = Sample(index, [], {}, f"{error}.")
            for index, photograph, made, problem in self._invert(read):
                if not problem:
                    try:
                        views = settings.views(photograph, [made])
                        samples[index] = Sample(index, views, groups_of(photograph) if settings.groups else {})
                        continue
                    except DataError as error:
                        problem = f"{self.photographs.name(index)} is left out: {error}."
                samples[index] = Sample(index, [], {}, problem)
            yield collate([samples[index] for index in indices])

    def _read(self, index: int) -> Image.Image:
        return read_picture(self.photographs, index, "is left out")

    def _inversion(self, read: Mapping[int, Image.Image]) -> Inversion:
        """Number → photograph to the inversion of all of them."""
        names = [self.photographs.name(index) for index in read]
        return self.inverter.invert(list(read.values()), align=self.align, refine=self.refine, names=names)

    def _invert(self, read: dict[int, Image.Image]) -> Iterator[tuple[int, Image.Image, Image.Image, str]]:
        """Number, photograph, reconstruction and problem: all at once, or each alone if that fails."""
        if not read:
            return
        try:
            inversion = self._inversion(read)
        except PadInvError as error:
            if len(read) == 1:
                (index, photograph), *_ = read.items()
                name, told = self.photographs.name(index), str(error).rstrip(".")
                reason = told.removeprefix(f"{name} cannot be read: ").removeprefix(f"{name}: ")  # most name it, too
                yield index, photograph, photograph, f"{name} is left out: {reason}."
                return
            for one in read.items():
                yield from self._invert(dict([one]))
            return
        targets = inversion.targets
        for place, (index, photograph) in enumerate(read.items()):
            shown = to_image(targets[place]) if self.align and targets is not None else photograph
            yield index, shown, to_image(inversion.images[place]), ""

    def inversions(self) -> Iterator[tuple[int, Inversion]]:
        """The number and the inversion of each photograph that can be inverted."""
        for index in range(len(self.photographs)):
            try:
                yield index, self._inversion({index: self._read(index)})
            except PadInvError:
                continue  # the evaluation has told it

    def pictures(self, index: int) -> tuple[Image.Image, list[Image.Image], Tensor | None]:
        """The photograph, its reconstruction, and the rings of its code around the maps that they pad."""
        photograph = self._read(index)
        inversion = self._inversion({index: photograph})
        assert inversion.targets is not None  # photographs have them
        shown = to_image(inversion.targets[0]) if self.align else photograph
        return shown, [to_image(inversion.images[0])], draw_code(self.inverter.generator, inversion.code, tile=96)


def measure_speed(inverter: Inverter, sampling: Sampling, batch_size: int = 16, runs: int = 30) -> dict[str, Number]:
    """How long a photograph takes, and how large its code is.

    Args:
        inverter: encodes and generates, without refinement.
        sampling: how the interval is made.
        batch_size: photographs at once, for the images a second.
        runs: how often one photograph is timed; other work on the machine moves the median little.

    Returns:
        ``latency_ms``, ``images_per_second`` and ``numbers_in_code``.
    """
    random = torch.Generator().manual_seed(sampling.seed)
    images = torch.rand(batch_size, 3, inverter.resolution, inverter.resolution, generator=random) * 2 - 1
    timed(inverter, images[:1])
    alone = np.array([timed(inverter, images[:1])[0] for _ in range(runs)]) * 1000
    draws = np.random.default_rng(sampling.seed).choice(alone, (1000, runs))
    low, high = np.quantile(np.median(draws, axis=1), [(1 - sampling.level) / 2, (1 + sampling.level) / 2])
    together, code = zip(*(timed(inverter, images) for _ in range(3)), strict=True)
    rates = [batch_size / seconds for seconds in together]
    numbers = float(sum(tensor[0].numel() for tensor in code[0].tensors()))
    return {
        "latency_ms": Number(float(np.median(alone)), float(low), float(high)),
        "images_per_second": Number(median(rates), min(rates), max(rates)),
        "numbers_in_code": Number(numbers, numbers, numbers),
    }


def timed(inverter: Inverter, images: Tensor) -> tuple[float, InversionCode]:
    """Seconds to encode images (B, 3, R, R) and to generate them again, and their codes."""
    start = time.perf_counter()
    code = inverter.encode(images)
    inverter.reconstruct(code)  # it checks that the images are finite, which waits for the device
    return time.perf_counter() - start, code

"""Inverts photographs and does a task to their codes, as a LightningModule that ``trainer.predict`` runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from PIL import Image
from pytorch_lightning import LightningModule
from torch import Tensor

from padinv.bulk.photographs import Photograph, Result
from padinv.bulk.task import Task
from padinv.codes import InversionCode
from padinv.exceptions import DataError, PadInvError
from padinv.images import square, to_tensor
from padinv.inversion import Inversion, Inverter
from padinv.inversion.detectors import GLANCE, Glance
from padinv.inversion.matching import resolution_remark
from padinv.metrics import reconstruction_metrics

SMALL = 2
"""A square of at most this many times the size of the networks' images is taken for a crop."""

MOST_TOLD = 3
"""The most photographs that a process warns of: further warnings would be alike."""


class BulkInversion(LightningModule):
    """Inverts photographs, does a task to their codes, and measures the reconstructions.

    Args:
        inverter: on the device of this process.
        task: what to do.
        references: the photographs or codes that the task needs: of each reference one, or several, whose mean it is.
        lpips: whether the LPIPS distance is measured, too.
        **inverting: ``align``, ``landmarks``, ``faces``, ``refine``, ``refine_features`` and ``on_step`` of
            :meth:`padinv.Inverter.invert`.
    """

    def __init__(
        self,
        inverter: Inverter,
        task: Task,
        references: Sequence[Sequence[Photograph]] = (),
        *,
        lpips: bool = True,
        **inverting: Any,
    ) -> None:
        super().__init__()
        self.inverter = inverter
        self.task = task
        self.references = references
        self.inverting = inverting
        self.metrics = reconstruction_metrics(inverter.resolution, lpips=lpips)
        self._told = 0

    def on_predict_start(self) -> None:
        """Inverts the references of the task.

        Raises:
            PadInvError: if one cannot be inverted, since the task needs all of them.
        """
        codes = [InversionCode.cat([self._invert_one(each)[0].code for each in one]).mean() for one in self.references]
        self.task.prepare(self.inverter.generator, codes)
        for remark in (remark for one in self.references for each in one for remark in self._remarks_on(each)):
            if self.trainer.is_global_zero:
                print(f"padinv: {remark}", file=sys.stderr)

    def predict_step(self, batch: list[Photograph], batch_idx: int) -> list[Photograph]:
        """Inverts a batch of photographs and does the task; a problem with one does not stop the others."""
        start = time.perf_counter()
        for photographs, inversion in self._invert([one for one in batch if not one.problem]):
            self._work_on(photographs, inversion)
        seconds = (time.perf_counter() - start) / max(1, len(batch))
        for photograph in batch:
            photograph.seconds = seconds
            photograph.remarks = (*photograph.remarks, *self._remarks_on(photograph))
        return batch

    def _remarks_on(self, photograph: Photograph) -> Iterator[str]:
        """Warns of a photograph that suits the networks badly: the first few of a process alone."""
        if self._told == MOST_TOLD or photograph.image is None or photograph.problem:
            return
        align = self.inverting.get("align", False)
        if remark := self._size_remark(photograph) if align else self._face_remark(photograph.image):
            self._told += 1
            others = f" Other photographs are not {'named' if align else 'looked at'}."
            yield f"{photograph.path}: {remark}.{others if self._told == MOST_TOLD else ''}"

    def _size_remark(self, photograph: Photograph) -> str | None:
        """Says that a pasted face has far fewer pixels than its place."""
        sides = [result.inversion.crop[0].side for result in photograph.results]
        return resolution_remark(max(sides), self.inverter.generator.resolution) if sides else None

    def _face_remark(self, image: Image.Image) -> str | None:
        """Says that a photograph is no crop of a face, if the generator makes faces.

        Small squares are taken for crops without a look: looking takes a while, and so does importing its packages.
        """
        small = SMALL * max(self.inverter.resolution, self.inverter.generator.resolution)
        if image.width == image.height <= small or self._glance is None:
            return None
        if self._glance.sees_face(to_tensor(square(image, GLANCE))):
            return None
        return "no face of the size and at the place that this model knows; add --align"

    @cached_property
    def _glance(self) -> Glance | None:
        """Looks for faces; None if the generator makes no faces, as its mean image tells."""
        generator, glance = self.inverter.generator, Glance(self.inverter.recipe)
        mean = InversionCode(generator.broadcast(generator.w_avg[None]))
        return glance if glance.sees_face(self.inverter.reconstruct(mean)[0].cpu()) else None

    def _work_on(self, photographs: Sequence[Photograph], inversion: Inversion) -> None:
        """Does the task to an inversion of these photographs at once, or to each alone if that fails."""
        try:
            results = list(self._results(inversion))
        except PadInvError as error:
            if len(photographs) > 1:
                for photograph, one in zip(photographs, inversion, strict=True):
                    self._work_on([photograph], one)
                return
            photographs[0].problem = f"{photographs[0].path} could not be done: {error}"
        else:
            for photograph, result in zip(photographs, results, strict=True):
                photograph.results = (*photograph.results, result)

    def _invert(self, batch: Sequence[Photograph]) -> Iterator[tuple[list[Photograph], Inversion]]:
        """Inverts photographs all at once, or each alone if that fails, and tells which one each image belongs to."""
        alone = [one for one in batch if one.image is None]
        if pictures := [one for one in batch if one.image is not None]:
            try:
                inversion = self._invert_photographs(pictures)
            except PadInvError:
                alone += pictures
            else:
                named = {one.path: one for one in pictures}
                yield [named[name] for name in inversion.names], inversion
        for photograph in alone:
            try:
                inversion = self._invert_one(photograph)
            except PadInvError as error:
                photograph.problem = str(error)
            else:
                yield [photograph] * len(inversion), inversion

    def _invert_one(self, photograph: Photograph) -> Inversion:
        """Inverts a photograph, or reads a saved code; raises PadInvError, which names it, if anything is wrong."""
        if photograph.problem:
            raise DataError(photograph.problem)
        if photograph.image is None:
            return self.inverter.load(photograph.path)
        return self._invert_photographs([photograph])

    def _invert_photographs(self, photographs: Sequence[Photograph]) -> Inversion:
        images, names = [one.image for one in photographs], [one.path for one in photographs]
        return self.inverter.invert(images, names=names, **self.inverting)

    def _results(self, inversion: Inversion) -> Iterator[Result]:
        code = self.task.apply(inversion.code)
        images = inversion.images if code is inversion.code else self.inverter.reconstruct(code)
        for i, reconstruction in enumerate(inversion.images):
            row = [] if inversion.targets is None else [inversion.targets[i]]
            row += [reconstruction] if code is inversion.code else [reconstruction, images[i]]
            grid = self.task.draw(self.inverter.generator, code[i], row)
            metrics = {} if inversion.targets is None else self._measure(reconstruction, inversion.targets[i])
            metrics |= self.task.facts(i)
            one = replace(inversion[i], code=code[i], images=images[i, None], targets=None)
            yield Result(one.cpu(), grid, metrics)

    def _measure(self, reconstruction: Tensor, target: Tensor) -> dict[str, float]:
        """Compares one image with another, both (3, H, W), at the encoder's resolution, as validation does."""
        pair = (F.adaptive_avg_pool2d(image[None], self.inverter.resolution) for image in (reconstruction, target))
        values = self.metrics(*pair)  # forward() measures this pair alone; compute() would gather from all processes
        self.metrics.reset()
        return {name: float(value) for name, value in values.items()}

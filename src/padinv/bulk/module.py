"""Inverts photographs and does a task to their codes, as a LightningModule that ``trainer.predict`` runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from torch import Tensor

from padinv.bulk.photographs import Photograph, PhotographDataset, Result
from padinv.bulk.task import Task
from padinv.codes import InversionCode
from padinv.exceptions import DataError, PadInvError
from padinv.images import square, to_tensor
from padinv.inversion import Inversion, Inverter
from padinv.inversion.detectors import GLANCE, Glance
from padinv.inversion.landmarks import Faces, Points
from padinv.inversion.matching import resolution_remark
from padinv.metrics import reconstruction_metrics
from padinv.progress import Progress

SMALL = 2
"""Squares up to this many times the size of the networks' images are taken for crops."""

MOST_TOLD = 3
"""The most remarks of a process on photographs, on what is no crop of a face or has more pixels; others are alike."""


class BulkInversion(LightningModule):
    """Inverts photographs, does a task to their codes, and measures the reconstructions.

    Args:
        inverter: on the device of this process.
        task: what to do.
        references: the photographs or codes that the task needs.
        align: whether faces are aligned.
        landmarks: of the photographs, by path or file name; a detector finds faces if not given.
        faces: which of the faces in a photograph.
        refine: steps of optimization for each code.
        lpips: whether the LPIPS distance is measured, too.
        refine_features: resolutions whose features are optimized; those of the encoder if not given.
    """

    def __init__(
        self,
        inverter: Inverter,
        task: Task,
        references: Sequence[Photograph] = (),
        *,
        align: bool = False,
        landmarks: Mapping[str, Points] | None = None,
        faces: Faces = "largest",
        refine: int = 0,
        lpips: bool = True,
        refine_features: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.inverter = inverter
        self.task = task
        self.references = references
        self.align = align
        self.landmarks = landmarks
        self.faces = faces
        self.refine = refine
        self.metrics = reconstruction_metrics(inverter.resolution, lpips=lpips)
        self._glance = None if align else Glance(inverter.recipe)
        self._knows_faces: bool | None = None
        self._told = 0
        self.refine_features = refine_features

    def on_predict_start(self) -> None:
        """Inverts the references of the task.

        Raises:
            PadInvError: if that fails, since the task cannot do without.
        """
        codes = [self._invert_one(one)[0].code for one in self.references]
        self.task.prepare(self.inverter.generator, codes)
        for remark in (remark for one in self.references for remark in self._look_at(one)):
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
            photograph.remarks = (*photograph.remarks, *self._look_at(photograph), *self._compare_sizes(photograph))
        return batch

    def _compare_sizes(self, photograph: Photograph) -> Iterator[str]:
        """Warns if a pasted face has far fewer pixels than its place."""
        sides = [result.inversion.crop[0].side for result in photograph.results]
        if not self.align or photograph.image is None or not sides or self._told == MOST_TOLD:
            return
        if remark := resolution_remark(max(sides), self.inverter.generator.resolution):
            self._told += 1
            end = " Other photographs are not named." if self._told == MOST_TOLD else ""
            yield f"{photograph.path}: {remark}.{end}"

    def _look_at(self, photograph: Photograph) -> Iterator[str]:
        """Says so if a photograph is no crop of a face, and the generator makes such, as its mean image tells.

        Small squares are taken for crops without a look: looking takes a while, and so does importing its packages.
        """
        if self._glance is None or photograph.image is None or photograph.problem:
            return
        width, height = photograph.image.size
        if width == height <= SMALL * max(self.inverter.resolution, self.inverter.generator.resolution):
            return
        if self._knows_faces is None:
            generator = self.inverter.generator
            mean = InversionCode(generator.broadcast(generator.w_avg[None]))
            self._knows_faces = self._glance.sees_face(self.inverter.reconstruct(mean)[0].cpu())
        if not self._knows_faces or self._told == MOST_TOLD:
            return
        if not self._glance.sees_face(to_tensor(square(photograph.image, GLANCE))):
            self._told += 1
            end = " Other photographs are not looked at." if self._told == MOST_TOLD else ""
            yield f"{photograph.path}: no face of the size and at the place that this model knows; add --align.{end}"

    def _work_on(self, photographs: Sequence[Photograph], inversion: Inversion) -> None:
        """Does the task to an inversion of these photographs, all at once, or to each alone if that fails."""
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
        """Inverts photographs, and says to which each image belongs: all at once, or each alone if that fails."""
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
        """Inverts a photograph, or reads a saved code.

        Raises:
            PadInvError: if there is no face, or anything else is wrong; the photograph is named.
        """
        if photograph.problem:
            raise DataError(photograph.problem)
        if photograph.image is None:
            return self.inverter.load(photograph.path)
        return self._invert_photographs([photograph])

    def _invert_photographs(self, photographs: Sequence[Photograph]) -> Inversion:
        return self.inverter.invert(
            [one.image for one in photographs],
            align=self.align,
            landmarks=self.landmarks,
            faces=self.faces,
            refine=self.refine,
            refine_features=self.refine_features,
            on_step=self._on_step,
            names=[one.path for one in photographs],
        )

    def _on_step(self, step: int, _: Tensor) -> None:
        bar = self.trainer.progress_bar_callback
        if isinstance(bar, PhotographProgressBar):
            bar.show_step(step, self.refine)

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


class PhotographProgressBar(ProgressBar):
    """Counts photographs over all processes: a bar on a terminal, or a line from time to time, as in a log file.

    Args:
        every: seconds from one line to the next.
    """

    def __init__(self, every: float = 30.0) -> None:
        super().__init__()
        self.every, self.enabled = every, True
        self.progress: Progress | None = None

    def disable(self) -> None:
        """Shows nothing: Lightning calls it in all processes but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Shows something again."""
        self.enabled = True

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins the bar."""
        loader: Any = trainer.predict_dataloaders
        dataset: PhotographDataset = loader.dataset
        self.progress = Progress(len(dataset.photographs), "photographs", every=self.every, show=self.enabled)
        self.progress.__enter__()

    def show_step(self, step: int, steps: int) -> None:
        """Shows every ten steps how far the refinement of a batch is, as that may take minutes."""
        if step % 10 == 0 and self.progress is not None:
            self.progress.note(f"step {step} of {steps}")

    def on_predict_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Moves the bar, as if all processes were as far as this one."""
        if self.progress is not None:
            self.progress.to(self.progress.done + len(batch) * trainer.world_size)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ends the bar, also after an error."""
        self.end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Ends the bar, so that the terminal is as it was."""
        self.end()

    def end(self) -> None:
        """Leaves the bar as it is."""
        if self.progress is not None:
            self.progress.__exit__()
            self.progress = None

"""Inversion and a task on the codes, as a LightningModule that ``trainer.predict`` runs on devices."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor

from padinv.bulk.dataset import Item
from padinv.bulk.progress import PhotographProgressBar
from padinv.bulk.task import Task
from padinv.exceptions import DataError, PadInvError
from padinv.inversion import Inversion, Inverter
from padinv.inversion.landmarks import Faces, Points
from padinv.metrics import reconstruction_metrics


@dataclass(frozen=True)
class Result:
    """The result for one face, or for the middle of one photograph.

    Args:
        inversion: of one image: the code and the image of the result, on the CPU.
        grid: the images that it was made from, and itself, side by side, (3, H, W) in [0, 1].
        metrics: of the reconstruction; empty if only its code was given.
    """

    inversion: Inversion
    grid: Tensor
    metrics: Mapping[str, float]


@dataclass
class Outcome:
    """The outcome of one photograph: a result for each face, or a problem."""

    item: Item
    results: list[Result] = field(default_factory=list)
    problem: str = ""
    seconds: float = 0.0


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
    """

    def __init__(
        self,
        inverter: Inverter,
        task: Task,
        references: Sequence[Item] = (),
        *,
        align: bool = False,
        landmarks: Mapping[str, Points] | None = None,
        faces: Faces = "largest",
        refine: int = 0,
    ) -> None:
        super().__init__()
        self.inverter = inverter
        self.task = task
        self.references = references
        self.align = align
        self.landmarks = landmarks
        self.faces = faces
        self.refine = refine
        self.metrics = reconstruction_metrics(inverter.resolution)

    def on_predict_start(self) -> None:
        """Inverts the references of the task.

        Raises:
            PadInvError: if that fails, since the task cannot do without.
        """
        codes = [self._invert_one(item)[0].code for item in self.references]
        self.task.prepare(self.inverter.generator, codes)

    def predict_step(self, batch: list[Item], batch_idx: int) -> list[Outcome]:
        """Inverts a batch of photographs and does the task; a problem with one does not stop the others."""
        start = time.perf_counter()
        outcomes = {item.photograph.path: Outcome(item, problem=item.problem) for item in batch}
        for items, inversion in self._invert([item for item in batch if not item.problem], outcomes):
            self._work_on(items, inversion, outcomes)
        seconds = (time.perf_counter() - start) / max(1, len(batch))
        return [replace(outcome, seconds=seconds) for outcome in outcomes.values()]

    def _work_on(self, items: Sequence[Item], inversion: Inversion, outcomes: Mapping[str, Outcome]) -> None:
        """Does the task to an inversion of these items, all at once, or to each alone if that fails."""
        try:
            results = list(self._results(inversion))
        except PadInvError as error:
            if len(items) > 1:
                for item, one in zip(items, inversion, strict=True):
                    self._work_on([item], one, outcomes)
                return
            path = items[0].photograph.path
            outcomes[path].problem = f"{path} could not be done: {error}"
        else:
            for item, result in zip(items, results, strict=True):
                outcomes[item.photograph.path].results.append(result)

    def _invert(self, items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> Iterator[tuple[list[Item], Inversion]]:
        """Inverts items, and says to which each image belongs: all at once, or each alone if that fails."""
        alone = [item for item in items if item.image is None]
        if photographs := [item for item in items if item.image is not None]:
            try:
                inversion = self._invert_photographs(photographs)
            except PadInvError:
                alone += photographs
            else:
                named = {item.photograph.path: item for item in photographs}
                yield [named[name] for name in inversion.names], inversion
        for item in alone:
            try:
                inversion = self._invert_one(item)
            except PadInvError as error:
                outcomes[item.photograph.path].problem = str(error)
            else:
                yield [item] * len(inversion), inversion

    def _invert_one(self, item: Item) -> Inversion:
        """Inverts a photograph, or reads a saved code.

        Raises:
            PadInvError: if there is no face, or anything else is wrong; the photograph is named.
        """
        path = item.photograph.path
        if item.problem:
            raise DataError(item.problem)
        return self.inverter.load(path) if item.image is None else self._invert_photographs([item])

    def _invert_photographs(self, items: Sequence[Item]) -> Inversion:
        return self.inverter.invert(
            [item.image for item in items],
            align=self.align,
            landmarks=self.landmarks,
            faces=self.faces,
            refine=self.refine,
            on_step=self._on_step,
            names=[item.photograph.path for item in items],
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
            one = replace(inversion[i], code=code[i], images=images[i, None], targets=None)
            yield Result(one.cpu(), grid, metrics)

    def _measure(self, reconstruction: Tensor, target: Tensor) -> dict[str, float]:
        """Compares one image with another, both (3, H, W), at the encoder's resolution, as validation does."""
        pair = (F.adaptive_avg_pool2d(image[None], self.inverter.resolution) for image in (reconstruction, target))
        values = self.metrics(*pair)  # forward() measures this pair alone; compute() would gather from all processes
        self.metrics.reset()
        return {name: float(value) for name, value in values.items()}

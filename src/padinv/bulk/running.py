"""Inverts one photograph or thousands, on one device or on many, by ``trainer.predict``."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader

from padinv.bulk.module import BulkInversion
from padinv.bulk.naming import names_of_faces
from padinv.bulk.outputs import OutputFolder, Record, digest
from padinv.bulk.photographs import content_of, photographs_of, read_all, read_reference, search
from padinv.bulk.task import BulkOptions, Task
from padinv.bulk.writer import ResultWriter, write_sheet
from padinv.checkpoints import fingerprint, load_pair
from padinv.exceptions import DataError, printable
from padinv.inversion import FaceDetector, Inverter, find_detector, load_landmarks
from padinv.inversion.detectors import AUTO, MTCNN, name_of
from padinv.inversion.landmarks import Points, as_landmarks
from padinv.inversion.refinement import check_features
from padinv.inversion.tables import Table
from padinv.launching import check_nodes
from padinv.progress import Progress
from padinv.sources.finding import is_code


@dataclass(frozen=True)
class Report:
    """The results of a run.

    Args:
        folder: holds the results.
        records: of the photographs, in their order; one that failed has an "error" instead of a "name".
        inverter: holds the networks.
        is_first: whether this is the first process; it alone prints and finishes the task.
        given: paths of the photographs as the user named them; one that was named twice is there twice.
    """

    folder: OutputFolder
    records: list[Record]
    inverter: Inverter
    is_first: bool
    given: tuple[str, ...] = ()

    @property
    def done(self) -> list[Record]:
        """The records of the photographs that did not fail."""
        return [record for record in self.records if "name" in record]

    @property
    def names(self) -> list[str]:
        """The names of the results, in the order of photographs and faces."""
        return [name for record in self.done for name in names_of_faces(record["name"], record["faces"])]

    @property
    def names_as_given(self) -> list[str]:
        """The names of the results, in the order in which the user named the photographs, repeated ones included."""
        done = {record["photograph"]: record for record in self.done}
        chosen = (done[path] for path in self.given if path in done)
        return [name for record in chosen for name in names_of_faces(record["name"], record["faces"])]

    def summary(self) -> str:
        """One line: where the results are, how many, and the mean of each metric."""
        done, failed = len(self.done), len(self.records) - len(self.done)
        parts = [f"{printable(str(self.folder.path))}: {done} photograph{'s' * (done != 1)}"]
        parts += [f"{key} {value:.4f}" for key, value in self.means.items()]
        return ", ".join(parts) + (f"; {failed} failed, see the errors in metrics.jsonl" if failed else "")

    def as_json(self) -> dict[str, Any]:
        """The same and more, for a program: the means, and each photograph with its files."""
        photographs = []
        for record in self.records:
            facts = {key: value for key, value in record.items() if key != "settings"}
            if "name" in record:
                names = names_of_faces(record["name"], record["faces"])
                for kind in self.folder.kinds:
                    own = [record["name"]] if kind == "photographs" else names
                    facts[kind] = [str(self.folder.file(kind, name)) for name in own]
            photographs.append(facts)
        return {
            "output": str(self.folder.path),
            "done": len(self.done),
            "failed": len(self.records) - len(self.done),
            "metrics": self.means,
            "photographs": photographs,
        }

    @property
    def means(self) -> dict[str, float]:
        """The mean of each metric over the photographs that have it."""
        found: dict[str, float] = {}
        for key in ("mse", "psnr", "ms_ssim", "lpips"):
            values = [record[key] for record in self.records if isinstance(record.get(key), int | float)]
            found |= {key: mean(values)} if values else {}
        return found

    @property
    def exit_code(self) -> int:
        """1 in the first process if a photograph failed. Others return 0, since launchers take their 1 for a crash."""
        return int(self.is_first and any("error" in record for record in self.records))


def run(task: Task, photographs: Sequence[str], options: BulkOptions) -> Report:
    """Inverts photographs, does a task to their codes, and writes the results; it skips what is already done.

    Lightning starts a process for each device; all of them call it with the same arguments.

    Args:
        task: what to do to the codes.
        photographs: what the user named (:func:`~padinv.bulk.find_photographs`).
        options: how to do it, and where to write.

    Raises:
        PadInvError: if nothing can be done: no photographs, no model, or a folder that cannot be written or that
            another command is using. A photograph that fails is printed and recorded, and the others go on.
    """
    task.begin(photographs, options)
    options.check_device()
    check_nodes(options.num_nodes)
    left_out: list[str] = []
    source, paths = search(photographs, options.output, left_out.append)
    references = [read_reference(path, task.several) for path in task.references]
    contents = [content for _, content in references]
    folder = OutputFolder(options.output, ("images", "grids", "codes", *(["photographs"] if options.aligned else [])))
    trainer = _trainer(options)
    with folder.alone(f"padinv {task.name}") if trainer.is_global_zero else nullcontext():
        landmarks = None if options.landmarks is None else load_landmarks(options.landmarks)
        detector = None
        if options.aligned and landmarks is None:
            named = options.detector
            detector = find_detector(named) if named in (AUTO, MTCNN) else FaceDetector(named)
        encoder, generator = load_pair(options.model, options.generator, options.sha256)
        check_features(options.refine_features or [], generator)
        for remark in task.check(generator):
            if trainer.is_global_zero:
                print(f"padinv: {remark}", file=sys.stderr)
        common = {
            "task": [task.name, task.settings, contents],
            "networks": [fingerprint(encoder), fingerprint(generator)],
            "refine": options.refine if options.refine_features is None else [options.refine, options.refine_features],
            "precision": options.precision,
            "faces": [options.faces, None if detector is None else name_of(detector)] if options.aligned else None,
        }
        found = photographs_of(paths, folder)
        if landmarks is not None:
            landmarks = landmarks.among(one.path for one in found if not is_code(one.path))
        given = [replace(one, settings=digest({**common, "landmarks": _own(landmarks, one.path)})) for one in found]
        waiting = [
            one
            for one in given
            if options.overwrite
            or not folder.is_done(one.path, one.settings, one.name, partial(content_of, source, one.place))
        ]
        inverter = Inverter(
            encoder,
            generator,
            device=trainer.strategy.root_device,
            batch_size=options.batch_size,
            detector=detector,
            keep_memory=options.keep_memory,
            precision=options.precision,
        )
        for text in left_out if trainer.is_global_zero else ():
            print(f"padinv: {text}.", file=sys.stderr)
        if trainer.is_global_zero and len(waiting) < len(given):
            print(f"{len(given) - len(waiting)} of {len(given)} were done already; --overwrite makes them again.")
        if waiting:
            progress = Progress(len(waiting), "photographs", show=trainer.is_global_zero)

            def on_step(step: int, _: Tensor) -> None:
                if step % 10 == 0:  # the refinement of a batch may take minutes
                    progress.note(f"step {step} of {options.refine}")

            module = BulkInversion(
                inverter,
                task,
                [photographs for photographs, _ in references],
                lpips=options.lpips,
                align=options.aligned,
                landmarks=landmarks,
                faces=options.faces,
                refine=options.refine,
                refine_features=options.refine_features,
                on_step=on_step,
            )
            loader: DataLoader[Any] = DataLoader(
                [*waiting, *[None] * (trainer.world_size - len(waiting))],  # type: ignore[arg-type]  # each process needs one
                batch_size=options.batch_size,
                num_workers=options.num_workers(len(waiting)),
                collate_fn=partial(read_all, source),
            )
            trainer.callbacks.append(ResultWriter(folder, progress))  # type: ignore[attr-defined]  # Lightning's own way
            try:
                with folder.many_files(), progress:
                    trainer.predict(module, loader, return_predictions=False)
            except SystemExit as stop:  # Lightning raises the one at Ctrl+C, the writer the other at SIGTERM
                print("padinv: stopped; the same command goes on where it was.", file=sys.stderr)
                told = signal.SIGTERM if isinstance(stop, SIGTERMException) else signal.SIGINT
                raise SystemExit(128 + told) from stop
        elif trainer.is_global_zero:
            folder.merge()
        records = [folder.records[one.path] for one in given if one.path in folder.records]
        report = Report(folder, records, inverter, trainer.is_global_zero, tuple(path for path in paths if path))
        if report.is_first:
            write_sheet(folder)
            print(report.summary())
            task.finish(report)
    return report


def _own(landmarks: Table[Points] | None, path: str) -> Any:
    """The entry of one photograph in a table of landmarks: its results depend on this entry alone."""
    try:
        points = None if landmarks is None else landmarks.find(path)
        return landmarks is not None if points is None else as_landmarks(points).tolist()
    except DataError as error:  # the inversion of the photograph raises it again
        return str(error)


def _trainer(options: BulkOptions) -> Trainer:
    # Lightning's remarks on devices and workers do not help someone who inverts photographs.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "The 'predict_dataloader' does not have many workers")
    # Lightning 2.6.6 itself, with torch >= 2.13
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    return Trainer(
        **options.trainer_arguments(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,  # refinement needs gradients
    )

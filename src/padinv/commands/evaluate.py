"""The command that measures reconstructions: files of any method, or what a model makes."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.exceptions import ConfigError, printable
from padinv.files import local_path, make_writable
from padinv.options import LIMIT_OF_WORKERS, Command, file, folder, number, option, whole_number

if TYPE_CHECKING:
    from padinv.editing import Direction
    from padinv.evaluation.pairs import Subject
    from padinv.evaluation.results import Evaluation, Number, Sampling

NAMED = ("default", "sfe", "styleres", "padinv")
"""Names of the protocols; the help lists them, and must not import torch."""


def read_metrics(text: str) -> list[str]:
    """Reads what ``--metrics`` takes, such as "mse,lpips"."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ArgumentTypeError("must be names such as mse,lpips, and is empty")
    return names


@dataclass
class Evaluate(Command):
    """Measure reconstructions: any two folders, matched by name, or a model on photographs.

    Args:
        photographs: folder, zip file, or bundled data set.
        reconstructions: the same; a folder that padinv invert has written stands for its images.
        output: folder for evaluation.json, images.csv and report.html.
        model: model that inverts the photographs first: a bundled model, folder or checkpoint.
        data: photographs for the model.
        compare: two folders of reconstructions of the same photographs, compared image by image.
        generator: file of the generator, if the model is an encoder alone.
        align: find the face first.
        refine: optimize each code for N steps.
        protocol: how pictures are made comparable.
        resolution: side in pixels at which the default protocol compares (default: that of the encoder or the files,
            256 at most).
        metrics: measure only these, such as mse,lpips,fd.
        features: network for distances between sets: alexnet, inception, inception_torchvision, random, a class
            path, an .onnx file, or none.
        identity: recognition model for the similarity of faces, .onnx or a folder; not the one of the training.
        discriminator: name or file of a discriminator, for the distance in its features.
        vgg: file with the convolutions of VGG16, to measure LPIPS in them, too.
        edit: direction towards an attribute: measure how well it edits the codes of the model, too.
        labels: table with the attribute of each photograph.
        column: column of the attribute (default: the direction's name).
        directions: where the directions are (default: --model).
        groups: show results by skin tone, and by grey and colour, too; photographs must be cropped to the face.
        resamples: number of samples of the bootstrap.
        level: share of the intervals that hold the true value.
        seed: seed of all random draws.
        device: cpu, cuda, cuda:N or mps (default: cuda if there is one).
        batch_size: pictures that are measured at once.
        workers: processes that decode pictures (default: by the number of cores).
    """

    photographs: str | None = option(nargs="?", metavar="PHOTOGRAPHS")
    reconstructions: str | None = option(nargs="?", metavar="RECONSTRUCTIONS")
    output: Path | None = option(None, folder, flags=("-o", "--output"), metavar="OUT", group="results")
    compare: list[str] | None = option(None, nargs=2, metavar=("A", "B"))
    model: str | None = option(None, metavar="MODEL", group="model")
    data: str | None = option(None, metavar="PHOTOGRAPHS", group="model")
    generator: str | None = option(None, metavar="FILE", rare=True, group="model")
    align: bool = option(False, group="model")
    refine: int = option(0, whole_number(0), metavar="N", rare=True, group="model")
    protocol: str = option("default", choices=NAMED, group="measures")
    resolution: int | None = option(None, whole_number(8), metavar="PX", rare=True, group="measures")
    metrics: list[str] | None = option(None, read_metrics, metavar="NAMES", group="measures")
    features: str = option("alexnet", metavar="NETWORK", rare=True, group="measures")
    identity: str | None = option(None, metavar="FILE", rare=True, group="measures")
    discriminator: str | None = option(None, metavar="FILE", rare=True, group="measures")
    vgg: str | None = option(None, metavar="FILE", rare=True, group="measures")
    groups: bool = option(False, group="measures")
    edit: str | None = option(None, metavar="DIRECTION", group="editing")
    labels: Path | None = option(None, file, metavar="CSV", rare=True, group="editing")
    column: str | None = option(None, metavar="NAME", rare=True, group="editing")
    directions: str | None = option(None, metavar="FILE", rare=True, group="editing")
    resamples: int = option(10_000, whole_number(1), metavar="N", rare=True, group="intervals")
    level: float = option(0.95, number(0.5, 0.9999), rare=True, group="intervals")
    seed: int = option(0, whole_number(0), metavar="N", rare=True, group="intervals")
    device: str | None = option(None, group="speed")
    batch_size: int = option(16, whole_number(1), metavar="N", group="speed")
    workers: int | None = option(None, whole_number(0, LIMIT_OF_WORKERS), metavar="N", rare=True, group="speed")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [each for each in (self.photographs, self.reconstructions) if each is not None]
        if self.model is not None:
            if self.compare or self.reconstructions is not None:
                raise ConfigError("--model makes the reconstructions: give photographs with --data, and nothing else.")
            if len(given) + (self.data is not None) != 1:
                raise ConfigError("--model needs photographs: give them once, with --data.")
        elif self.data is not None:
            raise ConfigError("--data is for --model: give a model, or PHOTOGRAPHS RECONSTRUCTIONS.")
        elif self.compare is not None and len(given) != 1:
            raise ConfigError("--compare A B needs the photographs, too: padinv evaluate PHOTOGRAPHS --compare A B.")
        elif self.compare is None and len(given) != 2:
            raise ConfigError(
                "padinv evaluate needs two folders, PHOTOGRAPHS RECONSTRUCTIONS, or --model MODEL --data PHOTOGRAPHS."
            )
        if (self.edit is None) != (self.labels is None):
            raise ConfigError("--edit and --labels go together: a direction, and a table with the attribute.")
        for name in ("generator", "align", "refine", "edit"):
            if getattr(self, name) and self.model is None:
                raise ConfigError(f"--{name} is for --model: give a model, or leave it out.")

    def run(self) -> int:
        """Measures, prints, and writes; returns 1 if a pair could not be compared."""
        from padinv.evaluation import Settings, evaluate
        from padinv.evaluation.protocols import find_protocol
        from padinv.evaluation.results import SPEED, Sampling
        from padinv.inversion.backends import find_device

        device = find_device(self.device)
        remarks: list[str] = []
        if self.output is not None:
            make_writable(self.output, "choose another folder with --output")
        sampling = Sampling(self.resamples, self.seed, self.level)
        subject = self._subject(device, remarks)
        for remark in remarks:
            print(f"padinv: {printable(remark)}", file=sys.stderr)
        failed: list[str] = []

        def tell(problem: str) -> None:
            failed.append(problem)
            print(f"padinv: {printable(problem)}", file=sys.stderr)

        measures = {
            "only": self.metrics and [name for name in self.metrics if self.model is None or name not in SPEED],
            "features": None if self.features == "none" else self.features,
            "identity": self.identity,
            "discriminator": self.discriminator,
            "vgg": self.vgg,
            "device": device,
        }
        asked = None if self.edit is None else self._direction_and_labels(subject)
        protocol, workers = find_protocol(self.protocol), self._workers(len(subject.names))
        if protocol.side and self.resolution not in (None, protocol.side):
            print(f"padinv: --resolution has no effect: {protocol.name} has its own sizes.", file=sys.stderr)
        settings = Settings(protocol, self.resolution, sampling, self.groups, self.batch_size, workers, measures)
        results, indices = evaluate(subject, settings, tell)
        results[0].metrics |= self._speed(subject, sampling)
        if asked is not None:
            self._edit(subject, results[0], *asked)
        for result in results:
            result.remarks = [*remarks, *result.remarks]
        self._tell(results)
        if self.output is not None:
            self._write(results, subject, indices)
        return int(bool(failed))

    def _workers(self, count: int) -> int:
        """One a core, up to 8; none for fewer than 500 pairs, which take less time than the processes' start."""
        if self.workers is not None:
            return self.workers
        return 0 if count < 500 else min(8, os.cpu_count() or 1)

    def _subject(self, device: Any, remarks: list[str]) -> Subject:
        from padinv.evaluation.inverted import Inverted
        from padinv.evaluation.pairs import Files, match
        from padinv.inversion import Inverter
        from padinv.sources import find_photographs

        photographs = find_photographs([str(self.data or self.photographs)], remark=remarks.append)
        if self.model is None:
            methods = self.compare or [str(self.reconstructions)]
            sources = [find_photographs([images_in(each)], remark=remarks.append) for each in methods]
            pairs = match(photographs, sources)
            remarks += pairs.remarks
            return Files(pairs, methods)
        speed = {"device": device, "batch_size": self.batch_size}
        inverter = Inverter.from_pretrained(self.model, self.generator, **speed)
        facts = {"model": self.model, "data": self.data or self.photographs}
        return Inverted(photographs, inverter, self.model, align=self.align, refine=self.refine, facts=facts)

    def _speed(self, subject: Subject, sampling: Sampling) -> dict[str, Number]:
        """The model's times and size, as far as they are asked for."""
        from padinv.evaluation.inverted import Inverted, measure_speed
        from padinv.evaluation.results import SPEED

        asked = [name for name in SPEED if self.metrics is None or name in self.metrics]
        if not asked or not isinstance(subject, Inverted):
            return {}
        speeds = measure_speed(subject.inverter, sampling, self.batch_size)
        return {name: speeds[name] for name in asked}

    def _direction_and_labels(self, subject: Subject) -> tuple[Direction, list[float | None]]:
        """What is edited, and who has it already: 0 or 1 for each photograph. Checked before anything is measured."""
        from padinv.commands.labels import as_numbers, read_labels
        from padinv.editing import load_directions
        from padinv.evaluation.attributes import check_labels
        from padinv.evaluation.inverted import Inverted

        assert isinstance(subject, Inverted) and self.labels is not None and self.edit is not None  # noqa: PT018
        direction = load_directions(self.directions or str(self.model))[self.edit]
        column = self.column or self.edit
        paths = [subject.photographs.name(index) for index in range(len(subject.names))]
        words = read_labels(self.labels, paths, column)
        positive = direction.metadata.get("positive")
        if positive in words:  # the direction says which word is 1; otherwise it is the later one of the alphabet
            words = [None if word is None else str(int(word == positive)) for word in words]
        labels = as_numbers(words, column)
        if not {label for label in labels if label is not None} <= {0.0, 1.0}:
            raise ConfigError(f"--labels {self.labels}: the column {column!r} must hold two words, or 0 and 1.")
        check_labels(labels)
        return direction, labels

    def _edit(self, subject: Subject, result: Evaluation, direction: Direction, labels: Sequence[float | None]) -> None:
        """Adds how well codes can be edited: the curves of whole codes and of latents alone, and their summaries."""
        from padinv.evaluation.editability import edit_curves
        from padinv.evaluation.inverted import Inverted

        assert isinstance(subject, Inverted)
        curves = edit_curves(subject, direction, labels, self.identity, result.sampling)
        result.editing = {space: curve.plain() for space, curve in curves.items()}
        result.metrics |= {"lec": curves["code"].consistency, "kept_at_equal_change": curves["code"].area}
        result.facts |= {"edit": self.edit, "labels": str(self.labels), "likeness": self.identity or "1 - LPIPS"}

    def _tell(self, results: list[Evaluation]) -> None:
        lines = [line for result in results for line in ["", *result.lines()]]
        lines += [line for remark in results[-1].remarks if " few" in remark for line in ("", remark)]
        self.tell(results[-1].as_json(), *lines[1:])

    def _write(self, results: list[Evaluation], subject: Subject, indices: list[int]) -> None:
        from padinv.evaluation.report import write_report

        assert self.output is not None
        results[-1].write_json(self.output / "evaluation.json")
        results[-1].write_csv(self.output / "images.csv")
        write_report(results, subject, indices, self.output / "report.html")
        print(f"\n{printable(str(self.output))}: evaluation.json, images.csv, report.html")


def images_in(path: str) -> str:
    """Replaces a folder that ``padinv invert`` has written, or its codes, by its images; keeps any other path.

    Raises:
        ConfigError: if the folder holds codes alone.
    """
    from padinv.bulk.outputs import read_records

    place = local_path(path)
    results = place.parent if place.name == "codes" else place
    if not results.is_dir() or not read_records(results):
        return path
    if (results / "images").is_dir():
        return str(results / "images")
    if place.name == "codes" or (place / "codes").is_dir():
        raise ConfigError(f"{path} holds codes and no pictures: padinv show draws them, and padinv invert writes both.")
    return path

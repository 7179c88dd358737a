"""The model card of a trained model: what it is, how it was trained, what it reaches, and how to load it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from padinv._version import __version__
from padinv.evaluation.measuring import HIGHER_IS_BETTER
from padinv.evaluation.results import Evaluation, interval_of, shown
from padinv.inversion import Inverter

CARD, SHEET = "README.md", "reconstructions.png"

LOADING = re.compile(r'from_pretrained\("[^"\n]*"\)')

NO_LICENCE = "Its author has stated no licence: ask before you use it."


@dataclass(frozen=True, eq=False)
class ModelCard:
    """What the card of a model tells.

    Args:
        inverter: with the networks.
        repository: ``hf://owner/name``, or a folder, from which the model will be loaded.
        data: the pictures that it was trained on, in the author's words.
        licence: an identifier such as ``apache-2.0``.
        config: of the run, if there is one.
        images_seen: by the run; what its config asks for, if not given.
        evaluation: of reconstructions, if there is one.
        measured_on: the name of the photographs of the evaluation.
    """

    inverter: Inverter
    repository: str
    data: str | None = None
    licence: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    images_seen: int | None = None
    evaluation: Evaluation | None = None
    measured_on: str = ""

    def markdown(self) -> str:
        """The card, Markdown with the header that the Hugging Face Hub reads."""
        generator, encoder = self.inverter.generator, self.inverter.encoder
        size, class_name = self.inverter.resolution, type(encoder).__name__
        header: dict[str, Any] = {
            "library_name": "padinv",
            "pipeline_tag": "image-to-image",
            "tags": ["padinv", "gan-inversion", "stylegan2", "padding-space"],
        }
        if self.licence:
            header["license"] = self.licence
        networks = {"generator": generator, "encoder": encoder}
        counts = {kind: sum(each.numel() for each in part.parameters()) / 1e6 for kind, part in networks.items()}
        rings = getattr(encoder, "config", {}).get("padded_resolutions")
        lines = [
            "---",
            yaml.safe_dump(header, sort_keys=False).rstrip(),
            "---",
            "",
            f"# {self.repository.rpartition('/')[2]}",
            "",
            f"A GAN inversion model of [padinv](https://arxiv.org/abs/2203.11105): an encoder turns an image of "
            f"{size} px into latents and padding of a StyleGAN2 generator of {generator.resolution} px.",
            "",
            *(
                [f"![Photographs, and below them what the generator makes of their codes]({SHEET})", ""]
                if self.evaluation
                else []
            ),
            "## Load it",
            "",
            "```python",
            "from padinv import Inverter",
            "",
            f'inverter = Inverter.from_pretrained("{self.repository}")',
            'inverter.invert("photograph.jpg").draw("inversion.png")',
            "```",
            "",
            '`pip install "padinv[hub]"` brings what fetches it. '
            f"padinv {__version__} wrote it: safetensors, no pickles.",
            "",
            "## What it is",
            "",
            "| | |",
            "|---|---|",
            f"| generator | StyleGAN2, {generator.resolution} px, {counts['generator']:.1f} million parameters, "
            f"fingerprint `{self.inverter.fingerprint}` |",
            f"| encoder | {class_name}, {size} px, {counts['encoder']:.1f} million parameters |",
            f"| padding | {'rings at ' + ', '.join(map(str, rings)) + ' px' if rings else 'none, W+ alone'} |",
            "",
            "## Training",
            "",
            self.data or "Its author has not said what pictures it was trained on.",
            "",
            *_training(self.config, self.images_seen),
            *_results(self.evaluation, self.measured_on),
            "## Licence",
            "",
            f"{self.licence}." if self.licence else NO_LICENCE,
            "",
        ]
        return "\n".join(lines)


def _training(config: Mapping[str, Any], images_seen: int | None) -> Iterator[str]:
    """A table of the settings that tell most."""
    parts = ("model", "data", "schedule")
    model, data, schedule = ((config.get(part) or {}).get("init_args") or {} for part in parts)
    rows = {
        "images seen": schedule.get("images") if images_seen is None else images_seen,
        "batch size": data.get("batch_size"),
        "seed": config.get("seed_everything"),
        **{name: model.get(name) for name in ("lambda_pix", "lambda_per", "lambda_id", "lambda_adv", "lambda_reg")},
        "perceptual loss": _class_name(model.get("perceptual_loss")),
        "optimizer": _class_name(model.get("optimizer_e")),
        "discriminator": without_folders(model.get("discriminator")),
    }
    told = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    yield from ["| setting | value |", "|---|---|", *told, ""] if told else []


def _class_name(part: Any) -> str | None:
    """The class of a part of a config, with its learning rate if it has one."""
    if not isinstance(part, Mapping) or "class_path" not in part:
        return None
    rate = (part.get("init_args") or {}).get("lr")
    return str(part["class_path"]).rpartition(".")[2] + (f", learning rate {rate:g}" if rate else "")


def _results(evaluation: Evaluation | None, measured_on: str) -> Iterator[str]:
    """A table of means with their intervals."""
    if evaluation is None:
        return
    count = len(evaluation.names)
    yield from ["## Reconstructions", ""]
    yield f"Of {count} photograph{'s' * (count != 1)}{f' ({measured_on})' if measured_on else ''}, without refinement:"
    yield from ["", f"| metric | mean | {evaluation.sampling.level:.0%} interval | better |", "|---|---|---|---|"]
    for name, number in evaluation.metrics.items():
        better = "higher" if name in HIGHER_IS_BETTER else "lower"
        yield f"| {name} | {shown(number.value)} | {interval_of(number)} | {better} |"
    yield ""


def addressed(card: str, source: str) -> str:
    """The card with another place to load the model from.

    >>> addressed('inverter = Inverter.from_pretrained("old")', "hf://owner/name")
    'inverter = Inverter.from_pretrained("hf://owner/name")'
    """
    return LOADING.sub(lambda _: f'from_pretrained("{source}")', card, count=1)


def without_folders(value: Any) -> Any:
    """Values of a config with paths cut to their last part: where files lie on a disk is nobody else's business.

    >>> without_folders({"train": ["/home/me/pictures", "congress64-train"], "lr": 0.1})
    {'train': ['pictures', 'congress64-train'], 'lr': 0.1}
    """
    if isinstance(value, Mapping):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(each) for each in value]
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return text if text.startswith("hf://") else Path(text.rstrip("/\\").replace("\\", "/")).name or text
    return value

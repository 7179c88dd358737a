"""The folder of a trained model: networks, and a card that says what it is, how it was trained, and what it reaches."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from padinv._version import __version__
from padinv.checkpoints import save_network
from padinv.checkpoints.pair import FILES
from padinv.evaluation import Settings, evaluate
from padinv.evaluation.inverted import Inverted
from padinv.evaluation.measuring import HIGHER_IS_BETTER
from padinv.evaluation.results import Evaluation, interval_of, shown
from padinv.exceptions import DataError, printable
from padinv.files import writing
from padinv.images import decode
from padinv.inversion import Inverter
from padinv.sources import find_photographs

CARD, SHEET = "README.md", "reconstructions.png"
CONFIG, RUN_CONFIG, RESULTS = "config.json", "run.yaml", "evaluation.json"
METRICS = ("mse", "psnr", "ms_ssim", "lpips")

SHOWN = 8
"""The number of photographs in the card's picture."""

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
        millions = [sum(each.numel() for each in part.parameters()) / 1e6 for part in (generator, encoder)]
        rings = getattr(encoder, "config", {}).get("padded_resolutions")
        picture = f"![Photographs, and below them what the generator makes of their codes]({SHEET})\n\n"
        return f"""\
---
{yaml.safe_dump(header, sort_keys=False).rstrip()}
---

# {self.repository.rpartition("/")[2]}

A GAN inversion model of [padinv](https://arxiv.org/abs/2203.11105): an encoder turns an image of {size} px into \
latents and padding of a StyleGAN2 generator of {generator.resolution} px.

{picture if self.evaluation else ""}## Load it

```python
from padinv import Inverter

inverter = Inverter.from_pretrained("{self.repository}")
inverter.invert("photograph.jpg").draw("inversion.png")
```

`pip install "padinv[hub]"` brings what fetches it. padinv {__version__} wrote it: safetensors, no pickles.

## What it is

| | |
|---|---|
| generator | StyleGAN2, {generator.resolution} px, {millions[0]:.1f} million parameters, \
fingerprint `{self.inverter.fingerprint}` |
| encoder | {class_name}, {size} px, {millions[1]:.1f} million parameters |
| padding | {"rings at " + ", ".join(map(str, rings)) + " px" if rings else "none, W+ alone"} |

## Training

{self.data or "Its author has not said what pictures it was trained on."}

{"".join(line + chr(10) for line in [*self._training(), *self._results()])}## Licence

{f"{self.licence}." if self.licence else NO_LICENCE}
"""

    def _training(self) -> Iterator[str]:
        """A table of the settings that tell most."""
        model, data, schedule = (init_args(self.config, part) for part in ("model", "data", "schedule"))
        weights = ("lambda_pix", "lambda_per", "lambda_id", "lambda_adv", "lambda_reg")
        rows = {
            "images seen": schedule.get("images") if self.images_seen is None else self.images_seen,
            "batch size": data.get("batch_size"),
            "seed": self.config.get("seed_everything"),
            **{name: model.get(name) for name in weights},
            "perceptual loss": _class_name(model.get("perceptual_loss")),
            "optimizer": _class_name(model.get("optimizer_e")),
            "discriminator": without_folders(model.get("discriminator")),
        }
        told = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
        yield from ["| setting | value |", "|---|---|", *told, ""] if told else []

    def _results(self) -> Iterator[str]:
        """A table of means with their intervals."""
        if (evaluation := self.evaluation) is None:
            return
        count, place = len(evaluation.names), f" ({self.measured_on})" if self.measured_on else ""
        yield from ["## Reconstructions", ""]
        yield f"Of {count} photograph{'s' * (count != 1)}{place}, without refinement:"
        yield from ["", f"| metric | mean | {evaluation.sampling.percent} interval | better |", "|---|---|---|---|"]
        for name, number in evaluation.metrics.items():
            better = "higher" if name in HIGHER_IS_BETTER else "lower"
            yield f"| {name} | {shown(number.value)} | {interval_of(number)} | {better} |"
        yield ""


def init_args(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The arguments of a part of a run's config; empty if it has none."""
    found = config.get(part)
    arguments = found.get("init_args") if isinstance(found, Mapping) else None
    return arguments if isinstance(arguments, Mapping) else {}


def _class_name(part: Any) -> str | None:
    """Names the class of a part of a config, with its learning rate if it has one."""
    if not isinstance(part, Mapping) or "class_path" not in part:
        return None
    rate = (part.get("init_args") or {}).get("lr")
    return str(part["class_path"]).rpartition(".")[2] + (f", learning rate {rate:g}" if rate else "")


def measure(inverter: Inverter, images: list[str], name: str, target: Path, batch_size: int) -> Evaluation:
    """Measures reconstructions of photographs, and draws the first of them into the folder.

    Raises:
        PadInvError: if there are no photographs, or none can be read.
    """
    source = find_photographs(images)
    measures = {"only": METRICS, "features": None, "device": inverter.device}
    settings = Settings(batch_size=batch_size, measures=measures)
    results, indices = evaluate(
        Inverted(source, inverter, name), settings, lambda problem: print(f"padinv: {problem}", file=sys.stderr)
    )
    if not indices:
        raise DataError(f"None of {', '.join(images)} can be read: give other --images.")
    first = [decode(source.read(index), remark=lambda _: None) for index in indices[:SHOWN]]
    inverter.invert(first).draw(target / SHEET)
    return results[0]


def write_model(target: Path, card: ModelCard) -> None:
    """Writes networks, config, results and card into a folder, which :meth:`padinv.Inverter.from_pretrained` loads.

    Args:
        target: the folder; it exists.
        card: with the networks; paths in the run's config are cut to their last part.
    """
    inverter = card.inverter
    generator, encoder = inverter.generator, inverter.encoder
    save_network(generator, target / FILES["generator"])
    save_network(encoder, target / FILES["encoder"], generator=inverter.fingerprint)
    description = {
        "library_name": "padinv",
        "padinv_version": __version__,
        "generator": {"fingerprint": inverter.fingerprint, "config": generator.config},
        "encoder": {"class": type(encoder).__name__, "config": encoder.config},
    }
    texts = {CONFIG: json.dumps(description, indent=2) + "\n"}
    if card.config:
        texts[RUN_CONFIG] = yaml.safe_dump(without_folders(card.config), sort_keys=False)
    if card.evaluation is not None:
        results = json.dumps(without_folders(card.evaluation.as_json()), indent=2, allow_nan=False)
        texts[RESULTS] = results + "\n"
    texts[CARD] = card.markdown()
    _keep_edited(target / CARD, texts[CARD])
    for name, text in texts.items():
        with writing(target / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")  # names need not be UTF-8


def _keep_edited(card: Path, new: str) -> None:
    """Keeps a card that says something else than the new one, perhaps in the user's words, beside its place."""
    if card.is_file() and addressed(card.read_text(encoding="utf-8", errors="replace"), "") != addressed(new, ""):
        kept = next(path for number in count(1) if not (path := card.with_stem(f"{card.stem}.{number}")).exists())
        shutil.copyfile(card, kept)
        print(f"padinv: the card that was there is kept as {printable(str(kept))}.", file=sys.stderr)


def address(card: Path, source: str) -> None:
    """Changes the place in a card, if there is one, from which the model will be loaded.

    Raises:
        CheckpointError: if it cannot be written.
    """
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="surrogateescape")
        if (changed := addressed(text, source)) != text:
            with writing(card) as part:
                part.write_text(changed, encoding="utf-8", errors="surrogateescape")


def addressed(card: str, source: str) -> str:
    """The card with another place to load the model from.

    >>> addressed('inverter = Inverter.from_pretrained("old")', "hf://owner/name")
    'inverter = Inverter.from_pretrained("hf://owner/name")'
    """
    return LOADING.sub(lambda _: f'from_pretrained("{source}")', card, count=1)


def without_folders(value: Any) -> Any:
    """Cuts paths in a config to their last part: where files lie on a disk is nobody else's business.

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

"""The command that puts a trained model on the Hugging Face Hub, or into a folder that can be put there."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.exceptions import CheckpointError, ConfigError, DataError, MissingPackageError, printable
from padinv.files import local_path
from padinv.options import Command, folder, option, whole_number

if TYPE_CHECKING:
    from padinv.commands.card import ModelCard
    from padinv.evaluation.results import Evaluation
    from padinv.inversion import Inverter

CONFIG, RUN_CONFIG, RESULTS = "config.json", "run.yaml", "evaluation.json"
METRICS = ("mse", "psnr", "ms_ssim", "lpips")

SHOWN = 8
"""The number of photographs in the card's picture."""


def repository(text: str) -> str:
    """The ``read`` of an option that is a repository of the Hub.

    >>> repository("hf://owner/name")
    'owner/name'
    """
    from padinv.checkpoints.pair import REPOSITORY

    if not REPOSITORY.fullmatch(text) or "@" in text:
        raise ArgumentTypeError(f"must be owner/name, not {text!r}")
    return text.removeprefix("hf://")


@dataclass
class Push(Command):
    """Put a model on the Hugging Face Hub: networks, config, and a card with its results.

    Args:
        source: folder of a run, its checkpoint, a bundled model, or a folder that this command has written.
        repository: where to; without it the folder is written, and nothing is sent.
        output: folder for what is sent (default: hub in the run's folder, or ./NAME).
        generator: the generator, if the run does not name it.
        directions: of editing, which go along (default: those of the model, if it has some).
        images: photographs to measure on and to show; more than once for several (default: the run's of validation).
        data: the pictures that the model was trained on, in your words.
        licence: its identifier, such as apache-2.0.
        private: make a new repository private.
        message: of the commit.
        device: cpu, cuda, cuda:N or mps (default: cuda if there is one).
        batch_size: photographs that are inverted at once.
    """

    source: str = option(metavar="RUN")
    repository: str | None = option(read=repository, nargs="?", metavar="OWNER/NAME")
    output: Path | None = option(None, folder, flags=("-o", "--output"), metavar="OUT", group="model")
    generator: str | None = option(None, metavar="FILE", group="model")
    directions: str | None = option(None, metavar="FILE", group="model", rare=True)
    images: list[str] = option([], metavar="PHOTOS", group="card")
    data: str | None = option(None, metavar="TEXT", group="card")
    licence: str | None = option(None, metavar="ID", group="card")
    private: bool = option(False, group="hub")
    message: str | None = option(None, metavar="TEXT", group="hub")
    device: str | None = option(None, group="speed")
    batch_size: int = option(16, whole_number(1), metavar="N", group="speed")

    def run(self) -> int:
        """Writes the folder, and sends it; what was written stays if sending fails."""
        given = local_path(self.source)
        if (given / CONFIG).is_file():
            written = given
        else:
            written = self._write(given)
            print(f"{printable(str(written))}: {', '.join(sorted(file.name for file in written.iterdir()))}")
        facts = {"folder": written, "files": sorted(file.name for file in written.iterdir())}
        if self.repository is None:
            self.tell(facts)
            return 0
        url = upload(written, self.repository, private=self.private, message=self.message)
        loads = f'{url}: padinv.Inverter.from_pretrained("hf://{self.repository}") loads it.'
        self.tell({**facts, "url": url, "repository": self.repository}, loads)
        return 0

    def _write(self, given: Path) -> Path:
        """Writes the networks, the config, the results and the card into a folder."""
        from padinv.commands.card import ModelCard, without_folders

        inverter, checkpoint, config = self._load(given)
        run = checkpoint and run_of(checkpoint)
        name = (self.repository or given.name or self.source).rpartition("/")[2]
        target = self.output or (Path(name) if run is None else run / "hub")
        images = self.images or _validation_images(config) or (["congress64-val"] if run is None else [])
        evaluation = None
        try:
            target.mkdir(parents=True, exist_ok=True)
            if images:
                evaluation = measure(inverter, images, name, target, self.batch_size)
            else:
                told = "there are no photographs to measure on, so that the card has no results: give --images."
                print(f"padinv: {told}", file=sys.stderr)
            self._add_directions(inverter, target)
            card = ModelCard(
                inverter,
                f"hf://{self.repository}" if self.repository else target.name,
                data=self.data,
                licence=self.licence,
                config=config,
                images_seen=None if checkpoint is None else images_seen(checkpoint),
                evaluation=evaluation,
                measured_on=", ".join(map(str, without_folders(images))),
            )
            write_model(target, card)
        except OSError as error:
            raise ConfigError(f"{target} cannot be written ({error.strerror or error}): give --output.") from error
        return target

    def _add_directions(self, inverter: Inverter, target: Path) -> None:
        """Writes the directions that were named, or else those that the model itself has."""
        from padinv.editing import load_directions, save_directions
        from padinv.editing.direction_files import FILE_NAME

        try:
            found = load_directions(self.directions or self.source, inverter.generator)
        except CheckpointError:
            if self.directions is not None:
                raise
        else:
            save_directions(found.values(), target / FILE_NAME)

    def _load(self, given: Path) -> tuple[Inverter, Path | None, dict[str, Any]]:
        """The model, and where the source is a run its checkpoint and its config."""
        from padinv.checkpoints.sources import HUB_FILES, is_bundled
        from padinv.inversion import Inverter
        from padinv.training.resuming import checkpoint_in

        checkpoint, config, source = None, {}, self.source
        if not is_bundled(source) and not any((given / name).is_file() for name in HUB_FILES.values()):
            checkpoint = checkpoint_in(given) if given.is_dir() else given
            config, source = read_config(run_of(checkpoint) / "config.yaml"), str(checkpoint)
        generator = self.generator or _init_args(config, "model").get("generator")
        options = {"device": self.device, "batch_size": self.batch_size}
        return Inverter.from_pretrained(source, generator, **options), checkpoint, config  # type: ignore[arg-type]


def run_of(checkpoint: Path) -> Path:
    """The run's folder: that of the checkpoint, or the one around ``checkpoints``."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def images_seen(checkpoint: Path) -> int | None:
    """How many images a run has trained on; None if its file does not say."""
    import pickle

    import torch

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return int(content["state_dict"]["images_seen"])
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, pickle.UnpicklingError):
        return None


def read_config(path: Path) -> dict[str, Any]:
    """Reads a run's config; empty if there is none.

    Raises:
        CheckpointError: if it is damaged.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} cannot be read, or is no YAML: copy it from the run again.") from error
    return config if isinstance(config, dict) else {}


def _init_args(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = config.get(part)
    arguments = found.get("init_args") if isinstance(found, Mapping) else None
    return arguments if isinstance(arguments, Mapping) else {}


def _validation_images(config: Mapping[str, Any]) -> list[str]:
    """Those of the run that can be found from here."""
    from padinv.sources import BUNDLED

    given = _init_args(config, "data").get("val")
    named = [str(each) for each in (given if isinstance(given, list) else [given]) if each]
    return [each for each in named if each in BUNDLED or Path(each).exists()]


def measure(inverter: Inverter, images: list[str], name: str, target: Path, batch_size: int) -> Evaluation:
    """Measures reconstructions of photographs, and draws the first of them into the folder.

    Raises:
        PadInvError: if there are no photographs, or none can be read.
    """
    from padinv.commands.card import SHEET
    from padinv.evaluation.inverted import Inverted
    from padinv.evaluation.running import Settings, evaluate
    from padinv.images import decode
    from padinv.sources import find_photographs

    source = find_photographs(images)
    measures = {"only": METRICS, "features": None, "device": inverter.device}
    settings = Settings(batch_size=batch_size, measures=measures)
    results, indices = evaluate(
        Inverted(source, inverter, name), settings, lambda problem: print(f"padinv: {problem}", file=sys.stderr)
    )
    if not indices:
        raise DataError(f"None of {', '.join(images)} can be read: give other --images.")
    shown = [decode(source.read(index), remark=lambda _: None) for index in indices[:SHOWN]]
    inverter.invert(shown).draw(target / SHEET)
    return results[0]


def write_model(target: Path, card: ModelCard) -> None:
    """Writes networks, config, results and card into a folder, which :meth:`padinv.Inverter.from_pretrained` loads.

    Args:
        target: the folder; it exists.
        card: with the networks; paths in the run's config are cut to their last part.
    """
    import yaml

    from padinv._version import __version__
    from padinv.checkpoints import save_network
    from padinv.checkpoints.pair import FILES
    from padinv.commands.card import CARD, without_folders
    from padinv.files import writing

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
    for name, text in texts.items():
        with writing(target / name) as part:
            part.write_text(text, encoding="utf-8")


def address(card: Path, source: str) -> None:
    """Makes a card that is there say where the model will be loaded from.

    Raises:
        CheckpointError: if it cannot be written.
    """
    from padinv.commands.card import addressed
    from padinv.files import writing

    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="surrogateescape")
        if (changed := addressed(text, source)) != text:
            with writing(card) as part:
                part.write_text(changed, encoding="utf-8", errors="surrogateescape")


def upload(source: Path, to: str, *, private: bool = False, message: str | None = None) -> str:
    """Sends a folder that :func:`write_model` has written; a repository that is there gets a new commit.

    Args:
        source: the folder. Only files that this module writes are sent.
        to: ``owner/name``.
        private: for a new repository.
        message: of the commit.

    Returns:
        The address of the repository.

    Raises:
        CheckpointError: if it cannot be sent.
        MissingPackageError: without huggingface_hub.
    """
    from padinv.checkpoints.pair import FILES
    from padinv.checkpoints.weights import reason
    from padinv.commands.card import CARD, SHEET
    from padinv.editing.direction_files import FILE_NAME

    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingPackageError("padinv push needs huggingface_hub: pip install huggingface_hub") from error
    address(source / CARD, f"hf://{to}")
    api, sent = HfApi(), [CONFIG, RUN_CONFIG, RESULTS, CARD, SHEET, FILE_NAME, *FILES.values()]
    try:
        url = api.create_repo(to, exist_ok=True, private=private or None)  # None: as the owner has set
        api.upload_folder(
            repo_id=to, folder_path=source, allow_patterns=sent, commit_message=message or "Add a model of padinv"
        )
    except Exception as error:  # it raises errors of many classes, also those of its HTTP library
        raise CheckpointError(
            f"{to} could not be pushed ({reason(error)}): log in with hf auth login, or mend the name; "
            f"padinv push {source} {to} tries again with what was written."
        ) from error
    return str(url)

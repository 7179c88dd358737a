"""The command that puts a trained model on the Hugging Face Hub, or into a folder that can be put there."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.exceptions import CheckpointError, ConfigError, MissingPackageError, printable
from padinv.files import local_path
from padinv.options import Command, folder, option, whole_number

if TYPE_CHECKING:
    from padinv.inversion import Inverter


def repository(text: str) -> str:
    """The ``read`` of an option that is a repository of the Hub.

    >>> repository("hf://owner/name")
    'owner/name'
    """
    from padinv.checkpoints.pair import REPOSITORY

    if not REPOSITORY.fullmatch(text) or "@" in text:
        raise ArgumentTypeError(f"must be owner/name, not {text!r}")
    return text.removeprefix("hf://")


OF_THE_FOLDER = ("output", "generator", "directions", "images", "data", "licence")
"""Options on which the folder's files depend."""


@dataclass
class Push(Command):
    """Put a model on the Hugging Face Hub: networks, config, and a card with its results.

    Args:
        source: folder of a run, its checkpoint, a bundled model, or a folder that this command has written.
        repository: repository of the Hub; without it the folder is written, and nothing is sent.
        output: folder for what is sent (default: hub in the run's folder, or ./NAME).
        generator: file of the generator, if the run does not name it.
        directions: directions of editing to send along (default: those of the model, if it has some).
        images: photographs to measure on and to show; give it again for several (default: the run's validation).
        data: the pictures that the model was trained on, in your words.
        licence: identifier of the licence, such as apache-2.0.
        private: make a new repository private.
        message: message of the commit.
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
        from padinv.checkpoints.sources import is_bundled
        from padinv.commands.card import CONFIG

        given, bundled = local_path(self.source), is_bundled(self.source)
        if bundled and given.is_dir():
            told = f"{given} is the bundled model here; give ./{given} for the folder of that name."
            print(f"padinv: {told}", file=sys.stderr)
        if not bundled and (given / CONFIG).is_file():
            written = given
            if late := [name for name in OF_THE_FOLDER if getattr(self, name)]:
                raise ConfigError(
                    f"--{late[0]} is for writing the folder, and {given} is one that was written: leave it out, or "
                    "remove the folder."
                )
        else:
            written = self._write(given)
        files = sorted(file.name for file in written.iterdir())
        print(f"{printable(str(written))}: {', '.join(files)}")
        facts = {"folder": written, "files": files}
        if self.repository is None:
            self.tell(facts)
            return 0
        url = upload(written, self.repository, private=self.private, message=self.message)
        loads = f'{url}: padinv.Inverter.from_pretrained("hf://{self.repository}") loads it.'
        self.tell({**facts, "url": url, "repository": self.repository}, loads)
        return 0

    def _write(self, given: Path) -> Path:
        """Writes the networks, the config, the results and the card into a folder."""
        from padinv.commands.card import ModelCard, measure, without_folders, write_model

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
        """Writes the directions that the user named, or else those of the model."""
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
        """Loads the model; if the source is a run, its checkpoint and config come along."""
        from padinv.checkpoints.sources import HUB_FILES, is_bundled
        from padinv.commands.card import init_args
        from padinv.inversion import Inverter
        from padinv.training.resuming import checkpoint_in

        checkpoint, config, source = None, {}, self.source
        if not is_bundled(source) and not any((given / name).is_file() for name in HUB_FILES.values()):
            checkpoint = checkpoint_in(given) if given.is_dir() else given
            config, source = read_config(run_of(checkpoint) / "config.yaml"), str(checkpoint)
        generator = self.generator or init_args(config, "model").get("generator")
        options = {"device": self.device, "batch_size": self.batch_size}
        return Inverter.from_pretrained(source, generator, **options), checkpoint, config  # type: ignore[arg-type]


def run_of(checkpoint: Path) -> Path:
    """The run's folder, in which the checkpoint lies, perhaps within ``checkpoints``."""
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


def _validation_images(config: Mapping[str, Any]) -> list[str]:
    """The run's images for validation, as far as they are on this machine."""
    from padinv.commands.card import init_args
    from padinv.sources import BUNDLED

    given = init_args(config, "data").get("val")
    named = [str(each) for each in (given if isinstance(given, list) else [given]) if each]
    return [each for each in named if each in BUNDLED or Path(each).exists()]


def upload(source: Path, to: str, *, private: bool = False, message: str | None = None) -> str:
    """Sends a folder that ``padinv push`` has written; a repository that is there gets a new commit.

    Args:
        source: the folder; no other files in it are sent.
        to: ``owner/name``.
        private: makes a new repository private.
        message: of the commit.

    Returns:
        The address of the repository.

    Raises:
        CheckpointError: if it cannot be sent.
        MissingPackageError: if huggingface_hub is not installed.
    """
    from padinv.checkpoints.pair import FILES
    from padinv.checkpoints.sources import is_bundled
    from padinv.checkpoints.weights import reason
    from padinv.commands.card import CARD, CONFIG, RESULTS, RUN_CONFIG, SHEET, address
    from padinv.editing.direction_files import FILE_NAME

    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingPackageError("padinv push needs huggingface_hub: pip install huggingface_hub") from error
    address(source / CARD, f"hf://{to}")
    api, sent = HfApi(), [CONFIG, RUN_CONFIG, RESULTS, CARD, SHEET, FILE_NAME, *FILES.values()]
    try:
        url = api.create_repo(to, exist_ok=True, private=private or None)  # None: the owner's own default
        api.upload_folder(
            repo_id=to, folder_path=source, allow_patterns=sent, commit_message=message or "Add a model of padinv"
        )
    except Exception as error:  # huggingface_hub raises errors of many classes, also those of its HTTP library
        written = f"./{source}" if is_bundled(source) else source
        raise CheckpointError(
            f"{to} could not be pushed ({reason(error)}): log in with hf auth login, or mend the name; "
            f"padinv push {written} {to} tries again with what was written."
        ) from error
    return str(url)

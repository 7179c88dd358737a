"""Loads an encoder and the generator that it was trained for, from a name, a folder or a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from padinv.checkpoints.checkpoint import Checkpoint, load_generator, open_checkpoint
from padinv.checkpoints.native import fingerprint
from padinv.checkpoints.sources import BUNDLED, HUB_FILES, SUFFIXES, is_bundled, resolve_source
from padinv.exceptions import CheckpointError
from padinv.files import local_path, path_text
from padinv.networks import Generator, PadInvEncoder
from padinv.typing import PathLike

FILES = {"generator": HUB_FILES[Generator], "encoder": HUB_FILES[PadInvEncoder]}
"""The files in a model's folder."""

REPOSITORY = re.compile(r"(hf://)?\w[\w.-]*/\w[\w.-]*(@[\w.-]+)?")
"""``owner/name`` of the Hugging Face Hub, perhaps with a revision."""

LAST = "checkpoints/last.ckpt"
"""The newest checkpoint in a run's folder."""


def load_pair(
    source: PathLike, generator: PathLike | Generator | None = None, sha256: str | None = None
) -> tuple[PadInvEncoder, Generator]:
    """Loads an encoder and its generator. A file that holds both is read once.

    Args:
        source: the name of a bundled model; a folder of :data:`FILES`; a run's folder; ``hf://owner/name``, a
            repository of such files on the Hugging Face Hub, also without ``hf://`` where no such path is here; or
            whatever ``load_encoder`` reads.
        generator: the generator, or where to load it from. If not given, it is taken from the folder; or from the
            encoder's file, as pSp's and PadInv's hold it; or it is the bundled one that the encoder's file names, or
            with a run's folder the one that the run was given.
        sha256: what the SHA-256 of the encoder's file must be; ``https://`` does not do without.

    Raises:
        CheckpointError: if one of them cannot be read, no generator is found, or the encoder was trained for another
            one.
        WeightsNotFoundError: if a file cannot be fetched.
    """
    folder, hint = local_path(source, CheckpointError), None
    if generator is not None and not isinstance(generator, Generator):
        path_text(generator, CheckpointError)
    if is_bundled(source):
        generator = generator or source
    elif (repository := hub_repository(source)) is not None:
        source, generator = repository, generator or repository
    elif (folder / LAST).is_file():
        source, hint = folder / LAST, _generator_of_run(folder)
    elif folder.is_dir():
        source, generator = folder / FILES["encoder"], generator or folder / FILES["generator"]
        for file in (source, generator):
            if isinstance(file, Path) and not file.is_file():
                raise CheckpointError(f"There is no {file}: a model's folder holds {' and '.join(FILES.values())}.")
    checkpoint = open_checkpoint(source, sha256, want=PadInvEncoder)
    checkpoint.require(PadInvEncoder)
    network = generator if isinstance(generator, Generator) else _load_generator(checkpoint, generator, hint)
    return checkpoint.load(PadInvEncoder, generator=network), network


def hub_repository(source: PathLike) -> str | None:
    """Finds the ``hf://owner/name`` that a source names, if it names one, and no file or folder of this machine.

    >>> hub_repository("owner/name"), hub_repository("hf://owner/name@v1"), hub_repository("owner/name.ckpt")
    ('hf://owner/name', 'hf://owner/name@v1', None)
    """
    text = os.fspath(source)
    if not isinstance(source, str) or not REPOSITORY.fullmatch(text):
        return None
    if text.startswith("hf://"):
        return text
    here = Path(text).exists() or Path(text).parent.exists()  # then the rest is a slip of the pen
    return None if here or text.endswith(SUFFIXES) else f"hf://{text}"


def _load_generator(checkpoint: Checkpoint, source: PathLike | None, hint: Path | None) -> Generator:
    """Loads the generator from a source, from the encoder's checkpoint, the bundled one that this names, or a hint."""
    if source is not None:
        path = resolve_source(source, Generator)
        return (checkpoint if path == checkpoint.path else open_checkpoint(path)).load(Generator)
    if Generator in checkpoint.holds:
        return checkpoint.load(Generator)
    expected = checkpoint.trained_for
    for name in [name for name, networks in BUNDLED.items() if Generator in networks]:
        if expected is not None and fingerprint(network := load_generator(name)) == expected:
            return network
    if hint is not None:
        return load_generator(hint)
    named = "and does not name it" if expected is None else f"{expected}, which is not bundled"
    raise CheckpointError(
        f"{checkpoint.path} holds an encoder without its generator, {named}: give it as generator=..., the path of its "
        "checkpoint, or put both into a folder as generator.safetensors and encoder.safetensors."
    )


def _generator_of_run(folder: Path) -> Path | None:
    """Finds the generator's file that a run's config names, if it is still there."""
    try:
        content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        named = content["model"]["init_args"]["generator"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):  # it is only a hint
        return None
    return Path(named) if isinstance(named, str) and Path(named).is_file() else None

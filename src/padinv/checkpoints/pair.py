"""From a name, a folder or a file to an encoder and the generator that it was trained for."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from padinv.checkpoints import fingerprint, load_encoder, load_generator
from padinv.checkpoints.checkpoint import read_network
from padinv.checkpoints.formats.recognition import read_content
from padinv.checkpoints.registry import BUNDLED
from padinv.checkpoints.sources import resolve_source
from padinv.exceptions import CheckpointError
from padinv.networks import Generator
from padinv.typing import PathLike

FILES = {"generator": "generator.safetensors", "encoder": "encoder.safetensors"}
"""What a folder with a model holds."""


def load_pair(source: PathLike, generator: PathLike | Generator | None = None) -> tuple[nn.Module, Generator]:
    """Loads an encoder and its generator.

    Args:
        source: the name of a bundled model; a folder of :data:`FILES`; or whatever ``load_encoder`` reads.
        generator: the generator, or where to load it from. If not given, it is the folder's; or in the encoder's file,
            as those of pSp and PadInv; or the bundled one on which the encoder was trained, as its file says.

    Raises:
        CheckpointError: if one of them cannot be read, the generator is nowhere to be had, or is another than that
            which the encoder was trained for.
        WeightsNotFoundError: if a file cannot be fetched.
    """
    bundled = os.fspath(source) in BUNDLED
    folder = Path(source).expanduser()
    if not bundled and folder.is_dir():
        source, generator = folder / FILES["encoder"], generator or folder / FILES["generator"]
        for file in (source, generator):
            if isinstance(file, Path) and not file.is_file():
                raise CheckpointError(f"There is no {file}: a model's folder holds {' and '.join(FILES.values())}.")
    elif bundled:
        generator = generator or source
    path = resolve_source(source, "PadInvEncoder")
    content = read_content(path)
    if isinstance(generator, Generator):
        network = generator
    elif generator is not None:
        network = load_generator(generator)
    elif "Generator" in content.readers:
        network = load_generator(path)
    else:
        network = _bundled_generator(path, content.generator)
    if content.generator is not None and (actual := fingerprint(network)) != content.generator:
        raise CheckpointError(
            f"The encoder in {path} was trained for the generator {content.generator}, but this one is {actual}: "
            "give the one that it was trained for."
        )
    # Published files of an encoder alone have no mean latent.
    _, state = read_network(content, "PadInvEncoder", path)
    return load_encoder(path, None if "w_avg" in state else network.w_avg), network


def _bundled_generator(path: Path, expected: str | None) -> Generator:
    for name in [name for name, networks in BUNDLED.items() if "Generator" in networks]:
        if expected is not None and fingerprint(network := load_generator(name)) == expected:
            return network
    named = "and does not name it" if expected is None else f"{expected}, which is not bundled"
    raise CheckpointError(
        f"{path} holds an encoder without its generator, {named}: give it as generator=..., the path of its checkpoint."
    )

"""Reads a file once, tells what it holds, and loads networks from it.

A file's content tells its format, and its shapes tell all sizes. No code in it is run (:mod:`.pickles.machine`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from padinv.checkpoints.building import (
    NOISE,
    Network,
    Plain,
    build,
    check_finite,
    check_state,
    draw_noise,
    estimate_w_avg,
)
from padinv.checkpoints.formats.state_dicts import KINDS, Kind, Readers, State
from padinv.checkpoints.formats.wrapping import unwrap
from padinv.checkpoints.native import fingerprint, is_safetensors, parse_metadata, read_tensors, stored
from padinv.checkpoints.pickles.torch_files import read_pickle
from padinv.checkpoints.recognition import describe, find, refused
from padinv.checkpoints.sources import resolve_all, resolve_source
from padinv.exceptions import CheckpointError, ConfigError, PadInvError
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.networks.encoder import pyramid_sizes
from padinv.typing import PathLike

logger = logging.getLogger("padinv")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of a file, or of a bundled model's files. It keeps the tensors, so that loading reads no file again.

    Attributes:
        path: the file; the folder of the files of a bundled model.
        format: the file's format, in words.
        readers: what reads each network that is there.
        classes: how many classes its networks are conditioned on; 0 if they are unconditional.
        trained_for: :func:`~padinv.checkpoints.fingerprint` of the generator that the encoder was trained for; None if
            the file does not say.
        other: the kind of content of a padinv file without networks, such as Directions.
    """

    path: Path
    format: str
    readers: Readers = field(repr=False)
    classes: int = 0
    trained_for: str | None = None
    other: str | None = None

    @property
    def holds(self) -> tuple[Kind, ...]:
        """The classes of the networks that can be loaded: Generator, Discriminator, PadInvEncoder."""
        return tuple(self.readers)

    def load(
        self,
        kind: type[Network],
        *,
        class_index: int | None = None,
        w_avg: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Network:
        """Loads a network, in evaluation mode and frozen.

        A generator gets the mean latent and noise images that the file may lack, as :func:`load_generator` says.

        Args:
            kind: its class, one of :attr:`holds`.
            class_index: the class of a conditional generator or discriminator, from 0 up, which it then always makes or
                scores for.
            w_avg: the mean latent (512,) of an encoder, which published files do not hold; overrides the file's.
            generator: the one that an encoder was trained for. It is checked if the file names it, and it gives the
                mean latent if the file lacks that.

        Raises:
            CheckpointError: if the network is not there, is of another architecture, or lacks or does not take the
                class; if no mean latent is found, or the encoder was trained for another generator.
            ConfigError: if ``w_avg`` or ``generator`` are given for another network than an encoder.
        """
        if kind is not PadInvEncoder and not (w_avg is None and generator is None):
            raise ConfigError(f"w_avg and generator are of encoders: leave them out for a {kind.__name__}.")
        expected = self.trained_for
        if generator is not None and expected is not None and (actual := fingerprint(generator)) != expected:
            raise CheckpointError(
                f"The encoder in {self.path} was trained for the generator {expected}, but this one is {actual}: "
                "give the one that it was trained for."
            )
        network, state = self.read(kind, class_index)
        if isinstance(network, PadInvEncoder):
            if w_avg is None and generator is not None and "w_avg" not in state:
                w_avg = generator.w_avg
            if w_avg is not None:
                state["w_avg"] = w_avg
                check_state(network, state, "w_avg")
                check_finite({"w_avg": w_avg}, "w_avg")
            if "w_avg" not in state:
                raise CheckpointError(
                    f"{self.path} holds an encoder without its average latent: keep models.generator.w_avg in the same "
                    "file, or give it as load_encoder(path, w_avg=load_generator(...).w_avg)."
                )
        if isinstance(network, Generator) and not any(key.endswith(NOISE) for key in state):
            state |= draw_noise(network)
            logger.warning("%s holds no noise images: they are now drawn at random (seed 0).", self.path)
        network.load_state_dict(state, strict=False)
        network.requires_grad_(False).eval()
        if isinstance(network, Generator) and "w_avg" not in state:
            network.w_avg.copy_(estimate_w_avg(network))
            logger.warning(
                "%s holds no mean latent w_avg: it is now the mean of 10,000 mapped samples (seed 0).", self.path
            )
        return network

    def read(self, kind: type[Network], class_index: int | None = None) -> tuple[Network, State]:
        """Reads one network, and checks that its configuration and its state belong together.

        Args:
            kind: its class.
            class_index: the class of a conditional network.

        Returns:
            The network, its weights not yet loaded, and its state dict, which may lack ``w_avg``, or all noise images.

        Raises:
            CheckpointError: if the network is not there, is of another architecture, or lacks or does not take the
                class.
        """
        self.require(kind)
        if class_index is not None and not self.classes:
            raise CheckpointError(f"{self.path} is not conditional: leave out class_index (--class-index).")
        try:
            with Plain():
                config, state = self.readers[kind](class_index)
            network = build(kind, config, state, str(self.path))
        except PadInvError as error:
            if str(self.path) in str(error):
                raise
            chosen = not self.classes or (class_index is not None and 0 <= class_index < self.classes)
            problem = " is of another architecture" if chosen else ""
            raise CheckpointError(f"{self.path}{problem}: {error}") from error
        except Exception as error:  # a damaged or malicious file can break any step in any way
            raise CheckpointError(
                f"{self.path} is damaged or of another architecture: its {kind.__name__} makes no sense "
                f"({type(error).__name__})."
            ) from error
        if isinstance(network, PadInvEncoder) and "padding_level" not in config:
            _say_if_level_changed(network, self.path)
        return network, state

    def require(self, kind: Kind) -> None:
        """Raises CheckpointError unless a network of this class is there."""
        if kind not in self.readers:
            found = self.other or " and ".join(own.__name__ for own in self.holds)
            raise CheckpointError(f"{self.path} holds no {kind.__name__}, but a {found} ({self.format}).")


def open_checkpoint(source: PathLike, sha256: str | None = None, *, want: Kind | None = None) -> Checkpoint:
    """Reads a file of any known format; no code in it is run, no module it names is imported.

    Args:
        source: the name of a bundled model ("congress64"), a path, ``https://…`` (with ``sha256``), or
            ``hf://owner/repository/file`` for a file on the Hugging Face Hub. The file is our safetensors, the
            checkpoint of one of our runs, or of PadInv, Hammer and GenForce (.pth), rosinality, pSp, e4e (.pt),
            NVIDIA's StyleGAN2-ADA or StyleGAN2 for TensorFlow (.pkl), or such tensors as safetensors.
        sha256: what the file's SHA-256 must be, hexadecimal.
        want: the class of a network. Of a bundled model and of ``hf://owner/repository``, only its file is read.

    Raises:
        CheckpointError: if there is no such file or name, it is damaged, asks for more than tensors, or is of another
            format or architecture.
        WeightsNotFoundError: if it cannot be fetched.
        MissingPackageError: if ``hf://`` lacks its package.

    >>> checkpoint = open_checkpoint("congress64")
    >>> checkpoint.format, [kind.__name__ for kind in checkpoint.holds]
    ('padinv (.safetensors)', ['Generator', 'Discriminator', 'PadInvEncoder'])
    >>> checkpoint.load(Generator).resolution
    64
    """
    paths = resolve_all(source, sha256) if want is None else [resolve_source(source, want, sha256)]
    first, *others = map(_read, paths)
    readers = dict(first.readers)
    for part in others:  # of a bundled model
        readers |= part.readers
    trained_for = next((part.trained_for for part in (first, *others) if part.trained_for is not None), None)
    return replace(first, path=first.path.parent if others else first.path, readers=readers, trained_for=trained_for)


def _read(path: Path) -> Checkpoint:
    """Reads one file."""
    try:
        if is_safetensors(path):
            metadata, content = read_tensors(path)
            if description := parse_metadata(metadata, path):
                kinds = [kind for kind in KINDS if kind.__name__ == description["network"]]
                readers = {kind: stored(description["config"], content) for kind in kinds}
                other = None if readers else description["network"]
                return Checkpoint(path, "padinv (.safetensors)", readers, 0, description["generator"], other)
        else:
            content = read_pickle(path)
        content = unwrap(content)
        architecture = refused(content)
        if architecture is None and (found := find(content)):
            return Checkpoint(path, *found)
    except PadInvError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read by this user ({error.strerror}).") from error
    except Exception as error:  # a damaged or malicious file can break any step in any way
        raise CheckpointError(
            f"{path} cannot be read: it is damaged, or no checkpoint; copy or download it again."
        ) from error
    if architecture is not None:
        raise CheckpointError(f"{path} holds {architecture}, but padinv works with StyleGAN2 alone.")
    raise CheckpointError(
        f"{path} holds no Generator, Discriminator or PadInvEncoder of a known format, but {describe(content)}."
    )


def load_generator(source: PathLike, *, sha256: str | None = None, class_index: int | None = None) -> Generator:
    """Loads a generator, in evaluation mode and frozen.

    Args:
        source: as for :func:`open_checkpoint`. A file's averaged weights are preferred to its others.
        sha256: what the file's SHA-256 must be, hexadecimal.
        class_index: the class of a conditional generator, from 0 up, which the loaded generator then always makes.

    Returns:
        The generator with its mean latent and noise images. If the file holds none, the latent is the mean of 10,000
        mapped samples, the images are drawn with the seed 0, and a warning is logged.

    Raises:
        PadInvError: as :func:`open_checkpoint` does; CheckpointError, too, if there is no StyleGAN2 generator.

    >>> generator = load_generator("congress64")
    >>> generator.resolution, generator.num_layers, generator.w_avg.shape
    (64, 10, torch.Size([256]))
    """
    return open_checkpoint(source, sha256, want=Generator).load(Generator, class_index=class_index)


def load_discriminator(source: PathLike, *, sha256: str | None = None, class_index: int | None = None) -> Discriminator:
    """Loads a discriminator, in evaluation mode and frozen.

    Args:
        source: as for :func:`open_checkpoint`.
        sha256: what the file's SHA-256 must be, hexadecimal.
        class_index: the class of a conditional discriminator, from 0 up, for which the loaded one then always scores.

    Raises:
        PadInvError: as :func:`open_checkpoint` does; CheckpointError, too, if there is no StyleGAN2 discriminator.
    """
    return open_checkpoint(source, sha256, want=Discriminator).load(Discriminator, class_index=class_index)


def load_encoder(source: PathLike, w_avg: Tensor | None = None, *, sha256: str | None = None) -> PadInvEncoder:
    """Loads an encoder, in evaluation mode and frozen.

    Args:
        source: as for :func:`open_checkpoint`; encoders of pSp and e4e predict W+ without padding.
        w_avg: the mean latent (512,), which published encoder files do not hold; overrides the file's.
        sha256: what the file's SHA-256 must be, hexadecimal.

    Raises:
        PadInvError: as :func:`open_checkpoint` does; CheckpointError, too, if there is no encoder, or no mean latent.
    """
    return open_checkpoint(source, sha256, want=PadInvEncoder).load(PadInvEncoder, w_avg=w_avg)


def _say_if_level_changed(encoder: PadInvEncoder, path: Path) -> None:
    """Warns of files older than ``padding_level``: their padding came from the level nearest to the largest ring."""
    sizes = pyramid_sizes(encoder.resolution)
    before = min(range(3), key=lambda level: abs(sizes[level] - max([4, *encoder.padded_resolutions])))
    if encoder.padding_head is not None and before != encoder.padding_level:
        logger.warning(
            "%s does not say which level of the pyramid its padding comes from: it is level %d now, as published. If "
            "padinv trained it before padding_level was an option, it was level %d.",
            path,
            encoder.padding_level,
            before,
        )

"""The models that padinv knows by name: bundled, in a cache of this machine, or known by their address alone.

Entries exist only for what can be checked: a file that is here, or an address that its publisher's own package holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from padinv.checkpoints.cache import cache_folder, hash_file
from padinv.checkpoints.native import METADATA_KEY, is_safetensors, parse_description, read_tensors
from padinv.checkpoints.sources import BUNDLED, HUB_FILES
from padinv.checkpoints.weights import Weights, face_pack, lpips_backbone
from padinv.exceptions import CheckpointError, PadInvError

OWN_LICENCE = "Apache-2.0"
NOT_HERE = "known"


@dataclass(frozen=True)
class Model:
    """One entry of the list.

    Attributes:
        name: the word that options and functions take.
        what: a description in a few words.
        place: ``bundled``, ``cached``, or ``known`` if it would have to be fetched.
        paths: the files on this machine.
        source: the address or the package that it is from.
        sha256: the SHA-256 of what would be fetched, as far as its publisher states it; :meth:`hashes` has that of
            the files that are here.
        licence: the terms of its use, as stated by who publishes it.
        input_range: the range of its images.
        input_size: the side of its images in pixels.
        load: the line of Python, or the option, that uses it.
        megabytes: the size of what would be fetched, if its publisher states it.
        smallest: whether it takes larger images, too.
    """

    name: str
    what: str
    place: str
    paths: tuple[Path, ...] = ()
    source: str = ""
    sha256: str | None = None
    licence: str = "not stated"
    input_range: tuple[float, float] | None = None
    input_size: int | None = None
    load: str = ""
    megabytes: float | None = None
    smallest: bool = False

    @property
    def files(self) -> list[Path]:
        """The files that are here, one by one."""
        there = [file for path in self.paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
        return [file for file in there if file.is_file()]

    @property
    def size(self) -> float | None:
        """The size in MB: on this machine, or as its publisher states it."""
        return sum(file.stat().st_size for file in self.files) / 1e6 if self.files else self.megabytes

    def hashes(self) -> dict[str, str]:
        """Computes the SHA-256 of each file that is here, by its name."""
        return {file.name: hash_file(file) for file in self.files}

    def as_json(self) -> dict[str, Any]:
        """Returns plain values by name."""
        size = None if self.size is None else round(self.size, 1)
        changed = {"sha256": self.hashes() or self.sha256, "megabytes": size, "paths": [*map(str, self.paths)]}
        return {name: value for name, value in (vars(self) | changed).items() if name != "smallest"}


def models() -> list[Model]:
    """Lists all models: first those bundled, then those cached, then those known by address."""
    found = [*_bundled(), *_weights(), *_fetched(), *_from_the_hub()]
    places = ("bundled", "cached", NOT_HERE)
    return sorted(found, key=lambda model: places.index(model.place))


def find_model(name: str) -> Model:
    """Finds a model by its name.

    Raises:
        CheckpointError: if there is none.
    """
    known = models()
    if (found := next((model for model in known if model.name == name), None)) is not None:
        return found
    raise CheckpointError(f"There is no model {name!r}; padinv knows {', '.join(model.name for model in known)}.")


def _bundled() -> Iterator[Model]:
    for name, networks in BUNDLED.items():
        paths = {kind: Path(str(files("padinv") / "assets" / file)) for kind, file in networks.items()}
        yield Model(
            name,
            ", ".join(kind.__name__.removeprefix("PadInv").lower() for kind in paths),
            "bundled",
            tuple(paths.values()),
            "trained for padinv; NOTICE names the pictures",
            None,
            OWN_LICENCE,
            (-1.0, 1.0),
            max(_resolution(path) for path in paths.values()),
            f'padinv.Inverter.from_pretrained("{name}")',
        )


def _resolution(path: Path) -> int:
    metadata, _ = read_tensors(path)
    return int(parse_description(metadata[METADATA_KEY], str(path))["config"]["resolution"])


def _weights() -> Iterator[Model]:
    """Networks of others that losses and alignment ask for."""
    for name, net in {"alexnet": "alex", "vgg16": "vgg", "squeezenet": "squeeze"}.items():
        use = f'padinv.losses.PerceptualLoss("{net}")'
        yield _entry(name, f"convolutions of {name}, ImageNet, for LPIPS", lpips_backbone(net), use, smallest=True)
    yield _entry("buffalo_l", "face detector and recognition", face_pack(), "padinv.losses.IdentityLoss(), --align")
    package = find_spec("mtcnnruntime")
    networks = sorted(Path(str(package.origin)).parent.rglob("*.onnx")) if package else []
    yield Model(
        "mtcnn",
        "face detector",
        "cached" if networks else NOT_HERE,
        tuple(networks),
        "the package mtcnn-runtime",
        licence="Apache-2.0 (mtcnn-runtime)",
        input_range=(-1.0, 1.0),
        load="--align --detector mtcnn",
    )


def _entry(name: str, what: str, weights: Weights, use: str, smallest: bool = False) -> Model:
    bundled = weights.bundled is not None
    path = weights.resolve() if bundled else weights.folder / weights.filename
    return Model(
        name,
        what,
        "bundled" if bundled else "cached" if path.exists() else NOT_HERE,
        (path,) if path.exists() else (),
        weights.url,
        weights.hash_prefix and f"{weights.hash_prefix}…",
        weights.licence,
        weights.input_range,
        weights.input_size,
        use,
        weights.megabytes,
        smallest,
    )


def _fetched() -> Iterator[Model]:
    """Checkpoints from ``https://…``, whose names in the cache begin with their SHA-256."""
    folder = cache_folder()
    for path in sorted(folder.glob("*-*")) if folder.is_dir() else ():
        digest, _, name = path.name.partition("-")
        if len(digest) == 16 and path.is_file() and not path.name.endswith((".part", ".lock")):
            yield Model(name, "fetched checkpoint", "cached", (path,), "https://…", f"{digest}…", load=f'"{path}"')


def _from_the_hub() -> Iterator[Model]:
    """Repositories in huggingface_hub's cache that hold a model of padinv's."""
    try:
        from huggingface_hub import constants, scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except ImportError:
        return
    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos  # as it is now: its default is that of the import
    except (CacheNotFound, OSError):
        return
    for repository in sorted(repositories, key=lambda each: str(each.repo_id)):
        for revision in sorted(repository.revisions, key=lambda each: str(each.commit_hash)):
            there = {file.file_name: Path(file.file_path) for file in revision.files}
            ours = [there[name] for name in HUB_FILES.values() if name in there]
            if not ours or not all(is_safetensors(path) for path in ours):
                continue
            name = f"hf://{repository.repo_id}"
            try:
                size = max(_resolution(path) for path in ours)
            except (PadInvError, KeyError, TypeError, ValueError, OSError):
                continue  # someone else's file of this name
            yield Model(
                name,
                ", ".join(path.stem for path in ours),
                "cached",
                tuple(ours),
                f"the Hugging Face Hub, {str(revision.commit_hash)[:12]}",
                None,
                "see its model card",
                (-1.0, 1.0),
                size,
                f'padinv.Inverter.from_pretrained("{name}")',
            )

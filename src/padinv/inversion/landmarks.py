"""Five points of each face, in pixels of the photograph: given by the caller, or found by InsightFace's detector."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from padinv.checkpoints.weights import face_pack
from padinv.exceptions import CheckpointError, ConfigError, DataError, MissingPackageError, NoFaceError
from padinv.files import local_path
from padinv.images import to_array
from padinv.inversion.tables import Table
from padinv.typing import PathLike

logger = logging.getLogger("padinv")

Points: TypeAlias = Tensor | NDArray[Any] | Sequence[Any]
"""Landmarks of one face, (5, 2), or of N, (N, 5, 2): eyes, nose and corners of the mouth, that on the picture's left
first, as (x, y) in pixels of the upright photograph. Whole numbers are centres of pixels, as for InsightFace."""

Faces: TypeAlias = Literal["largest", "all"] | int
"""Which of the faces in a photograph: the largest, all of them, or one by its number, from 0."""

Detector: TypeAlias = Callable[[Tensor], Tensor]
"""Finds faces: (3, H, W) in [-1, 1] to (N, 5, 2), N = 0 if there are none."""

INSTEAD = 'landmarks of your own (--landmarks), or the detector that pip install "padinv[faces]" brings along'
"""What messages advise where InsightFace's weights are missing."""

SLENDEREST = 64
"""The largest ratio of a photograph's sides: scaled for the detector, a longer one would vanish."""


class FaceDetector:
    """SCRFD (Guo et al. 2021), the detector of InsightFace's model packs.

    Mind the licence: InsightFace gives its packs for non-commercial research.

    Args:
        weights: a detector (``.onnx``), a folder that holds one, or the name of an InsightFace pack, which is looked
            for in ``~/.insightface/models`` and fetched into it when it is not there.
        threshold: the least score of a face, in (0, 1).
        sizes: the photograph is searched at each of these sizes of its longer side, in pixels, multiples of 32: a small
            one finds the face that fills the picture, a large one those in the background. A detector whose input has
            a fixed size searches at that alone, and a warning is logged.
        providers: ONNX Runtime's names of where to compute, such as "CUDAExecutionProvider".

    Raises:
        ConfigError: if the threshold or a size is out of its range.
        WeightsNotFoundError: if the weights are not on this machine and cannot be fetched.
        CheckpointError: if they are damaged, or hold no detector.
        MissingPackageError: if insightface is not installed.

    Attributes:
        name: the weights as they were given.
    """

    def __init__(
        self,
        weights: PathLike = "buffalo_l",
        threshold: float = 0.5,
        sizes: Sequence[int] = (128, 640),
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must lie between 0 and 1, not {threshold}.")
        if not sizes or any(size < 32 or size % 32 for size in sizes):
            raise ConfigError(f"sizes must be multiples of 32, the detector's coarsest stride, not {list(sizes)}.")
        path = _resolve(weights)
        self.name = os.fspath(weights)
        self._model = _find_detector(path, list(providers))
        self._model.prepare(0, input_size=[(size, size) for size in sizes], det_thresh=threshold)
        self.sizes = tuple(max(size) for size in self._model.input_sizes)
        if self.sizes != tuple(sizes):
            logger.warning(
                "The detector in %s takes images of %d px alone, so that sizes=%s has no effect: take one with a free "
                "input size to find faces that fill the picture, too.",
                path,
                self.sizes[0],
                tuple(sizes),
            )

    def __call__(self, photograph: Tensor) -> Tensor:
        """Finds the faces in a photograph (3, H, W) in [-1, 1]: (N, 5, 2), the largest first, N = 0 for none."""
        height, width = photograph.shape[-2:]
        if max(height, width) > SLENDEREST * min(height, width):
            return torch.empty(0, 5, 2)
        pixels = np.ascontiguousarray(to_array(photograph)[..., ::-1])  # OpenCV's order: blue, green, red
        _, points = self._model.detect(pixels)
        landmarks = torch.as_tensor(points, dtype=torch.float32)
        return landmarks[extent(landmarks).argsort(descending=True)]


def _resolve(weights: PathLike) -> Path:
    given = local_path(weights)
    is_path = given.exists() or given.suffix == ".onnx" or len(given.parts) > 1
    pack = replace(face_pack() if is_path else face_pack(str(weights)), instead=INSTEAD)
    return pack.resolve(given if is_path else None)


def _find_detector(path: Path, providers: list[str]) -> Any:
    try:
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise MissingPackageError("Finding faces needs insightface: pip install insightface") from error
    # Packs hold larger files than the detector: if one has the detector's usual name, the others are not opened.
    files = sorted(path.rglob("*.onnx"), key=lambda file: (not file.name.startswith(("det", "scrfd")), file.name))
    for file in files if path.is_dir() else [path]:
        try:
            model = get_model(str(file), providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise CheckpointError(f"{file} is not an ONNX file, or is damaged: fetch it again ({error}).") from error
        if getattr(model, "use_kps", False):  # only SCRFD with landmarks has these outputs
            return model
    raise CheckpointError(f"{path} has no face detector with landmarks (SCRFD): give a file such as det_10g.onnx.")


def find_landmarks(photograph: Tensor, detector: Detector, name: str = "the photograph") -> Tensor:
    """Finds the faces in a photograph, which must have one or more.

    Args:
        photograph: (3, H, W) in [-1, 1].
        detector: a :class:`FaceDetector`, or anything else that is called like it.
        name: what the message calls the photograph.

    Returns:
        (N, 5, 2), N ≥ 1.

    Raises:
        NoFaceError: if there is no face.
    """
    landmarks = detector(photograph)
    if not len(landmarks):
        raise NoFaceError(
            f"No face was found in {name}: give its landmarks, choose another detector, or leave alignment out."
        )
    return landmarks


def choose_faces(landmarks: Tensor, faces: Faces = "largest", name: str = "the photograph") -> Tensor:
    """Selects among the faces of one photograph.

    Args:
        landmarks: (N, 5, 2), N ≥ 1.
        faces: "largest", "all", or a number from 0 on: of the landmarks as given, and where a detector has found them,
            of the faces by size.
        name: what the message calls the photograph.

    Returns:
        (M, 5, 2): M = N for "all", otherwise 1.

    Raises:
        ConfigError: if ``faces`` is something else.
        DataError: if there is no face of this number.
    """
    if faces == "all":
        return landmarks
    if faces == "largest":
        return landmarks[extent(landmarks).argmax()][None]
    if not isinstance(faces, int) or faces < 0:
        raise ConfigError(f'faces is "largest", "all", or a number from 0 on, not {faces!r}.')
    if faces >= len(landmarks):
        raise DataError(f"{name} has no face number {faces}: there are {len(landmarks)}, counted from 0.")
    return landmarks[faces][None]


def extent(landmarks: Tensor) -> Tensor:
    """Measures faces, (N,), by the spread of their points, which does not depend on how a head is turned."""
    return (landmarks - landmarks.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))


def as_landmarks(points: Points, name: str = "landmarks") -> Tensor:
    """Makes a float32 tensor (N, 5, 2) of the landmarks of one face (5, 2) or of several (N, 5, 2).

    Raises:
        DataError: if the shape is another one, or a number is not finite.

    >>> as_landmarks([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]]).shape
    torch.Size([1, 5, 2])
    """
    try:
        values = points.detach().cpu() if isinstance(points, Tensor) else torch.from_numpy(np.array(points, float))
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} must be numbers (5, 2) or (N, 5, 2): {error}.") from error
    if values.ndim not in (2, 3) or values.shape[-2:] != (5, 2) or not len(values):
        raise DataError(
            f"{name} must be five points (5, 2), or (N, 5, 2) for N faces: the eyes, the nose, the corners of the "
            f"mouth; they are {tuple(values.shape)}."
        )
    if not values.isfinite().all():
        raise DataError(f"{name} must be finite numbers.")
    return values.float().reshape(-1, 5, 2)


def load_landmarks(path: PathLike) -> Table[Points]:
    """Reads landmarks from a JSON file: file name → ``{"landmarks": [[x, y], …]}``, or the list of points itself.

    Args:
        path: the file. Each entry holds the five points of one face, or a list of such fives.

    Returns:
        File name → points, unchecked. A wrong entry, such as the empty one of a photograph without a face, is an error
        only when it is needed.

    Raises:
        DataError: if the file cannot be read, or is not of this form.
    """
    try:
        entries = json.loads(Path(path).read_bytes(), object_pairs_hook=_unique)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        known = {RecursionError: "it is nested too deeply", UnicodeDecodeError: "it is no text in UTF-8"}
        raise DataError(f"{path} is not a JSON file of landmarks: {known.get(type(error), error)}.") from error
    if not isinstance(entries, dict):
        raise DataError(f"{path} must map file names to landmarks, and is a {type(entries).__name__}.")
    points = {name: entry.get("landmarks") if isinstance(entry, dict) else entry for name, entry in entries.items()}
    return Table({name: [] if entry is None else entry for name, entry in points.items()}, str(path))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Builds a JSON object and refuses a name that comes twice."""
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if entries.setdefault(name, value) != value:
            raise ValueError(f"it has two entries for {name!r}")
    return entries


def given_landmarks(
    landmarks: PathLike | Mapping[str, Points] | Points, names: Sequence[str], faces: Faces = "largest"
) -> list[Tensor]:
    """Looks up the landmarks that a caller gives for each photograph.

    Args:
        landmarks: a JSON file (:func:`load_landmarks`) or a mapping from names to landmarks, in which a photograph is
            found by the end of its path (:class:`~padinv.inversion.tables.Table`). Or points: (5, 2) or (N, 5, 2) for a
            single photograph, and for B photographs a sequence of B, each (5, 2) or (N, 5, 2).
        names: the photographs' names.
        faces: which of the faces of each photograph (:func:`choose_faces`).

    Returns:
        A tensor (M, 5, 2) for each name.

    Raises:
        DataError: if they are malformed, there are none for a photograph, or it cannot be told which are its.
    """
    if isinstance(landmarks, str | os.PathLike):
        landmarks = load_landmarks(landmarks).among(names)
    if isinstance(landmarks, Mapping):
        table = landmarks if isinstance(landmarks, Table) else Table(landmarks, names=names)
        each = [table.entry(name) for name in names]
    else:
        each = [landmarks] if len(names) == 1 else list(landmarks)
        if len(each) != len(names):
            raise DataError(f"landmarks has {len(each)} entries for {len(names)} photographs: give one for each.")
    return [
        choose_faces(as_landmarks(points, f"The landmarks of {name}"), faces, name)
        for points, name in zip(each, names, strict=True)
    ]

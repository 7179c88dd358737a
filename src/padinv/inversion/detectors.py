"""Finds faces by MTCNN, chooses a detector when the user names none, and tells whether a square shows a whole face.

InsightFace's detector is better, but its weights must be fetched, and are for non-commercial research. MTCNN comes
complete with a small package (``pip install "padinv[faces]"``), under the Apache licence.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.checkpoints.weights import face_pack
from padinv.exceptions import ConfigError, DataError, MissingPackageError, PadInvError
from padinv.images import to_array
from padinv.inversion.alignment import PORTRAIT, Recipe, centre_square, face_square
from padinv.inversion.landmarks import SLENDEREST, Detector, FaceDetector, extent
from padinv.typing import PathLike

AUTO = "auto"
"""The name that stands for whichever detector is on this machine."""

MTCNN = "mtcnn"
"""The name of :class:`MtcnnDetector`."""

PACKAGE = "mtcnnruntime"

GLANCE = 128
"""The side in pixels at which :class:`Glance` looks at a square: enough for a face that fills it, and quick."""

LARGEST_FACTOR, FARTHEST = 1.25, 0.1
"""How much larger or smaller than expected a face may be, and how far aside, in sides of the square.

Of 640 aligned portraits the worst have 1.13 and 0.04; of 40 photographs that were not aligned 32 are beyond.
"""

LOOKS = ((2.2, 30), (2.6, 25))
"""MTCNN's further looks at a large face: half the side of the window, in sizes of the face, and ``smallest``."""

LOOK_AGAIN, WINDOW = 16.0, 160
"""Faces whose points lie further from their mean, in pixels, are looked at again, in windows of so many pixels.

The last network now and then misplaces a large face by a fifth of the distance between the eyes. The median of three
looks was 0.08 of it off at worst, over 40 portraits at three sizes.
"""


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016), three small networks that come with the package ``mtcnn-runtime``.

    Args:
        threshold: the least score of a face, in (0, 1), in each of the three stages.
        smallest: the width of the smallest face to find, in pixels of the photograph as it is searched.
        size: longer photographs are searched at this length of their longer side, in pixels.
        look_again: whether it looks at large faces three times, which makes their points more exact.

    Raises:
        ConfigError: if a number is out of its range.
        MissingPackageError: if the package is not installed.
    """

    name = MTCNN

    def __init__(self, threshold: float = 0.7, smallest: int = 20, size: int = 1024, look_again: bool = True) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must lie between 0 and 1, not {threshold}.")
        if smallest < 12 or size < smallest:  # the first network sees 12 px
            raise ConfigError(f"smallest must be 12 or more, and size not less, not {smallest} and {size}.")
        try:
            import mtcnnruntime
        except ImportError as error:
            raise MissingPackageError('Finding faces by MTCNN needs a package: pip install "padinv[faces]"') from error
        self._networks = mtcnnruntime.MTCNN()
        self.threshold = threshold
        self.smallest = smallest
        self.size = size
        self.look_again = look_again

    def __call__(self, photograph: Tensor) -> Tensor:
        """Finds the faces in a photograph (3, H, W) in [-1, 1]: (N, 5, 2), the largest first, N = 0 for none."""
        height, width = photograph.shape[-2:]
        if max(height, width) > SLENDEREST * min(height, width):
            return torch.empty(0, 5, 2)
        scale = min(1.0, self.size / max(height, width))
        if scale < 1:
            reduced = [max(1, round(side * scale)) for side in (height, width)]
            photograph = F.interpolate(photograph[None], size=reduced, mode="bilinear", antialias=True)[0].clamp(-1, 1)
        found = self._find(photograph, self.smallest)
        landmarks = found
        if self.look_again and len(found):
            landmarks = torch.stack([self._look_again(photograph, face) for face in found])
        # A pixel's centre is its whole number, before and after.
        factor = torch.tensor([width / photograph.shape[-1], height / photograph.shape[-2]])
        landmarks = (landmarks + 0.5) * factor - 0.5
        return landmarks[extent(landmarks).argsort(descending=True)]

    def _find(self, photograph: Tensor, smallest: int) -> Tensor:
        """Finds the points (N, 5, 2) of faces, in any order."""
        pixels = np.ascontiguousarray(to_array(photograph)[..., ::-1])  # OpenCV's order: blue, green, red
        try:
            _, rows = self._networks.detect(pixels, smallest, [self.threshold] * 3)
        except ValueError:  # the package stacks the boxes of its first stage, and there are none
            rows = []
        # Each row has all x, then all y.
        return torch.from_numpy(np.asarray(rows, np.float32).reshape(-1, 2, 5).transpose(0, 2, 1).copy())

    def _look_again(self, photograph: Tensor, face: Tensor) -> Tensor:
        """Takes the median of the points of a large face (5, 2) in several windows; a small one stays as it is."""
        centre = face.mean(dim=0)
        size = (face - centre).norm(dim=1).mean().item()
        if size < LOOK_AGAIN:
            return face
        looks = [face]
        for half, smallest in LOOKS:
            side = round(2 * half * 1.6 * size)  # 1.6: from the mean distance of the points to half a face's width
            left, top = (round(place - side / 2) for place in centre.tolist())
            height, width = photograph.shape[1:]
            border = [max(0, -left), max(0, left + side - width), max(0, -top), max(0, top + side - height)]
            padded = F.pad(photograph[None], border, mode="replicate")
            x, y = left + border[0], top + border[2]
            window = F.interpolate(
                padded[..., y : y + side, x : x + side], size=WINDOW, mode="bilinear", antialias=True
            )
            found = self._find(window[0].clamp(-1, 1), smallest)
            found = (found + 0.5) * (side / WINDOW) - 0.5 + torch.tensor([left, top])
            if len(found):
                nearest = found[(found - face).norm(dim=2).mean(dim=1).argmin()]
                looks += [nearest] if (nearest - face).norm(dim=1).mean() < size else []
        return torch.stack(looks).median(dim=0).values if len(looks) > 2 else face


def find_detector(name: PathLike = AUTO) -> Detector:
    """Makes a detector by its name.

    Args:
        name: "auto": the InsightFace pack ``buffalo_l`` if it is on this machine, else MTCNN if its package is
            installed, else that pack, fetched; "mtcnn": :class:`MtcnnDetector`; otherwise what :class:`FaceDetector`
            takes.

    Raises:
        WeightsNotFoundError: if there is none on this machine, and none can be fetched; it says what to install.
        CheckpointError, MissingPackageError: as the detectors do.
    """
    if name == MTCNN:
        return MtcnnDetector()
    return detector_at_hand() or FaceDetector() if name == AUTO else FaceDetector(name)


def detector_at_hand() -> Detector | None:
    """Finds the detector on this machine, InsightFace's first; None if there is none, since nothing is fetched."""
    if _has_insightface():
        return FaceDetector()
    return MtcnnDetector() if find_spec(PACKAGE) else None


def _has_insightface() -> bool:
    pack = face_pack()
    return pack.folder.joinpath(pack.filename).exists()


def name_of(detector: Detector) -> str:
    """Names a detector for records: as :func:`find_detector` takes it, or by the name of its function."""
    return str(getattr(detector, "name", None) or getattr(detector, "__name__", type(detector).__name__))


class Glance:
    """Tells quickly whether the middle of a photograph is a crop of a face, as the generator's training images are.

    It looks for large faces only, in a small copy: some 30 ms on a CPU core.

    Args:
        recipe: how the training images were cropped.
    """

    def __init__(self, recipe: Recipe = PORTRAIT) -> None:
        self.recipe = recipe

    @cached_property
    def detectors(self) -> list[Detector]:
        """Those on this machine, made when first needed; each is asked in turn, until one finds such a face."""
        if _has_insightface():
            with suppress(PadInvError):  # a damaged pack matters only where faces are asked for
                return [FaceDetector(sizes=(GLANCE,))]
        # MTCNN misses some large faces at one series of scales that it finds at the other.
        return [MtcnnDetector(smallest=size, look_again=False) for size in (24, 36)] if find_spec(PACKAGE) else []

    def sees_face(self, square: Tensor) -> bool:
        """Tells whether a square (3, R, R) in [-1, 1] shows a face of the recipe's size, at its place."""
        small = F.interpolate(square[None].float(), size=GLANCE, mode="bilinear", antialias=True)[0].clamp(-1, 1)
        return any(self._fits(face) for detector in self.detectors for face in detector(small))

    def _fits(self, face: Tensor) -> bool:
        whole = centre_square((GLANCE, GLANCE))
        try:
            crop = face_square(face, whole.size, self.recipe)
        except DataError:  # its points are no face's
            return False
        factor = crop.side / whole.side
        x, y = (sum(places) / 4 - GLANCE / 2 for places in zip(*crop.quad, strict=True))
        return max(factor, 1 / factor) <= LARGEST_FACTOR and abs(complex(x, y)) <= FARTHEST * GLANCE

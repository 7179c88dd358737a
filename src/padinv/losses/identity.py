"""Distance between the identities of two faces (ArcFace, Deng et al. 2019)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from padinv.files import local_path
from padinv.losses.base import Frozen, ReconstructionLoss


def crop_face(images: Tensor) -> Tensor:
    """The part of an FFHQ-aligned portrait that ArcFace looks at, as pSp (Richardson et al. 2021) crops it.

    Resized to 256 px unless it has that size, rows 35 to 222 and columns 32 to 219, averaged down to 112 px.

    Args:
        images: (B, 3, H, W).

    Returns:
        (B, 3, 112, 112).

    >>> crop_face(torch.ones(2, 3, 64, 64)).shape
    torch.Size([2, 3, 112, 112])
    """
    if images.shape[-2:] != (256, 256):
        images = F.interpolate(images, size=(256, 256), mode="bilinear", align_corners=False)
    return F.adaptive_avg_pool2d(images[..., 35:223, 32:220], 112)


class IdentityLoss(ReconstructionLoss):
    """1 - cos of the ArcFace embeddings of reconstruction and target, batch mean: 0 for the same face, at most 2.

    The network is the recognition model of an InsightFace pack, made differentiable. Mind the licence: InsightFace
    gives its packs for non-commercial research.

    Args:
        weights: a recognition model (``.onnx``), a folder that holds one, or the name of an InsightFace pack, which is
            looked for in ``~/.insightface/models`` and fetched into it when it is not there.

    Raises:
        WeightsNotFoundError: if the weights are not on this machine and cannot be fetched.
        CheckpointError: if the file or folder holds no recognition model.
        MissingPackageError: if onnx, onnx2torch or (to fetch a pack) insightface is not installed.
    """

    metric_name: ClassVar[str | None] = "id"

    def __init__(self, weights: str = "buffalo_l") -> None:
        super().__init__()
        from padinv.checkpoints.weights import face_pack
        from padinv.networks.arcface import ArcFace

        given = local_path(weights)
        is_path = given.exists() or given.suffix == ".onnx" or len(given.parts) > 1
        path = face_pack().resolve(given) if is_path else face_pack(weights).resolve()
        self.arcface = Frozen(ArcFace(path))

    def embed(self, images: Tensor) -> Tensor:
        """Embeds portraits (B, 3, H, W) in [-1, 1]: (B, 512), of norm 1."""
        embeddings: Tensor = self.arcface(crop_face(images))
        return F.normalize(embeddings.float(), dim=1)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Compares (B, 3, H, W) with (B, 3, H, W), both in [-1, 1]: a scalar."""
        return self.each(reconstruction, target).mean()

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures every image by itself: (B,)."""
        with torch.no_grad():
            expected = self.embed(target)
        return 1 - (self.embed(reconstruction) * expected).sum(dim=1)

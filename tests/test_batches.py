from __future__ import annotations

import re
import warnings

import pytest
import torch

from padinv.batches import ImageRangeWarning, batch_images, check_images
from padinv.exceptions import DataError

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (IMAGES, '{"image": (B, 3, H, W)}, not a Tensor of shape (2, 3, 8, 8)'),
        ((IMAGES, torch.zeros(2)), "not a tuple of 2"),
        ({"images": IMAGES}, "not a dict of 'images'"),
        ({"image": [IMAGES]}, "a tensor (B, 3, H, W), not a list of 1"),
        ({"image": IMAGES.numpy()}, "not a ndarray of shape (2, 3, 8, 8)"),
        ({"image": IMAGES[0]}, "of shape (B, 3, H, W), not (3, 8, 8)"),
        ({"image": IMAGES[:, :1]}, "of shape (B, 3, H, W), not (2, 1, 8, 8)"),
        ({"image": (IMAGES * 255).byte()}, "not torch.uint8: x / 127.5 - 1"),
        ({"image": IMAGES * 255}, "must be in [-1, 1], but reach from"),
        ({"image": IMAGES * 1.5}, "must be in [-1, 1], but reach from 0"),
        ({"image": IMAGES * 260 - 3}, "must be in [-1, 1], but reach from -2"),  # bytes that a filter overshot
        ({"image": IMAGES * torch.nan}, "reach from nan"),
    ],
)
def test_what_is_no_batch_is_described(batch: object, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        batch_images(batch)


def test_images_in_0_to_1_are_warned_of() -> None:
    with pytest.warns(ImageRangeWarning, match=r"no value below 0.*2 \* x - 1"):
        check_images(IMAGES)


@pytest.mark.parametrize("images", [IMAGES * 2 - 1, torch.zeros(2, 3, 8, 8), (IMAGES * 2 - 1) * 4, IMAGES[:0]])
def test_images_are_left_alone(images: torch.Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_images(images)
        check_images(IMAGES, values=False)

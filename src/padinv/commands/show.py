"""``padinv show PHOTO… -o OUT``: what a code holds, the rings drawn around the feature maps that they pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from padinv.bulk.task import Task
from padinv.options import option, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from padinv.codes import InversionCode
    from padinv.networks import Generator


@dataclass
class Show(Task):
    """Draw codes: the padding rings around the generator's feature maps.

    Args:
        tile: height of a picture.
    """

    tile: int = option(256, whole_number(64, 4096), metavar="PX")  # a ring around 32 px has 34 places

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """The row, then the constant and the rings of the code."""
        from padinv.feature_maps import draw_code

        return draw_code(generator, code, [image[None] for image in row], self.tile)

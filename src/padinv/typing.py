"""The few type aliases that several layers share."""

from __future__ import annotations

import os
from typing import Literal, TypeAlias

Noise: TypeAlias = Literal["const", "random", "none"]
"""Where the noise images of the synthesis network come from."""

PathLike: TypeAlias = str | os.PathLike[str]

Precision: TypeAlias = Literal["32", "bf16", "16"]
"""Bits of a number in networks; half precision is mixed with single where it matters."""

Easing: TypeAlias = Literal["linear", "smooth"]
"""How fast the frames between two codes go: evenly, or starting and ending slowly (3t² - 2t³)."""

"""``padinv invert PHOTO… -o OUT``: photographs to codes, and what the generator makes of them."""

from __future__ import annotations

from padinv.bulk.task import Task


class Invert(Task):
    """Find the codes from which the generator makes photographs again."""

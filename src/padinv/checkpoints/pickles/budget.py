"""What reading a file may cost, in proportion to its size: a small file cannot make large objects."""

from __future__ import annotations

from padinv.exceptions import CheckpointError


class Budget:
    """Allowances that every part of the reading of one file draws on.

    Args:
        size: of the file in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        # A step makes an object of about 200 bytes at most, so that all of them stay under four times the file;
        # networks need a few dozen steps for each tensor. Text may take four bytes a character.
        self.left = {
            "steps": 100_000 + size // 128,
            "text": 2**20 + size // 8,
            "storage": size,
            "tensors": size + 2**20,
        }

    def spend(self, allowance: str, amount: int = 1) -> None:
        """Draws on an allowance: "steps" of a pickle, bytes of "text", of "storage", or of "tensors" made from it.

        Raises:
            CheckpointError: if nothing is left of it.

        >>> Budget(1000).spend("storage", 1001)
        Traceback (most recent call last):
        padinv.exceptions.CheckpointError: it claims more storage than a file of 1000 bytes can hold
        """
        self.left[allowance] -= amount
        if amount < 0 or self.left[allowance] < 0:
            raise CheckpointError(f"it claims more {allowance} than a file of {self.size} bytes can hold")

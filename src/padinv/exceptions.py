"""Every error that padinv raises on purpose: one sentence that names the file or option, and the mend."""

from __future__ import annotations


class PadInvError(Exception):
    """Base class: catch it to catch whatever padinv refuses."""


class ConfigError(PadInvError, ValueError):
    """An option, or a combination of options, that cannot work."""


class DataError(PadInvError, ValueError):
    """Images that are missing, unreadable or of the wrong kind."""


class CheckpointError(PadInvError, ValueError):
    """A weights file that cannot be read, or does not hold what was asked of it."""


class WeightsNotFoundError(PadInvError, FileNotFoundError):
    """Pretrained weights that are not on this machine and could not be fetched."""


class MissingPackageError(PadInvError, ImportError):
    """An optional package that is needed now: the message holds the exact pip line."""


class NonFiniteLossError(PadInvError, ArithmeticError):
    """A loss term became NaN or infinite: the message names the step, the term and the batch's files."""

"""Every error that padinv raises on purpose: one sentence that names the file or option, and the mend."""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

STEERING = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])
"""Categories of Unicode: controls, formats, surrogates, breaks of lines and paragraphs."""
JOINERS = "\u200c\u200d"
"""Formats that scripts and emoji need."""


def printable(text: str) -> str:
    r"""Makes text from a file, or its name, safe to print: what could control the terminal becomes an escape.

    It escapes control characters, line breaks, marks of writing direction, and bytes of a name that are not UTF-8.
    Letters of every script stay.

    >>> print(printable("naïve \x1b[2J\n"))
    naïve \x1b[2J\n
    """
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in STEERING and c not in JOINERS else c for c in text)


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The nearest of some names, for a message about a misspelt one; None if none is near. Their case does not count.

    >>> nearest("widht", ["depth", "width"])
    'width'
    """
    lower = {known.lower(): known for known in names}
    found = get_close_matches(name.lower(), lower, 1, cutoff)
    return lower[found[0]] if found else None


class PadInvError(Exception):
    """Base class: catch it to catch all that padinv refuses. Its message is :func:`printable`."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(printable(arg) if isinstance(arg, str) else arg for arg in args))


class ConfigError(PadInvError, ValueError):
    """An option, or a combination of options, that cannot work."""


class DataError(PadInvError, ValueError):
    """Images that are missing, unreadable or of the wrong kind."""


class NoFaceError(DataError):
    """A photograph in which no face was found, though one was to be aligned."""


class CheckpointError(PadInvError, ValueError):
    """A weights file that cannot be read, or does not hold what was asked of it."""


class WeightsNotFoundError(PadInvError, FileNotFoundError):
    """Pretrained weights that are not on this machine and could not be fetched."""


class MissingPackageError(PadInvError, ImportError):
    """An optional package that is needed now: the message holds the exact pip line."""


class NonFiniteLossError(PadInvError, ArithmeticError):
    """A loss term became NaN or infinite: the message names the step, the term and the batch's files."""


def reason(error: BaseException | None) -> PadInvError | None:
    """Finds padinv's own error behind one of jsonargparse's; None if there is none.

    jsonargparse tries every alternative of a type (a module, or None) and chains only the first failure to its error;
    the other failures are in the frame that raised it.
    """
    if error is None or isinstance(error, PadInvError):
        return error
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    tried = [failure for names in frames for failure in names.get("exceptions", ())]
    return next(filter(None, map(reason, [error.__cause__, *tried])), None)

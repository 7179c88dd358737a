"""The data sets inside the package: a name stands for a zip file of pictures."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

BUNDLED = {
    "congress64-train": "congress64-train.zip",
    "congress64-val": "congress64-val.zip",
}
"""Name to file under `padinv/assets`. Provenance and licences: `provenance.csv` inside each zip, and NOTICE."""


def bundled_path(name: str) -> Path:
    """The zip file of a bundled data set.

    Args:
        name: A key of `BUNDLED`.

    Raises:
        KeyError: There is no such data set.

    Example:
        >>> bundled_path("congress64-val").name
        'congress64-val.zip'
    """
    return Path(str(files("padinv") / "assets" / BUNDLED[name]))

"""Labels of photographs from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePath

from padinv.exceptions import DataError


def read_labels(path: Path, photographs: Sequence[str], column: str, key: str = "file") -> list[str | None]:
    """Looks up a column for each photograph, by its file name.

    Args:
        path: a CSV file with a header.
        photographs: their paths.
        column: which column.
        key: the column with the file names, of which the last part counts.

    Returns:
        For each photograph the entry, None where there is none or it is empty.

    Raises:
        DataError: if the file cannot be read, or has no such column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    for name in (key, column):
        if not rows or name not in rows[0]:
            raise DataError(f"{path} has no column {name!r}; there are: {', '.join(rows[0]) if rows else 'none'}.")
    entries = {PurePath(row[key]).name: row[column] for row in rows if row[key]}
    return [entries.get(PurePath(photograph).name) or None for photograph in photographs]


def as_numbers(labels: Sequence[str | None], column: str) -> list[float | None]:
    """Numbers as they are; two words as 0 and 1, in alphabetical order.

    Raises:
        DataError: if there are other words.

    >>> as_numbers(["male", None, "female"], "gender"), as_numbers(["1965", "1950.5"], "birth_year")
    ([1.0, None, 0.0], [1965.0, 1950.5])
    """
    try:
        return [None if label is None else float(label) for label in labels]
    except ValueError:
        words = sorted({label for label in labels if label is not None})
        if len(words) != 2:
            raise DataError(
                f"The column {column!r} must hold numbers or two words, not {', '.join(words[:5])}."
            ) from None
        return [None if label is None else float(words.index(label)) for label in labels]

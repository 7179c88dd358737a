"""Labels of photographs from a CSV file."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from padinv.exceptions import DataError
from padinv.inversion.tables import Table
from padinv.sources.folders import is_image

Row = tuple[int, list[str]]
"""The number of a line, from 1, and its entries."""

NO_LABEL = ("", "nan")
"""Entries that mean that there is no label; pandas writes nan."""


def read_labels(
    path: Path, photographs: Sequence[str], column: str, key: str = "file", recorded: Sequence[str] | None = None
) -> list[str | None]:
    """Looks up a column for each photograph, by the end of its path (:class:`padinv.inversion.tables.Table`).

    Args:
        path: a table as text, with a header, separated by commas, semicolons, tabs or spaces. CelebA's own tables begin
            with a line that tells the number of images, and their header names no column for the files.
        photographs: their paths, or those of saved codes, which have the labels of their photographs.
        column: the column to look up.
        key: the column with the file names; the first column, if none has this name.
        recorded: another name for each photograph, such as the photograph of a saved code; it is looked up first.

    Returns:
        The entry of each photograph; None if there is none, or it is empty or "nan".

    Raises:
        DataError: if the file cannot be read, has no such column, has two entries for a file, has none for all of the
            photographs, or does not tell which of two entries belongs to which photograph.
    """
    header, rows = _read(path)
    if column not in header:
        raise DataError(f"{path} has no column {column!r}; there are: {', '.join(header) or 'none'}.")
    if header.count(column) > 1:
        raise DataError(f"{path} has {header.count(column)} columns {column!r}: rename one of them.")
    place, files = header.index(column), header.index(key) if key in header else 0
    entries: dict[str, str] = {}
    for number, row in rows:
        name, value = row[files], row[place]
        if name and entries.setdefault(name, value) != value:
            raise DataError(f"{path} has two entries for {name}: {entries[name]!r}, and in line {number} {value!r}.")
    names = [list(filter(None, pair)) for pair in zip(recorded or [""] * len(photographs), photographs, strict=True)]
    table = Table(entries, str(path), dict.fromkeys(options[0] for options in names))
    found = [next((entry for name in options if (entry := table.find(name)) is not None), None) for options in names]
    if names and not any(entry is not None for entry in found):
        raise DataError(
            f"{path} has none of the {len(names)} photographs, such as {photographs[0]}: its column {header[files]!r} "
            f"names {', '.join(list(entries)[:3]) or 'none'}."
        )
    return [None if entry is None or entry.lower() in NO_LABEL else entry for entry in found]


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Reads the header and the rows below it, all of one length."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        lines = list(_lines(text))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read: it is no text in UTF-8; save the table as CSV in UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path} cannot be read: {error}; is there a quote that is not closed?") from error
    if lines and ((len(lines[0][1]) == 1 and lines[0][1][0].isdecimal()) or lines[0][1][0].lower() == "sep="):
        lines = lines[1:]  # CelebA's number of images, or Excel's line that names the separator
    if not lines:
        raise DataError(f"{path} is empty: it needs a header such as file,smile, and a line for each photograph.")
    (_, header), *rows = lines
    if any(map(is_image, header)):
        raise DataError(f"{path} has no header: put a line such as file,smile before {', '.join(header[:3])}.")
    if rows and all(len(row) == len(header) + 1 for _, row in rows):
        header = ["file", *header]  # CelebA's header names only the labels
    for number, row in rows:
        if len(row) > len(header):
            raise DataError(
                f"{path} has {len(row)} entries in line {number}, and {len(header)} columns: put quotes around what "
                "holds a separator."
            )
        row += [""] * (len(header) - len(row))
    return header, rows


def _lines(text: str) -> Iterator[Row]:
    """The lines that are not empty, with their entries."""
    first = text.lstrip().partition("\n")[0].strip()
    if first.isdecimal():  # the number of images, in CelebA's files
        first = text.lstrip().partition("\n")[2].lstrip().partition("\n")[0]
    separator = max("\t;,", key=first.count)
    if separator in first:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        numbered = ((reader.line_num, [entry.strip() for entry in row]) for row in reader)
    else:
        numbered = ((number, line.split()) for number, line in enumerate(text.splitlines(), 1))
    yield from ((number, row) for number, row in numbered if any(row))


def as_numbers(labels: Sequence[str | None], column: str) -> list[float | None]:
    """Turns labels into numbers: "nan" into None, and two words into 0 and 1 in alphabetical order.

    Raises:
        DataError: if there are other words, a comma in a number, or an infinite number.

    >>> as_numbers(["male", None, "female"], "gender"), as_numbers(["1965", "1950.5"], "birth_year")
    ([1.0, None, 0.0], [1965.0, 1950.5])
    """
    try:
        numbers = [math.nan if label is None else float(label) for label in labels]
    except ValueError:
        words = sorted({label for label in labels if label is not None})
        if commas := [word for word in words if re.fullmatch(r"[-+]?\d+(,\d+)+", word)]:  # 10,5 is not before 9,5
            raise DataError(
                f"The column {column!r} has commas in numbers, such as {commas[0]}: write points."
            ) from None
        if len(words) != 2:
            raise DataError(
                f"The column {column!r} must hold numbers or two words, not {', '.join(words[:5])}."
            ) from None
        return [None if label is None else float(words.index(label)) for label in labels]
    if any(map(math.isinf, numbers)):
        raise DataError(f"The column {column!r} must hold finite numbers.")
    return [None if math.isnan(number) else number for number in numbers]


def poles(labels: Sequence[str | None], column: str) -> dict[str, str]:
    """Names what is low and what is high in labels that :func:`as_numbers` reads: words, or lower and higher numbers.

    >>> poles(["male", None, "female"], "gender")
    {'negative': 'female', 'positive': 'male'}
    >>> poles(["1965", "1950.5"], "birth_year")
    {'negative': 'lower birth_year', 'positive': 'higher birth_year'}
    """
    words = sorted({label for label in labels if label is not None})
    try:
        for word in words:
            float(word)
    except ValueError:
        return dict(zip(("negative", "positive"), words, strict=True))
    return {"negative": f"lower {column}", "positive": f"higher {column}"}

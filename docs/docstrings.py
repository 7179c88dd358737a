"""Makes Markdown of what is not Markdown in docstrings: Sphinx roles, doctests and tables."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":\w+:`~?([^`]+)`")
DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1\S.*)*", flags=re.MULTILINE)
TABLE = re.compile(r"^==+ .*(?:\n.+)*\n==+ .*$", flags=re.MULTILINE)


def to_markdown(text: str) -> str:
    """Turns ``:func:`a.b` `` into ``b`` in code type, and fences doctests and tables."""
    text = ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    text = DOCTEST.sub(lambda test: f"{test[1]}```pycon\n{test[0]}\n{test[1]}```", text)
    return TABLE.sub(lambda table: f"```text\n{table[0]}\n```", text)


class Docstrings(griffe.Extension):
    """Rewrites every docstring that griffe reads."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)

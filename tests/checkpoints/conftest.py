"""A process that loads files and measures what they take."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loading_apart import LoadingProcess


@pytest.fixture(scope="session")
def loading() -> Iterator[LoadingProcess]:
    process = LoadingProcess()
    yield process
    process.close()

"""How far work is, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from padinv.progress import Progress


class Terminal(io.StringIO):
    """Keeps what is written, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Progress(40, "photographs", file=terminal) as progress:
        progress.to(10)
        progress.note("step 20 of 100")
        progress.to(50)
    text = terminal.getvalue()
    assert "Photographs" in text
    assert "40/40" in text, "not more than there are"
    assert "of 40 photographs" not in text


def test_a_file_gets_lines_now_and_then() -> None:
    file = io.StringIO()
    with Progress(3, "pairs", file=file, every=0) as progress:
        for done in range(1, 4):
            progress.to(done)
    assert file.getvalue().splitlines() == ["1 of 3 pairs", "2 of 3 pairs", "3 of 3 pairs"]
    with Progress(3, "pairs", file=file, every=3600) as seldom:
        seldom.to(3)
    assert len(file.getvalue().splitlines()) == 3


@pytest.mark.parametrize("options", [{"show": False, "every": 0}, {"every": None}])
def test_nothing_is_shown(options: dict[str, float | None]) -> None:
    for file in (io.StringIO(), Terminal()) if "show" in options else (io.StringIO(),):
        with Progress(3, "pairs", file=file, **options) as progress:  # type: ignore[arg-type]
            progress.to(2)
        assert file.getvalue() == ""


def test_an_error_leaves_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with pytest.raises(ZeroDivisionError), Progress(3, "pairs", file=terminal) as progress:
        progress.to(1 // 0)
    assert "\x1b[?25h" in terminal.getvalue(), "the cursor is shown again"

"""Options are fields: what the command line makes of them, and what help and checks say."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import pytest

from padinv.bulk import BulkOptions, Task
from padinv.cli import COMMANDS
from padinv.exceptions import ConfigError
from padinv.options import Command, check_options, file, folder, number, option, options_of, whole_number

OWN = {
    name: resolve_name(place.removesuffix(".main"))
    for name, (place, _) in COMMANDS.items()
    if place.startswith("padinv.commands")
}


@dataclass
class Sample(Command):
    """Do something.

    Second paragraph.

    Args:
        place: where.
        way: how,
            in two lines.
        way_back: and back (default: --way).
    """

    name: ClassVar = "sample"
    place: str = option()
    way: float = option(1.0, number(-10), metavar="W", group="ways")
    way_back: float | None = option(None, number(), group="ways")
    kind: str = option("a", choices=("a", "b"))
    each: list[float] = option([], number())
    several: list[float] = option([1.0], number(), nargs="+")
    quick: bool = option(False)
    memory: bool = option(True, flags=("--no-memory",))
    const: bool = option(True)

    def __post_init__(self) -> None:
        check_options(self)


def parsed(*words: str) -> dict[str, Any]:
    return vars(Sample.parser().parse_args(words))


def test_what_fields_become() -> None:
    assert parsed("here") == {
        "place": "here",
        "way": 1.0,
        "way_back": None,
        "kind": "a",
        "each": [],
        "several": [1.0],
        "quick": False,
        "memory": True,
        "const": True,
    }
    changed = parsed("a", "--way-back", "-1e-1", "--each", "1", "--each", "2", "--quick", "--no-memory", "--no-const")
    expected = {"way_back": -0.1, "each": [1, 2], "quick": True, "memory": False, "const": False}
    assert {name: changed[name] for name in expected} == expected
    assert parsed("here")["each"] == []  # not the list of the command before


def test_help() -> None:
    text = Sample.parser().format_help()
    assert "usage: padinv sample" in text
    assert "Do something." in text
    assert "Second" not in text
    assert "\nways:\n" in text
    assert "--way W               how, in two lines (default: 1)" in text
    assert "and back (default: --way)\n" in text


@pytest.mark.parametrize("text", ["-1e-1", "-.5", "-1e3", "-5.", "-2", "+1", " 1", "1e-3", "-1_0"])
def test_every_number_is_a_value(text: str) -> None:
    options = parsed("out", "--each", text, "--each", "1", "--several", text, "0", text)
    assert options["each"] == [float(text), 1]
    assert options["several"] == [float(text), 0, float(text)]


def test_what_is_no_number_stays_an_option() -> None:
    with pytest.raises(ConfigError, match="unrecognized arguments: -1x; padinv sample --help"):
        parsed("out", "-1x")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"way": -11}, "--way must be -10 or more, not -11."),
        ({"way_back": float("inf")}, "--way-back must be a finite number, not inf."),
        ({"each": [1, float("nan")]}, "--each must be a finite number, not nan."),
        ({"kind": "c"}, "--kind must be one of a, b, not 'c'."),
    ],
)
def test_python_is_checked_as_the_command_line_is(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Sample("here", **options)


def test_whole_numbers() -> None:
    assert whole_number(0)("7") == 7
    assert isinstance(whole_number(0)("7"), int)


@pytest.mark.parametrize(("read", "kind"), [(file, "file"), (folder, "folder")])
def test_paths_are_checked_alike(
    read: Callable[[str], Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/a") == tmp_path / "a"
    for text, reason in (
        ("", "and is empty"),
        ("s3://b", "of this machine, not the URL s3://b"),
        ("a\0b", "whose name has no NUL"),
        ("~no-such-user/a", "but ~no-such-user/a begins with the name of a user whom this machine does not have"),
    ):
        with pytest.raises(ArgumentTypeError, match=f"must be a {kind},? {reason}"):
            read(text)


@pytest.mark.parametrize("command", OWN.values(), ids=OWN)
def test_help_says_what_each_option_is(command: type[Command]) -> None:
    actions = command.parser()._actions
    assert all(action.help or action.choices for action in actions), [a.dest for a in actions if not a.help]
    shared = options_of(BulkOptions) if issubclass(command, Task) else []
    names = {each.name for each in [*options_of(command), *shared]}
    assert names <= {action.dest for action in actions}
    assert len(names) == len(options_of(command)) + len(shared)  # none hides another


@pytest.mark.parametrize("name", [name for name in OWN if name not in ("convert", "inspect")])
def test_help_imports_no_torch(name: str) -> None:
    code = (
        "import contextlib, io, sys; from padinv.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:\n"
        f"    main([{name!r}, '--help'])\n"
        f"assert 'usage: padinv {name}' in text.getvalue()\n"
        "print([name for name in ('torch', 'pytorch_lightning', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = ["numpy"] if name == "interpolate" else []  # whose writers of pictures need it
    assert result.stdout.strip() == str(heavy)


def test_a_task_of_a_users_own_is_a_command() -> None:
    @dataclass
    class Darker(Task):
        """Make codes smaller.

        Args:
            by: how much.
        """

        by: float = option(0.9, number(0, 1))

    assert (Darker.name, Darker().settings, Darker().references) == ("darker", {"by": 0.9}, [])
    parser = Darker.parser()
    options = parser.parse_args(["a.png", "--by", "0.5", "-o", "out"])
    assert (options.photographs, options.by, str(options.output)) == (["a.png"], 0.5, "out")
    assert "how much (default: 0.9)" in parser.format_help()
    with pytest.raises(ConfigError, match="--by must be from 0 to 1, not 2"):
        parser.parse_args(["a.png", "--by", "2", "-o", "out"])

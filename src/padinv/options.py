"""Options written once: the fields of a dataclass are the options of a command, and its docstring is their help."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO, TypeVar

from padinv.exceptions import ConfigError, nearest, printable
from padinv.files import local_path
from padinv.help import short_help

Options = TypeVar("Options")

LARGEST = 2**31 - 1
"""The largest whole number: a larger one is a mistake, and not every library takes it."""

LIMIT_OF_WORKERS = 1024
"""The most processes that decode: each takes 200 MB, and thousands of them stop a machine."""


def option(
    default: Any = MISSING, read: Any = str, *, group: str | None = None, rare: bool = False, **keywords: Any
) -> Any:
    """Makes a field of a dataclass an option: ``padding_strength`` is ``--padding-strength``.

    Args:
        default: the value if not given. A field without a default is a positional argument, unless it has ``flags``. A
            list makes an option that may be repeated, unless it has ``nargs``; False and True make switches.
        read: turns a word into a value, or raises argparse.ArgumentTypeError; its ``check``, if it has one, checks a
            value from Python.
        group: its heading in the help.
        rare: leave it to ``--help-all`` if the help of all options is longer than a screen.
        **keywords: of argparse's ``add_argument``, and ``flags``, which replace the flag made of the field's name.
    """
    metadata = {"option": {"read": read, "group": group, "rare": rare, **keywords}}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(cls: Any) -> list[Field[Any]]:
    """The fields of a dataclass, or of an object of one, that are options."""
    return [each for each in fields(cls) if "option" in each.metadata] if is_dataclass(cls) else []


def is_positional(each: Field[Any]) -> bool:
    """Whether an option is an argument without a name."""
    return each.default is MISSING and each.default_factory is MISSING and "flags" not in each.metadata["option"]


def add_options(parser: argparse.ArgumentParser, cls: type, **changed: Mapping[str, Any]) -> None:
    """Adds the options of a dataclass, with their help from its docstring.

    Args:
        parser: where to.
        cls: the dataclass; another class has no options.
        **changed: keywords of :func:`option` to change for some fields.
    """
    helps = {name: text for each in reversed(cls.__mro__) for name, text in _arguments(each).items()}
    groups = {group.title: group for group in parser._action_groups}
    for each in options_of(cls):
        given = {**each.metadata["option"], **changed.get(each.name, {})}
        read, group, flags = given.pop("read"), given.pop("group"), given.pop("flags", None)
        rare = given.pop("rare")
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if is_positional(each):
            flags = [each.name]
            given |= {} if "choices" in given or "metavar" in given else {"metavar": each.name.upper()}
        else:
            flags = flags or [f"--{each.name.replace('_', '-')}"]
            given |= {"dest": each.name, "default": None if default is MISSING else default}
            given.setdefault("required", default is MISSING)
        if isinstance(default, bool):
            negated = flags[0].startswith("--no-")
            given["action"] = (
                ("store_false" if negated else argparse.BooleanOptionalAction) if default else "store_true"
            )
        else:
            given["type"] = read
            given |= {"action": "append"} if isinstance(default, list) and "nargs" not in given else {}
        text = given.pop("help", helps.get(each.name, ""))
        if isinstance(default, int | float | str) and not isinstance(default, bool) and "(default:" not in text:
            text += f" (default: {default if isinstance(default, str) else format(default, 'g')})"
        if group is not None and group not in groups:
            groups[group] = parser.add_argument_group(group)
        (parser if group is None else groups[group]).add_argument(*flags, help=text.strip(), **given)
        if rare and isinstance(parser, OptionParser):
            parser.rare.add(each.name)


def _arguments(cls: type) -> dict[str, str]:
    """The texts of the fields in the section ``Args`` of a docstring."""
    section = inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    entries = (entry.partition(": ") for entry in re.split(r"^ {4}(?=\w+: )", section, flags=re.MULTILINE))
    return {name: " ".join(text.split()).removesuffix(".") for name, _, text in entries}


def from_namespace(cls: type[Options], namespace: argparse.Namespace) -> Options:
    """Makes an object of a dataclass from parsed options."""
    return cls(**{each.name: getattr(namespace, each.name) for each in options_of(cls)})


def check_options(options: Any) -> None:
    """Checks values from Python as those of a command line are checked.

    Raises:
        ConfigError: if a value is out of range.
    """
    for each in options_of(options):
        value, given = getattr(options, each.name), each.metadata["option"]
        check, choices = getattr(given["read"], "check", None), given.get("choices")
        try:
            if choices is not None and value is not None and value not in choices:
                raise argparse.ArgumentTypeError(f"must be one of {', '.join(choices)}, not {value!r}")
            if check is not None and value is not None:
                for one in value if isinstance(value, list | tuple) else [value]:
                    check(one)
        except argparse.ArgumentTypeError as error:
            raise ConfigError(f"--{each.name.replace('_', '-')} {error}.") from error


@dataclass(frozen=True)
class number:  # noqa: N801 (it is used as a function)
    """The ``read`` of an option that is a finite number in a range, both ends included."""

    least: float = -math.inf
    most: float = math.inf
    kind: type[float] = float

    def __call__(self, text: str) -> float:
        """Reads a word."""
        try:
            value = self.kind(text)
        except ValueError:
            whole = "whole " if self.kind is int else ""
            raise argparse.ArgumentTypeError(f"must be a {whole}number, not {text.strip()!r}") from None
        self.check(value)
        return value

    def check(self, value: float) -> None:
        """Checks a value."""
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"must be a finite number, not {value}")
        if self.kind is int and abs(value) > LARGEST:
            raise argparse.ArgumentTypeError(f"must be {LARGEST:,} or less, not {value:g}")
        if not self.least <= value <= self.most:
            bounds = f"{self.least:g} or more" if self.most == math.inf else f"from {self.least:g} to {self.most:g}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, not {value:g}")


def whole_number(least: int, most: float = math.inf) -> number:
    """The ``read`` of an option that is a whole number in a range."""
    return number(least, most, int)


def _local_path(kind: str, text: str) -> Path:
    """The ``read`` of an option that is a file or a folder of this machine (:func:`padinv.files.local_path`)."""
    if not text:  # a shell variable that is not set
        raise argparse.ArgumentTypeError(f"must be a {kind}, and is empty")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"must be a {kind} of this machine, not the URL {text}")
    if "\0" in text:  # from Python alone: a command line cannot have one
        raise argparse.ArgumentTypeError(f"must be a {kind}, whose name has no NUL, not {text!r}")
    try:
        return local_path(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(f"must be a {kind}, but {str(error).removesuffix('.')}") from error


file, folder = partial(_local_path, "file"), partial(_local_path, "folder")


def resolutions(text: str) -> list[int]:
    """The ``read`` of an option that is resolutions: "4,8", or "none".

    >>> resolutions("8,4"), resolutions("none")
    ([4, 8], [])
    """
    try:
        return [] if text == "none" else sorted(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be resolutions such as 4,8,16, or none, not {text!r}") from None


class OptionParser(argparse.ArgumentParser):
    """A parser of the options of a dataclass, whose errors are one sentence, and whose ``--help`` is a screen long.

    It takes every number for a value, where argparse takes ``-0.1`` for a value and ``-1e-1`` for a misspelt option.

    Args:
        cls: the dataclass; the first paragraph of its docstring is the description.

    Attributes:
        rare: names of options that a short help leaves to ``--help-all``.
    """

    def __init__(self, cls: type) -> None:
        description = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
        super().__init__(prog=f"padinv {cls.__name__.lower()}", description=description, add_help=False)
        self.rare: set[str] = set()
        self.add_argument("-h", "--help", action=Help, help="show this help message and exit")
        self.add_argument("--help-all", action=Help, help=argparse.SUPPRESS)

    def parse_known_args(  # type: ignore[override]  # typeshed has an overload for each way to call it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Puts a space before negative numbers: argparse takes words without a leading dash for values."""
        words = sys.argv[1:] if args is None else args
        self._check_options(words)
        return super().parse_known_args([f" {word}" if _is_negative(word) else word for word in words], namespace)

    def _check_options(self, words: Sequence[str]) -> None:
        """Names a misspelt option before argparse complains that something else is missing."""
        known = [name for action in self._actions for name in action.option_strings]
        for word in words:
            name, _, value = word.partition("=")
            if word == "--":
                return
            if value == "--":  # argparse would take it for the end of the options
                self.error(f"{name} must have a value, not --")
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                near = nearest(name, known, cutoff=0.5)
                self.error(f"there is no option {name}" + (f": did you mean {near}" if near else ""))

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError."""
        sentence = message.removeprefix("argument ").replace(": must be", " must be")
        raise ConfigError(f"{sentence}; {self.prog} --help lists the options.")


class Help(argparse.Action):
    """An option without a value that prints a help: ``--help`` the short one, ``--help-all`` the whole one."""

    def __init__(self, option_strings: Sequence[str], dest: str, **keywords: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=keywords["help"])

    def __call__(self, parser: argparse.ArgumentParser, _: Any, __: Any, option_string: str | None = None) -> None:
        """Prints it, and ends."""
        assert isinstance(parser, OptionParser)
        print(parser.format_help() if option_string == "--help-all" else short_help(parser, parser.rare), end="")
        parser.exit()


def plain(value: Any) -> Any:
    """Values as JSON has them: paths as text, and None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _is_negative(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return word.startswith("-") and not Path(word).exists()


class Command:
    """A command: a subclass is a dataclass whose fields are its options, and whose docstring is its help.

    Attributes:
        reports: whether it has ``--json``, and tells what it did or found by :meth:`tell`.
    """

    reports: ClassVar[bool] = True
    _objects: TextIO | None = None

    def __post_init__(self) -> None:
        """Checks values from Python, as the parser has checked those of the command line."""
        check_options(self)

    @classmethod
    def parser(cls) -> OptionParser:
        """Reads the words behind the command."""
        parser = OptionParser(cls)
        add_options(parser, cls)
        if cls.reports:
            parser.add_argument(
                "--json",
                action="store_true",
                default=argparse.SUPPRESS,
                help="print JSON, an object or one a line; all else goes to stderr",
            )
        return parser

    @classmethod
    def main(cls, args: Sequence[str]) -> int:
        """Runs the command with the words behind its name, and returns the exit code.

        Raises:
            PadInvError: if the command cannot be done.
        """
        namespace = cls.parser().parse_args(args)
        command = from_namespace(cls, namespace)
        with command.telling(namespace):
            return command.start(namespace)

    def start(self, namespace: argparse.Namespace) -> int:
        """Does the command's work with all that was parsed, and returns the exit code."""
        return self.run()

    def run(self) -> int:
        """Does the work of a command that needs no more than its own options, and returns the exit code."""
        raise NotImplementedError

    @contextmanager
    def telling(self, namespace: argparse.Namespace) -> Iterator[None]:
        """With ``--json`` keeps stdout for what :meth:`tell` gets; what is printed for people goes to stderr."""
        if not getattr(namespace, "json", False):
            yield
            return
        self._objects = sys.stdout
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            self._objects = None

    def tell(self, facts: Mapping[str, Any] | Sequence[Mapping[str, Any]], *lines: str) -> None:
        """Tells what was done or found: lines to a person, and with ``--json`` facts to a program.

        Args:
            facts: one object, or several, which are a line each; :func:`plain` says of what.
            *lines: of text; names of files in it are made :func:`padinv.exceptions.printable`.
        """
        if lines:
            print(*map(printable, lines), sep="\n", flush=self._objects is not None)
        if self._objects is not None:  # ASCII, which every encoding of a terminal has
            for each in [facts] if isinstance(facts, Mapping) else facts:
                print(json.dumps(plain(each), allow_nan=False), file=self._objects, flush=True)

"""The parser of ``padinv fit`` and similar commands: a short help, and one sentence for each mistake.

The sentence says where the user wrote an option, and which name is the nearest.

jsonargparse names only the innermost option, below all types that it tried. This looks it up in the words of the
command line and in the files behind ``--config``.
"""

from __future__ import annotations

import argparse
import inspect
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import Strategy, StrategyRegistry
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from padinv.exceptions import ConfigError, nearest
from padinv.options import Help


class PadInvParser(LightningArgumentParser):
    """Lightning's parser with a ``--help`` of one screen, and with errors of one sentence.

    Attributes:
        summary: the short help; None for the full one.
        words: the command line, to tell where a mistake is.
    """

    summary: str | None = None
    words: Sequence[str] = ()

    def format_help(self, *args: Any) -> str:
        """The short help, if there is one."""
        return super().format_help(*args) if self.summary is None else self.summary

    def dump(self, namespace: Namespace, *args: Any, **keywords: Any) -> str:
        """The text of ``--print_config``, which has no names of former options."""
        text: str = super().dump(_without_former_names(namespace), *args, **keywords)
        return text

    def save(self, namespace: Namespace, *args: Any, **keywords: Any) -> None:
        """Writes a run's config, which has no names of former options."""
        super().save(_without_former_names(namespace), *args, **keywords)

    def parse_args(  # type: ignore[override]  # argparse has overloads
        self, args: Sequence[str] | None = None, *others: Any, **keywords: Any
    ) -> Any:
        """Parses words. For an option of a nested class jsonargparse writes null as None: it is null again here."""
        if args is not None and not self.exit_on_error:
            args = [f"{word[:-4]}null" if word.endswith("=None") else word for word in args]
        return super().parse_args(args, *others, **keywords)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises ConfigError with one sentence; parsers of nested classes raise their usual errors."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(describe(message, ex, self, self.words)) from ex


def _without_former_names(config: Namespace) -> Namespace:
    """A copy without the options that only configs of earlier runs give, where they are not given."""
    kept = config.clone()
    for key in [key for key, value in kept.items() if key.endswith(".mbstd_groups") and value == "renamed"]:
        kept.pop(key)
    return kept


class HelpAll(Help):
    """``--help-all``: the full list of options."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Prints it, and ends."""
        assert isinstance(parser, PadInvParser)
        parser.summary = None
        parser.print_help()
        parser.exit()


ROOTS: tuple[type, ...] = (
    Callback, Logger, Profiler, Strategy, Optimizer, LRScheduler, LightningModule, LightningDataModule, nn.Module,
)  # fmt: skip
"""The base classes of the classes in a config."""

REFUSED = r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)|does not accept (?:option|nested key) '([^']+)'"
"""The messages of jsonargparse 4.52 and 4.53 for an unknown option."""

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")


class Given(NamedTuple):
    """An option that the user wrote: its place, its key ("model.lambda_per"), and its value."""

    place: str
    key: str
    value: Any


def given(args: Sequence[str]) -> Iterator[Given]:
    """Everything in the words of a command line and in the files behind ``--config``."""
    words = iter(args)
    for word in words:
        if not word.startswith("-"):
            continue
        option, equals, value = word.partition("=")
        if not equals:
            value = next(words, "")
        option = option.removesuffix("+")
        if option in ("--config", "-c"):
            if Path(value).is_file():
                yield from _walk(_parse(Path(value).read_text(encoding="utf-8")), "", f" in {value}")
        else:
            yield Given(option, option.lstrip("-"), value)
            inner = _walk(_parse(value), option.lstrip("-"), "")
            yield from (Given(option, found.key, found.value) for found in inner)


def _parse(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None


def _walk(content: Any, path: str, suffix: str) -> Iterator[Given]:
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, child in children:
        key = f"{path}.{name}" if path else str(name)
        yield Given(key + suffix, key, child)
        yield from _walk(child, key, suffix)


def hint(near: str | None) -> str:
    """The nearest name as the end of a sentence; "" if none is near."""
    return f"; the nearest is {near!r}" if near else ""


def describe(message: str, error: BaseException | None, parser: ArgumentParser, args: Sequence[str]) -> str:
    """Turns jsonargparse's message into one sentence.

    Args:
        message: jsonargparse's message.
        error: the error that the message was made from.
        parser: the subcommand's.
        args: the words of the command line, behind ``padinv``.
    """
    wrote = list(given(args))
    if match := re.search(r"[Uu]nrecognized arguments: (\S+)", message):
        option = match[1].partition("=")[0]
        found = nearest_option(option, parser)
        after = f"; the nearest is {found}" if found else ""
        return f"There is no option {option}{after} ({parser.prog} --help-all lists them)."
    if match := re.search(REFUSED, message):
        name = match[1] or match[2]
        commands = (action.choices for action in parser._actions if isinstance(action.choices, dict))
        of_command = next((choices[args[0]] for choices in commands if args and args[0] in choices), parser)
        names = {action.dest for action in (_innermost(error, parser) if match[1] else of_command)._actions}
        if match[1]:
            names |= _arguments(re.findall(r"class_path'?(?: |=)'([\w.]+)'", message)[-1:])
        last = name.rpartition(".")[2]
        near = nearest(name, names) or nearest(last, {known.rpartition(".")[2] for known in names})
        return f"{_place(wrote, name)}: there is no option {last!r} here{hint(near)}."
    if match := re.search(r"argument (\S+): (expected .*)", message):
        option = args[-1] if args and args[-1].startswith("--") else match[1]
        return f"{option}: {match[2]}."
    cause = next((e for e in _causes(error) if isinstance(e, yaml.MarkedYAMLError)), None)
    if cause is not None and cause.problem_mark is not None:
        files = filter(Path.is_file, (Path(word.partition("=")[2] or word) for word in args))
        broken = next((file for file in files if _parse(file.read_text(encoding="utf-8")) is None), "A config")
        return f"{broken} is no YAML: {cause.problem} in line {cause.problem_mark.line + 1}."
    key, reason = _innermost_reason(message)
    if match := re.search(r"(?s)(?:must include a class_path|is abstract).*NestedArg\(key='([^']+)'", reason):
        option = _place(wrote, f"{key}.{match[1]}")
        return (
            f"{option}: {key} has no class yet that takes {match[1]!r}; name it, too: {option[: -len(match[1]) - 1]}."
        )
    if match := re.search(r"Expected an instantiatable class.* is abstract", reason):
        return f"{_place(wrote, key)}: that class is abstract; name one that is made of it."
    if match := re.search(r"No module named '([^']+)'.*class_path='([^']+)'", reason):
        return _about_class(match[2], f"class_path '{match[2]}': {match[0]}", wrote)
    if match := re.search(r"Multiple subclasses with name (\w+)\..*?: (.+?)\.?$", reason, re.MULTILINE):
        return f"{_place(wrote, key, match[1])}: there are several classes {match[1]!r}; name one of {match[2]}."
    if match := re.search(r"(the following arguments are required: .+)", reason):
        name = re.search(r"class_path='([^']+)'", reason)
        cannot = f"{name[1]} cannot be made" if name else "it cannot be made"
        return f"{_place(wrote, key, name[1] if name else None)}: {cannot}: {one_line(match[1])}"
    if match := re.search(r"Expected a dot import path string: (.+)|Problem with given class_path '([^']+)'", reason):
        return _about_class((match[1] or match[2]).strip(), reason, wrote)
    if match := re.search(r"(?:module|type object) '([^']+)' has no attribute '([^']+)'", reason):
        return _about_class(f"{match[1]}.{match[2]}", reason, wrote)
    if match := re.search(r"Expected a path but (\S+\.\S+) either not accessible or invalid", reason):
        return _about_class(match[1], "", wrote)
    if expected := re.findall(r"Expected an? ([^\n]+?)(?:\. Got value: .*)?$", reason, re.MULTILINE):
        match = re.search(r"(?:Got value|Given value): (.*?)(?:\. Got value.*)?$", reason, re.M)
        value = match[1] if match else ""
        value = match[1] if (match := re.fullmatch(r"NestedArg\(key='[^']*', val='(.*)'\)", value)) else value
        kinds = list(dict.fromkeys(kind for part in expected for kind in _kinds(part)))
        kinds.sort(key="null".__eq__)  # null comes last, in whatever order types were tried
        listed = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
        near = nearest(value, kinds) if len(kinds) > 4 else None
        return f"{_place(wrote, key, value)} must be {listed}, not {value!r}{hint(near)}."
    place = f"{_place(wrote, key)}: " if key else ""
    return place + one_line(reason)


def _innermost_reason(message: str) -> tuple[str, str]:
    """The last key that a message names, and the lines below it: the outer types only failed because of it."""
    keys = list(re.finditer(r'(?:Parser key|Key) "([^"]+)":?', message))
    if not keys:
        return "", message
    first, _, rest = message[keys[-1].end() :].partition("\n")
    lines = rest.splitlines()
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    below = [line for line in lines if len(line) - len(line.lstrip()) >= indents[0]] if indents else []
    return keys[-1][1], "\n".join(filter(None, (first.strip(), *below)))


def one_line(message: str) -> str:
    """Joins the lines of a message, without bullets."""
    text = " ".join(line.strip().removeprefix("- ").strip() for line in message.strip().splitlines())
    return text if text.endswith((".", "!", "?")) else text + "."


def about_trainer(error: Exception, trainer: dict[str, Any]) -> str:
    """Turns an error of Lightning's Trainer, at its making or its start, into one sentence.

    Args:
        error: Lightning's.
        trainer: the Trainer's options.
    """
    accelerator, strategy = trainer.get("accelerator"), trainer.get("strategy")
    text = one_line(str(error))
    if "No supported gpu backend" in text or re.search(r"(CUDA|MPS|TPU)\w* ?Accelerator.* can not run", text):
        return (
            f"trainer.accelerator is {accelerator!r}, but torch finds no such device here; "
            "leave it out, which takes what there is, or give cpu."
        )
    if "invalid accelerator name" in text:
        near = nearest(str(accelerator), ACCELERATORS)
        return f"trainer.accelerator {accelerator!r} is none of {', '.join(ACCELERATORS)}{hint(near)}."
    if "invalid strategy name" in text:
        known = StrategyRegistry.available_strategies()
        end = hint(nearest(str(strategy), known))
        return f"trainer.strategy {strategy!r} is none that Lightning has, such as auto, ddp, fsdp and deepspeed{end}."
    return f"The Trainer refuses this: {text}"


def is_lightnings(error: Exception) -> bool:
    """Whether an error is Lightning's own check, a package that a callback lacks, or an unknown metric."""
    text = str(error)
    return (
        isinstance(error, MisconfigurationException)
        or (isinstance(error, ModuleNotFoundError) and "pip install" in text)
        or (isinstance(error, RuntimeError) and text.startswith("Early stopping conditioned on metric"))
    )


def about_class(error: Exception, args: Sequence[str]) -> str | None:
    """Turns jsonargparse's error for a class that cannot be made into one sentence; None for other errors."""
    match = re.search(r"Problem with given class_path '([^']+)'", str(error))
    return _about_class(match[1], str(error), list(given(args))) if match else None


def _about_class(name: str, message: str, wrote: list[Given]) -> str:
    """Says what is wrong with a class: its name is unknown, or it cannot be made."""
    place = _place(wrote, "", name)
    subject = f"{place}: " if place else ""
    problem = re.search(rf"class_path '{re.escape(name)}':\s*(.*?)(?:\n\s*- |\nGiven value|$)", message, re.DOTALL)
    if problem and not re.search("No module named|has no attribute", problem[1]):
        return f"{subject}{name} cannot be made: {one_line(problem[1])}"
    if missing := re.search(r"No module named '([^']+)'", problem[1] if problem else ""):
        if missing[1].partition(".")[0] == name.partition(".")[0]:
            return f"{subject}there is no module {missing[1]!r} to import; its folder must be in PYTHONPATH."
        return f"{subject}{name} needs the package {missing[1]!r}: pip install {missing[1].partition('.')[0]}"
    module, _, short = name.rpartition(".")
    try:
        names = set(dir(import_module(module))) if module else set()
    except Exception:  # importing a module can raise anything
        return f"{subject}there is no module {module!r} to import; its folder must be in PYTHONPATH."
    names |= {cls.__name__ for root in ROOTS for cls in _subclasses(root)} if not module else set()
    what = f"{module} has no class {short!r}" if module else f"there is no class {name!r}"
    return f"{subject}{what}{hint(nearest(short, (known for known in names if not known.startswith('_'))))}."


def _subclasses(cls: type) -> Iterator[type]:
    child: type
    for child in cls.__subclasses__():
        if cls is not nn.Module or child.__module__.startswith("padinv"):
            yield child
            yield from _subclasses(child)


def _place(wrote: list[Given], name: str, value: str | None = None) -> str:
    """The place where the user wrote a name or a value; the name itself if the user wrote neither."""

    def fits(entry: Given) -> bool:
        key = entry.key.replace(".init_args.", ".").replace(".dict_kwargs.", ".")
        named = not name or key == name or key.endswith(f".{name}") or name.endswith(f".{key}")
        values = (value, value.rpartition(".")[2]) if value is not None else ()  # classes may go by their short names
        return named and (value is None or str(entry.value) in values)

    found = next(filter(fits, reversed(wrote)), None)  # the last one counts
    if found is None and value is not None and name:
        return _place(wrote, name)
    return found.place if found else name


def nearest_option(option: str, parser: ArgumentParser) -> str | None:
    """The option, or the group with the same ending, that is nearest; None if none is near, or the group is there."""
    known = [string for action in parser._actions for string in action.option_strings]
    if near := nearest(option, known, cutoff=0.8):
        return near
    first, dot, rest = option.lstrip("-").partition(".")
    groups = {string.lstrip("-").partition(".")[0] for string in known}
    near = None if first in groups else nearest(first, groups)
    return f"--{near}{dot}{rest}" if near else None


def _innermost(error: BaseException | None, parser: ArgumentParser) -> ArgumentParser:
    """The parser of the class that refused an option: the last one in the frames of an error's causes."""
    frames = [frame for cause in _causes(error) for frame, _ in traceback.walk_tb(cause.__traceback__)]
    values = [value for frame in frames for value in frame.f_locals.values()]
    return [parser, *(value for value in values if isinstance(value, ArgumentParser) and value._actions)][-1]


def _arguments(class_paths: Iterable[str]) -> set[str]:
    """The arguments of classes' constructors; older versions of jsonargparse have no parser left at this point."""
    names: set[str] = set()
    for module, _, name in (path.rpartition(".") for path in class_paths):
        try:
            names |= set(inspect.signature(getattr(import_module(module), name)).parameters)
        except (ImportError, AttributeError, TypeError, ValueError):  # the kind of error is told elsewhere
            continue
    return names


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _kinds(expected: str) -> list[str]:
    """The names of a type's values in a config: "int", "true or false", each value of a Literal."""
    if literal := re.search(r"Literal\[(.*)\]", expected):
        return [value.strip().strip("'") for value in literal[1].split(",")]
    names = {"NoneType": "null", "bool": "true or false", "Sequence": "a list", "Iterable": "a list", "list": "a list"}
    short = expected.partition("[")[0].replace("<class '", "").replace("'>", "").rpartition(".")[2]
    articles = {"int": "an integer", "float": "a number", "str": "text", "dict": "a mapping"}
    return [names.get(short) or articles.get(short) or short]

"""The parser of ``padinv fit`` and its kin: a short help first, and mistakes told in one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from pytorch_lightning.cli import LightningArgumentParser

from padinv.exceptions import ConfigError
from padinv.training.mistakes import describe


class PadInvParser(LightningArgumentParser):
    """Lightning's parser, whose ``--help`` is a screen long and whose errors are a sentence.

    Attributes:
        summary: the short help; None for the full one.
        words: what was given on the command line, to tell where a mistake stands.
    """

    summary: str | None = None
    words: Sequence[str] = ()

    def format_help(self, *args: Any) -> str:
        """The short help, if there is one."""
        return super().format_help(*args) if self.summary is None else self.summary

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises ConfigError with one sentence; parsers of a class inside raise what they always raise."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(describe(message, ex, self, self.words)) from ex


class HelpAll(argparse.Action):
    """``--help-all``: the full list of options."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=kwargs["help"])

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Prints it, and ends."""
        assert isinstance(parser, PadInvParser)
        parser.summary = None
        parser.print_help()
        parser.exit()

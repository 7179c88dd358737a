"""``padinv completion bash|zsh``: a script that completes commands, options, presets and files behind the Tab key.

The script holds everything it needs, so that completion starts no Python. Options come from the commands' own help.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from inspect import signature
from io import StringIO
from pkgutil import resolve_name
from typing import ClassVar

from padinv.help import presets
from padinv.options import Command, option

PRESETS = {
    **dict.fromkeys(("fit", "validate", "test"), ("padinv.training.cli:PadInvCLI", "presets")),
    "fit-gan": ("padinv.gan.cli:GanCLI", "presets/gan"),
}
"""Commands that take ``--config``, the class that runs each, and the folder of their presets."""

OPTION = re.compile(r"^ +(?:-\w\b[^-\n]*, )?(--[\w.-]+)(?:[ =]\{([^}\n]+)\})?", re.MULTILINE)
POSITIONAL = re.compile(r"^ +\{([\w,-]+)\}", re.MULTILINE)


@dataclass
class Completion(Command):
    """Print a script that completes padinv's commands, options, presets and files.

    Args:
        shell: the shell; write its script to a file once, padinv completion bash > ~/.padinv-completion, and source
            the file in ~/.bashrc, or for zsh in ~/.zshrc below compinit.
    """

    reports: ClassVar = False  # it prints a script
    shell: str = option(choices=("bash", "zsh"))

    def run(self) -> int:
        """Prints the script."""
        commands: dict[str, tuple[str, str]] = resolve_name("padinv.cli:COMMANDS")  # of a layer above this
        helps = {command: help_of(command, resolve_name(place)) for command, (place, _) in commands.items()}
        print(script(self.shell, helps), end="")
        return 0


def help_of(command: str, main: Callable[[list[str]], int]) -> str:
    """The whole help of a command, and the options of its classes."""
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main(["--help-all"])
    return printed.getvalue() + "".join(f"\n  {option}" for option in class_options(command))


def class_options(command: str) -> list[str]:
    """The arguments of a command's default classes, such as ``--model.lambda_per``."""
    if command not in PRESETS:
        return []
    cli = resolve_name(PRESETS[command][0])
    classes = {key: cli.defaults[key] for key in ("model", "data")} | cli.callbacks
    found = {key: resolve_name(config["class_path"]) for key, config in classes.items()}
    return [f"--{key}.{argument}" for key, each in found.items() for argument in signature(each).parameters]


def script(shell: str, helps: Mapping[str, str]) -> str:
    r"""The script for a shell.

    Args:
        shell: bash or zsh, which takes the same script through its ``bashcompinit``.
        helps: command → its help.

    >>> print(script("bash", {"convert": "usage: …\n  FILE\n  --kind {a,b}  of two\n"}))
    # padinv completion bash
    _padinv() {
      local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" options="" others=""
      if [ "$COMP_CWORD" -eq 1 ]; then options="--help --version"; others="convert"
      else case "${COMP_WORDS[1]} $previous" in
        "convert --kind") others="a b" ;;
        "convert "*) options="--kind" ;;
      esac; fi
      case "$current" in -*) others="$options" ;; esac
      COMPREPLY=($(compgen -W "$others" -- "$current"))
    }
    complete -o default -F _padinv padinv
    <BLANKLINE>
    """
    cases: list[str] = []
    for command, text in helps.items():
        options = {option: choices.replace(",", " ") for option, choices in OPTION.findall(text)}
        if command in PRESETS:
            names = " ".join(presets(PRESETS[command][1]))
            options |= {"--config": names, "-c": names, "--ckpt_path": "last best"}
        cases += [f'    "{command} {option}") others="{values}" ;;' for option, values in options.items() if values]
        others = " ".join(found.replace(",", " ") for found in POSITIONAL.findall(text))
        listed = " ".join(option for option in options if option.startswith("--"))
        cases.append(f'    "{command} "*) options="{listed}"' + (f' others="{others}"' if others else "") + " ;;")
    return "\n".join(
        [
            f"# padinv completion {shell}",
            *(["autoload -U +X bashcompinit && bashcompinit"] if shell == "zsh" else []),
            "_padinv() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" options="" others=""',
            f'  if [ "$COMP_CWORD" -eq 1 ]; then options="--help --version"; others="{" ".join(helps)}"',
            '  else case "${COMP_WORDS[1]} $previous" in',
            *cases,
            "  esac; fi",
            '  case "$current" in -*) others="$options" ;; esac',
            '  COMPREPLY=($(compgen -W "$others" -- "$current"))',
            "}",
            "complete -o default -F _padinv padinv",
            "",
        ]
    )

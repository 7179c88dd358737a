"""``padinv completion bash|zsh``: a script that completes commands, options, presets and files behind the Tab key.

The script holds all it needs, so that completing starts no Python. Options are taken from the commands' own help.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from importlib.resources import files
from inspect import signature
from io import StringIO

PRESETS = {"fit": "presets", "validate": "presets", "test": "presets", "predict": "presets", "fit-gan": "presets/gan"}
"""Commands that take ``--config``, and the folder of their presets."""

OPTION = re.compile(r"^ +(?:-\w\b[^-\n]*, )?(--[\w.-]+)(?:[ =]\{([^}\n]+)\})?", re.MULTILINE)
POSITIONAL = re.compile(r"^ +\{([\w,-]+)\}", re.MULTILINE)


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv completion``.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        prog="padinv completion",
        description="Print a script that completes padinv's commands, options, presets and files.",
        epilog="Write it to a file once, padinv completion bash > ~/.padinv-completion, and source that in ~/.bashrc; "
        "for zsh in ~/.zshrc, below compinit.",
    )
    parser.add_argument("shell", choices=["bash", "zsh"])
    shell = parser.parse_args(args).shell
    commands: dict[str, tuple[str, str]] = import_module("padinv.cli").COMMANDS  # the layer above: it knows them all
    print(script(shell, {command: help_of(command, module) for command, (module, _) in commands.items()}), end="")
    return 0


def help_of(command: str, module: str) -> str:
    """What a command prints for ``--help``, where that is short for ``--help-all`` and what classes take."""
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        words = ["--help-all" if command in PRESETS else "--help"]
        import_module(module).main([command, *words] if module == "padinv.training.cli" else words)
    return printed.getvalue() + "".join(f"\n  {option}" for option in class_options(command))


def class_options(command: str) -> list[str]:
    """``--model.lambda_per`` and so on: the arguments of the classes that a command has by default."""
    if command not in PRESETS:
        return []
    module, name = ("padinv.gan.cli", "GanCLI") if command == "fit-gan" else ("padinv.training.cli", "PadInvCLI")
    cli = getattr(import_module(module), name)
    classes = {key: cli.defaults[key] for key in ("model", "data")} | cli.callbacks
    options = []
    for key, config in classes.items():
        home, _, name = config["class_path"].rpartition(".")
        options += [f"--{key}.{argument}" for argument in signature(getattr(import_module(home), name)).parameters]
    return options


def script(shell: str, helps: Mapping[str, str]) -> str:
    r"""The script for a shell.

    Args:
        shell: bash or zsh, which takes the same through its ``bashcompinit``.
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
            folder = files("padinv").joinpath(PRESETS[command])
            names = " ".join(sorted(path.name[:-5] for path in folder.iterdir() if path.name.endswith(".yaml")))
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

"""The command line: ``padinv COMMAND …``, each command a function that is imported when it is called."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from traceback import walk_tb

from padinv._version import __version__
from padinv.exceptions import nearest, printable, reason
from padinv.launching import part

COMMANDS = {
    "fit": ("padinv.training.cli:fit", "train an encoder"),
    "validate": ("padinv.training.cli:validate", "measure a run on its validation images"),
    "test": ("padinv.training.cli:test", "measure a run on its test images"),
    "fit-gan": ("padinv.gan.cli:main", "train a generator"),
    "compare": ("padinv.commands.compare:Compare.main", "train encoders alike and compare them"),
    "invert": ("padinv.commands.photographs:Invert.main", "find the codes of photographs"),
    "edit": ("padinv.commands.photographs:Edit.main", "change one property of photographs"),
    "blend": ("padinv.commands.photographs:Blend.main", "give photographs the layout of another"),
    "drag": ("padinv.commands.drag:Drag.main", "pull points of photographs to other places"),
    "transfer": ("padinv.commands.photographs:Transfer.main", "do to photographs what was done between two others"),
    "interpolate": (
        "padinv.commands.interpolate:Interpolate.main",
        "go from one photograph to the next, as GIF or MP4",
    ),
    "directions": ("padinv.commands.directions:Directions.main", "find, list and draw directions of editing"),
    "app": ("padinv.commands.app:App.main", "open the studio, a page in the browser"),
    "show": ("padinv.commands.photographs:Show.main", "draw codes, rings around feature maps"),
    "evaluate": ("padinv.commands.evaluate:Evaluate.main", "measure reconstructions, of any method"),
    "export": ("padinv.commands.export:Export.main", "write networks as files that run without padinv"),
    "convert": (
        "padinv.commands.checkpoints:Convert.main",
        "write a network of any readable checkpoint as safetensors",
    ),
    "inspect": ("padinv.commands.checkpoints:Inspect.main", "tell what a checkpoint holds"),
    "models": ("padinv.commands.models:Models.main", "list models by name: bundled, cached, known"),
    "push": ("padinv.commands.push:Push.main", "put a model on the Hugging Face Hub, with a card"),
    "completion": (
        "padinv.commands.completion:Completion.main",
        "print a script that completes all this in bash or zsh",
    ),
}
"""Command → the function that takes the words behind it, imported when called, and a line of help."""

GONE = {"predict": "give padinv invert PHOTOS --model RUN/checkpoints/last.ckpt -o OUT"}
"""Former command → what does the same now."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        args: the words behind ``padinv``; those of the process if not given.

    Returns:
        0; 1 after an error of the user's, which is printed as one sentence; 2 if there is no such command; 130 if
        Ctrl+C has stopped it, and 141 if its output is read no more.
    """
    is_the_process = args is None
    if is_the_process and _knows_ascii_alone() and "padinv" in Path(sys.argv[0]).parts[-2:]:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    _prepare_streams()
    args = list(sys.argv[1:] if args is None else args)
    if args == ["--version"]:
        print(f"padinv {__version__}")
        return 0
    if args and args[0] not in COMMANDS and not args[0].startswith("-"):
        near = nearest(args[0], COMMANDS)
        instead = f" any more: {GONE[args[0]]}" if args[0] in GONE else f"; the nearest is {near}" if near else ""
        print(f"padinv: there is no command {args[0]!r}{instead}.", file=sys.stderr)
    if not args or args[0] not in COMMANDS:
        asked = not {"-h", "--help"}.isdisjoint(args)
        lines = [f"  {name:<13}{text}" for name, (_, text) in COMMANDS.items()]
        print("\n".join(["usage: padinv COMMAND [--help]", *lines]), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    if args[1:] in (["-h"], ["--help"]):
        from padinv.help import help_of

        if (text := help_of(args[0])) is not None:
            print(text, end="")
            raise SystemExit(0)  # as argparse does after the help of other commands
    place, _ = COMMANDS[args[0]]
    try:
        code: int = resolve_name(place)(args[1:])
        sys.stdout.flush()  # here, where an error is told
        if code == 0 and is_the_process:  # a caller from Python may want its group again
            part()
    except KeyboardInterrupt:
        print("padinv: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has left, as `| head` does
        _close_stdout()
        return 141
    except Exception as error:
        own: Exception | str | None = reason(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            own = own or f"{_what_has_no_room(error)} cannot be written (no space left): make room there."
        if own is None:
            raise
        print(f"padinv: {own}", file=sys.stderr)
        return 1
    return code


def _knows_ascii_alone() -> bool:
    """Whether Python takes names of files for ASCII, and was not yet started again to take them for UTF-8.

    It does so if PYTHONUTF8 is 0 where the locale is C, and fails on each other letter that comes from elsewhere than
    from the system, such as out of a zip file. No name is lost by UTF-8.
    """
    return sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1"


def _prepare_streams() -> None:
    """Lets nothing fail for what a stream cannot take: it may be closed (`>&-`), or know ASCII alone."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 (until the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _what_has_no_room(error: OSError) -> str:
    """Names what a full disk does not take; the system does not say which file it was."""
    if error.filename is not None:
        return printable(str(error.filename))
    *_, (frame, _) = walk_tb(error.__traceback__)
    if not frame.f_globals.get("__name__", "").startswith("padinv."):  # such as a logger of Lightning's
        return "A file"
    _close_stdout()  # padinv's own files are written by padinv.files, which names them
    return "What is printed"


def _close_stdout() -> None:
    """Sends nowhere what was printed and cannot be written: otherwise Python complains again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

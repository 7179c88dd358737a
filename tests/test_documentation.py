"""What README, documentation and configs tell people to type: every command parses, every import is there."""

from __future__ import annotations

import argparse
import ast
import pkgutil
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from padinv.cli import COMMANDS, main
from padinv.training.configs import presets

ROOT = Path(__file__).parents[1]
CONFIGS = [*ROOT.glob("examples/*.yaml"), *presets().values()]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/api/*.md")]
LIGHTNING = ("fit", "fit-gan", "validate", "test")


def commands() -> list[str]:
    """Each once, without `padinv`; those with … or capital letters for what to put in are forms, not commands."""
    texts = [path.read_text(encoding="utf-8") for path in [*CONFIGS, *PAGES]]
    texts = [text.replace("\n#  ", "").replace("\\\n", "") for text in texts]
    command = rf"(?<=(?<!\*\*`)padinv )(?:{'|'.join(COMMANDS)})\b[^\n`>#;&]+"  # **`padinv …`** is a message
    found = {match.strip() for text in texts for match in re.findall(command, text)}
    return sorted(command for command in found if " -" in command and "…" not in command and "NAME" not in command)


@pytest.mark.parametrize("command", commands())
def test_documented_command_parses(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    if words[0] in LIGHTNING:
        written_before = r"mine\.yaml|\S+/config\.yaml"  # by commands that stand above this one
        words = shlex.split(re.sub(written_before, str(presets()["quickstart"]), command))
        words += [] if "help" in command else ["--print_config"]
        monkeypatch.chdir(ROOT)
        monkeypatch.syspath_prepend(ROOT / "examples")
    else:
        parse = argparse.ArgumentParser.parse_args

        def parse_only(parser: argparse.ArgumentParser, *args: Any, **options: Any) -> None:
            parse(parser, *args, **options)
            raise SystemExit(0)

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 0


def blocks() -> list[Any]:
    """The Python of each page, in one piece: later blocks use what earlier ones import."""
    code = {path: re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL) for path in PAGES}
    return [pytest.param("\n".join(found), id=path.stem) for path, found in code.items() if found]


@pytest.mark.parametrize("code", blocks())
def test_documented_python_imports_what_there_is(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("padinv"):
            module = import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name), f"from {node.module} import {name.name}"


def test_the_navigation_has_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f" {page.relative_to(ROOT / 'docs').as_posix()}\n" in navigation, page


def mentions(pattern: str) -> list[str]:
    """What matches in the pages, each once."""
    return sorted({match for page in PAGES for match in re.findall(pattern, page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("name", mentions(r"(?:`|::: )(padinv(?:\.\w+)+)"))
def test_documented_name_exists(name: str) -> None:
    pkgutil.resolve_name(name)


def test_documented_files_exist() -> None:
    named = mentions(r"\b((?:tests|benchmarks|examples|tools|docs)/[\w/-]+\.\w+)")
    assert [file for file in named if not (ROOT / file).exists()] == []

"""What README, documentation and configs tell people to type: every command parses, every import is there."""

from __future__ import annotations

import argparse
import ast
import io
import pkgutil
import re
import shlex
import unicodedata
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint

from padinv import ImageDataModule, PadInvEncoder, PadInvModule
from padinv.cli import COMMANDS, main
from padinv.gan import AdaptiveAugmentation, StyleGAN2Module
from padinv.losses import AdversarialLoss, PerceptualLoss
from padinv.sources.opening import bundled_path
from padinv.training import ImageSchedule, LastCheckpoint
from padinv.training.configs import presets

ROOT = Path(__file__).parents[1]
CONFIGS = [*ROOT.glob("examples/*.yaml"), *presets().values()]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/api/*.md")]
MARKDOWN = [*PAGES, ROOT / "CHANGELOG.md", *ROOT.glob("docs/tables/*.md"), *ROOT.glob("examples/**/*.md")]
MARKDOWN += ROOT.glob("benchmarks/results/*.md")
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


def text_of(page: Path) -> str:
    """A page without its code, in which brackets and # mean other things."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    found = set()
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ +(.*)", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
        ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower()))
    return found


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Relative ones to a file and a heading that are there; external ones, which are not fetched, are well formed."""
    for target in re.findall(r"\]\(([^)\s]+)\)|<(https?:[^>]*)>", text_of(page)):
        link = "".join(target)
        if "://" in link:
            assert re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[\w./%@~+-]*)?(#[\w.-]+)?", link), link
            continue
        path, _, anchor = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), link
        assert file.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_is_as_wide_as_the_page(page: Path) -> None:
    """88 characters are what a page shows of a line in a window of 1280 px."""
    for block in re.findall(r"^```\w+\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        assert [line for line in block.splitlines() if len(line) > 88] == []


def test_pictures_are_described_and_used() -> None:
    """Each picture of the documentation has a text for who does not see it, and is on a page."""
    shown = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", "".join(map(text_of, PAGES)))
    assert [file for text, file in shown if len(text) < 10] == []
    there = {path.name for path in (ROOT / "docs" / "figures").iterdir() if path.suffix not in (".py", "")}
    assert there == {Path(file).name for _, file in shown}


def test_the_lowest_versions_are_those_of_the_package() -> None:
    text = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| [\d.]+ \|$", text, flags=re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    bounds = dict(re.findall(r'^  "([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)', project, flags=re.MULTILINE))
    python = re.search(r'requires-python = ">=([\d.]+)"', project)
    assert python is not None
    assert table.pop("Python") == python[1]
    assert table == {name: bounds[name] for name in table}
    assert len(table) >= 6


def said(node: ast.AST) -> str:
    """The text that a node of the code makes, with … for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(said, node.values))
    if isinstance(node, ast.BinOp):
        return said(node.left) + said(node.right)
    return "…"


@cache
def sentences() -> str:
    """All texts in the code, one on a line."""

    def found() -> Iterator[str]:
        for file in (ROOT / "src").rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                    yield said(node).replace("\n", " ")

    return "\n".join(dict.fromkeys(found()))


def messages() -> list[str]:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    return re.findall(r"\*\*`([^`]+)`\*\*", text)


@pytest.mark.parametrize("message", messages())
def test_quoted_messages_are_in_the_code(message: str) -> None:
    assert re.search(".*".join(map(re.escape, message.split("…"))), sentences())


def test_every_message_is_quoted_once() -> None:
    assert len(messages()) > 100
    assert len(set(messages())) == len(messages())


OPTIONS = {
    "model": (PadInvModule, StyleGAN2Module),
    "data": (ImageDataModule,),
    "schedule": (ImageSchedule,),
    "last_checkpoint": (LastCheckpoint,),
    "checkpoint": (ModelCheckpoint,),
}
CLASSES = (PadInvEncoder, AdversarialLoss, PerceptualLoss, AdaptiveAugmentation)


def dotted() -> list[tuple[str, str]]:
    """The options that docs/coming.md names, (part, option)."""
    text = (ROOT / "docs" / "coming.md").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"`(\w+)\.(\w+)", text)))


@pytest.mark.parametrize("name", dotted(), ids=".".join)
def test_options_for_those_of_other_code_exist(name: tuple[str, str]) -> None:
    part, option = name
    if part in OPTIONS:
        assert any(option in signature(cls).parameters for cls in OPTIONS[part])
    else:
        assert part in ("trainer", "padinv", "torch", "Inverter", "models", "configs", "scripts") or option in (
            "py",
            "pt",
            "sh",
        )


SHORTER = {
    "refine=200": "refine=1",
    "align=True": "align=False",
    "count=5": "count=1",
    "targets, losses": "targets, 1, losses",
}
"""What is changed so that Python runs in seconds, and without a face detector."""
OF_THE_READER = (
    "Trainer",
    "MODEL",
    "onnxruntime",
    "both.pt2",
    "encoder.pt2",
    "hf://",
    "runs/",
    "encoder.pth",
    "sys.argv",
)
"""Blocks with one of these need something that the reader has: a run, a file, hours."""
BEFORE = """
import numpy as np
import torch
from padinv import Inverter, PadInvEncoder, load_encoder, load_generator
from padinv.editing import blend, drag, drag_steps, interpolate, load_directions, mix, transfer, transport, truncate
generator, mask = load_generator("congress64"), torch.ones(64, 64)
inverter = Inverter.from_pretrained("congress64")
images = inverter.invert("photographs").targets
codes = inverter.invert("congress64-val").code
code, a, b = codes[0], codes[0], codes[1]
contour, details, before, after, target, targets = codes[2], codes[3], codes[4], codes[5], codes[6], codes[7:9]
befores, afters = codes[9:12], codes[12:15]
coarse, fine = a, b
smiles, people = [0.0, 1.0] * 16, list(range(32))
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a reader has before the first line of a page: photographs, and what earlier pages have made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reader"))
        Path("photographs").mkdir()
        with zipfile.ZipFile(bundled_path("congress64-val")) as portraits:
            pictures = [name for name in portraits.namelist() if name.endswith(".png")]
            for name in ("one", "another", "other", "portrait", "photographs/1", "photographs/2"):
                Image.open(io.BytesIO(portraits.read(pictures.pop()))).save(f"{name}.jpg")
        names: dict[str, Any] = {}
        exec(BEFORE, names)
        yield names


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")], ids=lambda page: page.stem
)
def test_documented_python_runs(page: Path, reader: dict[str, Any]) -> None:
    names = {**reader, "__name__": page.stem}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        if not any(word in block for word in OF_THE_READER):
            for long, short in SHORTER.items():
                block = block.replace(long, short)
            exec(compile(block, page.name, "exec"), names)

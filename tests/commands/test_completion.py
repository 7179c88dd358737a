"""The script of ``padinv completion`` completes in bash; it needs no Python."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from padinv.cli import COMMANDS, main
from padinv.commands.completion import class_options, script

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with contextlib.redirect_stdout(printed := io.StringIO()):
        assert main(["completion", "bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "script"
    path.write_text(printed.getvalue())
    return path


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["padinv", "inv"], ["invert"]),
        (["padinv", "fit"], ["fit", "fit-gan"]),
        (["padinv", "fit", "--model.lambda_p"], ["--model.lambda_pix", "--model.lambda_per"]),
        (["padinv", "fit", "--schedule.v"], ["--schedule.validate_every"]),
        (["padinv", "fit", "--config", "q"], ["quickstart"]),
        (["padinv", "fit-gan", "-c", "gan2"], ["gan256"]),
        (["padinv", "test", "--ckpt_path", ""], ["last", "best"]),
        (["padinv", "invert", "--precision", ""], ["32", "bf16", "16"]),
        (["padinv", "invert", "--overw"], ["--overwrite"]),
        (["padinv", "invert", "photograph"], []),  # so that bash completes files
        (["padinv", "completion", ""], ["bash", "zsh"]),
    ],
)
def test_completes(words: list[str], expected: list[str], bash_script: Path) -> None:
    tried = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _padinv; printf "%s\\n" "${COMPREPLY[@]}"'
    result = subprocess.run(
        [str(BASH), "-c", tried, str(bash_script), *words], capture_output=True, text=True, check=True, env={}
    )
    assert result.stdout.split() == expected
    assert result.stderr == ""


def test_every_command_is_there(bash_script: Path) -> None:
    text = bash_script.read_text()
    assert all(f'    "{command} "*)' in text for command in COMMANDS)
    assert "python" not in text


def test_zsh_takes_the_same() -> None:
    one, other = (script(shell, {"convert": "  --kind {a,b}\n"}).splitlines() for shell in ("bash", "zsh"))
    assert [line for line in other if "bashcompinit" not in line][1:] == one[1:]


def test_options_of_classes() -> None:
    assert "--pictures.images" in class_options("test")
    assert "--networks.keep" in class_options("fit-gan")
    assert class_options("invert") == []

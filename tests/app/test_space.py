"""examples/space: the files of a Hugging Face Space, and a Dockerfile, which no test here can build."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from padinv.commands.app import App

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "examples" / "space"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in their order."""
    text = (SPACE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.match(r"[A-Z]+ ", line) for line in lines), "an instruction a line"
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_container_is_small_and_runs_as_nobody_special() -> None:
    steps = instructions()
    names = [name for name, _ in steps]
    given = dict(steps)
    assert names[0] == "FROM"
    assert re.fullmatch(r"python:3\.\d+-slim", given["FROM"]), "a version, not latest"
    assert given["USER"] not in ("root", "0")
    assert names.index("USER") < names.index("CMD")
    assert "RUN" not in names[names.index("USER") :], "the user installs nothing"
    assert all("--no-cache-dir" in rest for name, rest in steps if "pip install" in rest)
    assert "ADD" not in names
    for name, rest in steps:
        if name == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest


def test_the_container_starts_the_studio_and_is_asked_whether_it_lives() -> None:
    given = dict(instructions())
    program, command, *words = json.loads(given["CMD"])
    options = App.parser().parse_args(words)
    assert (program, command, options.host) == ("padinv", "app", "0.0.0.0")
    assert str(options.port) == given["EXPOSE"]
    options, _, probe = given["HEALTHCHECK"].partition("CMD ")
    assert {"--interval", "--timeout", "--start-period"} <= {word.partition("=")[0] for word in options.split()}
    interpreter, flag, code = json.loads(probe)
    assert (interpreter, flag) == ("python", "-c")
    compile(code, "probe", "exec")
    assert f":{given['EXPOSE']}/" in code


def test_the_space_says_what_it_is() -> None:
    _, front, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["sdk"] == "gradio"
    assert (SPACE / facts["app_file"]).exists()
    lines = (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("-")] == ["padinv[app,faces]"]


def test_the_space_serves_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr("padinv.app.Studio.open", lambda model, limits: model)
    monkeypatch.setattr("padinv.app.server.serve", lambda studio, **options: started.append((studio, options)))
    monkeypatch.setenv("PADINV_MODEL", "mine")
    runpy.run_path(str(SPACE / "app.py"), run_name="__main__")
    assert started == [("mine", {"host": "0.0.0.0", "port": 7860})]

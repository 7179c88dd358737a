"""examples/space: the files of a Hugging Face Space, and a Dockerfile.

The Dockerfile is read line by line everywhere, and built and started where Docker is to be had.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from padinv.commands.app import App
from studio_client import fetch
from studio_server import need_gradio, studio_server

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


@pytest.mark.slow
def test_what_the_container_starts_answers_its_health_check(tmp_path: Path) -> None:
    """CMD and HEALTHCHECK as they stand, but at a port that is free here, and for this machine alone."""
    need_gradio()
    given = dict(instructions())
    _, _, *words = json.loads(given["CMD"])
    words[words.index("--host") + 1] = "127.0.0.1"
    interpreter, flag, probe = json.loads(given["HEALTHCHECK"].partition("CMD ")[2])
    assert (interpreter, flag) == ("python", "-c")
    with studio_server(tmp_path / "home", *words, "--port", "0") as (address, _):
        here = probe.replace("127.0.0.1:7860", address.removeprefix("http://"))
        assert here != probe
        assert subprocess.run([sys.executable, "-c", here], timeout=60).returncode == 0
    assert subprocess.run([sys.executable, "-c", here], timeout=60, capture_output=True).returncode == 1, "it has ended"


def docker(*words: str, timeout: float = 60) -> str:
    return subprocess.run(
        ["docker", *words], check=True, capture_output=True, text=True, timeout=timeout
    ).stdout.strip()


def need_docker() -> None:
    """Skips without a daemon of Docker's."""
    try:
        docker("info")
    except (OSError, subprocess.SubprocessError):
        pytest.skip("there is no daemon of Docker's here")


@pytest.mark.slow
def test_the_container_is_built_and_healthy() -> None:
    need_docker()
    docker("build", "-f", str(SPACE / "Dockerfile"), "-t", "padinv-studio-test", str(ROOT), timeout=1800)
    name = docker("run", "--detach", "--rm", "--publish", "127.0.0.1::7860", "padinv-studio-test")
    try:
        end = time.monotonic() + 180
        while docker("inspect", "--format", "{{.State.Health.Status}}", name) != "healthy":
            assert time.monotonic() < end, docker("logs", name)
            time.sleep(2)
        assert docker("exec", name, "id", "-u") == "1000", "nobody special"
        address = docker("port", name, "7860/tcp").splitlines()[0]
        assert b"padinv studio" in fetch(f"http://{address}/")
    finally:
        docker("rm", "--force", name)


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

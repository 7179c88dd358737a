"""What CI runs, and what a developer runs: ``nox -s lint tests``.

The three worlds that users live in are ``tests`` (newest versions, all extras), ``lowest`` (every direct dependency at
its lower bound) and ``bare`` (no extras).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
FAST = ["pytest", "-n", "2", "--dist", "worksteal", "-m", "not slow"]  # two processes, of one thread each
EVERYTHING = ["tests", "--pyargs", "padinv"]  # the tests, and the examples in docstrings of the installed package
PROJECT = nox.project.load_toml("pyproject.toml")["project"]
TEST_TOOLS = PROJECT["optional-dependencies"]["test"]


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but the slow ones; ``nox -s tests -- -m slow`` and the like choose others."""
    session.install(".[editing,export,faces,hub,lmdb,tensorboard,video,test]")
    session.run(*FAST, *(session.posargs or EVERYTHING))


@nox.session
def slow(session: nox.Session) -> None:
    """The slow tests: two processes, compiled networks, ten thousand damaged files."""
    session.install(".[app,editing,export,faces,hub,lmdb,tensorboard,video,test]")
    session.install("playwright", "axe-playwright-python")  # for the studio's page, where there is a Chromium
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def weights(session: nox.Session) -> None:
    """The tests against published weights and photographs, in the folders that PADINV_TEST_WEIGHTS names, as PATH does.

    These are torchvision's AlexNet and VGG16, SCRFD, MobileFaceNet, and portraits: not the project's to hand on.
    """
    if not os.environ.get("PADINV_TEST_WEIGHTS"):
        session.skip("PADINV_TEST_WEIGHTS names no folder with published weights.")
    session.install(".[test]")
    session.run("pytest", "-m", "weights", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint, types, and who may import whom."""
    session.install(".[lint]")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("lint-imports")
    session.run("mypy")


@nox.session
def lowest(session: nox.Session) -> None:
    """The fast tests with every direct dependency at its lower bound."""
    session.install(*(re.sub(r">=([^,;\s]+).*", r"==\1", dependency) for dependency in PROJECT["dependencies"]))
    session.install(".", *TEST_TOOLS)
    session.run(*FAST, *(session.posargs or EVERYTHING))


@nox.session
def bare(session: nox.Session) -> None:
    """The fast tests without extras: what is missing says so."""
    session.install(".", *TEST_TOOLS)
    session.run(*FAST, *(session.posargs or EVERYTHING))


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the documentation into site/; a warning is an error."""
    session.install(".[docs]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def tables(session: nox.Session) -> None:
    """Writes the tables of the documentation, or those named: ``nox -s tables -- bundled``."""
    session.install(".[editing]")
    session.run("python", "tools/write_tables.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Runs the benchmarks, or those named: ``nox -s bench -- utilisation``. Each writes to benchmarks/results/."""
    session.install(".[bench,export,lmdb]")
    for name in session.posargs or sorted(script.stem for script in Path("benchmarks").glob("*.py")):
        session.run("python", f"benchmarks/{name}.py")


@nox.session
def gpu(session: nox.Session) -> None:
    """Checks and measures on a GPU, nine minutes at most: ``nox -s gpu -- E photograph`` for parts of it."""
    session.install(".[bench,export,lmdb,test]")
    session.run("python", "benchmarks/gpu.py", *session.posargs)

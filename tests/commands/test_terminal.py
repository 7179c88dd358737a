"""What a terminal shows: a help of a screen, the nearest name of what is misspelt, and ``--json`` for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from command_files import Command
from padinv.cli import COMMANDS, main
from padinv.exceptions import ConfigError
from padinv.help import SCREEN, short_help
from padinv.options import plain

LIGHTNING = ("fit", "validate", "test", "fit-gan")
OWN = {
    name: resolve_name(place.removesuffix(".main")) for name, (place, _) in COMMANDS.items() if name not in LIGHTNING
}


@pytest.mark.parametrize("name", OWN)
def test_a_short_help_fits_a_screen(name: str) -> None:
    parser = OWN[name].parser()
    columns, most = SCREEN
    lines = short_help(parser, parser.rare).splitlines()
    assert len(lines) <= most
    assert max(map(len, lines)) <= columns
    assert f"usage: padinv {name}" in lines[0]
    whole = parser.format_help()
    for action in parser._actions:
        if action.option_strings and action.help != argparse.SUPPRESS:
            assert action.option_strings[-1] in whole


def test_the_list_of_commands_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= SCREEN[1]
    assert max(map(len, lines)) <= SCREEN[0]


@pytest.mark.parametrize("asked", ["--help", "--help-all"])
def test_help_and_help_all(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["edit", asked])
    assert end.value.code == 0
    assert ("--num-nodes" in capsys.readouterr().out) == (asked == "--help-all")


@pytest.mark.parametrize("name", OWN)
def test_an_unknown_option_names_the_near_one(name: str) -> None:
    parser = OWN[name].parser()
    known = next(each for each in parser._actions[::-1] if each.option_strings and each.help != argparse.SUPPRESS)
    option = next(each for each in known.option_strings if each.startswith("--"))
    misspelt = option[:-2] + option[-1] + option[-2] + "q"
    with pytest.raises(ConfigError, match=rf"there is no option {misspelt}: did you mean {option}"):
        parser.parse_args([misspelt])


@pytest.mark.parametrize("name", LIGHTNING)
@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["--trainr.devices", "2"], "--trainer.devices"),
        (["--ckpt_pth", "last"], "--ckpt_path"),
        (["--confg", "quickstart"], "--config"),
        (["--config", "{preset}", "--shedule.images", "8"], "--schedule.images"),
    ],
)
def test_an_unknown_option_of_a_training_names_the_near_one(
    name: str, words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = "gan64" if name == "fit-gan" else "quickstart"
    assert main([name, *(word.format(preset=preset) for word in words)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the nearest is {near}" in line


Check = Callable[[list[dict[str, Any]]], bool]


def photographs_done(count: int) -> Check:
    def check(told: list[dict[str, Any]]) -> bool:
        (one,) = told
        assert (one["done"], one["failed"], len(one["photographs"])) == (count, 0, count)
        return all(Path(path).is_file() for each in one["photographs"] for path in each["images"] + each["codes"])

    return check


REPORTING: dict[str, tuple[list[str], Check]] = {
    "invert": (["{photos}", "-o", "{out}"], photographs_done(3)),
    "show": (["{photo}", "-o", "{out}"], photographs_done(1)),
    "edit": (
        ["{photo}", "-o", "{out}", "--directions", "{directions}", "--direction", "sefa-0"],
        photographs_done(1),
    ),
    "blend": (["{photo}", "{photos}/b.jpg", "-o", "{out}"], photographs_done(1)),
    "transfer": (["{photo}", "{photos}/b.jpg", "{photos}/c.png", "-o", "{out}"], photographs_done(1)),
    "drag": (["{photo}", "-o", "{out}", "--point", "9,9:10,9", "--steps", "1"], photographs_done(1)),
    "interpolate": (
        ["{photos}", "-o", "{out}", "--frames", "2"],
        lambda told: photographs_done(3)(told) and Path(told[0]["moving_picture"]).is_file(),
    ),
    "directions": (
        ["-o", "{out}", "--find", "sefa", "--count", "2"],
        lambda told: [each["name"] for each in told[0]["directions"]] == ["sefa-0", "sefa-1"],
    ),
    "evaluate": (
        ["--data", "{photos}", "--metrics", "mse", "--features", "none"],
        lambda told: told[0]["metrics"]["mse"]["value"] > 0,
    ),
}
"""Commands with a model → their words, and what is to be told."""

OTHERS: dict[str, tuple[list[str], Check]] = {
    "inspect": (
        ["{model}/generator.safetensors"],
        lambda told: "StyleGAN2" in told[0]["generator"],
    ),
    "convert": (
        ["{model}/generator.safetensors", "{out}.safetensors"],
        lambda told: Path(told[0]["file"]).stat().st_size == told[0]["bytes"],
    ),
    "models": ([], lambda told: "congress64" in [each["name"] for each in told]),
    "push": (
        ["{model}", "-o", "{out}", "--images", "{photos}", "--device", "cpu"],
        lambda told: "config.json" in told[0]["files"],
    ),
    "export": (
        ["{model}", "{out}.pt2", "--format", "torch", "--part", "generator"],
        lambda told: (told[0]["part"], Path(told[0]["file"]).is_file()) == ("generator", True),
    ),
}
"""The same of other commands."""


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.slow] * (each == "export")) for each in (*REPORTING, *OTHERS)]
)
def test_json_is_all_that_is_on_stdout(
    name: str,
    padinv: Command,
    model: Path,
    photographs: Path,
    directions_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, check = (REPORTING | OTHERS)[name]
    places = {
        "photos": photographs,
        "photo": photographs / "a.png",
        "out": tmp_path / "out",
        "model": model,
        "directions": directions_file,
    }
    words = [word.format(**places) for word in words]
    code = padinv(name, *words, "--json") if name in REPORTING else main([name, *words, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    told = [json.loads(line) for line in printed.out.splitlines()]
    assert told
    assert all(isinstance(each, dict) for each in told)
    assert check(told)
    assert printed.err, "what is for people is still said"


def test_every_command_that_reports_is_tried() -> None:
    untried = {"compare"}  # tests/commands/test_compare.py
    assert {name for name, each in OWN.items() if each.reports} - untried == {*REPORTING, *OTHERS}
    assert {name for name in COMMANDS if name not in OWN} == set(LIGHTNING)
    assert "--json" not in OWN["app"].parser().format_help()


def test_trainings_tell_what_they_measured(run: Any, picture_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> dict[str, Any]:
        assert run(*words, "--json") == 0
        printed = capsys.readouterr()
        (line,) = printed.out.splitlines()
        assert "images" in printed.err or "val/mse" in printed.err or "test/mse" in printed.err
        found: dict[str, Any] = json.loads(line)
        assert found["command"] == words[0]
        assert Path(found["folder"]).is_dir()
        return found

    fitted = told("fit")
    assert Path(fitted["folder"]) == Path("runs/quickstart/version_0")
    assert Path(fitted["checkpoint"]) == Path("runs/quickstart/version_0/checkpoints/last.ckpt")
    assert Path(fitted["best"]).is_file()
    assert fitted["images_seen"] == 8
    for command, prefix in (("validate", "val"), ("test", "test")):
        measured = told(command, "--ckpt_path", fitted["checkpoint"], f"--data.test={picture_folder}")
        assert measured["checkpoint"] == fitted["checkpoint"]
        assert measured["metrics"][f"{prefix}/mse"] == pytest.approx(fitted["metrics"]["val/mse"], rel=1e-4)


@pytest.mark.parametrize("words", [["fit", "--schedule.images=0"], ["test"]])
def test_a_training_that_cannot_be_leaves_stdout_empty(
    run: Any, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, "--json") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "padinv: " in printed.err


def test_an_error_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "nowhere.pt", "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("padinv: There is no file")


def test_a_photograph_that_failed(padinv: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert padinv("invert", tmp_path / "bad.png", "-o", tmp_path / "out", "--json") == 1
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["done"], told["failed"]) == (0, 1)
    assert "bad.png" in told["photographs"][0]["error"]


def test_plain_values() -> None:
    given = {"path": Path("a"), 1: float("nan"), "list": ({"b"}, float("inf"), 0.5, True, None)}
    assert plain(given) == {"path": "a", "1": None, "list": [["b"], None, 0.5, True, None]}

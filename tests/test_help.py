"""The short help of trainings, which is printed without Lightning."""

from __future__ import annotations

import pytest

from padinv.cli import COMMANDS
from padinv.help import GanHelp, TrainingHelp, help_of, presets


@pytest.mark.parametrize("command", ["fit", "validate", "test", "fit-gan"])
def test_help_of_trainings(command: str) -> None:
    text = help_of(command)
    assert text is not None
    assert text.startswith(f"usage: padinv {command} --config")
    folder = GanHelp.presets_folder if command == "fit-gan" else TrainingHelp.presets_folder
    assert f"Presets: {', '.join(presets(folder))}." in text


def test_other_commands_have_a_parser_of_their_own() -> None:
    trainings = {name for name, (place, _) in COMMANDS.items() if place.startswith(("padinv.training", "padinv.gan"))}
    assert {name for name in COMMANDS if help_of(name) is not None} == trainings

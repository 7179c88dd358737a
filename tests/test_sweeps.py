"""Sweep configs, by what a W&B agent makes of them: each command is built by W&B's own code, and runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from padinv.cli import main

SWEEPS = sorted((Path(__file__).parents[1] / "examples" / "sweeps").glob("*.yaml"))
SHORT = [
    "--schedule.images=8",
    "--schedule.validate_every=8",
    "--data.batch_size=4",
    "--model.encoder.width=4",
    "--pictures.images=1",
    "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.accelerator=cpu",
]


def grid(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters of each run of a sweep."""
    parameters = sweep["parameters"]
    points = itertools.product(*(parameter["values"] for parameter in parameters.values()))
    return [dict(zip(parameters, point, strict=True)) for point in points]


def issued_command(sweep: dict[str, Any], point: dict[str, Any]) -> list[str]:
    """The words that the agent starts for a run, put together as in ``wandb.wandb_agent.Agent``."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in point.items()}})
    macros |= {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
    words: list[str] = []
    for word in create_sweep_command(list(sweep["command"])):
        words += macros[word[2:-1]] if word.startswith("${") else [word]
    return words


def arrived(config: Path, key: str) -> Any:
    """An option as a saved config has it, ``init_args`` left out of the key."""
    value = yaml.safe_load(config.read_text(encoding="utf-8"))
    for part in key.split("."):
        value = value.get("init_args", value)[part]
    return value


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An empty folder, and W&B without a network; what an agent puts into the environment is taken out again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_PROJECT", "sweeps")
    return monkeypatch


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_runs_of_a_sweep_use_the_swept_options_and_keep_them_apart(
    path: Path, offline: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import wandb

    wandb.teardown()  # it remembers the environment of whoever used it before
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    points = {"first": grid(sweep)[0], "last": grid(sweep)[-1]}
    assert all(points["first"][key] != points["last"][key] for key in sweep["parameters"])
    for run_id, point in points.items():
        env, program, *args = issued_command(sweep, point)
        assert (env, program) == ("/usr/bin/env", "padinv")
        offline.setenv("WANDB_RUN_ID", run_id)
        assert main([*args, *SHORT]) == 0
        wandb.finish()
        wandb.teardown()  # it remembers the environment, and an agent starts each run in a process of its own

    configs = {config.parent.name: config for config in tmp_path.rglob("config.yaml")}
    assert sorted(configs) == ["first", "last"]
    for run_id, point in points.items():
        assert {key: arrived(configs[run_id], key) for key in point} == point
        assert (configs[run_id].parent / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_point_of_a_sweep_parses(
    path: Path, offline: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    for point in grid(sweep):
        with pytest.raises(SystemExit) as exit_info:
            main([*issued_command(sweep, point)[2:], "--print_config"])
        assert exit_info.value.code == 0
    printed = capsys.readouterr().out
    assert printed.count("lightning.loggers.WandbLogger") == len(grid(sweep))


def test_there_are_sweeps() -> None:
    assert {"loss_weights", "padded_resolutions"} <= {path.stem for path in SWEEPS}

"""``--ckpt_path``: what it may be, what is refused, and where the results of validate and test go."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from jsonargparse import Namespace
from pytorch_lightning.loggers import CSVLogger

from fitting import ENCODER, quiet_trainer
from padinv import PadInvModule, load_generator
from padinv.exceptions import CheckpointError, PadInvError
from padinv.training.callbacks.last_checkpoint import WholeCheckpoints
from padinv.training.resuming import check_checkpoint, resolve_checkpoint, runs_folder
from padinv.training.run import NoLogger, claim_run, run_directory

RUNS = Path("runs/quickstart")


def namespace(value: Any) -> Any:
    """A config as jsonargparse parses it."""
    if isinstance(value, dict):
        return Namespace(**{key: namespace(item) for key, item in value.items()})
    return [namespace(item) for item in value] if isinstance(value, list) else value


def options(ckpt_path: str, logger: Any = None) -> Any:
    csv = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "runs", "name": "mine"}}
    return namespace(
        {"ckpt_path": ckpt_path, "trainer": {"default_root_dir": None, "logger": csv if logger is None else logger}}
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs called mine; the newer one has a best checkpoint, too, but was moved here from elsewhere."""
    monkeypatch.chdir(tmp_path)
    run = {"state_dict": {}, "pytorch-lightning_version": "2.6.6"}
    best = {"ModelCheckpoint{}": {"best_model_path": "/elsewhere/images-8.ckpt"}}
    for i in range(2):
        checkpoints = tmp_path / "runs" / "mine" / f"version_{i}" / "checkpoints"
        checkpoints.mkdir(parents=True)
        torch.save({**run, "callbacks": best if i else {}}, checkpoints / "last.ckpt")
        (checkpoints / "images-8.ckpt").touch()
        os.utime(checkpoints / "last.ckpt", (i, i))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("last", "runs/mine/version_1/checkpoints/last.ckpt"),
        ("best", "runs/mine/version_1/checkpoints/images-8.ckpt"),
        ("runs/mine/version_0", "runs/mine/version_0/checkpoints/last.ckpt"),
        ("runs/mine/version_0/", "runs/mine/version_0/checkpoints/last.ckpt"),
        ("runs/mine/version_0/checkpoints", "runs/mine/version_0/checkpoints/last.ckpt"),
        ("any/file.ckpt", "any/file.ckpt"),
    ],
)
def test_what_it_may_be(given: str, expected: str, folder: Path) -> None:
    config = options(given)
    resolve_checkpoint(config)
    assert config["ckpt_path"] == expected


@pytest.mark.parametrize(
    ("given", "logger", "message"),
    [
        ("last", False, "ckpt_path is 'last', but no run under unlogged has a checkpoints/last.ckpt."),
        ("best", True, "ckpt_path is 'best', but no run under lightning_logs has"),
        ("hpc", None, "there is no hpc_ckpt_N.ckpt"),
        ("runs/mine", None, "runs/mine has no checkpoints/last.ckpt.*; one inside of it is runs/mine/version_1."),
    ],
)
def test_what_is_not_there(given: str, logger: Any, message: str, folder: Path) -> None:
    with pytest.raises(PadInvError, match=message):
        resolve_checkpoint(options(given, logger))


def test_run_without_a_best_checkpoint(folder: Path) -> None:
    (folder / "runs/mine/version_1/checkpoints/images-8.ckpt").unlink()
    with pytest.raises(PadInvError, match="has no best checkpoint; give last, or a file"):
        resolve_checkpoint(options("best"))


def test_a_folder_that_is_itself_a_checkpoint_stays(folder: Path) -> None:
    (folder / "sharded.ckpt").mkdir()
    (folder / "sharded.ckpt" / "meta.pt").touch()
    resolve_checkpoint(config := options("sharded.ckpt"))
    assert config["ckpt_path"] == "sharded.ckpt"
    check_checkpoint(config["ckpt_path"])


@pytest.mark.parametrize("kind", ["missing", "text", "half", "tensor", "weights", "empty"])
def test_what_is_no_checkpoint_of_a_run(kind: str, folder: Path) -> None:
    path = folder / "file.ckpt"
    whole = (folder / "runs/mine/version_0/checkpoints/last.ckpt").read_bytes()
    if kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "weights":
        torch.save({"state_dict": {"a": torch.zeros(3)}}, path)
    elif kind != "missing":
        path.write_bytes({"text": b"no checkpoint", "half": whole[: len(whole) // 2], "empty": b""}[kind])
    for read in (check_checkpoint, PadInvModule.load_from_checkpoint, WholeCheckpoints().load_checkpoint):
        with pytest.raises(PadInvError, match=re.escape(str(path))) as error:
            read(str(path))
        assert "weights_only" not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        ({"class_path": "a.CSVLogger", "init_args": {"save_dir": "s", "name": "n"}}, "s/n"),
        ([{"class_path": "a.CSVLogger", "init_args": {"save_dir": "s"}}], "s/lightning_logs"),
        ({"class_path": "a.WandbLogger", "init_args": {"save_dir": "s", "name": "n", "project": "p"}}, "s/p"),
        (True, "root/lightning_logs"),
        (False, "root/unlogged"),
    ],
)
def test_where_runs_are(logger: Any, expected: str) -> None:
    trainer = {"default_root_dir": "root", "logger": logger}
    assert runs_folder(namespace({"trainer": trainer})) == Path(expected)


def test_runs_of_a_name(run: Any, picture_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What fails at its start uses up no version, nor does test; nothing that was written is lost."""
    assert run("fit", "--ckpt_path", "last") == 1
    assert "no run under runs/quickstart has a checkpoints/last.ckpt" in capsys.readouterr().err
    assert run("fit", "--data.train", "nowhere") == 1
    assert not RUNS.exists() or not list(RUNS.iterdir())
    with pytest.raises(RuntimeError, match="the first step"):
        run("fit", "--trainer.callbacks+=own_callbacks.FailsAtOnce")
    assert run("fit") == 0
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]

    assert run("test", f"--data.test={picture_folder}") == 1
    assert "padinv test needs a checkpoint, or it measures an encoder that has learned" in capsys.readouterr().err
    for _ in range(2):
        assert run("test", "--ckpt_path=last", f"--data.test={picture_folder}") == 0
    printed = capsys.readouterr().out
    assert f"These metrics go to {RUNS / 'version_0/test_1'}:" in printed
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]
    for name in ("test", "test_1"):
        assert (RUNS / "version_0" / name / "metrics.csv").is_file()
    assert run("test", "--ckpt_path=best", f"--data.test={picture_folder}") == 0
    assert (RUNS / "version_0/test_2/metrics.csv").is_file()

    with pytest.warns(UserWarning, match=r"lr of optimizer 0 \(Adam\) is 0.003, the checkpoint's, and not 0.5"):
        assert run("fit", "--ckpt_path=last", "--schedule.images=16", "--model.optimizer_e.lr=0.5") == 0
    assert torch.load(RUNS / "version_1/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    assert run("fit", "--ckpt_path=last", "--schedule.images=24", "--model.optimizer_e=SGD") == 1
    assert "Optimizer 0 is SGD, but the checkpoint's is of another class, without momentum" in capsys.readouterr().err
    assert not (RUNS / "version_2").exists()


def test_arguments_that_no_checkpoint_holds_are_named(generator_file: str, tmp_path: Path) -> None:
    generator = load_generator(generator_file)
    module = PadInvModule(generator, encoder=ENCODER, lambda_per=0.0)
    trainer = quiet_trainer()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path := tmp_path / "run.ckpt", weights_only=True)
    with pytest.raises(CheckpointError, match=r"generator, encoder as Python objects.*\(…, generator=…, encoder=…\)"):
        PadInvModule.load_from_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"was given encoder as Python objects"):
        PadInvModule.load_from_checkpoint(path, generator=generator)
    (folder := tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path.rename(folder / "last.ckpt")
    loaded = PadInvModule.load_from_checkpoint(tmp_path / "run", generator=generator, encoder=ENCODER)
    assert loaded.encoder.config == module.encoder.config


def test_defaults_need_not_be_named(generator_file: str) -> None:
    hparams = PadInvModule(generator_file, encoder=ENCODER, lambda_per=0.0).hparams
    assert hparams["_unsaved"] == ["encoder"]  # and not optimizer_e, a function, which is what it is without


def test_the_other_lightning_is_told_of(generator_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning.pytorch", ModuleType("lightning.pytorch"))
    with pytest.warns(UserWarning, match="its Trainer refuses modules of pytorch_lightning"):
        PadInvModule(generator_file, encoder=ENCODER, lambda_per=0.0)


@pytest.mark.parametrize("kind", [CSVLogger, NoLogger])
def test_runs_that_start_at_the_same_moment_have_folders_of_their_own(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has looked for the next version before the first one has made its folder."""
    first, second = (quiet_trainer(logger=kind(str(tmp_path), name="mine")) for _ in range(2))
    answers = iter([run_directory(second)])
    second.logger._version = None
    assert claim_run(first) == (tmp_path / "mine" / "version_0", True)
    monkeypatch.setattr(
        "padinv.training.run.run_directory", lambda trainer: next(answers, None) or run_directory(trainer)
    )
    assert claim_run(second) == (tmp_path / "mine" / "version_1", True)
    given = quiet_trainer(logger=CSVLogger(str(tmp_path), name="mine", version=1))
    assert claim_run(given) == (tmp_path / "mine" / "version_1", False)

"""The parts that every run has can be switched off or replaced; the command line can be called from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from fitting import quiet_trainer
from padinv import PadInvModule
from padinv.cli import main
from padinv.gan.cli import GanCLI
from padinv.training import ImageSchedule, LastCheckpoint, ReconstructionPictures, cli
from padinv.training.configs import presets
from padinv.training.distributed import SyncBatchNorm, check_processes, synchronize_batchnorm
from padinv.training.run import NoLogger, run_directory

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator_file: str, picture_folder: Path) -> Any:
    """Makes the Trainer of ``padinv fit --config quickstart`` without running it."""
    monkeypatch.chdir(tmp_path)
    small = [f"--model.generator={generator_file}", "--model.encoder.resolution=32", "--model.encoder.width=4"]
    small += ["--model.lambda_per=0", "--model.perceptual_loss=null", f"--data.train={picture_folder}"]
    small += [f"--data.val={picture_folder}", "--data.batch_size=4", "--data.resolution=32", "--schedule.images=8"]

    def make(*options: str) -> cli.PadInvCLI:
        return cli.PadInvCLI(run=False, args=["--config", "quickstart", *small, "--trainer.accelerator=cpu", *options])

    return make


def test_configs_of_runs_before_predict_went(made: Any, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("writer: {class_path: padinv.training.PredictionWriter, init_args: {folder: x}}")
    assert "writer" not in made("--config", "old.yaml").config


def kinds(trainer: Trainer) -> set[str]:
    return {type(callback).__name__ for callback in trainer.callbacks}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "gone", "there"),
    [
        ([], [], ["ImageSchedule", "ImageProgressBar", "ModelCheckpoint", "LastCheckpoint", "ReconstructionPictures"]),
        (["--checkpoint=null"], ["ModelCheckpoint"], ["LastCheckpoint"]),
        (["--pictures", "null", "--report", "null"], ["ReconstructionPictures", "RunReport"], ["ImageSchedule"]),
        (["--trainer.enable_checkpointing=false"], ["ModelCheckpoint", "LastCheckpoint"], ["ImageProgressBar"]),
        (["--checkpoint=null", "--last_checkpoint=null"], ["ModelCheckpoint", "LastCheckpoint"], []),
        (["--trainer.enable_progress_bar=false"], ["ImageProgressBar", "TQDMProgressBar", "RichProgressBar"], []),
        (["--progress=null"], ["ImageProgressBar", "TQDMProgressBar", "RichProgressBar"], []),
        (["--progress=RichProgressBar"], ["ImageProgressBar"], ["RichProgressBar"]),
        (["--trainer.callbacks+=RichProgressBar"], ["ImageProgressBar"], ["RichProgressBar"]),
        (
            ["--trainer.callbacks+=own_callbacks.OwnCheckpoint"],
            ["ModelCheckpoint"],
            ["OwnCheckpoint", "LastCheckpoint"],
        ),
        (["--checkpoint=own_callbacks.OwnCheckpoint"], ["ModelCheckpoint"], ["OwnCheckpoint"]),
        (["--trainer.barebones=true"], ["ModelCheckpoint", "LastCheckpoint", "ImageProgressBar"], ["ImageSchedule"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_callbacks_are_switched_off_and_replaced(
    options: list[str], gone: list[str], there: list[str], made: Any
) -> None:
    found = kinds(made(*options).trainer)
    assert not found & set(gone)
    assert set(there) <= found


def test_a_users_checkpoint_replaces_ours_alone(made: Any) -> None:
    own = made("--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/psnr").trainer
    monitored = [c.monitor for c in own.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    assert monitored == ["val/psnr"]
    assert any(isinstance(c, LastCheckpoint) for c in own.checkpoint_callbacks)


def test_flat_options_of_older_configs(made: Any, tmp_path: Path) -> None:
    """As config.yaml was written when these callbacks could not be replaced."""
    old = tmp_path / "old.yaml"
    plugin = "trainer: {plugins: [{class_path: padinv.training.SyncBatchNorm}]}"
    old.write_text(f"schedule: {{images: 12}}\ncheckpoint: {{save_top_k: 2}}\npictures: {{images: 3}}\n{plugin}\n")
    callbacks = made("--config", str(old), "--schedule.validate_every=4").trainer.callbacks
    (schedule,) = (c for c in callbacks if isinstance(c, ImageSchedule))
    assert (schedule.images, schedule.validate_every) == (12, 4)
    (checkpoint,) = (c for c in callbacks if isinstance(c, ModelCheckpoint))
    assert (checkpoint.save_top_k, checkpoint.monitor) == (2, "val/mse")
    assert next(c for c in callbacks if isinstance(c, ReconstructionPictures)).images == 3


def test_from_python(made: Any, generator_file: str, tmp_path: Path) -> None:
    without_running = made()
    assert type(without_running.model) is PadInvModule
    assert without_running.datamodule.resolution == 32
    assert without_running.options["trainer"]["max_epochs"] == -1
    config = Namespace(without_running.config)
    assert type(cli.PadInvCLI(run=False, args=config).model) is PadInvModule

    class Own(cli.PadInvCLI):
        pass

    words = ["--model.generator", generator_file, "--model.encoder=padinv.PadInvEncoder", "--model.lambda_per=0"]
    words += ["--model.encoder.resolution=32", "--model.encoder.width=4", "--model.encoder.depth=18"]
    fixed = Own(
        PadInvModule, subclass_mode_model=False, run=False, args=[*words, "--data.train=x", "--trainer.logger=false"]
    )
    assert fixed.model.encoder.resolution == 32


def test_words_of_the_process(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["padinv", "fit", "--config", "quickstart", "--print_config"])
    with pytest.raises(SystemExit) as end:
        cli.PadInvCLI()
    assert end.value.code == 0


@pytest.mark.parametrize("option", ["fpn_channels", "init_args.fpn_channels", "feature_width"])
def test_null_for_an_option_of_a_nested_class(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config", "quickstart", f"--model.encoder.{option}", "null", "--print_config"]
    with pytest.raises(SystemExit) as end:
        cli.PadInvCLI(args=words)
    assert end.value.code == 0
    arguments = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["encoder"]["init_args"]
    assert arguments[option.removeprefix("init_args.")] is None


def test_runs_without_a_logger_have_folders_of_their_own(run: Any) -> None:
    assert run("fit", "--trainer.logger=false") == 0
    first = Path("runs/unlogged/version_0/checkpoints/last.ckpt")
    before = first.read_bytes()
    assert run("fit", "--trainer.logger=false", "--seed_everything=1") == 0
    assert first.read_bytes() == before
    assert Path("runs/unlogged/version_1/checkpoints/last.ckpt").is_file()
    assert not Path("runs/checkpoints").exists()
    assert run("fit", "--trainer.logger=false", "--ckpt_path=last", "--schedule.images=16") == 0
    resumed = torch.load("runs/unlogged/version_2/checkpoints/last.ckpt", weights_only=True)
    assert int(resumed["state_dict"]["images_seen"]) == 16


def test_barebones_writes_nothing(run: Any) -> None:
    with pytest.warns(UserWarning, match="barebones"):
        assert run("fit", "--trainer.barebones=true") == 0
    assert not list(Path().rglob("*.ckpt")) + list(Path().rglob("config.yaml"))


def test_switched_off_checkpoints_are_not_written(run: Any) -> None:
    assert run("fit", "--checkpoint=null", "--last_checkpoint=null", "--pictures=null", "--progress=null") == 0
    written = sorted(path.name for path in Path("runs/quickstart/version_0").iterdir())
    assert written == ["config.yaml", "hparams.yaml", "metrics.csv"]


def test_torchrun_sets_the_devices_or_is_refused(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**TORCHRUN, "MASTER_ADDR": "localhost", "MASTER_PORT": "29511"}.items():
        monkeypatch.setenv(name, value)
    assert made().trainer.world_size == 2
    with pytest.raises(cli.ConfigError, match="torchrun has started 2 processes for this run, but its Trainer is one"):
        made("--trainer.devices=1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert made().trainer.num_nodes == 2


def test_python_is_refused_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = quiet_trainer(devices=1)
    check_processes(trainer)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(cli.ConfigError, match=r"give trainer.devices 2 and trainer.num_nodes 1, or start as many"):
        check_processes(trainer)


@pytest.mark.parametrize("options", [{}, {"sync_batchnorm": True}])
def test_every_trainer_of_several_processes_synchronizes_batchnorm(options: dict[str, bool]) -> None:
    many = quiet_trainer(devices=2, strategy="ddp", **options)
    synchronize_batchnorm(many.strategy)
    assert type(many.strategy._layer_sync) is SyncBatchNorm
    one = quiet_trainer(devices=1)
    synchronize_batchnorm(one.strategy)
    assert getattr(one.strategy, "_layer_sync", None) is None


@pytest.mark.parametrize("wanted", [True, False])
def test_batchnorm_is_synchronized_unless_told_otherwise(wanted: bool, made: Any) -> None:
    made_cli = made("--trainer.devices=2", f"--model.sync_batchnorm={str(wanted).lower()}", "--trainer.plugins=[]")
    made_cli.model.trainer = made_cli.trainer
    made_cli.model.setup("fit")
    assert (made_cli.trainer.strategy._layer_sync is not None) == wanted


def test_without_a_logger_every_run_is_the_next(tmp_path: Path) -> None:
    (tmp_path / "unlogged" / "version_3").mkdir(parents=True)
    logger = NoLogger(str(tmp_path))
    trainer = quiet_trainer(logger=logger)
    assert run_directory(trainer) == tmp_path / "unlogged" / "version_4"
    logger.log_metrics({"a": 1.0}, step=1)
    logger.log_hyperparams({"a": 1.0})
    assert not (tmp_path / "unlogged" / "version_4").exists()


@pytest.mark.parametrize(("command", "cls"), [("fit", cli.PadInvCLI), ("test", cli.PadInvCLI), ("fit-gan", GanCLI)])
def test_short_help_and_all(command: str, cls: type[cli.PadInvCLI], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert all(name in text for name in (*presets(cls.presets_folder), "--help-all", "--print_config", "--ckpt_path"))
    with pytest.raises(SystemExit) as end:
        main([command, "--help-all"])
    assert end.value.code == 0
    everything = capsys.readouterr().out
    assert all(f"--{key}" in everything for key in ("trainer.max_time", "checkpoint", "weights_only", "model.help"))


@pytest.mark.parametrize("command", ["fit", "test", "fit-gan"])
@pytest.mark.parametrize("options", [[], ["--schedule.images=8"], ["--trainer.devices", "1"]])
def test_without_a_config(command: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, *options]) == 1
    printed = capsys.readouterr().err
    assert f"padinv {command} has to be told what to do: give --config and a preset (" in printed
    assert "256" not in printed.replace("gan256", "")


@pytest.mark.parametrize("command", ["fit", "fit-gan"])
def test_hint_at_a_config(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--data.train=congress64-train"]) == 1
    printed = capsys.readouterr().err
    assert f"There is no --config; padinv {command} --config" in printed


def test_a_run_that_nothing_ends_is_refused(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "--schedule", "null") == 1
    assert "Nothing would end this run: give --schedule.images" in capsys.readouterr().err
    assert run("fit", "--schedule", "null", "--trainer.max_steps=1") == 0


def test_flags_that_change_nothing(run: Any) -> None:
    """The data deal themselves out, and one process is all processes: what was learned is the same to the bit."""
    assert run("fit") == 0
    assert run("fit", "--trainer.use_distributed_sampler=false", "--trainer.sync_batchnorm=true") == 0
    one, other = (
        torch.load(f"runs/quickstart/version_{i}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for i in range(2)
    )
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())

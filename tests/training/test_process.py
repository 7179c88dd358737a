"""Told to stop, a run saves what it has, says how to go on, and ends as the signal would have it."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from fitting import padinv_process, quiet_trainer, small_module
from padinv import ImageDataModule, PadInvModule
from padinv.cli import main
from padinv.training import ImageSchedule, LastCheckpoint, StopAtSignals
from padinv.training.callbacks.process import Stopped


class Send(Callback):
    """Sends this process a signal in a hook, the first time or from some images on."""

    def __init__(self, hook: str, signum: int = 15, images: int = 0, rank: int = 0) -> None:
        self.signum, self.images, self.rank = int(signum), images, rank
        setattr(self, hook, self.send)

    def send(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if int(pl_module.images_seen) >= self.images and trainer.global_rank == self.rank:
            self.images = sys.maxsize
            os.kill(os.getpid(), self.signum)


@pytest.fixture
def fit(generator_file: str, picture_folder: Path, tmp_path: Path) -> Any:
    def fit_module(*callbacks: Callback, ckpt: Path | None = None, **options: Any) -> int:
        torch.manual_seed(0)
        module = small_module(generator_file)
        folder = str(picture_folder)
        data = ImageDataModule(folder, folder, resolution=32, batch_size=4, num_workers=0)
        callbacks = (StopAtSignals(), *callbacks, LastCheckpoint())
        trainer = quiet_trainer(*callbacks, default_root_dir=tmp_path, **options)
        trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
        return int(module.images_seen)

    return fit_module


@pytest.mark.parametrize(
    ("hook", "images", "saved"),
    [
        ("on_train_batch_start", 8, 12),  # the step in progress is finished
        ("on_train_batch_end", 4, 8),  # too late for this step's agreement
        ("on_validation_batch_end", 8, 8),
        ("on_validation_end", 8, 12),
    ],
)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(
    fit: Any, tmp_path: Path, hook: str, images: int, saved: int, signum: int, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped) as stopped:
        fit(Send(hook, signum, images), ImageSchedule(40, validate_every=8))
    assert stopped.value.code == 128 + signum
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert int(torch.load(last, weights_only=True)["state_dict"]["images_seen"]) == saved
    assert f"Stopped by {signal.Signals(signum).name} after {saved} images: {last} holds" in capsys.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert fit(ImageSchedule(24, validate_every=8), ckpt=last) == 24


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has none")
def test_the_end_of_a_terminal_ends_the_run_unless_nohup_said_no(fit: Any) -> None:
    handler = signal.getsignal(signal.SIGHUP)
    try:
        with pytest.raises(Stopped) as stopped:
            fit(Send("on_train_batch_end", signal.SIGHUP, 4), ImageSchedule(16))
        assert stopped.value.code == 129
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert fit(Send("on_train_batch_end", signal.SIGHUP, 4), ImageSchedule(16)) == 16
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_a_signal_before_anything_was_learned(fit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped) as stopped:
        fit(Send("on_sanity_check_start"), num_sanity_val_steps=2)
    assert (stopped.value.code, stopped.value.path) == (143, None)
    assert "nothing was learned" in capsys.readouterr().err
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_the_command_says_how_to_go_on(
    name: str, code: int, generator_file: str, picture_folder: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    step, signum = PadInvModule.training_step, getattr(signal, name)

    def interrupted(module: PadInvModule, *args: Any) -> None:
        step(module, *args)
        if int(module.images_seen) == 8:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(PadInvModule, "training_step", interrupted)
    words = (
        f"fit --config quickstart --model.generator={generator_file} --model.encoder.resolution=32 --data.batch_size=4"
    )
    words += f" --model.encoder.width=4 --model.lambda_per=0 --data.train={picture_folder} --data.val={picture_folder}"
    words += " --data.resolution=32 --trainer.limit_val_batches=1 --schedule.images=16 --trainer.log_every_n_steps=1"
    words += " --model.report_lpips=false"
    assert main(words.split()) == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("Go on with: padinv fit --config runs/quickstart/version_0/config.yaml --ckpt_path runs/")
    monkeypatch.setattr(PadInvModule, "training_step", step)
    assert main(said.removeprefix("Go on with: padinv ").split()) == 0
    last = torch.load("runs/quickstart/version_1/checkpoints/last.ckpt", weights_only=True)
    assert int(last["state_dict"]["images_seen"]) == 16


def test_a_second_signal_lets_it_save(fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    with pytest.raises(Stopped):
        fit(Send("on_train_batch_start", images=8), Send("on_save_checkpoint", images=8), ImageSchedule(40))
    (last,) = tmp_path.rglob("last.ckpt")
    assert int(torch.load(last, weights_only=True)["state_dict"]["images_seen"]) == 12
    assert ended == []


def test_a_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        StopAtSignals().listen(LightningModule())
        for signum in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), signum)
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert ended == [130]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_of_two_processes_ends_both(tmp_path: Path, rank: int) -> None:
    command = ["fit", "--config", "quickstart", "--data.batch_size=4"]
    command += ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.num_sanity_val_steps=0"]
    command += [f"--trainer.logger.save_dir={tmp_path}", f"--trainer.default_root_dir={tmp_path}"]
    command += ["--trainer.callbacks+=test_process.Send", "--trainer.callbacks.hook=on_train_batch_start"]
    command += ["--trainer.callbacks.images=16", f"--trainer.callbacks.rank={rank}"]
    result = padinv_process(*command, test_file=__file__)
    assert result.returncode == 143, result.stderr
    (said,) = re.findall(r"Go on with: padinv fit --config (\S+) --ckpt_path (\S+)", result.stderr)
    assert int(torch.load(said[1], weights_only=True)["state_dict"]["images_seen"]) == 24

"""What is wrong with an option is told in one sentence, which names it as the user wrote it, and the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from padinv.cli import main
from padinv.exceptions import nearest
from padinv.networks import Discriminator
from padinv.training.parser import PadInvParser, given, hint, one_line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--modle.lambda_per 1", "There is no option --modle.lambda_per; the nearest is --model.lambda_per"),
        ("--schedul.images=1", "There is no option --schedul.images; the nearest is --schedule.images"),
        ("--trainer.max_epchs 1", "There is no option --trainer.max_epchs; the nearest is --trainer.max_epochs"),
        ("--model.lambda_pre 1", "--model.lambda_pre: there is no option 'lambda_pre' here; the nearest is 'lambda_"),
        ("--model.encoder.widht=3", "--model.encoder.widht: there is no option 'widht' here; the nearest is 'width'."),
        ("--model.optimizer_e.lrr 3", "there is no option 'lrr' here; the nearest is 'lr'."),
        ("--checkpoint.save_top 3", "--checkpoint.save_top: there is no option 'save_top' here; the nearest is 'save_"),
        ("--model PadInvModul", "--model: there is no class 'PadInvModul'; the nearest is 'PadInvModule'."),
        ("--model.optimizer_e Adm", "--model.optimizer_e: there is no class 'Adm'; the nearest is 'Adam'."),
        ("--model.encoder padinv.PadInvEncodr", "padinv has no class 'PadInvEncodr'; the nearest is 'PadInvEncoder'."),
        (
            "--trainer.logger WandLogger",
            "--trainer.logger: there is no class 'WandLogger'; the nearest is 'WandbLogger'",
        ),
        ("--trainer.callbacks+=EarlyStoping", "there is no class 'EarlyStoping'; the nearest is 'EarlyStopping'."),
        (
            "--trainer.callbacks foo.Bar",
            "--trainer.callbacks: there is no module 'foo' to import; its folder must be in",
        ),
        ("--data.batch_size x", "--data.batch_size must be an integer, not 'x'."),
        ("--model.lambda_per abc", "--model.lambda_per must be a number, not 'abc'."),
        ("--model.encoder.width x", "--model.encoder.width must be an integer, not 'x'."),
        ("--schedule.images many", "--schedule.images must be an integer, not 'many'."),
        ("--trainer.max_epochs x", "--trainer.max_epochs must be an integer or null, not 'x'."),
        ("--keep_memory perhaps", "--keep_memory must be true or false, not 'perhaps'."),
        ("--trainer.precision bf16_mixed", "or null, not 'bf16_mixed'"),
        ("--data.train", "--data.train: expected one argument."),
        ("--model.encoder my.Encoder", "--model.encoder: there is no module 'my' to import; its folder must be in PY"),
        ("--model.optimizer_d.lr 1", "--model.optimizer_d.lr: optimizer_d has no class yet that takes 'lr'; name it,"),
        ("--model.pixel_loss.epsilon 1", "--model.pixel_loss.epsilon: pixel_loss has no class yet that takes 'epsi"),
        ("--model.pixel_loss ReconstructionLoss", "--model.pixel_loss: that class is abstract; name one that is made"),
        (
            "--model.scheduler_e StepLR",
            "--model.scheduler_e: torch.optim.lr_scheduler.StepLR cannot be made: the follo",
        ),
        ("--model.scheduler_e ReduceLROnPlateau", "name one of torch.optim.lr_scheduler.ReduceLROnPlateau, pytorch_li"),
        ("--schedule.images 1e3", "--schedule.images must be an integer, not '1000.0'."),
        ("--config nosuch.yaml", "nosuch.yaml"),
    ],
)
def test_option(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "quickstart", *options.split()]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("padinv: ")
    assert message in lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model: {init_args: {lambda_pre: 3}}",
            "model.init_args.lambda_pre in my.yaml: there is no option 'lambda_pre'",
        ),
        (
            "trainer: {max_epoch: 3}",
            "trainer.max_epoch in my.yaml: there is no option 'max_epoch' here; the nearest is",
        ),
        ("schedule: {images: many}", "schedule.images in my.yaml must be an integer, not 'many'."),
        (
            "model: {init_args: {lambda_per: lots}}",
            "model.init_args.lambda_per in my.yaml must be a number, not 'lots'.",
        ),
        (
            "model: {init_args: {encoder: {class_path: padinv.PadInvEncodr}}}",
            "model.init_args.encoder.class_path in my.yaml: padinv has no class 'PadInvEncodr'; the nearest is 'PadInv",
        ),
        (
            "trainer: {callbacks: [{class_path: EarlyStopping, init_args: {monitr: a}}]}",
            "trainer.callbacks.0.init_args.monitr in my.yaml: there is no option 'monitr' here; the nearest is 'moni",
        ),
        ("a: 1\nschedule: [", "my.yaml is no YAML: "),
        (
            "model: {init_args: {encoder: {class_path: nowhere.Encoder, init_args: {width: 3}}}}",
            "model.init_args.encoder.class_path in my.yaml: there is no module 'nowhere' to import; its folder must be",
        ),
    ],
)
def test_config(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(text)
    assert main(["fit", "--config", "quickstart", "--config", "my.yaml"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", "schedule: {}".encode("utf-16"), b"PK\0\0"])
def test_what_is_no_config(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.yaml").write_bytes(content)
    assert main(["fit", "--config", str(tmp_path / "my.yaml")]) == 1
    assert capsys.readouterr().err.endswith("my.yaml is no config: that would be YAML, written in UTF-8.\n")


def test_a_path_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "quickstart", "--data.train", "b\udce4d"]) == 1
    told = r"padinv: b\udce4d has bytes that are no UTF-8, which a config cannot hold: rename the file."
    assert capsys.readouterr().err == f"{told}\n"


def test_a_misspelt_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--confg", "quickstart"]) == 1
    assert capsys.readouterr().err == "padinv: There is no option --confg; the nearest is --config.\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--trainer.accelerator cuda", "trainer.accelerator is 'cuda', but torch finds no such device here"),
        ("--trainer.accelerator gpu", "trainer.accelerator is 'gpu', but torch finds no such device here"),
        ("--trainer.accelerator gpuu", "'gpuu' is none of auto, cpu, gpu, cuda, mps, tpu; the nearest is 'gpu'."),
        ("--seed_everything=-1", "seed_everything must be from 0 to 4294967295, not -1"),
        ("--model.clip_norm -1", "clip_norm must be more than 0, or null for no clipping, not -1.0"),
        ("--model.encoder.width -4", "width must be 1 or more, not -4"),
        ("--trainer.num_nodes 2", "num_nodes is 2, but nothing tells this machine which of them it is"),
        ("--trainer.strategy dpd", "trainer.strategy 'dpd' is none that Lightning has"),
        ("--trainer.devices 0 --trainer.accelerator cpu", "The Trainer refuses this: `Trainer(devices='0')`"),
        ("--trainer.profiler nosuch", "The Trainer refuses this: When passing string value for the `profiler`"),
        ("--trainer.logger MLFlowLogger", "MLFlowLogger cannot be made: Requirement 'mlflow"),
        ("--trainer.callbacks+=BackboneFinetuning", "BackboneFinetuning has no effect on networks that take turns"),
        ("--model.optimizer_e.lr -1", "optimizer_e cannot be made with these options: Invalid learning rate: -1.0"),
        ("--model.lambda_pix -1", "lambda_pix must be 0 or more, not -1.0."),
        ("--trainer.callbacks+=RichProgressBar --trainer.enable_progress_bar false", "but found `RichProgressBar`"),
    ],
)
def test_trainer(options: str, message: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available() and "finds no such device" in message:
        pytest.skip("there is one")
    assert run("fit", *options.split()) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("padinv: ")
    assert message in error


def test_what_was_given(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("model: {init_args: {a: [1, b]}}")
    entries = list(given(["fit", "--config", str(config), "--x.y=3", "--z", "{q: 1}", "--list+=a"]))
    assert (f"model.init_args.a.1 in {config}", "model.init_args.a.1", "b") in entries
    assert ("--x.y", "x.y", "3") in entries
    assert ("--z", "z.q", 1) in entries
    assert ("--list", "list", "a") in entries


def test_words() -> None:
    assert hint(nearest("adam", ["Adam", "SGD"])) == "; the nearest is 'Adam'"
    assert hint(nearest("zzz", ["Adam", "SGD"])) == ""
    assert one_line("Two\n  - lines") == "Two lines."


def test_a_metric_that_nobody_measures(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told before training; in the end Lightning's callback cannot go on."""
    options = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/msee"]
    with pytest.warns(UserWarning, match="EarlyStopping waits for val/msee, but validation measures val/"):
        assert run("fit", *options) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("padinv: The Trainer refuses this: Early stopping conditioned on metric `val/msee` which")


@pytest.mark.parametrize("old", [None, 2])
def test_a_saved_config_has_no_names_of_former_options(old: int | None, tmp_path: Path) -> None:
    """Unless it was made from one that has."""
    parser = PadInvParser()
    parser.add_argument("--d", type=str | Discriminator)
    given = {"resolution": 8} | ({} if old is None else {"mbstd_groups": old})
    config = parser.parse_object({"d": {"class_path": "padinv.Discriminator", "init_args": given}})
    parser.save(config, tmp_path / "config.yaml", skip_unset=False)
    for text in (parser.dump(config, skip_unset=False), (tmp_path / "config.yaml").read_text()):
        written = yaml.safe_load(text)["d"]["init_args"]
        assert written.get("mbstd_groups") == old
        assert written["mbstd_group_size"] == 4

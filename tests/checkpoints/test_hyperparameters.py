"""No file chooses what is run: each form and disguise of a class that is not ours is refused, and not called."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from padinv import ImageDataModule, PadInvEncoder, PadInvModule
from padinv.checkpoints.hyperparameters import build_arguments, forget_foreign_paths, known_classes
from padinv.cli import main
from padinv.exceptions import CheckpointError
from padinv.gan import StyleGAN2Module
from padinv.losses import AdversarialLoss, PixelLoss
from padinv.training.resuming import restored_model

LIGHTNINGS_OWN = {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": "padinv.PadInvModule"}
ENCODER = {"class_path": "padinv.PadInvEncoder", "init_args": {"resolution": 32, "depth": 18, "width": 4}}


@pytest.fixture
def command(tmp_path: Path) -> str:
    return f"echo run >> {tmp_path / 'run'}"


def evil(command: str, **more: Any) -> dict[str, Any]:
    return {"class_path": "os.system", "init_args": {"command": command}, **more}


DISGUISES = {
    "an encoder": lambda c: {"encoder": evil(c)},
    "a loss": lambda c: {"pixel_loss": evil(c)},
    "an optimizer": lambda c: {"optimizer_e": evil(c)},
    "a schedule": lambda c: {"scheduler_e": evil(c)},
    "a function of PyTorch's": lambda c: {"optimizer_e": {"class_path": "torch.utils.cpp_extension.load"}},
    "another module of PyTorch's": lambda c: {"pixel_loss": {"class_path": "torch.optim.os.system"}},
    "in what a class of ours takes": lambda c: {
        "pixel_loss": {"class_path": "padinv.losses.DiscriminatorFeatureLoss", "init_args": {"discriminator": evil(c)}}
    },
    "as further arguments": lambda c: {
        "perceptual_loss": {"class_path": "padinv.losses.PixelLoss", "dict_kwargs": {"squared": evil(c)}}
    },
    "in a list": lambda c: {"encoder": {**ENCODER, "init_args": {"padded_resolutions": [evil(c)]}}},
    "in a dictionary": lambda c: {"generator": {"a": {"b": [evil(c)]}}},
    "through a module of ours": lambda c: {"encoder": evil(c, class_path="padinv.data.datamodule.os.system")},
    "through a class of ours": lambda c: {"encoder": evil(c, class_path="padinv.PadInvEncoder.__init__.__globals__")},
    "by its name alone": lambda c: {"encoder": "os.system"},
    "a function by its name": lambda c: {"scheduler_e": "os.abort"},
    "interpolated": lambda c: {"encoder": evil(c, class_path="${oc.decode:os.system}")},
    "no name": lambda c: {"encoder": {"class_path": ["os.system"], "init_args": {"command": c}}},
    "a callback": lambda c: {"pixel_loss": {"class_path": "padinv.training.PredictionWriter"}},
}


def forge(path: Path, module: Any, saved: Any, **more: Any) -> Path:
    content: dict[str, Any] = {"state_dict": module.state_dict(), "pytorch-lightning_version": "2.6.6"}
    content |= {"epoch": 0, "global_step": 0, "hyper_parameters": saved, "callbacks": {}, **more}
    module.on_save_checkpoint(content)
    torch.save(content, path)
    return path


@pytest.fixture
def arguments(generator_file: str) -> dict[str, Any]:
    return {"generator": generator_file, "encoder": ENCODER, "lambda_per": 0.0}


@pytest.fixture
def module(generator_file: str) -> PadInvModule:
    torch.manual_seed(0)
    return PadInvModule(generator_file, encoder=partial(PadInvEncoder, resolution=32, depth=18, width=4), lambda_per=0)


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("own", [{}, LIGHTNINGS_OWN], ids=["plain", "of the command line"])
def test_a_checkpoint_runs_nothing(
    disguise: str, own: dict[str, Any], arguments: dict[str, Any], module: PadInvModule, command: str, tmp_path: Path
) -> None:
    path = forge(tmp_path / "forged.ckpt", module, {**own, **arguments, **DISGUISES[disguise](command)})
    before = set(sys.modules)
    with pytest.raises(CheckpointError, match=r"forged\.ckpt"):
        PadInvModule.load_from_checkpoint(path)
    with path.open("rb") as file, pytest.raises(CheckpointError):
        PadInvModule.load_from_checkpoint(file)
    assert not (tmp_path / "run").exists()
    assert not {name for name in set(sys.modules) - before if "cpp_extension" in name}


@pytest.mark.parametrize("subcommand", ["validate", "test"])
@pytest.mark.parametrize("kind", ["forged", "forged, but with a config", "ours"])
def test_the_command_line_runs_nothing(
    subcommand: str,
    kind: str,
    arguments: dict[str, Any],
    module: PadInvModule,
    command: str,
    tmp_path: Path,
    picture_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = {**LIGHTNINGS_OWN, **arguments, **({} if kind == "ours" else {"encoder": evil(command)})}
    path = forge(tmp_path / "forged.ckpt", module, saved)
    options = [f"--ckpt_path={path}", f"--data.{subcommand.replace('validate', 'val')}={picture_folder}"]
    options += ["--data.resolution=32", "--data.num_workers=0", "--trainer.logger=false", "--trainer.accelerator=cpu"]
    if "config" in kind:  # which then counts: the checkpoint gives its weights alone
        options += [f"--model.generator={arguments['generator']}", "--model.lambda_per=0"]
        options += [
            "--model.encoder=PadInvEncoder",
            *(f"--model.encoder.{k}={v}" for k, v in ENCODER["init_args"].items()),
        ]
    assert main([subcommand, *options]) == (kind == "forged")
    assert not (tmp_path / "run").exists()
    if kind == "forged":
        assert "a checkpoint may not choose what is run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "argument"), [("width", 100_000), ("fpn_channels", 1_000_000), ("padding_depth", 10**9), ("width", 4096)]
)
def test_arguments_ask_for_no_more_than_the_weights(
    name: str, argument: int, arguments: dict[str, Any], module: PadInvModule, tmp_path: Path
) -> None:
    """Arguments of a few bytes do not become gigabytes."""
    arguments["encoder"] = {**ENCODER, "init_args": {**ENCODER["init_args"], name: argument}}
    path = forge(tmp_path / "forged.ckpt", module, {**LIGHTNINGS_OWN, **arguments})
    with pytest.raises(CheckpointError, match="ask for far larger networks than its weights"):
        PadInvModule.load_from_checkpoint(path)
    with pytest.raises(CheckpointError, match="ask for far larger networks than its weights"):
        restored_model(str(path), {}, "padinv.PadInvModule")


def test_images_of_a_checkpoint_run_nothing(command: str, tmp_path: Path) -> None:
    own = {**LIGHTNINGS_OWN, "_class_path": "padinv.ImageDataModule"}
    for saved in ({"val": evil(command)}, {"val": [evil(command)], "more": evil(command)}):
        torch.save({"datamodule_hyper_parameters": {**own, **saved}}, path := tmp_path / "forged.ckpt")
        with pytest.raises(CheckpointError, match="a checkpoint may not choose what is run"):
            ImageDataModule.load_from_checkpoint(path)
    assert not (tmp_path / "run").exists()
    torch.save({"ImageDataModule": {"epoch": 3, "offset": 8}, "pytorch-lightning_version": "2.6.6"}, path)
    assert ImageDataModule.load_from_checkpoint(path, val="congress64-val").state_dict() == {"epoch": 3, "offset": 8}


@pytest.mark.parametrize("disguise", ["generator", "augmentation", "optimizer_g", "fid"])
def test_the_checkpoint_of_a_generator_runs_nothing(
    disguise: str, generator_file: str, command: str, tmp_path: Path
) -> None:
    module = StyleGAN2Module(generator_file)
    saved = {**LIGHTNINGS_OWN, "_class_path": "padinv.gan.StyleGAN2Module", "generator": generator_file}
    path = forge(tmp_path / "forged.ckpt", module, {**saved, disguise: evil(command)})
    with pytest.raises(CheckpointError, match=r"asks for 'os.system'"):
        StyleGAN2Module.load_from_checkpoint(path)
    assert not (tmp_path / "run").exists()


def test_a_file_of_arguments_runs_nothing(
    module: PadInvModule, arguments: dict[str, Any], command: str, tmp_path: Path
) -> None:
    path = forge(tmp_path / "run.ckpt", module, arguments)
    (tmp_path / "hparams.yaml").write_text(f"encoder: {{class_path: os.system, init_args: {{command: '{command}'}}}}")
    with pytest.raises(CheckpointError, match=r"hparams.yaml asks for 'os.system'"):
        PadInvModule.load_from_checkpoint(path, hparams_file=tmp_path / "hparams.yaml")
    assert not (tmp_path / "run").exists()


def test_what_is_ours_is_made(module: PadInvModule, arguments: dict[str, Any], tmp_path: Path) -> None:
    more = {
        "optimizer_e": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.5, "betas": [0.5, 0.9]}},
        "optimizer_d": "padinv.training.module.default_optimizer_d",
        "scheduler_e": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 3}},
        "pixel_loss": {"class_path": "padinv.losses.pixel.PixelLoss", "init_args": {"squared": False}},
        "adversarial_loss": {"class_path": "padinv.losses.AdversarialLoss"},
        "has_gone_since": 3,
    }
    saved = {**LIGHTNINGS_OWN, **arguments, **more}
    again = PadInvModule.load_from_checkpoint(forge(tmp_path / "run.ckpt", module, saved))
    assert again.encoder.config == module.encoder.config
    assert not again.reconstruction_losses["pix"].squared
    assert again.optimizer_callables[0]([torch.zeros(1)]).param_groups[0]["betas"] == (0.5, 0.9)
    assert again.scheduler_callables[0].keywords == {"step_size": 3}
    assert isinstance(again.adversarial_loss, AdversarialLoss)
    assert again.hparams["encoder"] == ENCODER  # so that it is in the next checkpoint, too
    with pytest.raises(CheckpointError, match=r"made by 'custom.MyModule', not by PadInvModule"):
        PadInvModule.load_from_checkpoint(
            forge(tmp_path / "run.ckpt", module, {**saved, "_class_path": "custom.MyModule"})
        )


def test_what_the_caller_gives_goes_before(module: PadInvModule, arguments: dict[str, Any], tmp_path: Path) -> None:
    class Own(PadInvModule):
        pass

    saved = {**arguments, "_class_path": "elsewhere.Own", "pixel_loss": {"class_path": "elsewhere.OwnLoss"}}
    path = forge(tmp_path / "run.ckpt", module, saved)
    loss = PixelLoss(squared=False)
    again = Own.load_from_checkpoint(path, pixel_loss=loss, lambda_reg=0.5)
    assert (type(again), again.reconstruction_losses["pix"], again.lambdas["reg"]) == (Own, loss, 0.5)


@pytest.mark.parametrize("saved", [[1], {1: 2}, {"generator": b"x"}, {"encoder": torch.zeros(1)}], ids=str)
def test_what_is_no_arguments(saved: Any) -> None:
    with pytest.raises(CheckpointError, match=r"x\.ckpt has "):
        build_arguments(saved, PadInvModule, "x.ckpt")


def test_arguments_are_not_endless() -> None:
    nested: Any = []
    for _ in range(10_000):
        nested = [nested]
    with pytest.raises(CheckpointError, match="nested deeper"):
        build_arguments({"generator": nested}, PadInvModule, "x.ckpt")


def test_only_networks_losses_and_optimizers_are_known() -> None:
    known = known_classes()
    assert {"padinv.PadInvModule", "padinv.Generator", "torch.optim.Adam", "padinv.gan.StyleGAN2Module"} <= set(known)
    assert {name.partition(".")[0] for name in known} == {"padinv", "torch"}
    assert not any(word in name for name in known for word in ("Writer", "Checkpoint", "Inverter", "load_", "save_"))


def test_a_checkpoint_does_not_choose_what_is_deleted(module: PadInvModule, tmp_path: Path) -> None:
    folder, mine = tmp_path / "run" / "checkpoints", tmp_path / "mine.txt"
    mine.write_text("kept")
    outside = str(folder / ".." / ".." / "mine.txt")  # Lightning would take this for a path in the folder
    best = ModelCheckpoint(dirpath=folder, monitor="val/mse")
    state = {**best.state_dict(), "best_model_score": torch.tensor(1.0), "dirpath": str(folder)}
    state |= {"best_k_models": {outside: torch.tensor(1.0)}, "kth_best_model_path": outside, "last_model_path": outside}
    inside = str(folder / "one.ckpt")
    checkpoint = {
        "callbacks": {best.state_key: {**state, "best_model_path": inside}},
        "state_dict": module.state_dict(),
    }
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    best.load_state_dict(checkpoint["callbacks"][best.state_key])
    assert (best.best_k_models, best.kth_best_model_path, best.last_model_path) == ({}, "", "")
    assert best.best_model_path == inside
    for odd in ({}, {"callbacks": None}, {"callbacks": {"a": 1, "b": {"dirpath": 3}}}):
        forget_foreign_paths(odd)

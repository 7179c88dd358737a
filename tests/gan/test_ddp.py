"""``padinv fit-gan --trainer.devices 2`` over gloo: both ranks stay the same, on latents of their own."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from fitting import padinv_process
from padinv.gan import StyleGAN2Module

STEPS = 6  # of which the path length is regularized in two, R1 is in one, and the augmentation adapts in one


class Recorder(Callback):
    """Writes what a rank has after each step: its losses, and a digest of all weights and buffers."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.steps: list[dict[str, Any]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleGAN2Module)
        digest = hashlib.sha256()
        for tensor in pl_module.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        losses = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("loss/")}
        self.steps.append({"digest": digest.hexdigest(), "names": batch["name"], "losses": losses})
        if int(pl_module.steps) == STEPS - 2:
            trainer.save_checkpoint(self.folder / "saved.ckpt")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(self.steps))


def fit(folder: Path, generator: str, discriminator: str, pictures: Path, *args: str) -> Path:
    """Fits in processes of their own, which import the callback from this file; returns the folder."""
    folder.mkdir(exist_ok=True)
    command = ["fit-gan", "--config", "gan64", "--trainer.precision=32-true"]
    command += [f"--model.generator={generator}", f"--model.discriminator={discriminator}", "--model.fid_samples=9"]
    command += ["--model.augmentation.probability=0.5", f"--data.train={pictures}", f"--data.val={pictures}"]
    command += ["--data.resolution=32", "--data.batch_size=4", f"--schedule.images={STEPS * 8}"]
    command += ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.num_sanity_val_steps=0"]
    command += ["--trainer.log_every_n_steps=1", f"--trainer.logger.save_dir={folder}"]
    command += ["--trainer.callbacks+=test_ddp.Recorder", f"--trainer.callbacks.folder={folder}", *args]
    result = padinv_process(*command, test_file=__file__)
    assert result.returncode == 0, result.stderr
    return folder


def ranks(folder: Path) -> list[list[dict[str, Any]]]:
    """What each rank recorded."""
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def distances(folder: Path) -> list[float]:
    """The val/fid of each validation."""
    with (folder / "gan64" / "version_0" / "metrics.csv").open() as file:
        return [float(row["val/fid"]) for row in csv.DictReader(file) if row["val/fid"]]


PROJECTED = [
    "--model.projected=ProjectedDiscriminator",
    "--model.projected.features=padinv.metrics.RandomFeatures",
    "--model.projected.resolution=32",
    "--model.projected.width=8",
]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], PROJECTED], ids=["plain", "projected"])
def test_two_processes_stay_the_same_and_resume(
    tmp_path: Path, generator_file: str, discriminator_file: str, picture_folder: Path, extra: list[str]
) -> None:
    files = (generator_file, discriminator_file, picture_folder, *extra)
    one, other = recorded = ranks(fit(tmp_path, *files))
    assert [step["digest"] for step in one] == [step["digest"] for step in other]
    assert len({step["digest"] for step in one}) == STEPS
    names = {"loss/g", "loss/d", "loss/path", "loss/r1"}
    assert names | ({"loss/g_projected", "loss/d_projected"} if extra else set()) == set(one[0]["losses"])
    for mine, theirs in zip(one, other, strict=True):
        assert not set(mine["names"]) & set(theirs["names"])
        assert mine["losses"]["loss/g"] != theirs["losses"]["loss/g"]  # of other latents

    written = sorted(path.name for path in (tmp_path / "gan64" / "version_0" / "networks").iterdir())
    assert written == ["discriminator.safetensors", "generator.safetensors"]
    assert len(distances(tmp_path)) == 1

    resumed = ranks(fit(tmp_path / "resumed", *files, f"--ckpt_path={tmp_path / 'saved.ckpt'}"))
    for before, after in zip(recorded, resumed, strict=True):
        assert [step["digest"] for step in after] == [step["digest"] for step in before[STEPS - 2 :]]


@pytest.mark.ddp
@pytest.mark.slow
def test_validation_is_that_of_one_process(
    tmp_path: Path, generator_file: str, discriminator_file: str, picture_folder: Path
) -> None:
    """The generator learns nothing here, so that it is the same one that is measured."""
    files = (generator_file, discriminator_file, picture_folder)
    still = ["--model.optimizer_g.lr=0", "--schedule.images=8"]
    (one,) = distances(fit(tmp_path / "1", *files, *still, "--trainer.devices=1", "--data.batch_size=8"))
    (two,) = distances(fit(tmp_path / "2", *files, *still))
    assert one == pytest.approx(two, rel=1e-4)

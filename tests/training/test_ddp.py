"""``--trainer.devices 2`` trains as one process with both batches does: the command line as a user types it, over gloo.

Measured over 20 steps: the losses of the first step differ by 5e-7 (relative), those of the first three by 5e-5, all by
5e-3. Without SyncBatchNorm, or with images dealt out in blocks, those of the first step differ by 1e-2 and more.
Sums taken in another order differ in the last bit, and training amplifies that: under Adam, whose first step is the
sign of the gradient, to 1e-1 in five steps. Hence SGD here, with a small learning rate.
"""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from fitting import padinv_process, quiet_trainer
from padinv import PadInvModule
from padinv.training.distributed import GlobalBatchNorm2d, SyncBatchNorm, allow_unused_parameters
from rank_recorder import recorded, recording, validations

STEPS, BATCH = 20, 8
FEATURES = ["--model.encoder.feature_resolutions=[16]", "--model.lambda_feat=0.01", "--model.feature_dropout=0.5"]
FEATURES += ["--model.encoder.resize_to_rings=true", "--model.encoder.feature_pixels=true"]
DISCRIMINATOR = ["--model.discriminator", "congress64", "--model.lambda_adv", "0.03"]
SGD = [word for o in "ed" for word in (f"--model.optimizer_{o}=torch.optim.SGD", f"--model.optimizer_{o}.lr=1e-3")]
SAVED_AT = STEPS - 2


class NotANumber(Callback):
    """Makes one rank's pixel loss not a number at its second step."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == self.rank and batch_idx == 1:
            assert isinstance(pl_module, PadInvModule)
            pl_module.reconstruction_losses["pix"].register_forward_hook(lambda *_: torch.tensor(float("nan")))


def fit(folder: Path, devices: int, *args: str) -> subprocess.CompletedProcess[str]:
    """``padinv fit --config quickstart``, in processes of its own, which import the callbacks from this file."""
    command = ["fit", "--config", "quickstart", *DISCRIMINATOR, *SGD, *FEATURES]
    command += [f"--data.batch_size={BATCH // devices}", f"--schedule.images={STEPS * BATCH}"]
    command += [f"--trainer.default_root_dir={folder}", *recording(folder, devices, SAVED_AT), *args]
    return padinv_process(*command, test_file=__file__)


def fit_recorded(folder: Path, devices: int, *args: str) -> list[list[dict[str, Any]]]:
    """Fits, and returns what each rank recorded of each step."""
    result = fit(folder, devices, *args)
    assert result.returncode == 0, result.stderr
    return recorded(folder, devices)


def metrics(folder: Path) -> dict[str, float]:
    """The metrics of the validation at the end."""
    return validations(folder / "quickstart", "val/mse")[-1]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("one")
    return folder, fit_recorded(folder, 1)[0]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[dict[str, Any]]]]:
    folder = tmp_path_factory.mktemp("two")
    return folder, fit_recorded(folder, 2)


@pytest.mark.ddp
@pytest.mark.slow
def test_weights_are_identical_on_both_ranks_after_every_step(two_processes: Any) -> None:
    digests = [[step["digest"] for step in rank] for rank in two_processes[1]]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == STEPS  # each step changed them


@pytest.mark.ddp
@pytest.mark.slow
def test_losses_are_those_of_one_process_with_the_global_batch(one_process: Any, two_processes: Any) -> None:
    assert len(one_process[1]) == STEPS
    for i, (step, *parts) in enumerate(zip(one_process[1], *two_processes[1], strict=True)):
        assert sorted(step["names"]) == sorted(name for part in parts for name in part["names"])
        assert set(step["losses"]) == {f"loss/{name}" for name in ("pix", "per", "adv", "reg", "feat", "d", "r1")}
        means = {key: sum(part["losses"][key] for part in parts) / 2 for key in step["losses"]}
        assert means == pytest.approx(step["losses"], rel=1e-5 if i == 0 else 1e-3 if i < 3 else 5e-2), f"step {i}"


@pytest.mark.ddp
@pytest.mark.slow
def test_validation_is_of_all_ranks_and_files_are_written_once(one_process: Any, two_processes: Any) -> None:
    assert metrics(two_processes[0]) == pytest.approx(metrics(one_process[0]), rel=5e-2)
    written = [
        sorted(str(path.relative_to(run[0])) for path in (run[0] / "quickstart").rglob("*") if path.is_file())
        for run in (one_process, two_processes)
    ]
    assert written[0] == written[1]
    assert "quickstart/version_0/checkpoints/last.ckpt" in written[1]


@pytest.mark.ddp
@pytest.mark.slow
def test_resumes_on_two_processes_as_if_never_stopped(two_processes: Any, tmp_path: Path) -> None:
    folder, ranks = two_processes
    resumed = fit_recorded(tmp_path, 2, f"--ckpt_path={folder / 'saved.ckpt'}")
    assert resumed == [rank[SAVED_AT:] for rank in ranks]


@pytest.mark.ddp
@pytest.mark.slow
def test_recomputed_activations_train_the_same(two_processes: Any, tmp_path: Path) -> None:
    """Also where the backward pass computes BatchNorm over both processes again."""
    images = f"--schedule.images={3 * BATCH}"
    ranks = fit_recorded(tmp_path, 2, "--model.checkpoint_activations=true", images)
    assert [step["digest"] for step in ranks[0]] == [step["digest"] for step in ranks[1]]
    for rank, kept in zip(ranks, two_processes[1], strict=True):
        for step, expected in zip(rank, kept[:3], strict=True):
            assert step["losses"] == pytest.approx(expected["losses"], rel=1e-3)


@pytest.mark.ddp
@pytest.mark.slow
def test_cycle_consistency_is_that_of_one_process(
    generator_file: str, discriminator_file: str, picture_folder: Path, tmp_path: Path
) -> None:
    """With all that the best design has, on small networks."""
    options = [f"--model.generator={generator_file}", f"--model.discriminator={discriminator_file}"]
    options += ["--model.encoder.resolution=32", "--model.encoder.width=4", "--model.encoder.fpn_channels=8"]
    options += ["--model.perceptual_loss=null", "--model.lambda_per=0", "--model.report_lpips=false"]
    options += [f"--data.train={picture_folder}", "--data.val=null", "--data.resolution=32"]
    options += ["--model.cycle=0.5", f"--schedule.images={3 * BATCH}", "--trainer.limit_val_batches=0"]
    (one,), ranks = (fit_recorded(tmp_path / str(devices), devices, *options) for devices in (1, 2))
    assert [step["digest"] for step in ranks[0]] == [step["digest"] for step in ranks[1]]
    for i, (step, *parts) in enumerate(zip(one, *ranks, strict=True)):
        means = {key: sum(part["losses"][key] for part in parts) / 2 for key in step["losses"]}
        assert means == pytest.approx(step["losses"], rel=1e-5 if i == 0 else 1e-3), f"step {i}"
        assert step["losses"]["loss/cycle"] > 0


@pytest.mark.ddp
@pytest.mark.slow
def test_non_finite_loss_on_one_rank_stops_both(tmp_path: Path) -> None:
    result = fit(tmp_path, 2, "--trainer.callbacks+=test_ddp.NotANumber", "--trainer.callbacks.rank=1")
    assert result.returncode == 1
    assert "loss/pix is nan at step 1 (8 images seen); the batch's files are " in result.stderr
    assert "at step 1 (8 images seen) on another process" in result.stderr
    assert "Traceback" not in result.stderr


def test_sync_batchnorm_changes_the_layers_and_changes_them_back() -> None:
    class Model(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))

    model = Model().eval()
    model.trainer = quiet_trainer(devices=1)
    images = torch.randn(2, 3, 4, 4)
    before, state = model.layers(images), model.state_dict()
    plugin = SyncBatchNorm()
    assert type(plugin.apply(model).layers[1]) is GlobalBatchNorm2d
    torch.testing.assert_close(model.layers(images), before)
    assert list(model.state_dict()) == list(state)
    assert type(plugin.revert(model).layers[1]) is torch.nn.BatchNorm2d


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("ddp", True), ("ddp_find_unused_parameters_false", False), ("ddp_find_unused_parameters_true", True)],
)
def test_plain_ddp_is_told_to_expect_unused_parameters(strategy: str, expected: bool) -> None:
    trainer = quiet_trainer(devices=2, strategy=strategy)
    allow_unused_parameters(trainer.strategy)
    assert trainer.strategy._ddp_kwargs["find_unused_parameters"] is expected  # what DDP is made with


@pytest.fixture
def trained(generator_file: str, picture_folder: Path, tmp_path: Path) -> list[str]:
    """The options of a short run of one process in ``tmp_path``, which was trained."""
    options = ["--config=quickstart", "--trainer.accelerator=cpu", f"--trainer.logger.save_dir={tmp_path}"]
    options += [f"--model.generator={generator_file}", "--model.encoder.resolution=32", "--model.encoder.width=4"]
    options += ["--model.perceptual_loss=null", "--model.lambda_per=0", f"--data.train={picture_folder}"]
    options += ["--data.val=null", "--data.resolution=32", "--trainer.limit_val_batches=0"]
    run = padinv_process("fit", *options, "--schedule.images=8", test_file=__file__)
    assert run.returncode == 0, run.stderr
    return options


@pytest.mark.slow
def test_a_start_that_fails_is_a_sentence_and_leaves_no_folder(
    trained: list[str], discriminator_file: str, tmp_path: Path
) -> None:
    """The ranks fail one after the other, and none waits for another then."""
    other = [f"--model.discriminator={discriminator_file}", "--model.lambda_adv=0.01", "--trainer.devices=2"]
    failed = padinv_process("fit", *trained, *other, "--ckpt_path=last", test_file=__file__)
    assert failed.returncode != 0
    assert "padinv: The checkpoint is of another architecture" in failed.stderr
    assert [folder.name for folder in tmp_path.glob("quickstart/*")] == ["version_0"]


@pytest.mark.ddp
@pytest.mark.slow
def test_a_test_is_that_of_one_process(trained: list[str], picture_folder: Path, tmp_path: Path) -> None:
    """Each image counts once, also in the distances between sets; the run ends with 0 on both."""
    options = [*trained, "--ckpt_path=last", f"--data.test={picture_folder}", "--model.test_features=random"]
    found = []
    for devices, name in ((1, "test"), (2, "test_1")):
        tested = padinv_process("test", *options, f"--trainer.devices={devices}", test_file=__file__)
        assert tested.returncode == 0, tested.stderr
        folder = tmp_path / "quickstart" / "version_0" / name
        result = json.loads((folder / "evaluation.json").read_text("utf-8"))
        with (folder / "images.csv").open(encoding="utf-8") as file:
            names = sorted(row["image"] for row in csv.DictReader(file))
        found.append((names, {metric: number["value"] for metric, number in result["metrics"].items()}))
    (names, values), (same_names, same_values) = found
    assert len(set(names)) == len(names)
    assert same_names == names
    assert {"fd_random", "kd_random"} < set(values)
    assert same_values == pytest.approx(values, rel=1e-4)

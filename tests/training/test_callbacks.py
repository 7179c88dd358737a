from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.plugins import MixedPrecision, TorchCheckpointIO

from fitting import quiet_trainer, small_module
from padinv import ImageDataModule, PaddingCode, PadInvModule
from padinv.exceptions import CheckpointError, ConfigError, NonFiniteLossError
from padinv.pictures import contact_sheet, ring_heat_maps
from padinv.training import ImageProgressBar, ImageSchedule, LastCheckpoint, ReconstructionPictures, RunReport
from padinv.training.callbacks.last_checkpoint import WholeCheckpoints
from padinv.training.callbacks.pictures import log_image
from padinv.training.run import check_writable, run_directory


@pytest.fixture
def module(generator_file: str) -> PadInvModule:
    torch.manual_seed(0)
    return small_module(generator_file)


@pytest.fixture
def images(picture_folder: Path) -> ImageDataModule:
    """Five batches an epoch, one to validate."""
    return ImageDataModule(
        str(picture_folder), str(picture_folder / "00.png"), resolution=32, batch_size=4, num_workers=0
    )


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    return quiet_trainer(*callbacks, **{"default_root_dir": folder, "logger": CSVLogger(folder, name="run"), **options})


class Validations(Callback):
    def __init__(self) -> None:
        self.at: list[int] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.at.append(int(pl_module.images_seen))


@pytest.mark.parametrize("discriminator", [False, True])
def test_schedule_means_the_same_with_and_without_a_discriminator(
    module: PadInvModule,
    images: ImageDataModule,
    tmp_path: Path,
    discriminator: bool,
    discriminator_file: str,
    generator_file: str,
) -> None:
    if discriminator:
        module = small_module(generator_file, discriminator=discriminator_file, lambda_adv=0.1)
    validations = Validations()
    trainer(tmp_path, ImageSchedule(30, validate_every=12), validations).fit(module, images)
    assert int(module.images_seen) == 32
    assert validations.at == [12, 24, 32]


def test_schedule_validates_after_each_epoch_if_not_told_otherwise(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path
) -> None:
    validations = Validations()
    trainer(tmp_path, ImageSchedule(40), validations).fit(module, images)
    assert validations.at == [20, 40]


def test_schedule_logs_the_speed(module: PadInvModule, images: ImageDataModule, tmp_path: Path) -> None:
    run = trainer(tmp_path, ImageSchedule(8))
    run.fit(module, images)
    assert run.callback_metrics["speed/images_per_second"] > 0


def test_run_resumed_after_its_end_learns_nothing(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path
) -> None:
    run = trainer(tmp_path, ImageSchedule(8), last := LastCheckpoint())
    run.fit(module, images)
    before = module.encoder.style_heads[0].linear.weight.clone()
    trainer(tmp_path, ImageSchedule(8)).fit(module, images, ckpt_path=last.path, weights_only=True)
    assert int(module.images_seen) == 8
    assert torch.equal(module.encoder.style_heads[0].linear.weight, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageSchedule(0), "must be 1 or more"),
        (lambda: ImageSchedule(8, validate_every=0), "must be 1 or more"),
        (lambda: LastCheckpoint(0), "every_images of LastCheckpoint must be 1 or more, not 0"),
        (lambda: ReconstructionPictures(0), "images of ReconstructionPictures must be 1 or more, not 0"),
    ],
)
def test_numbers_that_cannot_be_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_last_checkpoint_is_the_latest_whatever_the_metric(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path
) -> None:
    saved: list[int] = []

    class Watch(Callback):
        def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: Any) -> None:
            saved.append(int(pl_module.images_seen))

    schedule = ImageSchedule(28, validate_every=16)
    trainer(tmp_path, schedule, last := LastCheckpoint(every_images=8), Watch()).fit(module, images)
    assert saved == [8, 16, 24, 28]
    assert int(torch.load(last.path, weights_only=True)["state_dict"]["images_seen"]) == 28


def test_runs_without_a_logger_keep_each_others_last_checkpoint(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path
) -> None:
    paths = []
    for images_in_all, ckpt in ((4, None), (8, None), (12, tmp_path / "checkpoints" / "last-v1.ckpt")):
        last = LastCheckpoint()
        trainer(tmp_path, ImageSchedule(images_in_all), last, logger=False).fit(
            module, images, ckpt_path=ckpt, weights_only=True
        )
        paths.append(last.path.name)
    assert paths == ["last.ckpt", "last-v1.ckpt", "last-v1.ckpt"]


def test_last_checkpoint_knows_the_best_one(module: PadInvModule, images: ImageDataModule, tmp_path: Path) -> None:
    best = ModelCheckpoint(monitor="val/mse", save_on_train_epoch_end=False)
    trainer(tmp_path, best, last := LastCheckpoint(), ImageSchedule(8, validate_every=4)).fit(module, images)
    (state,) = (
        state
        for key, state in torch.load(last.path, weights_only=True)["callbacks"].items()
        if key.startswith("ModelCheckpoint")
    )
    assert state["best_model_path"] == best.best_model_path


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_learned_survives_an_interruption(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path, error: type[BaseException]
) -> None:
    class Interrupt(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, i: int) -> None:
            if i == 3:
                raise error("enough")

    with pytest.raises((error, SystemExit)):
        trainer(tmp_path, last := LastCheckpoint(), Interrupt()).fit(module, images)
    assert int(torch.load(last.path, weights_only=True)["state_dict"]["images_seen"]) == 12


def test_pictures_and_report(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callbacks = ImageSchedule(8), ReconstructionPictures(4), RunReport(), LastCheckpoint(), ImageProgressBar()
    run = trainer(tmp_path, *callbacks, num_sanity_val_steps=-1)
    run.fit(module, images)
    folder = tmp_path / "run" / "version_0"
    assert run_directory(run) == folder
    with Image.open(folder / "pictures" / "reconstructions.png") as picture:
        assert picture.size == (136, 3 * 132 + 4)
    with Image.open(folder / "pictures" / "rings.png") as picture:
        assert picture.size == (5 * 132 + 4, 136)

    printed = capsys.readouterr().out
    assert "8/8 [" in printed  # the bar counts images
    before, after = next(line for line in printed.splitlines() if line.startswith("val/mse")).split()[1::2]
    with (folder / "metrics.csv").open() as file:
        rows = [
            dict(zip(header, line.strip().split(","), strict=True))
            for header in [next(file).strip().split(",")]
            for line in file
        ]
    logged = [row["val/mse"] for row in rows if row["val/mse"]]
    assert [f"{float(value):.4f}" for value in logged] == [before, after]
    assert [row["step"] for row in rows if row["val/mse"]] == ["0", "8"]
    for path in ("metrics.csv", "pictures/reconstructions.png", "checkpoints/last.ckpt"):
        assert str(folder / path) in printed


@pytest.fixture(params=["csv", "tensorboard", "wandb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def logger(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    if kind == "tensorboard":
        pytest.importorskip("tensorboard", reason="an extra")
        return TensorBoardLogger(tmp_path)
    return CSVLogger(tmp_path) if kind == "csv" else WandbLogger(project="test", save_dir=tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_pictures_reach_whatever_logger(tmp_path: Path, kind: str, logger: Any) -> None:
    log_image(logger, "pictures/sheet", torch.rand(3, 8, 8), step=16)
    logger.save()
    logger.finalize("success")
    if kind == "tensorboard":
        events = b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))
        assert b"pictures/sheet" in events
        assert b"PNG" in events
    if kind == "wandb":
        logger.experiment.finish()
        assert len(list(tmp_path.rglob("*.png"))) == 1


def test_nothing_can_be_written(tmp_path: Path) -> None:
    check_writable(trainer(tmp_path))
    (tmp_path / "file").touch()
    run = trainer(tmp_path, logger=CSVLogger(tmp_path / "file" / "runs"))
    with pytest.raises(ConfigError, match=r"Nothing can be written to .*/file/runs \(Not a directory\).*save_dir"):
        check_writable(run)


def test_contact_sheet_clamps_and_enlarges() -> None:
    sheet = contact_sheet([torch.full((2, 3, 8, 8), 9.0), torch.full((2, 3, 8, 8), -9.0)], tile=16, gap=2)
    assert sheet.shape == (3, 2 * 18 + 2, 2 * 18 + 2)
    assert sheet[:, 2:18, 2:18].min() == 1.0
    assert sheet[:, 20:36, 2:18].max() == 0.0
    assert sheet[:, 18:20].min() == 1.0


def test_rings_are_drawn_around_nothing() -> None:
    ring = torch.ones(1, 3, 20)
    sheet = ring_heat_maps(PaddingCode(None, {4: ring}), tile=12, gap=0)
    inside, border = sheet[:, 2:10, 2:10], sheet[:, :2, :]
    assert (inside == inside[:, :1, :1]).all()
    assert not torch.equal(inside[:, 0, 0], border[:, 0, 0])


def spoil(images: int, value: float = float("nan")) -> Callback:
    """Makes a weight of the encoder something else than a number, after so many images."""

    class Spoil(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if int(pl_module.images_seen) == images:
                next(pl_module.encoder.parameters()).data.view(-1)[0] = value

    return Spoil()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("validate_every", [8, 12, 28])  # it is met by the save, by validation, by the next loss
def test_a_diverged_run_keeps_its_last_good_checkpoint(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path, value: float, validate_every: int
) -> None:
    best = ModelCheckpoint(save_top_k=-1, save_on_train_epoch_end=False)  # of any metric
    schedule = ImageSchedule(28, validate_every=validate_every)
    with pytest.raises(NonFiniteLossError, match=r"at step 3 \(12 images seen\).*last good checkpoint is .*last\.ckpt"):
        trainer(tmp_path, spoil(12, value), schedule, best, last := LastCheckpoint(every_images=4)).fit(module, images)
    for path in last.path.parent.iterdir():
        state = torch.load(path, weights_only=True)["state_dict"]
        assert int(state["images_seen"]) <= 8
        assert all(tensor.isfinite().all() for tensor in state.values())
    assert last.path.is_file()


def test_a_run_whose_loss_fails_keeps_what_it_has_learned_beside(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path
) -> None:
    class Poison(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, i: int) -> None:
            if i == 3:
                pl_module.reconstruction_losses["pix"].register_forward_hook(lambda *_: torch.tensor(float("nan")))

    with pytest.raises(NonFiniteLossError, match=r"last good checkpoint is .*last\.ckpt"):
        trainer(tmp_path, Poison(), last := LastCheckpoint(every_images=8)).fit(module, images)
    seen = {
        p.name: int(torch.load(p, weights_only=True)["state_dict"]["images_seen"]) for p in last.path.parent.iterdir()
    }
    assert seen == {"last.ckpt": 8, "diverged.ckpt": 12}


def test_gradients_that_overflow_are_no_divergence(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path
) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # its first steps are left out, and halve it
    precision = MixedPrecision("16-mixed", device="cpu", scaler=scaler)
    trainer(tmp_path, ImageSchedule(12), last := LastCheckpoint(4), plugins=[precision]).fit(module, images)
    assert scaler.get_scale() < 2.0**127
    assert int(torch.load(last.path, weights_only=True)["state_dict"]["images_seen"]) == 12


@pytest.mark.parametrize("kind", ["last", "best"])
def test_a_checkpoint_is_replaced_whole_and_without_the_temporary_folder(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "no such folder"))
    monkeypatch.setattr("tempfile.tempdir", None)
    best = ModelCheckpoint(filename="one", enable_version_counter=False, save_on_train_epoch_end=False)
    callbacks = (LastCheckpoint(),) if kind == "last" else (best,)
    run = trainer(tmp_path, ImageSchedule(4), *callbacks)
    run.fit(module, images)
    (path,) = (tmp_path / "run" / "version_0" / "checkpoints").iterdir()
    before = path.read_bytes()

    def stops_halfway(content: Any, file: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", stops_halfway)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\): make room there"):
        run.save_checkpoint(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_torch_hides_what_the_disk_says(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    saved = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"a": torch.zeros(1)}, saved)
    before, limits = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # Python ignores the signal
    try:
        with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be written \(File too large\): make room"):
            WholeCheckpoints().save_checkpoint({"a": torch.zeros(100_000)}, saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert list(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("validate_every", [4, 24])  # within an epoch of 20 images, and beyond it
def test_patience_counts_validations(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path, first: bool, validate_every: int
) -> None:
    patience = EarlyStopping("val/mse", patience=2, mode="max", min_delta=9.0)  # nothing ever gets so much better
    callbacks = [patience, ImageSchedule(200, validate_every)]
    trainer(tmp_path, *(callbacks if first else reversed(callbacks))).fit(module, images)
    assert int(module.images_seen) == 3 * validate_every


@pytest.mark.parametrize("discriminator", [False, True])
@pytest.mark.parametrize("limit", ["max_epochs", "max_steps", "limit_train_batches"])
def test_limits_of_lightnings_agree_with_the_report(
    module: PadInvModule,
    images: ImageDataModule,
    tmp_path: Path,
    limit: str,
    discriminator: bool,
    discriminator_file: str,
    generator_file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if discriminator:
        module = small_module(generator_file, discriminator=discriminator_file, lambda_adv=0.1)
    options: dict[str, Any] = {"max_steps": 6} if limit == "max_steps" else {"max_epochs": 1}
    options |= {"limit_train_batches": 3} if limit == "limit_train_batches" else {}
    seen = {"max_epochs": 20, "max_steps": 12 if discriminator else 24, "limit_train_batches": 12}[limit]
    validations, last = Validations(), LastCheckpoint()
    trainer(
        tmp_path, ImageSchedule(100, validate_every=16), RunReport(), validations, last, ImageProgressBar(), **options
    ).fit(module, images)
    assert int(module.images_seen) == seen
    assert validations.at[-1] == seen  # the end is validated
    printed = capsys.readouterr().out
    assert f"images        {seen} of 100" in printed
    assert f"to go on from {last.path}" in printed
    assert f"{seen}/{seen} [" in printed


@pytest.mark.parametrize("discriminator", [False, True])
def test_a_terminal_gets_a_bar_by_rich(
    images: ImageDataModule,
    tmp_path: Path,
    discriminator: bool,
    discriminator_file: str,
    generator_file: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It counts images with one optimizer and two, goes on where a run is resumed, and ends at the first limit."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    options: dict[str, Any] = {"discriminator": discriminator_file, "lambda_adv": 0.1} if discriminator else {}

    def fit(name: str, budget: int, ckpt_path: Path | None = None, **limits: Any) -> tuple[str, Path]:
        last = LastCheckpoint()
        callbacks = ImageSchedule(budget, validate_every=8), ImageProgressBar(), last, RunReport()
        run = trainer(tmp_path / name, *callbacks, **{"num_sanity_val_steps": 1, **limits})
        run.fit(small_module(generator_file, **options), images, ckpt_path=ckpt_path)
        printed = capsys.readouterr().out
        assert printed.rstrip().endswith("metrics.csv"), "the report is below the bar"
        assert "\x1b[?25h" in printed, "the cursor is shown again"
        return printed, last.path

    first, last = fit("first", 8)
    assert "8/8" in first
    assert "Validation" in first
    assert "img]" not in first, "nothing is drawn by tqdm"
    again, _ = fit("again", 16, last)
    counted = [int(done) for done in re.findall(r"(\d+)/16", again)]
    assert min(counted) >= 8
    assert counted[-1] == 16
    limited, _ = fit("limited", 100, max_steps=4)
    end = 8 if discriminator else 16
    assert f"{end}/{end}" in limited
    assert "/100" not in limited


def test_the_report_names_what_to_go_on_from_without_validation(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(tmp_path, ImageSchedule(8), RunReport(), last := LastCheckpoint(), limit_val_batches=0).fit(module, images)
    assert f"to go on from {last.path}" in capsys.readouterr().out

    again = trainer(tmp_path / "again", ImageSchedule(8), RunReport(), LastCheckpoint(), limit_val_batches=0)
    again.fit(module, images, ckpt_path=last.path)
    printed = capsys.readouterr().out
    assert "images        8, all of them before: a larger schedule.images goes on" in printed
    assert f"to go on from {last.path}" in printed


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_arguments_reach_whatever_logger(
    module: PadInvModule, images: ImageDataModule, tmp_path: Path, kind: str, logger: Any
) -> None:
    if kind == "wandb":
        logger.watch(module, log="all", log_graph=True)  # looks into whatever networks return
    trainer(tmp_path, ImageSchedule(4), logger=logger, limit_val_batches=0).fit(module, images)
    if kind == "wandb":
        assert logger.experiment.config["model"]["lambda_reg"] == 0.003
        assert logger.experiment.summary["trainer/global_step"] == 4  # the axis of all metrics: images seen
        logger.experiment.finish()
    else:
        hparams = next(tmp_path.rglob("hparams.yaml")).read_text()
        assert "lambda_reg: 0.003" in hparams
    if kind == "tensorboard":
        assert b"lambda_reg" in b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))


@pytest.mark.parametrize(("given", "taken"), [(None, True), (True, True), (False, False)])
def test_checkpoints_are_read_as_tensors_alone(monkeypatch: pytest.MonkeyPatch, given: Any, taken: bool) -> None:
    read: list[Any] = []
    monkeypatch.setattr(TorchCheckpointIO, "load_checkpoint", lambda self, *args: read.append(args))
    WholeCheckpoints().load_checkpoint("https://somewhere/last.ckpt", weights_only=given)
    assert read == [("https://somewhere/last.ckpt", "cpu", taken)]


def test_a_test_is_an_evaluation(run: Any, picture_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """padinv test logs means, and writes them with intervals and the value of each image."""
    assert run("fit") == 0
    capsys.readouterr()
    assert run("test", "--ckpt_path=last", f"--data.test={picture_folder}", "--model.test_features=random") == 0
    assert "95% interval" in capsys.readouterr().out
    folder = Path("runs/quickstart/version_0/test")
    result = json.loads((folder / "evaluation.json").read_text("utf-8"))
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        logged = {key: float(value) for key, value in next(csv.DictReader(file)).items() if key.startswith("test/")}
    assert {f"test/{name}" for name in result["metrics"]} == set(logged)
    assert {"fd_random", "kd_random"} < set(result["metrics"])
    for name, number in result["metrics"].items():
        assert number["value"] == pytest.approx(logged[f"test/{name}"], rel=1e-4)
        assert number["low"] < number["value"] < number["high"]
    with (folder / "images.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == result["images"] == 20
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 12 * 3  # the six best and the six worst, each with an error map
    assert page.index("Best by") < page.index("Worst by")

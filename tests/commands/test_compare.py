from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from pytorch_lightning import Callback

from lock_holder import hold
from padinv import load_encoder
from padinv.cli import main
from padinv.comparison import Ruler, comparisons, parse_comparison, plan, read_comparison
from padinv.exceptions import ConfigError
from padinv.training import PadInvModule

ROWS = [
    {"name": "published"},
    {
        "name": "w-plus",
        "title": "W+ only",
        "model.encoder.padded_resolutions": [],
        "model.encoder.replace_const": False,
    },
]


@pytest.fixture(scope="module")
def command(generator_file: str, picture_folder: Path) -> Any:
    """``padinv compare rows.yaml -o out`` with a small GAN and one seed; the file has ROWS unless others are given."""
    small = {
        "model.generator": generator_file,
        "model.encoder.resolution": 32,
        "model.encoder.width": 4,
        "model.lambda_per": 0,
        "model.perceptual_loss": None,
        "data.train": str(picture_folder),
        "data.val": str(picture_folder),
        "data.test": str(picture_folder),
        "data.batch_size": 4,
        "data.resolution": 32,
        "schedule.images": 8,
        "schedule.validate_every": 8,
        "trainer.num_sanity_val_steps": 0,
        "trainer.accelerator": "cpu",
        "trainer.log_every_n_steps": 1,
    }

    def command(*words: str, rows: list[dict[str, Any]] = ROWS, seeds: int = 1) -> int:
        Path("rows.yaml").write_text(yaml.safe_dump({"config": "quickstart", "options": small, "rows": rows}))
        return main(["compare", "rows.yaml", "-o", "out", f"--seeds={seeds}", "--device=cpu", *words])

    return command


@pytest.fixture
def compare(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """It in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return command


@pytest.fixture(scope="module")
def trained(command: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``--only published`` writes, to be copied."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command("--only", "published") == 0
    return folder / "out"


@pytest.fixture
def published(compare: Any, trained: Path) -> Path:
    """The trained row, in the folder that ``compare`` goes on writing to."""
    return shutil.copytree(trained, Path("out"))


def table(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def stored(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def test_rows_are_trained_measured_and_written(compare: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare() == 0
    printed = capsys.readouterr()
    assert "1 of 2: published, seed 0" in printed.err
    assert "| difference to published | MSE ↓ | LPIPS (AlexNet) ↓ | MS-SSIM ↑ |" in printed.out
    assert {path.name for path in Path("out").iterdir()} == {
        "runs",
        "comparison.md",
        "comparison.csv",
        "comparison.json",
        "comparison.png",
        "faces.png",
    }
    content = json.loads(Path("out/comparison.json").read_text())
    assert [(row["name"], row["images"], row["images_seen"]) for row in content["rows"]] == [
        ("published", 20, 8),
        ("w-plus", 20, 8),
    ]
    assert [row["numbers"] for row in content["rows"]] == [
        8 * 16 + 16 * 12 + 20 * 12 + 36 * 10 + 68 * 8 + 132 * 6,
        8 * 16,
    ]
    with Image.open("out/faces.png") as sheet:
        assert sheet.height == 3 * 100 + 4
        assert sheet.width > 12 * 100


def test_what_is_measured_is_what_padinv_test_measures(published: Path) -> None:
    run = "out/runs/published/seed-0/version_0"
    assert main(["test", "--config", f"{run}/config.yaml", "--ckpt_path", run]) == 0
    [tested] = table(f"{run}/test/metrics.csv")
    [row] = table("out/comparison.csv")
    assert float(row["mse"]) == pytest.approx(float(tested["test/mse"]), rel=1e-4)
    assert float(row["lpips"]) == pytest.approx(float(tested["test/lpips"]), rel=1e-4)
    assert float(row["ms_ssim"]) == pytest.approx(float(tested["test/ms_ssim"]), rel=1e-4)


def test_what_is_finished_is_not_trained_again(
    compare: Any, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Not finished: w-plus." in (published / "comparison.md").read_text()
    run = published / "runs" / "published" / "seed-0"
    before = stored(run / "version_0")
    time = (run / "measured.json").stat().st_mtime_ns
    assert compare() == 0
    assert capsys.readouterr().err == "2 of 2: W+ only, seed 0\n"
    assert compare("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told["rows"]] == ["published", "w-plus"]
    assert "out/comparison.md" in told["files"]
    assert [path.name for path in run.glob("version_*")] == ["version_0"]
    assert (run / "measured.json").stat().st_mtime_ns == time
    after = stored(run / "version_0")
    assert all(torch.equal(after["state_dict"][key], tensor) for key, tensor in before["state_dict"].items())


class StopOnce(Callback):
    """Sends Ctrl+C's signal after the first step, in the first process that it meets."""

    stopped = False

    def on_train_batch_end(self, *_: Any) -> None:
        if not StopOnce.stopped:
            StopOnce.stopped = True
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_stopped_row_goes_on_and_becomes_the_same(
    compare: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    stop = ["--trainer.callbacks", '[{"class_path": "test_compare.StopOnce"}]', "--schedule.images=16"]
    own = __import__("test_compare").StopOnce
    own.stopped = True  # never
    assert compare("--only", "published", *stop) == 0
    whole = stored(Path("out/runs/published/seed-0/version_0"))
    Path("out").rename("whole")
    own.stopped = False
    assert compare("--only", "published", *stop) == 130
    assert "The same command goes on from here." in capsys.readouterr().err
    assert int(stored(Path("out/runs/published/seed-0/version_0"))["state_dict"]["images_seen"]) == 8
    assert not Path("out/runs/published/seed-0/measured.json").exists()
    assert compare("--only", "published", *stop) == 0
    resumed = stored(Path("out/runs/published/seed-0/version_1"))
    assert int(resumed["state_dict"]["images_seen"]) == 16
    assert all(torch.equal(resumed["state_dict"][key], tensor) for key, tensor in whole["state_dict"].items())


@pytest.mark.slow
def test_seeds_differ_and_rows_share_them(compare: Any) -> None:
    assert compare("--only", "published", seeds=2) == 0
    configs = [
        yaml.safe_load(Path(f"out/runs/published/seed-{seed}/version_0/config.yaml").read_text()) for seed in (0, 1)
    ]
    assert [config["seed_everything"] for config in configs] == [0, 1]
    assert [config["data"]["init_args"]["seed"] for config in configs] == [0, 1]
    one, other = (stored(Path(f"out/runs/published/seed-{seed}/version_0"))["state_dict"] for seed in (0, 1))
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert "±" in Path("out/comparison.md").read_text()


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"model.encoder.widht": 8}, "there is no option 'widht' here; the nearest is 'width'"),
        ({"modle.lambda_pix": 1}, "There is no option --modle.lambda_pix; the nearest is --model.lambda_pix"),
        ({"model.encoder.width": "wide"}, "--model.encoder.width must be"),
        ({"model.encoder.padded_resolutions": [4, 128]}, "padded_resolutions names 128 px"),
        ({"model.generator": "nowhere.pth"}, "nowhere.pth"),
    ],
)
def test_a_wrong_row_is_told_before_anything_is_trained(
    compare: Any, row: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(rows=[ROWS[1], {"name": "wrong", **row}]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("padinv: rows.yaml, row 'wrong': ")
    assert sentence in printed
    assert printed.count("\n") == 1, printed
    assert not list(Path("out").rglob("version_*"))


def test_images_that_are_not_there_are_told_before(compare: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--data.test", "nowhere") == 1
    assert "row 'published'" in (printed := capsys.readouterr().err)
    assert "nowhere" in printed


def test_a_folder_of_other_options_is_refused(
    compare: Any, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare("--only", "published", "--schedule.images=16") == 1
    assert (
        "was trained with other options (schedule.images 8, now 16): give another --output" in capsys.readouterr().err
    )


def test_a_row_is_trained_by_one_process_at_a_time(compare: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("out/runs/published/seed-0")
    folder.mkdir(parents=True)
    with hold(folder) as other:
        assert compare("--only", "published") == 1
        assert f"Another command writes into {folder}" in capsys.readouterr().err
        other.communicate("")


@pytest.mark.slow
def test_a_row_that_diverges_leaves_the_others_their_results(compare: Any, capsys: pytest.CaptureFixture[str]) -> None:
    wild = {"name": "wild", "model.optimizer_e.lr": 1e30, "model.clip_norm": None}
    assert compare(rows=[wild, *ROWS]) == 1
    assert "1 of 3 runs diverged: wild with seed 0" in capsys.readouterr().err
    assert [row["name"] for row in table("out/comparison.csv")] == ["published", "w-plus"]


@pytest.mark.slow
def test_a_moving_average_is_what_is_measured(compare: Any) -> None:
    assert compare("--only", "published", "--model.ema_images=4") == 0
    comparison = read_comparison("rows.yaml")
    options = {"model.ema_images": "4"}
    [run, _] = plan(comparison, Path("out"), 1, options, [])
    module, _ = run.module()
    assert isinstance(module, PadInvModule)
    saved = load_encoder(run.checkpoint or "")
    assert torch.equal(saved.w_avg, module.inference_encoder.module.w_avg)
    values = Ruler(device="cpu").measure(run).values["mse"]
    assert len(values) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(comparisons()))
def test_every_row_of_the_package_can_be_made(name: str, tmp_path: Path) -> None:
    comparison = read_comparison(name)
    runs = plan(comparison, tmp_path, 1, {"data.train": "congress64-train"}, [])
    assert [run.row for run in runs] == list(comparison.rows)
    settings = [json.dumps({**run.settings}, sort_keys=True) for run in runs]
    assert len(set(settings)) == len(runs)  # no row is another one's double


def test_the_model_must_be_one_that_trains_an_encoder(tmp_path: Path) -> None:
    comparison = parse_comparison([{"name": "a", "model": {"class_path": "padinv.gan.StyleGAN2Module"}}], "mine.yaml")
    with pytest.raises(ConfigError, match="row 'a': "):
        plan(comparison, tmp_path, 1, {}, [])

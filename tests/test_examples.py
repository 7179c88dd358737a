"""Examples and presets: the scripts run, the configs parse."""

from __future__ import annotations

import csv
import runpy
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from padinv import InversionCode, Inverter, PadInvEncoder, PadInvModule, load_generator
from padinv.checkpoints import save_network
from padinv.cli import main
from padinv.editing import transfer
from padinv.inversion import read_photographs
from padinv.training.configs import presets

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIGS = sorted([*EXAMPLES.glob("*.yaml"), *presets().values()])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, from which the examples' own modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    return tmp_path


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("subcommand", ["fit", "test"])
def test_config_parses(subcommand: str, config: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([subcommand, "--config", str(config), "--print_config"])
    assert exit_info.value.code == 0
    assert "padinv.PadInvModule" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--schedule.images=16", "--schedule.validate_every=8"], pytest.param([], marks=pytest.mark.slow)]
)
def test_training_with_parts_of_ones_own(
    options: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the file is written; and with fewer images."""
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    try:
        assert main(["fit", "--config", str(EXAMPLES / "custom.yaml"), *options]) == 0
    finally:
        wandb.finish()
    assert "to go on from" in capsys.readouterr().out
    assert "lambda_adv: 0.01" in next(folder.rglob("hparams.yaml")).read_text()
    checkpoint = next(folder.rglob("last.ckpt"))
    names = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert any(name.startswith("encoder.rings.32.") for name in names)
    assert any(name.startswith("discriminator.") for name in names)


@pytest.mark.parametrize("preset", ["quickstart", "congress64", "features"])
def test_presets_of_the_bundled_generator_take_a_step(preset: str, folder: Path) -> None:
    """As they are written: sizes of networks and batches, losses, precision."""
    few = ["--schedule.images=8", "--schedule.validate_every=8", "--trainer.limit_val_batches=1"]
    few += ["--trainer.log_every_n_steps=1", "--model.scheduler_images=1"]
    assert main(["fit", "--config", preset, "--trainer.accelerator=cpu", *few]) == 0
    assert next(folder.rglob("last.ckpt")).is_file()


@pytest.mark.slow
def test_training_from_python(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "--images", "4"])
    runpy.run_path(str(EXAMPLES / "train.py"), run_name="__main__")
    assert "val/mse" in capsys.readouterr().out
    assert (folder / "runs" / "portraits.png").is_file()
    checkpoint = next(folder.rglob("last.ckpt"))
    assert "__main__" not in str(torch.load(checkpoint, weights_only=True)["hyper_parameters"])
    encoder = partial(PadInvEncoder, resolution=64, depth=18, width=16)
    module = PadInvModule.load_from_checkpoint(checkpoint, encoder=encoder, lambda_per=0, weights_only=True)
    assert int(module.images_seen) == 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundled generator with a small encoder that has learned nothing."""
    folder = tmp_path_factory.mktemp("model")
    generator = load_generator("congress64")
    save_network(generator, folder / "generator.safetensors")
    torch.manual_seed(0)
    encoder = PadInvEncoder(generator.code_shape, resolution=64, depth=18, width=4, w_avg=generator.w_avg)
    save_network(encoder.eval(), folder / "encoder.safetensors")
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "columns", "rows"),
    [
        ("invert", ["--refine", "2"], 8, 2),
        ("blend", [], 5, 4),
        ("transfer", [], 6, 4),
        ("direction", ["--count", "2"], 5, 2),
    ],
)
def test_script(
    script: str,
    options: list[str],
    columns: int,
    rows: int,
    model: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", [f"{script}.py", "--model", model, *options])
    runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name="__main__")
    picture = Path(capsys.readouterr().out.splitlines()[-1])
    with Image.open(picture) as image:
        assert image.size == (132 * columns + 4, 132 * rows + 4)


def test_labels_of_faces(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture and its mirror image are turned and lit to different sides, and a table keeps its columns."""
    pytest.importorskip("mtcnnruntime", reason='MTCNN needs pip install "padinv[faces]"')
    raw = Path(__file__).parent / "data" / "raw-portraits" / "aligned"
    (folder / "faces").mkdir()
    known = ["file,person"]
    for file in sorted(raw.iterdir())[:3]:
        with Image.open(file) as picture:
            picture.save(folder / "faces" / f"{file.stem}.png")
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "faces" / f"{file.stem}-mirrored.png")
        known += [f"{file.stem}.png,{file.stem}", f"{file.stem}-mirrored.png,{file.stem}"]
    (folder / "known.csv").write_text("\n".join(known))
    monkeypatch.setattr("sys.argv", ["label_faces.py", "faces", "--labels", "known.csv", "-o", "labels.csv"])
    runpy.run_path(str(EXAMPLES / "label_faces.py"), run_name="__main__")
    assert "6 pictures, 6 with a face" in capsys.readouterr().out
    with (folder / "labels.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    opposite = {"left": "right", "right": "left", "": ""}
    for name, row in rows.items():
        if name.endswith("-mirrored.png"):
            first = rows[name.replace("-mirrored", "")]
            assert row["person"] == first["person"]
            for column in ("pose", "light"):
                numbers = [float(each[f"{column}_measured"]) for each in (row, first)]
                assert numbers[0] == pytest.approx(-numbers[1], abs=0.06)
                assert row[column] == opposite[first[column]]
    assert {row["pose"] for row in rows.values()} == {"left", "right", ""}


def test_a_relit_pair_relights_others(folder: Path) -> None:
    """With the bundled model: what was done to one portrait is seen in the others, half of its strength or more."""
    inverter = Inverter.from_pretrained("congress64", device="cpu")
    portraits, _ = read_photographs("congress64-val")
    first, *targets = torch.stack(portraits[:6]).split(1)
    relit = runpy.run_path(str(EXAMPLES / "transfer.py"))["relit"](first)
    before, after, *codes = inverter.invert(torch.cat([first, relit, *targets])).code

    def slope(images: torch.Tensor) -> torch.Tensor:
        luminance = images.clamp(-1, 1).mean(dim=(1, 2)) / 2 + 0.5
        left, right = luminance.chunk(2, dim=1)
        return (left - right).mean(dim=1) / luminance.mean(dim=1)

    asked = slope(relit) - slope(first)
    plain = inverter.reconstruct(InversionCode.cat(codes))
    moved = inverter.reconstruct(InversionCode.cat([transfer(before, after, code) for code in codes]))
    assert (slope(moved) - slope(plain) > asked / 2).all()

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from padinv import load_discriminator, load_generator
from padinv.cli import main
from padinv.exceptions import ConfigError
from padinv.gan import StyleGAN2Module
from padinv.gan.cli import GanCLI
from padinv.gan.snapshots import SamplePictures
from padinv.training.configs import presets, resolve_presets

PRESETS = presets(GanCLI.presets_folder)
RUNS = Path("runs/gan64")


Run = Callable[..., int]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_folder: Path) -> list[str]:
    """Options for a short run of small networks in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    return [
        "--model.fid_samples=4",
        f"--data.train={picture_folder}",
        f"--data.val={picture_folder}",
        "--data.resolution=32",
        "--data.batch_size=4",
        "--pictures.rows=2",
        "--pictures.columns=3",
        "--trainer.log_every_n_steps=1",
        "--schedule.images=8",
        "--schedule.validate_every=4",
    ]


@pytest.fixture
def run(small: list[str], generator_file: str, discriminator_file: str) -> Run:
    """Runs the gan64 preset on the small GAN."""
    networks = [f"--model.generator={generator_file}", f"--model.discriminator={discriminator_file}"]
    return lambda *options: main(["fit-gan", "--config", "gan64", *networks, *small, *options])


def test_fit_resume_and_use(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--networks.keep=true") == 0
    folder = RUNS / "version_0"
    printed = capsys.readouterr().out
    assert re.search(r"val/fid +\d+\.\d{4} → \d+\.\d{4}\n", printed)
    for file in (
        "pictures/samples-00000008.png",
        "networks/generator.safetensors",
        "checkpoints/last.ckpt",
        "config.yaml",
    ):
        assert f" {folder / file}\n" in printed
    assert sorted(path.name for path in (folder / "networks").iterdir()) == [
        "discriminator.safetensors",
        "generator-00000004.safetensors",
        "generator-00000008.safetensors",
        "generator.safetensors",
    ]
    with Image.open(folder / "pictures" / "samples-00000000.png") as picture:
        assert picture.size == (3 * (64 + 4) + 4, 2 * (64 + 4) + 4)

    last = folder / "checkpoints" / "last.ckpt"
    z = torch.randn(2, 8)
    generator = load_generator(folder / "networks" / "generator.safetensors")
    torch.testing.assert_close(generator(z), load_generator(last)(z))
    assert load_discriminator(folder / "networks" / "discriminator.safetensors").resolution == 32
    assert StyleGAN2Module.load_from_checkpoint(last, weights_only=True).path_length_every == 4

    assert run("--ckpt_path", str(last), "--schedule.images=16") == 0
    resumed = torch.load(RUNS / "version_1" / "checkpoints" / "last.ckpt", weights_only=True)
    assert int(resumed["state_dict"]["images_seen"]) == 16
    assert main(["inspect", str(last)]) == 0
    assert "Generator:     StyleGAN2, 32 px" in capsys.readouterr().out
    state = {f"encoder.{key}": value for key, value in generator.state_dict().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.6.6", "loops": {}}, folder / "fit.ckpt")
    assert run("--ckpt_path", str(folder / "fit.ckpt")) == 1
    assert "is of padinv fit, which trains an encoder: go on with padinv fit" in capsys.readouterr().err


def test_checkpoints_of_the_nearest_generator_are_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["command"] == "fit-gan"
    assert told["metrics"]["val/fid"] > 0
    (best,) = set((RUNS / "version_0" / "checkpoints").glob("images-*.ckpt"))
    state = torch.load(RUNS / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    (checkpoint,) = (value for key, value in state.items() if key.startswith("ModelCheckpoint"))
    assert checkpoint["monitor"] == "val/fid"
    assert Path(checkpoint["best_model_path"]).name == Path(told["best"]).name == best.name


def test_saved_config_repeats_the_run(run: Run) -> None:
    assert run() == 0
    assert main(["fit-gan", "--config", str(RUNS / "version_0" / "config.yaml")]) == 0
    one, other = (load_generator(RUNS / f"version_{i}" / "networks" / "generator.safetensors") for i in range(2))
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in one.state_dict().items())


@pytest.mark.parametrize("option", ["truncation_psi=0.5", "seed=1", "tile=32", "rows=3"])
def test_pictures_change_with_their_options(option: str, generator_file: str) -> None:
    generator = load_generator(generator_file)
    name, value = option.split("=")
    changed = SamplePictures(**{"rows": 2, "columns": 2, name: float(value) if "." in value else int(value)})
    one, other = SamplePictures(2, 2).draw(generator), changed.draw(generator)
    assert one.shape != other.shape or not torch.equal(one, other)
    assert torch.equal(one, SamplePictures(2, 2).draw(generator))


def test_pictures_need_rows() -> None:
    with pytest.raises(ConfigError, match="rows and columns of SamplePictures must be 1 or more, not 0 and 8"):
        SamplePictures(rows=0)


def test_presets_of_either_command_are_its_own() -> None:
    assert list(PRESETS) == ["gan1024", "gan256", "gan64-aided", "gan64"]
    assert not set(PRESETS) & set(presets())
    with pytest.raises(ConfigError, match="nor a preset of that name: they are bedroom"):
        resolve_presets(["fit", "--config", "gan64"])


def commands() -> list[str]:
    """The commands in the comments of presets; tests/test_documentation.py has those of the documentation."""
    texts = [path.read_text(encoding="utf-8") for path in PRESETS.values()]
    return sorted({command for text in texts for command in re.findall(r"(?<=padinv )fit-gan --config [^\n`>]+", text)})


@pytest.mark.parametrize("command", commands())
def test_documented_command_parses(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for config in re.findall(r"runs/\S+/config.yaml", command):
        command = command.replace(config, "gan64")
    with pytest.raises(SystemExit) as end:
        main([*shlex.split(command), "--print_config"])
    assert end.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["class_path"] == "padinv.gan.StyleGAN2Module"
    assert config["trainer"]["max_epochs"] == -1


@pytest.mark.parametrize(
    ("preset", "batch", "lr", "gamma", "ema"), [("gan256", 64, 2.5e-3, 1.0, 20_000), ("gan1024", 32, 2e-3, 2.0, 10_000)]
)
def test_published_numbers(preset: str, batch: int, lr: float, gamma: float, ema: float) -> None:
    config = yaml.safe_load(PRESETS[preset].read_text())
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert data["batch_size"] * 8 == batch
    assert f"gan{data['resolution']}" == preset
    for name in "gd":
        assert model[f"optimizer_{name}"]["init_args"] == {"lr": lr, "betas": [0.0, 0.99]}
    assert model["adversarial_loss"]["init_args"] == {"r1_gamma": gamma, "r1_every": 16}
    assert (model["path_length_weight"], model["path_length_every"], model["style_mixing"]) == (2.0, 4, 0.9)
    assert (model["ema_images"], config["schedule"]["images"]) == (ema, 25_000_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.freeze_d=9"], "freeze_d must be from 0 to 3"),
        (["--data.train=nowhere"], "nowhere"),
        (["--model.generator=nothing.pkl"], "nothing.pkl"),
        (["--model.augmentation.target=2"], "target must be"),
        (["--trainer.gradient_clip_val=1"], "set model.clip_norm instead"),
        (["--config=quickstart"], "nor a preset of that name: they are gan1024, gan256, gan64"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Run, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("padinv: ")
    assert message in error


def test_from_nothing_by_config(small: list[str], tmp_path: Path) -> None:
    config = tmp_path / "nothing.yaml"
    sizes = {"resolution": 32, "channels": {4: 8, 8: 8, 16: 8, 32: 8}}
    networks = {
        "generator": {"class_path": "padinv.Generator", "init_args": {**sizes, "z_dim": 8, "w_dim": 8}},
        "discriminator": {"class_path": "padinv.Discriminator", "init_args": {**sizes, "mbstd_group_size": 2}},
        "fid": {"class_path": "padinv.metrics.FrechetDistance", "init_args": {"features": "random", "resolution": 32}},
    }
    config.write_text(yaml.safe_dump({"model": {"init_args": networks}}))
    assert main(["fit-gan", "--config", "gan64", "--config", str(config), *small]) == 0
    folder = RUNS / "version_0" / "networks"
    assert load_generator(folder / "generator.safetensors").config["w_dim"] == 8
    assert load_discriminator(folder / "discriminator.safetensors").mbstd_group_size == 2

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision.utils import save_image

import padinv
from padinv import Inversion, PadInvModule, __version__, load_encoder, load_generator
from padinv.cli import COMMANDS, main
from padinv.training.configs import presets, resolve_presets


def test_presets_are_found_by_name_and_files_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(presets()) == {"quickstart", "ffhq", "church", "bedroom", "congress64", "features"}
    monkeypatch.chdir(tmp_path)
    assert resolve_presets(["fit", "-c", "ffhq"])[-1] == str(presets()["ffhq"])
    assert resolve_presets(["fit", "--config=ffhq"])[-1] == f"--config={presets()['ffhq']}"
    (tmp_path / "ffhq").touch()
    assert resolve_presets(["fit", "-c", "ffhq"])[-1] == "ffhq"
    assert resolve_presets(["fit", "-c", "mine.yaml", "ffhq"])[-2:] == ["mine.yaml", "ffhq"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"padinv {__version__}\n"


@pytest.mark.parametrize(("args", "code"), [([], 2), (["--help"], 0), (["nonsense"], 2)])
def test_commands_are_listed(args: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == code
    printed = capsys.readouterr()
    assert all(f"  {name} " in (printed.err if code else printed.out) for name in COMMANDS)
    assert ("padinv: there is no command 'nonsense'." in printed.err) == (args == ["nonsense"])


def test_a_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fitt"]) == 2
    assert "padinv: there is no command 'fitt'; the nearest is fit." in capsys.readouterr().err
    assert main(["-h"]) == 0


def test_a_command_that_went(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--ckpt_path=last"]) == 2
    sentence = "there is no command 'predict' any more: give padinv invert PHOTOS --model RUN/checkpoints/last.ckpt"
    assert sentence in capsys.readouterr().err


def test_a_command_that_is_stopped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("padinv.cli.resolve_name", stopped)  # what takes longest
    assert main(["invert"]) == 130
    assert capsys.readouterr().err == "padinv: stopped.\n"


def test_convert_and_inspect(generator_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "again.safetensors"
    assert main(["convert", generator_file, str(target)]) == 0
    assert main(["inspect", str(target)]) == 0
    assert "StyleGAN2, 32 px, 8 latents of 16" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "nothing.pkl")]) == 1
    assert capsys.readouterr().err.startswith("padinv: There is no file")


def test_fit_validate_test_invert_and_resume(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit") == 0
    folder = tmp_path / "runs" / "quickstart" / "version_0"
    last = folder / "checkpoints" / "last.ckpt"
    assert (
        f"checkpoint    {Path('runs/quickstart/version_0/checkpoints/images-00000008.ckpt')}" in capsys.readouterr().out
    )
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"]["encoder"]["init_args"]["width"] == 4
    assert load_encoder(last).resolution == 32

    assert run("fit", "--ckpt_path", str(last), "--schedule.images=16", "--model.lambda_reg=0.25") == 0
    went_on = yaml.safe_load((tmp_path / "runs/quickstart/version_1/config.yaml").read_text())
    assert went_on["model"]["init_args"]["lambda_reg"] == 0.25  # not the checkpoint's
    resumed = torch.load(tmp_path / "runs/quickstart/version_1/checkpoints/last.ckpt", weights_only=True)
    assert int(resumed["state_dict"]["images_seen"]) == 16

    photographs = config["data"]["init_args"]["val"]
    for subcommand in ("validate", "test"):
        assert run(subcommand, "--ckpt_path", str(last), f"--data.test={photographs}") == 0
    generator = config["model"]["init_args"]["generator"]
    words = ["invert", photographs, "--model", str(last), "-o", "inverted", "--device=cpu"]
    assert main(words) == 1  # the generator is not bundled
    assert main([*words, "--generator", generator]) == 0
    assert main(["invert", photographs, "--model", str(last.parents[1]), "-o", "by-run", "--device=cpu"]) == 0
    assert len(list((tmp_path / "inverted").glob("images/*.png"))) == 20
    codes = sorted((tmp_path / "inverted").glob("codes/*.safetensors"))
    code = Inversion.load(codes[0], load_generator(generator)).code
    assert (len(codes), len(code), code.padding.padded_resolutions) == (20, 1, [4, 8, 16, 32])
    printed = capsys.readouterr().out
    assert "val/mse" in printed
    assert "test/mse" in printed


def test_progress_bar_can_be_switched_off(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "--trainer.enable_progress_bar=false") == 0
    assert "Training" not in capsys.readouterr().out


def test_module_of_a_cli_run_loads_by_itself(run: Any, tmp_path: Path) -> None:
    assert run("fit") == 0
    last = tmp_path / "runs" / "quickstart" / "version_0" / "checkpoints" / "last.ckpt"
    module = PadInvModule.load_from_checkpoint(last)
    assert module.encoder.config["width"] == 4


def test_saved_config_repeats_the_run(run: Any, tmp_path: Path) -> None:
    assert run("fit") == 0
    config = tmp_path / "runs" / "quickstart" / "version_0" / "config.yaml"
    assert main(["fit", "--config", str(config)]) == 0
    metrics = [
        (tmp_path / "runs/quickstart" / version / "metrics.csv").read_text() for version in ("version_0", "version_1")
    ]

    def columns(text: str) -> list[list[str]]:
        rows = [line.split(",") for line in text.splitlines()]
        speed = rows[0].index("speed/images_per_second") if "speed/images_per_second" in rows[0] else None
        return [[value for i, value in enumerate(row) if i != speed] for row in rows]

    assert columns(metrics[0]) == columns(metrics[1])


@pytest.mark.parametrize(
    ("subcommand", "options", "expected"),
    [
        ("fit", [], ["apart", "step", "keep", "step"]),
        ("fit", ["--keep_memory=true"], ["apart", "step", "keep", "step"]),
        ("fit", ["--keep_memory=false"], ["step", "step"]),
        ("validate", [], ["keep"]),
        ("validate", ["--keep_memory=false"], []),
    ],
)
def test_freed_memory_is_kept_unless_told_otherwise(
    run: Any, monkeypatch: pytest.MonkeyPatch, subcommand: str, options: list[str], expected: list[str]
) -> None:
    calls: list[str] = []
    step = PadInvModule.training_step
    monkeypatch.setattr("padinv.training.callbacks.process.set_apart", lambda: calls.append("apart"))
    monkeypatch.setattr("padinv.training.callbacks.process.keep_freed_memory", lambda: calls.append("keep"))
    monkeypatch.setattr(PadInvModule, "training_step", lambda *args: (calls.append("step"), step(*args))[1])
    assert run(subcommand, "--trainer.accelerator=cpu", "--trainer.fast_dev_run=2", *options) == 0
    assert calls == expected


@pytest.mark.parametrize("preset", sorted(presets()))
def test_presets_parse(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", preset, "--print_config"])
    assert end.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["class_path"] == "padinv.PadInvModule"
    assert config["trainer"]["max_epochs"] == -1


@pytest.mark.parametrize(("preset", "adv", "identity"), [("ffhq", 0, 0.1), ("church", 0.03, 0), ("bedroom", 0.05, 0)])
def test_published_numbers(preset: str, adv: float, identity: float) -> None:
    config = yaml.safe_load(presets()[preset].read_text())
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    weights = [model[f"lambda_{name}"] for name in ("pix", "per", "id", "adv", "reg")]
    assert weights == [1.0, 0.8, identity, adv, 0.003]
    assert model["optimizer_e"]["init_args"]["lr"] == 1e-4
    assert (data["resolution"], data["batch_size"], config["schedule"]["images"]) == (256, 8, 8 * 8 * 100_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.train=nowhere"], "nowhere"),
        (["--model.lambda_adv=0.1"], "lambda_adv is 0.1, but there is no discriminator"),
        (["--model.encoder.padded_resolutions=[4,64]"], "names 64 px"),
        (["--model.encoder.resolution=64"], "more than the 32 px"),
        (["--model.generator=nothing.pth"], "nothing.pth"),
        (["--trainer.gradient_clip_val=1"], "set model.clip_norm instead"),
        (["--trainer.accumulate_grad_batches=2"], "set model.accumulate instead"),
        (
            ["--config=nosuch"],
            "no config file 'nosuch', nor a preset of that name: they are bedroom, church, congress64, features",
        ),
        (["--trainer.logger.init_args.save_dir=/dev/null/runs"], "Nothing can be written to /dev/null/runs"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Any, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", *options) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("padinv: ")
    assert message in error


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such pipes")
def test_output_that_is_read_no_more() -> None:
    code = (
        "import sys, types; from padinv import cli; module = types.ModuleType('talkative'); "
        "module.main = lambda args: [print('line', flush=True) for _ in range(10**6)]; "
        "sys.modules['talkative'] = module; cli.COMMANDS['convert'] = ('talkative:main', ''); "
        "sys.exit(cli.main(['convert']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


@pytest.mark.parametrize("streams", [">&-", ">&- 2>&-", "| cat", ">/dev/full"])
def test_streams_of_any_kind(streams: str, tmp_path: Path) -> None:
    """Closed ones, ASCII alone, and a full disk: no traceback; nor are letters of names lost in the locale C."""
    (tmp_path / "ö").mkdir()
    save_image(torch.zeros(3, 16, 16), tmp_path / "ö" / "ä.png")
    with zipfile.ZipFile(tmp_path / "é.zip", "w") as packed:
        packed.write(tmp_path / "ö" / "ä.png", "ä.png")
    given = ["ö", "é.zip", "--metrics", "psnr", "--device", "cpu", "-o", "out"]
    words = [sys.executable, "-m", "padinv", "evaluate", *given]
    shell = ["sh", "-c", f'"$@" {streams}', "sh", *words]
    path = os.pathsep.join([str(Path(padinv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": path, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(shell, cwd=tmp_path, env=plain, capture_output=True, timeout=120, check=False)
    assert done.returncode == ("full" in streams)
    if streams == "| cat":
        assert rb"psnr    \u221e  " in done.stdout
    told = b"padinv: What is printed cannot be written (no space left): make room there.\n"
    assert done.stderr == (told if "full" in streams else b"")
    assert (tmp_path / "out" / "report.html").is_file() == ("full" not in streams)
    if "full" not in streams:
        assert "\nä," in (tmp_path / "out" / "images.csv").read_text("utf-8")


@pytest.mark.parametrize("name", [None, "metrics.csv"])
def test_no_room_for_a_file(
    name: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(_: object) -> int:
        raise OSError(28, "No space left on device", name)

    monkeypatch.setattr("padinv.commands.models.Models.main", write)
    assert main(["models"]) == 1
    told = f"padinv: {name or 'A file'} cannot be written (no space left): make room there.\n"
    assert capsys.readouterr().err == told


def test_python_m_padinv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import runpy

    monkeypatch.setattr(sys, "argv", ["padinv", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("padinv", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"padinv {__version__}\n"


def test_the_help_of_no_command_imports_torch_or_lightning() -> None:
    code = (
        "import sys; from padinv.cli import COMMANDS, main\n"
        "for command in COMMANDS:\n"
        "    try: assert main([command, '--help']) == 0\n"
        "    except SystemExit as end: assert not end.code\n"
        "    heavy = {'torch', 'pytorch_lightning', 'jsonargparse'} & set(sys.modules)\n"
        "    assert not heavy, (command, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: padinv fit-gan --config" in done.stdout

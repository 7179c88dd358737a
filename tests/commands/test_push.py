"""A model goes to a hub, which is a server on this machine, and comes back."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from hub_stub import Hub, running_hub
from padinv import Inverter
from padinv.checkpoints.pair import hub_repository
from padinv.cli import main
from padinv.commands.models import Models
from padinv.commands.push import Push, images_seen
from padinv.editing import load_directions

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub, of httpx


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        yield hub


@pytest.fixture
def run_folder(model: Path, photographs: Path, tmp_path: Path) -> Path:
    """What a run leaves, as far as it matters here: the checkpoint is the encoder's file."""
    folder = tmp_path / "runs" / "mine" / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(model / "encoder.safetensors", folder / "checkpoints" / "last.ckpt")
    config = {
        "seed_everything": 3,
        "model": {
            "class_path": "padinv.PadInvModule",
            "init_args": {
                "generator": str(model / "generator.safetensors"),
                "lambda_per": 0.8,
                "perceptual_loss": {"class_path": "padinv.losses.PerceptualLoss", "init_args": {"net": "alex"}},
                "optimizer_e": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.003}},
            },
        },
        "data": {"class_path": "padinv.ImageDataModule", "init_args": {"val": str(photographs), "batch_size": 8}},
        "schedule": {"class_path": "padinv.training.ImageSchedule", "init_args": {"images": 3200}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def same(one: Inverter, other: Inverter) -> bool:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.equal(one.invert(images).images, other.invert(images).images)


WRITTEN = ["README.md", "config.json", "encoder.safetensors", "evaluation.json", "generator.safetensors"]


def test_a_run_goes_to_the_hub_and_comes_back(
    hub: Hub,
    run_folder: Path,
    inverter: Inverter,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--data", "Three pictures of noise.", "--licence", "cc0-1.0", "--private", "--device", "cpu"]
    assert main(["push", str(run_folder), "me/small", *words]) == 0
    assert f'{hub.url}/me/small: padinv.Inverter.from_pretrained("hf://me/small")' in capsys.readouterr().out
    files = hub.repositories["me/small"]
    assert sorted(files) == sorted([*WRITTEN, "reconstructions.png", "run.yaml"])
    assert hub.private == {"me/small": True}
    assert hub.messages == ["Add a model of padinv"]

    for source in ("hf://me/small", "me/small", "hf://me/small@main"):
        assert same(Inverter.from_pretrained(source, device="cpu"), inverter)
    assert same(Inverter.from_pretrained(run_folder / "hub", device="cpu"), inverter)

    card = files["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert (header["library_name"], header["license"]) == ("padinv", "cc0-1.0")
    for part in (
        "# small",
        'Inverter.from_pretrained("hf://me/small")',
        inverter.fingerprint,
        "Three pictures of noise.",
        "| images seen | 3200 |",
        "| optimizer | Adam, learning rate 0.003 |",
        "| perceptual loss | PerceptualLoss |",
        "Of 3 photographs (photographs), without refinement:",
        "| mse | ",
        "| lpips | ",
        "(reconstructions.png)",
    ):
        assert part in card
    results = json.loads(files["evaluation.json"])
    assert results["images"] == 3
    low, value, high = (results["metrics"]["mse"][name] for name in ("low", "value", "high"))
    assert low <= value <= high
    told = b"".join(files[name] for name in ("README.md", "run.yaml", "evaluation.json", "config.json")).decode()
    assert str(tmp_path) not in told  # where files lie on a disk is nobody else's business

    assert main(["push", str(run_folder / "hub"), "me/other", "--message", "Again"]) == 0  # as it was written
    other = {**files, "README.md": files["README.md"].replace(b"hf://me/small", b"hf://me/other")}
    assert hub.repositories["me/other"] == other
    assert hub.messages[1:] == ["Again"]


def test_the_card_tells_how_far_the_run_came(tmp_path: Path) -> None:
    torch.save({"state_dict": {"images_seen": torch.tensor(800)}}, tmp_path / "last.ckpt")
    assert images_seen(tmp_path / "last.ckpt") == 800
    (tmp_path / "last.ckpt").write_bytes(b"damaged")
    assert images_seen(tmp_path / "last.ckpt") is None


def test_without_a_network_the_cache_is_taken(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["me/small"] = {path.name: path.read_bytes() for path in model.iterdir()}
    first = Inverter.from_pretrained("me/small", device="cpu")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    assert same(Inverter.from_pretrained("me/small", device="cpu"), first)


def test_what_is_in_the_hubs_cache_is_listed(hub: Hub, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repositories["me/small"] = {path.name: path.read_bytes() for path in model.iterdir()}
    Inverter.from_pretrained("me/small", device="cpu")
    assert Models.main([]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("hf://me/small"))
    assert line.split()[:3] == ["hf://me/small", "cached", "32"]


def test_a_hub_that_refuses(
    hub: Hub, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and what was measured and written is still there."""
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main(["push", str(run_folder), "me/small", "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in (
        "padinv: me/small could not be pushed (",
        "hf auth login",
        f"padinv push {run_folder / 'hub'} me/small",
    ):
        assert part in error
    assert (run_folder / "hub" / "generator.safetensors").is_file()


def test_directions_go_along(hub: Hub, model: Path, directions_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["push", str(model), "me/small", "-o", str(out), "--images", "congress64-val", "--device", "cpu"]
    assert main([*words, "--directions", "congress64"]) == 1  # those of another generator
    assert main([*words, "--directions", str(directions_file)]) == 0
    assert list(load_directions("hf://me/small")) == ["sefa-0", "sefa-1", "sefa-2", "sefa-3"]
    assert list(load_directions(out)) == list(load_directions("me/small"))


def test_a_folder_without_a_hub(
    model: Path, inverter: Inverter, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["push", str(model), "-o", str(out), "--images", str(photographs), "--device", "cpu"]) == 0
    assert sorted(file.name for file in out.iterdir()) == sorted([*WRITTEN, "reconstructions.png"])
    assert same(Inverter.from_pretrained(out, device="cpu"), inverter)
    card = (out / "README.md").read_text()
    assert "has stated no licence" in card
    assert "license" not in card.split("---")[1]
    assert "has not said what pictures" in card
    capsys.readouterr()
    assert main(["push", str(out)]) == 0  # it is written already
    assert "encoder.safetensors" in capsys.readouterr().out
    assert main(["push", str(out), "--licence", "mit"]) == 1
    assert "--licence is for writing the folder" in capsys.readouterr().err


def test_a_name_is_the_bundled_model_and_a_path_the_folder(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((64, 64), 50).save("noise.png")
    words = ["push", "congress64", "--images", "noise.png", "--device", "cpu"]
    assert main([*words, "--licence", "mit"]) == 0
    card = Path("congress64/README.md")
    edited = card.read_text().replace("# congress64", "# Mine")
    card.write_text(edited)
    capsys.readouterr()

    assert main(["push", "./congress64"]) == 0
    assert (card.read_text(), capsys.readouterr().err) == (edited, "")

    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main(["push", "congress64", "me/congress64", *words[2:], "--licence", "cc0-1.0"]) == 1
    error = capsys.readouterr().err
    for part in ("give ./congress64 for the folder", "kept as congress64/README.1.md", "padinv push ./congress64 me/"):
        assert part in error
    assert "license: cc0-1.0" in card.read_text()
    assert Path("congress64/README.1.md").read_text() == edited

    shutil.copy(card, "congress64/directions.safetensors")  # of no use: the name is not this folder
    assert "smile" in load_directions("congress64")


@pytest.mark.parametrize("name", ["small", "me/small/more", "me/sm all", "me/small@v1"])
def test_names_that_are_no_repository(name: str) -> None:
    from padinv.exceptions import ConfigError

    with pytest.raises(ConfigError, match="must be owner/name, not"):
        Push.main(["congress64", name])


def test_a_missing_package_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from padinv.commands.push import upload
    from padinv.exceptions import MissingPackageError

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match="pip install huggingface_hub"):
        upload(model, "me/small")


def test_paths_of_this_machine_are_no_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    names: dict[Any, str | None] = {
        "runs/mistyped": None,
        "owner/name": "hf://owner/name",
        "hf://runs/name": "hf://runs/name",
        "owner/name.safetensors": None,
        "../name": None,
        "a/b/c": None,
        "congress64": None,
        Path("owner/name"): None,
    }
    assert {name: hub_repository(name) for name in names} == names

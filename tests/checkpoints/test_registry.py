"""The models that padinv knows by name."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from padinv import Inverter
from padinv.checkpoints.cache import hash_file
from padinv.checkpoints.registry import Model, find_model, models
from padinv.checkpoints.sources import BUNDLED
from padinv.commands.models import Models
from padinv.exceptions import CheckpointError
from padinv.losses import PerceptualLoss


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "USERPROFILE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    if find_spec("huggingface_hub"):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    return tmp_path


def test_what_is_bundled_is_whole_and_loads() -> None:
    bundled = [model for model in models() if model.place == "bundled"]
    assert {model.name for model in bundled} == {*BUNDLED, "alexnet"}
    for model in bundled:
        assert all(path.is_file() for path in model.paths)
        assert model.size == pytest.approx(sum(path.stat().st_size for path in model.paths) / 1e6)
        assert model.hashes() == {path.name: hash_file(path) for path in model.paths}
        assert model.licence in ("Apache-2.0", "BSD-3-Clause (torchvision); trained on ImageNet")
    for name in BUNDLED:
        assert find_model(name).input_size == Inverter.from_pretrained(name, device="cpu").generator.resolution
    PerceptualLoss("alex")(*torch.zeros(2, 1, 3, find_model("alexnet").input_size, 31))


@pytest.mark.parametrize("name", ["vgg16", "squeezenet"])
def test_a_known_model_is_cached_once_it_is_there(name: str, home: Path) -> None:
    before = find_model(name)
    assert (before.place, before.paths) == ("known", ())
    assert before.source.startswith("https://download.pytorch.org/")
    assert before.size > 1  # as torchvision states it
    filename = before.source.rpartition("/")[2]
    assert before.sha256 == filename.removesuffix(".pth").rpartition("-")[2] + "…"
    (home / "hub" / "checkpoints").mkdir(parents=True)
    (home / "hub" / "checkpoints" / filename).write_bytes(bytes(1000))
    after = find_model(name)
    assert (after.place, after.size) == ("cached", 0.001)
    assert after.as_json()["sha256"] == {filename: hash_file(after.paths[0])}


def test_face_packs_and_fetched_checkpoints(home: Path) -> None:
    assert find_model("buffalo_l").place == "known"
    assert "non-commercial" in find_model("buffalo_l").licence
    pack = home / ".insightface" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    (pack / "det_10g.onnx").write_bytes(b"1")
    assert list(find_model("buffalo_l").hashes()) == ["det_10g.onnx"]
    folder = home / "hub" / "checkpoints" / "padinv"
    folder.mkdir(parents=True)
    for name in ("0123456789abcdef-mine.pt", "0123456789abcdef-half.pt.part", "note.txt"):
        (folder / name).write_bytes(b"1")
    fetched = find_model("mine.pt")
    assert (fetched.place, fetched.sha256) == ("cached", "0123456789abcdef…")
    assert "half.pt.part" not in {model.name for model in models()}


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert Models.main([]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "where", "px", "MB", "what", "licence"]
    assert [line.split()[:2] for line in lines[:2]] == [["congress64", "bundled"], ["alexnet", "bundled"]]
    assert Models.main(["congress64"]) == 0
    told = capsys.readouterr().out
    for path in find_model("congress64").paths:
        assert f"{hash_file(path)} {path.name}" in told
    assert 'Inverter.from_pretrained("congress64")' in told
    assert Models.main(["--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["name"] for entry in listed] == [model.name for model in models()]
    assert Models.main(["vgg16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input_range"] == [-1.0, 1.0]
    with pytest.raises(CheckpointError, match=r"There is no model 'nothing'; padinv knows congress64, alexnet"):
        Models.main(["nothing"])


def test_a_size_is_not_always_known() -> None:
    assert Model("name", "what", "known").size is None

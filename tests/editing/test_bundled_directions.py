"""The directions that come with the wheel, and the tool that makes them."""

from __future__ import annotations

import csv
import io
import runpy
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from padinv import Generator, PadInvEncoder, load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.editing import load_directions

ASSETS = Path(str(files("padinv") / "assets"))
BUNDLED = [path.name.removesuffix("-directions.safetensors") for path in ASSETS.glob("*-directions.safetensors")]
TOOL = Path(__file__).parents[2] / "tools" / "bundle_directions.py"


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_directions_are_of_the_bundled_generator_and_better_than_chance(name: str) -> None:
    generator = load_generator(name)
    directions = load_directions(name, generator)
    named_by_eye = [directions.pop(name) for name in ("warmth", "contrast")]
    assert list(directions) == ["smile", "glasses", "hair", "gender", "pose", "light"]
    for direction in (*named_by_eye, *directions.values()):
        assert direction.generator == direction.fingerprint == fingerprint(generator)
        assert direction.metadata["negative"] != direction.metadata["positive"]
    for direction in named_by_eye:
        assert direction.kind == "ganspace"
        assert "named by eye" in str(direction.metadata["found"])
    for direction in directions.values():
        assert direction.metadata["accuracy"] > direction.metadata["chance"]
        held_out = [direction.metadata[f"{on}balanced_accuracy"] for on in ("", "test_")]
        assert min(held_out) > 0.85  # in cross-validation over people, and on those of test portraits
        assert -4.2 < direction.metadata["lowest"] < -1.6 < 2.1 < direction.metadata["highest"] < 5.2
        assert list(direction.features) == [16]
    assert directions["gender"].metadata["test_accuracy"] > 0.9


def portraits(folder: Path) -> Path:
    """The bundled portraits as folders ``train`` and ``test`` with ``labels.csv``."""
    rows = []
    for split, archive in (("train", "congress64-train.zip"), ("test", "congress64-val.zip")):
        (folder / split).mkdir()
        with zipfile.ZipFile(ASSETS / archive) as pictures:
            for row in csv.DictReader(io.StringIO(pictures.read("provenance.csv").decode())):
                (folder / split / row["file"]).write_bytes(pictures.read(row["file"]))
                rows.append({**row, "file": f"{split}/{row['file']}"})
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return folder / "labels.csv"


@pytest.mark.slow
def test_tool_writes_directions_with_accuracies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    generator = Generator(32, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 8, 32: 8})
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4).eval()
    networks = [
        *("--encoder", str(save_network(encoder, tmp_path / "encoder.safetensors"))),
        *("--generator", str(save_network(generator, tmp_path / "generator.safetensors"))),
    ]
    labels, output = portraits(tmp_path), tmp_path / "directions.safetensors"
    runpy.run_path(str(TOOL))["main"]([str(tmp_path), str(labels), *networks, "--output", str(output)])
    directions = load_directions(tmp_path, generator)
    printed = capsys.readouterr().out
    assert list(directions) == ["gender", "birth_year"]
    for direction in directions.values():
        assert direction.vector.shape == (8, 8)
        assert direction.padding.padded_resolutions == [4, 8, 16, 32]
        assert direction.metadata["encoder"] == fingerprint(encoder)
        assert direction.metadata["test_images"] > 20
        assert f"{direction.name}: accuracy {direction.metadata['accuracy']}" in printed
    assert directions["gender"].metadata["positive"] == "female"

    with labels.open(newline="") as file:
        rows = [{**row, "light": ("left", "right")[row["gender"] == "female"]} for row in csv.DictReader(file)]
    also = tmp_path / "also.csv"
    for path, chosen in ((labels, rows), (also, [row for row in rows if row["file"].startswith("train/")])):
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(chosen)
    more = ["--columns", "light", "pose", "--also", str(tmp_path), str(also)]  # each picture twice
    runpy.run_path(str(TOOL))["main"]([str(tmp_path), str(labels), *networks, "--output", str(output), *more])
    (light,) = load_directions(tmp_path, generator).values()  # no picture has a pose
    assert light.metadata["positive"] == "lit from the picture's right"
    assert light.metadata["images"] > directions["gender"].metadata["images"]
    assert "pose: left out: No image has a label" in capsys.readouterr().out
    before = output.read_bytes()
    with pytest.raises(SystemExit, match="No direction is good enough"):
        runpy.run_path(str(TOOL))["main"](
            [str(tmp_path), str(labels), *networks, "--output", str(output), "--columns", "light", "--least", "1"]
        )
    assert "light: dropped" in capsys.readouterr().out
    assert output.read_bytes() == before

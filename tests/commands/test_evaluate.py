"""padinv evaluate: two folders, a model, two methods; what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from command_files import Command
from padinv import Inverter
from padinv.cli import main
from padinv.evaluation.pairs import HEADS, Files, match
from padinv.images import smaller_side
from padinv.sources.folders import FolderSource

CHEAP = ("--metrics", "mse,psnr", "--device", "cpu", "--resamples", "500")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Six photographs of 48 px, good reconstructions, and worse ones; with one file too many on each side."""
    root = tmp_path_factory.mktemp("evaluate")
    random = np.random.default_rng(0)
    for name in ("real", "good", "bad"):
        (root / name).mkdir()
    for number in range(6):
        image = random.integers(60, 190, (48, 48, 3))
        for name, noise in (("real", 0), ("good", 5 + number), ("bad", 20)):
            picture = image + random.normal(0, noise, image.shape) if noise else image
            kind = "png" if name != "real" or number else "bmp"
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / name / f"face {number}.{kind}")
    shutil.copy(root / "good" / "face 1.png", root / "good" / "only here.png")
    shutil.copy(root / "real" / "face 1.png", root / "real" / "no reconstruction.png")
    return root / "real", root / "good", root / "bad"


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "evaluation.json").read_text("utf-8"))


def test_two_folders(folders: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, good, _ = folders
    assert main(["evaluate", str(real), str(good), "-o", str(tmp_path), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "1 photograph without a reconstruction, left out: no reconstruction." in printed.err
    assert "1 reconstruction without a photograph, left out: only here." in printed.err
    assert "6 images are few: intervals reach this far" in printed.out
    assert sum(line.split()[-1] == "default" for line in printed.out.splitlines() if line) == 6
    result = read(tmp_path)
    assert result["protocol"] == "default"
    assert result["resolution"] == 48
    assert list(result["metrics"]) == ["mse", "psnr", "ms_ssim", "lpips", "fd_alexnet", "kd_alexnet"]
    for name, number in result["metrics"].items():
        assert set(number) == {"value", "low", "high"}
        assert number["low"] < number["value"] < number["high"], name
    with (tmp_path / "images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"face {number}" for number in range(6)]
    assert np.mean([float(row["mse"]) for row in rows]) == pytest.approx(result["metrics"]["mse"]["value"], rel=1e-6)
    a, b = (np.array(Image.open(f).convert("RGB")).astype(float) for f in (real / "face 0.bmp", good / "face 0.png"))
    assert float(rows[0]["mse"]) == pytest.approx(np.square((a - b) / 127.5).mean(), rel=1e-5)


def test_report_asks_for_nothing(folders: tuple[Path, ...], tmp_path: Path) -> None:
    real, good, _ = folders
    assert main(["evaluate", str(real), str(good), "-o", str(tmp_path), *CHEAP]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 6 * 3  # three best and three worst: photograph, ours, error
    for outside in ("http://", "https://", 'src="/', "<script", "@import", "url("):
        assert outside not in page
    for words in ("prefers-color-scheme: dark", "Best by mse", "Worst by mse", "face 5", "95% interval"):
        assert words in page


def test_compare_is_paired(folders: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, good, bad = map(str, folders)
    assert main(["evaluate", real, "--compare", good, bad, "-o", str(tmp_path), *CHEAP]) == 0
    result = read(tmp_path)
    difference = result["metrics"]["mse"]
    values = [result[side]["metrics"]["mse"]["value"] for side in "ab"]
    assert difference["value"] == pytest.approx(values[1] - values[0])
    assert difference["low"] > 0
    assert "bad less" in capsys.readouterr().out
    assert "Distributions" in (tmp_path / "report.html").read_text("utf-8")


def test_json_is_all_that_is_printed(folders: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    real, good, _ = map(str, folders)
    assert main(["evaluate", real, good, "--json", *CHEAP]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["mse"]["value"] > 0


def test_seed_decides_and_level_widens(folders: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    def interval(*options: str) -> tuple[float, float]:
        assert main(["evaluate", str(folders[0]), str(folders[1]), "--json", *CHEAP, *options]) == 0
        number = json.loads(capsys.readouterr().out)["metrics"]["mse"]
        return number["low"], number["high"]

    assert interval() == interval()
    assert interval() != interval("--seed", "1")
    assert interval("--level", "0.99")[1] > interval()[1]


def test_identical_folders_have_no_interval_of_psnr(
    folders: tuple[Path, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    real = str(folders[0])
    assert main(["evaluate", real, real, "--json", *CHEAP]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["mse"] == {"value": 0, "low": 0, "high": 0}
    assert metrics["psnr"] == {"value": None, "low": None, "high": None}  # infinite, which JSON does not know


def test_perfect_reconstructions_do_not_differ(
    folders: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PSNR is infinite where both are perfect: there the difference is 0, and where one is, it is infinite."""
    real, good, _ = map(str, folders)
    words = ("evaluate", real, "--compare", real)
    assert main([*words, real, "-o", str(tmp_path), *CHEAP]) == 0
    assert read(tmp_path)["metrics"]["psnr"] == {"value": 0, "low": 0, "high": 0}
    capsys.readouterr()
    assert main([*words, good, "-o", str(tmp_path), *CHEAP]) == 0
    assert read(tmp_path)["metrics"]["psnr"]["value"] is None
    assert "psnr    -∞ " in capsys.readouterr().out


@pytest.mark.parametrize("names", ["fd_random", "kd_random", "fd_random,mse"])
def test_only_what_is_asked_for(names: str, folders: tuple[Path, ...], tmp_path: Path) -> None:
    """Without a number for each image there is a page, too."""
    real, good, bad = map(str, folders)
    options = ["-o", str(tmp_path), "--features", "random", "--metrics", names, "--device", "cpu"]
    assert main(["evaluate", real, good, *options]) == 0
    assert set(read(tmp_path)["metrics"]) == set(names.split(","))
    assert names.partition(",")[0] in (tmp_path / "report.html").read_text("utf-8")
    assert main(["evaluate", real, "--compare", good, bad, *options]) == 0
    assert set(read(tmp_path)["metrics"]) == set(names.split(","))


def test_a_protocol_has_its_own_resolution(
    folders: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, good, _ = map(str, folders)
    words = ["evaluate", real, good, "-o", str(tmp_path), "--protocol", "sfe", *CHEAP]
    assert main([*words, "--resolution", "32"]) == 0
    assert read(tmp_path)["resolution"] == 256
    assert "--resolution has no effect" in capsys.readouterr().err


def test_too_small_for_the_resolution(folders: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    real, good, _ = map(str, folders)
    assert main(["evaluate", real, good, *CHEAP, "--resolution", "64", "--level", "0.999"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert sum("48 px, less than the 64 px of the comparison; --resolution 48 fits" in line for line in told) == 6
    assert told[-1] == "padinv: Not one pair of pictures could be compared."


@pytest.mark.parametrize(("sides", "resolution"), [((16, 24, 24), 24), ((24, 24, 16), 24), ((24, 20, 28), 20)])
def test_names_do_not_choose_the_resolution(sides: tuple[int, ...], resolution: int, tmp_path: Path) -> None:
    for number, side in enumerate(sides):
        Image.effect_noise((side, side + 4), 50).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    subject = Files(match(FolderSource(tmp_path), [FolderSource(tmp_path)]), ["itself"])
    assert subject.resolution() == resolution


@pytest.mark.parametrize(("others", "resolution", "most"), [(0, 24, HEADS), (1, 24, HEADS), (2, 24, 400), (3, 20, 400)])
def test_of_many_pairs_some_choose_the_resolution(
    others: int, resolution: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(125):  # others: of five in a row so many have another side, the first among them
        side = 20 if number % 5 < others else 24
        Image.new("L", (side, side)).save(tmp_path / f"{number:03}.png")
    pairs = match(FolderSource(tmp_path), [FolderSource(tmp_path)])
    looked = []
    monkeypatch.setattr("padinv.evaluation.pairs.smaller_side", lambda data: looked.append(1) or smaller_side(data))
    assert Files(pairs, ["itself"]).resolution() == resolution
    assert len(looked) <= 2 * most


def test_model_is_what_invert_writes(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert padinv("invert", photographs, "-o", tmp_path / "inverted") == 0
    files, model = tmp_path / "files", tmp_path / "model"
    cheap = ("--resolution", "32", "--metrics", "mse,ms_ssim")
    assert main(["evaluate", str(photographs), str(tmp_path / "inverted"), "-o", str(files), *cheap]) == 0
    assert padinv("evaluate", "--data", photographs, "-o", model, *cheap, "--groups") == 0
    assert read(files)["metrics"] == read(model)["metrics"]
    codes = tmp_path / "inverted" / "codes"  # stand for the images beside them
    assert main(["evaluate", str(photographs), str(codes), "-o", str(files), *cheap]) == 0
    assert read(files)["metrics"] == read(model)["metrics"]
    shutil.rmtree(tmp_path / "inverted" / "images")
    for folder in (codes, codes.parent):
        capsys.readouterr()
        assert main(["evaluate", str(photographs), str(folder), *cheap]) == 1
        assert f"{folder} holds codes and no pictures" in capsys.readouterr().err
    assert read(model)["fingerprint"]
    assert "padding rings" in (model / "report.html").read_text("utf-8")
    assert "padding rings" not in (files / "report.html").read_text("utf-8")
    assert set(read(model)["groups"]) == {"tone", "colour"}


def test_model_has_a_speed_and_a_size(
    padinv: Command, inverter: Inverter, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert padinv("evaluate", "--data", photographs, "--json", "--features", "random", "--batch-size", 2) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["latency_ms"]["low"] <= metrics["latency_ms"]["value"] <= metrics["latency_ms"]["high"]
    assert metrics["images_per_second"]["value"] > 0
    code = inverter.encode(torch.zeros(1, 3, 32, 32))
    assert metrics["numbers_in_code"]["value"] == sum(part.numel() for part in code.tensors())
    assert "fd_random" in metrics
    small = photographs / "small.png"
    Image.new("RGB", (4, 4)).save(small)
    assert padinv("evaluate", "--data", photographs, "--json", "--metrics", "numbers_in_code") == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["metrics"] == {"numbers_in_code": metrics["numbers_in_code"]}
    assert printed.err.startswith(f"padinv: {small} is left out: it has 4×4 pixels")


def test_unreadable_pair_is_told_and_the_others_go_on(
    folders: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders[1], broken)
    (broken / "face 2.png").write_bytes(b"no picture")
    Image.new("RGB", (20, 20)).save(broken / "face 3.png")
    assert main(["evaluate", str(folders[0]), str(broken), "-o", str(tmp_path / "out"), *CHEAP]) == 1
    told = capsys.readouterr().err
    assert "face 2.png cannot be read: it is not an image" in told
    assert "face 3 is left out: one side has 20 px" in told
    assert read(tmp_path / "out")["images"] == 4


def test_pictures_of_any_kind_in_folders_of_any_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grey, transparent, four inks, sixteen bits: a flat 128 is the same picture in each, whatever its ending."""
    kinds = {"grey.png": "L", "alpha.webp": "RGBA", "inks.tif": "CMYK", "deep.png": "I;16", "plain.bmp": "RGB"}
    levels = {"L": 128, "RGBA": (128, 128, 128, 255), "CMYK": (127, 127, 127, 0), "I;16": 128 * 257, "RGB": (128,) * 3}
    for place, (name, kind) in enumerate(kinds.items()):
        folder, other = tmp_path / "real" / str(place % 2) / "deep", tmp_path / "made" / str(place % 2) / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        other.mkdir(parents=True, exist_ok=True)
        options = {"lossless": True} if name.endswith("webp") else {}
        Image.new(kind, (24 + 8 * place, 40), levels[kind]).save(folder / name, **options)  # type: ignore[arg-type]
        Image.new("RGB", (32, 32 + place), (128,) * 3).save(other / Path(name).with_suffix(".jpg"), quality=100)
    assert (
        main(["evaluate", str(tmp_path / "real"), str(tmp_path / "made"), "--json", "--resolution", "24", *CHEAP]) == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 5
    assert result["metrics"]["mse"]["value"] < 1e-4


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there every name is UTF-8")
def test_names_of_any_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["caf\udce9", "two\nlines", "<b>&amp;"]
    for folder in ("real", "made"):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (16, 16), (7, 8, 9)).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "real" / "only \udce9.png").write_bytes((tmp_path / "real" / "caf\udce9.png").read_bytes())
    words = ["evaluate", str(tmp_path / "real"), str(tmp_path / "made"), *CHEAP]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert r"left out: only \udce9" in told.err
    with (tmp_path / "out" / "images.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(row["image"] for row in csv.DictReader(file)) == ["<b>&amp;", r"caf\udce9", "two\nlines"]
    assert any("only \udce9" in remark for remark in read(tmp_path / "out")["remarks"])
    assert "<b>&amp;<" not in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3


def test_compare_leaves_out_what_one_of_them_lacks(
    folders: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, good, bad = folders
    fewer = tmp_path / "fewer"
    shutil.copytree(bad, fewer)
    (fewer / "face 4.png").unlink()
    assert main(["evaluate", str(real), "--compare", str(good), str(fewer), "--json", *CHEAP]) == 0
    told = capsys.readouterr()
    assert "2 photographs without a reconstruction in both, left out: face 4, no reconstruction." in told.err
    assert json.loads(told.out)["images"] == 5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["real"], "needs two folders"),
        (["real", "--compare", "good"], "expected 2 arguments"),
        (["--model", "congress64"], "needs photographs"),
        (["real", "good", "--model", "congress64"], "--model makes the reconstructions"),
        (["real", "good", "--refine", "3"], "--refine is for --model"),
        (["real", "good", "--metrics", "mse,beauty"], "beauty"),
        (["real", "good", "--features", "nowhere.Net"], "nowhere"),
        (["real", "good", "--protocol", "fid"], "sfe"),
        (["real", "good", "--metrics", "mse,fid"], "fid and kid --features inception"),  # AlexNet's is no FID
        (["real", "good", "--metrics", "fd_vgg"], "kd_alexnet"),
        (["real", "good", "--metrics", "latency_ms"], "times --model"),
        (["real", "good", "--features", "nowhere.onnx"], "no file 'nowhere.onnx'"),
        (["real", "good", "--metrics", "lpips_vgg", "--vgg", "nowhere.pth"], "at --vgg nowhere.pth: mend"),
        (["real", "good", "--identity", "nowhere.onnx"], "at --identity nowhere.onnx: mend"),
        (["real", "elsewhere"], "elsewhere"),
    ],
)
def test_refusals(
    words: list[str],
    sentence: str,
    folders: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folders[0].parent)
    assert main(["evaluate", *words]) == 1
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") <= 3


def test_nothing_matches(folders: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    assert main(["evaluate", str(folders[0]), str(tmp_path)]) == 1
    assert "No reconstruction has the name of a photograph" in capsys.readouterr().err


def test_edits_go_where_the_direction_says(
    padinv: Command,
    directions_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("sklearn", reason="an extra")
    random = np.random.default_rng(0)
    photographs, table = tmp_path / "photographs", tmp_path / "labels.csv"
    photographs.mkdir()
    rows = ["file,colour"]
    for number in range(40):
        image = random.integers(0, 120, (32, 32, 3))
        image[:, :, 0] += 100 * (number % 2)
        Image.fromarray(image.astype(np.uint8)).save(photographs / f"{number:02}.png")
        rows.append(f"{number:02}.png,{'red' if number % 2 else 'dark'}")
    few = tmp_path / "few.csv"
    few.write_text("\n".join(rows[:9]), "utf-8")
    table.write_text("\n".join(rows), "utf-8")
    options = ("--edit", "sefa-0", "--labels", table, "--column", "colour", "--directions", directions_file)
    words = ("evaluate", "--data", photographs, "-o", tmp_path / "out", "--metrics", "mse", *options)
    for wrong, told in ((("--labels", few), "a classifier needs 10 of each"), (("--edit", "nope"), "nope")):
        with monkeypatch.context() as before:  # the work
            before.setattr("padinv.evaluation.evaluate", None)
            assert padinv(*words, *wrong) == 1
        assert told in capsys.readouterr().err
    assert padinv(*words) == 0
    assert "likeness at equal change" in capsys.readouterr().out
    result = read(tmp_path / "out")
    assert set(result["editing"]) == {"code", "latents"}
    curve = result["editing"]["code"]
    assert curve["classifier_balanced_accuracy"] > 0.8
    assert len(curve["change"]) == len(curve["kept"]) == len(curve["strength"])
    assert result["metrics"]["lec"]["value"] > 0
    assert "likeness over change" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert padinv("evaluate", "--data", photographs, "--edit", "sefa-0") == 1
    assert "--edit and --labels go together" in capsys.readouterr().err

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from colour_profiles import rgb_profile
from command_files import Command, files, pixels, records
from detection_model import write_detection_model
from lock_holder import hold
from padinv import Inversion, Inverter
from padinv.bulk import BulkInversion
from padinv.inversion import FaceDetector
from padinv.progress import Progress

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
RAW = Path(__file__).parents[1] / "data" / "raw-portraits"


def test_what_is_written(padinv: Command, photographs: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert padinv("invert", photographs, "-o", out) == 0
    kinds = [("codes", ".safetensors"), ("grids", ".png"), ("images", ".png")]
    expected = [f"{kind}/{name}{suffix}" for kind, suffix in kinds for name in "abc"]
    assert files(out) == sorted([*expected, "grid.png", "metrics.jsonl"])

    inverter = Inverter.from_pretrained(model, device="cpu", batch_size=1)
    for record, photograph in zip(records(out), sorted(photographs.iterdir()), strict=True):
        inversion = inverter.invert(photograph)
        assert record["photograph"] == str(photograph)
        assert record["name"] == photograph.stem
        assert record["mse"] == pytest.approx((inversion.images - inversion.targets).square().mean().item(), rel=1e-3)
        assert set(record) == {"photograph", "name", "mse", "psnr", "ms_ssim", "lpips", "seconds", "faces", "settings"}
        loaded = inverter.load(out / "codes" / f"{photograph.stem}.safetensors")
        assert torch.allclose(loaded.code.w_plus, inversion.code.w_plus, atol=1e-5)
        assert loaded.crop == inversion.crop
        image = (inversion.images[0].clamp(-1, 1) * 127.5 + 127.5).permute(1, 2, 0).numpy()
        assert np.abs(pixels(out / "images" / f"{photograph.stem}.png") - image).max() <= 1
    assert pixels(out / "grids" / "a.png").shape == (136, 2 * 132 + 4, 3)  # two tiles of 128 px and gaps of 4
    assert pixels(out / "grid.png").shape == (2 * 164 + 8, 2 * 276 + 8, 3)  # two columns of grids and their names


def test_one_at_a_time_or_together(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    for size in (1, 16):
        padinv("invert", photographs, "-o", tmp_path / str(size), "--batch-size", size)
    for name in "abc":
        one, many = (pixels(tmp_path / size / "images" / f"{name}.png") for size in ("1", "16"))
        assert np.abs(one - many).max() <= 1


def test_quoted_patterns_and_equal_names(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs, tmp_path / "others")
    shutil.copy(photographs / "c.png", tmp_path / "others" / "a.png")
    out = tmp_path / "out"
    assert padinv("invert", tmp_path / "*" / "a.png", photographs, "-o", out) == 0
    assert [record["name"] for record in records(out)] == ["others-a", "photographs-a", "b", "c"]
    assert (pixels(out / "images" / "others-a.png") != pixels(out / "images" / "photographs-a.png")).any()


@pytest.mark.parametrize(("option", "asked"), [([], 1), (["--no-keep-memory"], 0)])
def test_freed_memory_is_kept(
    option: list[str],
    asked: int,
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr("padinv.inversion.inverter.keep_freed_memory", lambda: calls.append(True))
    assert padinv("invert", photographs / "a.png", "-o", tmp_path / "out", *option) == 0
    assert len(calls) == asked


def test_what_is_done_is_left(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    padinv("invert", photographs / "a.png", photographs / "b.jpg", "-o", out)
    times = {name: (out / "images" / name).stat().st_mtime_ns for name in ("a.png", "b.png")}
    (out / "codes" / "b.safetensors").unlink()
    capsys.readouterr()
    assert padinv("invert", photographs, "-o", out) == 0
    assert "1 of 3 were done already" in capsys.readouterr().out
    changed = {name: (out / "images" / name).stat().st_mtime_ns != time for name, time in times.items()}
    assert changed == {"a.png": False, "b.png": True}
    assert len(records(out)) == 3

    assert padinv("invert", photographs, "-o", out, "--overwrite") == 0
    assert (out / "images" / "a.png").stat().st_mtime_ns != times["a.png"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_photograph_that_has_changed_is_done_again(
    packed: bool, padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was only copied again is not, nor is one of the others."""
    out, edited = tmp_path / "out", tmp_path / "edited"

    def pack() -> Path:
        return Path(shutil.make_archive(str(tmp_path / "all"), "zip", photographs)) if packed else photographs

    assert padinv("invert", pack(), "-o", out) == 0
    assert padinv("show", out, "-o", edited) == 0
    before = {name: (out / "images" / name).read_bytes() for name in ("a.png", "b.png", "c.png")}
    shutil.copy(photographs / "b.jpg", tmp_path)
    shutil.copy(tmp_path / "b.jpg", photographs)
    Image.open(photographs / "a.png").rotate(180).save(photographs / "c.png")
    capsys.readouterr()
    assert padinv("invert", pack(), "-o", out) == 0
    assert "2 of 3 were done already" in capsys.readouterr().out
    assert [name for name in before if (out / "images" / name).read_bytes() != before[name]] == ["c.png"]
    assert padinv("show", out, "-o", edited) == 0  # its code is another one, too
    assert "2 of 3 were done already" in capsys.readouterr().out
    assert (edited / "images" / "c.png").read_bytes() == (out / "images" / "c.png").read_bytes()


@pytest.mark.parametrize("option", [["--refine", 1], ["--precision", "bf16"]])
def test_results_of_other_options_are_kept(
    option: list[Any], padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    padinv("invert", photographs / "a.png", "-o", out)
    before = (out / "codes" / "a.safetensors").read_bytes()
    assert padinv("invert", photographs, "-o", out, *option) == 1
    assert "of another command, model or options" in capsys.readouterr().err
    assert (out / "codes" / "a.safetensors").read_bytes() == before
    assert padinv("invert", photographs, "-o", out, *option, "--overwrite") == 0
    assert (out / "codes" / "a.safetensors").read_bytes() != before


def test_an_interrupted_run_goes_on(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    step = BulkInversion.predict_step

    def interrupted(self: BulkInversion, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 2:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(BulkInversion, "predict_step", interrupted)
    with pytest.raises(SystemExit) as end:
        padinv("invert", photographs, "-o", out, "--batch-size", 1)
    assert end.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.undo()
    with (out / "metrics-000.jsonl").open("a") as shard:
        shard.write('\n{"photograph": "half a li')
    times = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert len(times) == 2

    assert padinv("invert", photographs, "-o", out) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [record["name"] for record in records(out)] == ["a", "b", "c"]
    assert not list(out.glob("metrics-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signal")
def test_a_run_that_is_told_to_end_goes_on(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    step = BulkInversion.predict_step

    def told(self: BulkInversion, batch: Any, batch_idx: int) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(BulkInversion, "predict_step", told)
    with pytest.raises(SystemExit) as end:
        padinv("invert", photographs, "-o", out, "--batch-size", 1)
    assert end.value.code == 143
    assert "the same command goes on" in capsys.readouterr().err
    assert len(list((out / "images").iterdir())) == 1
    monkeypatch.undo()
    assert padinv("invert", photographs, "-o", out) == 0
    assert "1 of 3 were done already" in capsys.readouterr().out


def test_one_bad_file_is_reported_and_the_others_go_on(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "bad.png").write_text("a text")
    out = tmp_path / "out"
    assert padinv("invert", photographs, photographs / "missing.png", "-o", out) == 1
    printed = capsys.readouterr()
    assert f"{photographs / 'bad.png'} cannot be read: it is not an image." in printed.err
    assert f"{photographs / 'missing.png'} cannot be read: No such file or directory." in printed.err
    assert "3 photographs" in printed.out
    assert "2 failed" in printed.out
    assert ["error" in record for record in records(out)] == [False, False, True, False, True]

    Image.new("RGB", (32, 32)).save(photographs / "bad.png")  # mended
    (photographs / "missing.png").symlink_to(photographs / "a.png")
    assert padinv("invert", photographs, "-o", out) == 0
    assert "3 of 5 were done already" in capsys.readouterr().out
    assert not any("error" in record for record in records(out))


def test_results_are_not_taken_for_photographs(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (photographs / "out", photographs):
        assert padinv("invert", photographs / "[abc].*", "-o", out) == 0
        written = files(out)
        for argument in (photographs, photographs / "**" / "*.png"):
            capsys.readouterr()
            assert padinv("invert", argument, "-o", out) == 0
            assert "were done already" in capsys.readouterr().out
            assert files(out) == written
        shutil.rmtree(photographs / "out", ignore_errors=True)


@pytest.mark.parametrize("kind", ["images", "grids"])
def test_photographs_where_results_go_stay_as_they_are(
    kind: str, padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photographs.rename(tmp_path / kind)
    before = (folder / "a.png").read_bytes()
    assert padinv("invert", folder, "-o", tmp_path) == 1
    assert f"{folder / 'a.png'} is where results go: choose another --output" in capsys.readouterr().err
    assert (folder / "a.png").read_bytes() == before
    assert padinv("invert", folder, "-o", folder) == 0


def test_refinement_comes_nearer(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    for steps in (0, 10):
        assert padinv("invert", photographs / "a.png", "-o", tmp_path / str(steps), "--refine", steps) == 0
    (before,), (after,) = records(tmp_path / "0"), records(tmp_path / "10")
    assert after["mse"] < 0.9 * before["mse"]


def test_the_bar_moves_while_codes_are_refined(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes: list[str] = []

    class Watched(Progress):
        def note(self, text: str) -> None:
            notes.append(text)
            super().note(text)

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("padinv.bulk.running.Progress", Watched)
    args = [photographs / "a.png", photographs / "b.jpg", "-o", tmp_path / "out"]
    assert padinv("invert", *args, "--refine", 20, "--batch-size", 1) == 0
    assert [note for note in notes if note.startswith("step")] == ["step 10 of 20", "step 20 of 20"] * 2
    last = [line for line in capsys.readouterr().out.split("\r") if "Photographs" in line][-1]
    assert "2/2" in last
    assert "step" not in last


def test_a_log_file_gets_lines(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for every, expected in ((0.0, ["1 of 3 photographs", "2 of 3 photographs", "3 of 3 photographs"]), (30.0, [])):
        monkeypatch.setattr("padinv.bulk.running.Progress", partial(Progress, every=every))
        out = tmp_path / str(every)
        assert padinv("invert", photographs, "-o", out, "--batch-size", 1) == 0
        *lines, last = capsys.readouterr().out.splitlines()
        assert lines == expected
        assert last.startswith(f"{out}: 3 photographs, mse ")


def test_alignment_pastes_back(padinv: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    photograph = RAW / "A000378.jpg"
    assert padinv("invert", photograph, "-o", out, "--landmarks", RAW / "landmarks.json") == 0
    pasted, original = pixels(out / "photographs" / "A000378.png"), pixels(photograph)
    assert pasted.shape == original.shape
    assert (pasted[0] == original[0]).all()
    height, width = original.shape[:2]
    middle = slice(height // 2 - 10, height // 2 + 10), slice(width // 2 - 10, width // 2 + 10)
    assert (pasted[middle] != original[middle]).any()
    (record,) = records(out)
    assert record["faces"] == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "its face measures" in line]
    assert line.startswith(f"padinv: {photograph}: its face measures 1")
    assert "and the model makes 32 px" in line


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG"])
def test_a_pasted_photograph_keeps_its_profile(padinv: Command, kind: str, tmp_path: Path) -> None:
    profile, photograph = rgb_profile("Display P3"), tmp_path / f"phone.{kind.lower()}"
    Image.open(RAW / "A000378.jpg").save(photograph, kind, icc_profile=profile)
    points = json.loads((RAW / "landmarks.json").read_text())["A000378.jpg"]
    (tmp_path / "points.json").write_text(json.dumps({photograph.name: points}))
    assert padinv("invert", photograph, "-o", tmp_path / "out", "--landmarks", tmp_path / "points.json") == 0
    with Image.open(tmp_path / "out" / "photographs" / "phone.png") as pasted:
        assert pasted.info["icc_profile"] == profile
    after, before = pixels(tmp_path / "out" / "photographs" / "phone.png"), pixels(photograph)
    assert (after[:4] == before[:4]).all()
    assert (after != before).any()


def test_a_damaged_profile_is_told_and_the_photograph_inverted(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.open(photographs / "a.png").save(tmp_path / "d.png", icc_profile=b"no profile" * 20)
    assert padinv("invert", tmp_path / "d.png", "-o", tmp_path / "out") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "profile" in line]
    assert line.startswith(f"padinv: {tmp_path / 'd.png'}: its colour profile cannot be used (")


def test_landmarks_concern_their_own_photograph(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = [[12, 14], [26, 14], [19, 20], [13, 27], [25, 27]]
    points, out = tmp_path / "points.json", tmp_path / "out"
    points.write_text(json.dumps({"a.png": face}))
    assert padinv("invert", photographs / "a.png", photographs / "b.jpg", "-o", out, "--landmarks", points) == 1
    assert f"no entry for {photographs / 'b.jpg'}: add 'b.jpg'" in capsys.readouterr().err
    points.write_text(json.dumps({"a.png": face, "b.jpg": face}))  # as was asked for
    assert padinv("invert", photographs / "a.png", photographs / "b.jpg", "-o", out, "--landmarks", points) == 0
    assert "1 of 2 were done already" in capsys.readouterr().out
    points.write_text(json.dumps({"a.png": [[x + 1, y] for x, y in face]}))
    assert padinv("invert", photographs / "a.png", "-o", out, "--landmarks", points) == 1
    assert "of another command, model or options" in capsys.readouterr().err


def blocks(path: Path, count: int) -> Path:
    """Red blocks of 8 px, which the detector of the tests takes for faces, on black."""
    image = Image.new("RGB", (128, 128))
    for i in range(count):
        image.paste((255, 0, 0), (32 * i + 16, 48, 32 * i + 24, 56))
    image.save(path)
    return path


def test_faces_are_found(
    padinv: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    inverter: Inverter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("padinv.bulk.running.FaceDetector", partial(FaceDetector, sizes=[128]))
    detector = write_detection_model(tmp_path / "detector.onnx")
    two, none = blocks(tmp_path / "two.png", 2), blocks(tmp_path / "none.png", 0)
    out = tmp_path / "out"
    assert padinv("invert", two, none, "-o", out, "--align", "--detector", detector, "--faces", "all") == 1
    assert f"No face was found in {none}" in capsys.readouterr().err
    error, record = records(out)
    assert (error["photograph"], record["faces"]) == (str(none), 2)
    assert [name for name in files(out) if name.startswith(("codes", "photo"))] == [
        "codes/two/1.safetensors",
        "codes/two/2.safetensors",
        "photographs/two.png",
    ]
    crops = [inverter.load(out / "codes" / "two" / f"{i}.safetensors").crop[0] for i in (1, 2)]
    assert abs(crops[0].quad[0][0] - crops[1].quad[0][0]) == pytest.approx(32, abs=1)
    assert padinv("invert", two, "-o", out, "--align", "--detector", detector, "--faces", "all") == 0
    assert "1 of 1 were done already" in capsys.readouterr().out
    assert padinv("invert", two, "-o", out, "--align", "--detector", detector, "--faces", 0, "--overwrite") == 0
    assert [name for name in files(out) if name.startswith("codes")] == ["codes/two.safetensors"]


def test_several_faces_and_a_name_with_two_endings(
    padinv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("padinv.bulk.running.FaceDetector", partial(FaceDetector, sizes=[128]))
    detector = write_detection_model(tmp_path / "detector.onnx")
    one, two = blocks(tmp_path / "a.png", 1), blocks(tmp_path / "a.png.png", 2)
    out = tmp_path / "out"
    for photographs in ([two], [one], [one, two]):  # also in runs after each other
        args = [*photographs, "-o", out, "--align", "--detector", detector, "--faces", "all"]
        assert padinv("invert", *args) == 0
    assert [name for name in files(out) if name.startswith("codes")] == [
        "codes/a.png_/1.safetensors",
        "codes/a.png_/2.safetensors",
        "codes/a.safetensors",
    ]
    assert [record["name"] for record in records(out)] == ["a", "a.png"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there every name is UTF-8")
def test_names_that_are_no_utf8(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    shutil.copy(photographs / "a.png", folder / "b\udce9.png")
    assert padinv("invert", folder, "-o", folder / "out") == 0
    assert padinv("edit", folder / "out" / "codes", "--truncation", 0.5, "-o", tmp_path / "edited") == 0
    assert [record["name"] for record in records(tmp_path / "edited")] == ["b_"]


def test_another_command_in_the_folder(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert padinv("invert", photographs / "a.png", "-o", out) == 0
    before = files(out)
    with hold(out) as other:
        assert padinv("invert", photographs, "-o", out) == 1
        assert f"Another command writes into {out} (padinv invert, process {other.pid}" in capsys.readouterr().err
        other.communicate()
    assert files(out) == before
    assert padinv("invert", photographs, "-o", out) == 0


def test_the_folder_is_removed_in_the_meantime(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    step = BulkInversion.predict_step

    def removing(self: BulkInversion, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1:
            shutil.rmtree(out)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(BulkInversion, "predict_step", removing)
    assert padinv("invert", photographs, "-o", out, "--batch-size", 1) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"padinv: The results of {photographs / 'b.jpg'} are lost: {out} was removed")
    assert not out.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
def test_a_full_disk(padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files does what a full disk does: the system refuses to write on."""
    import resource

    out = tmp_path / "out"
    assert padinv("invert", photographs / "a.png", "-o", out) == 0
    largest = max(path.stat().st_size for path in out.rglob("*") if path.is_file())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, before[1]))
    try:
        assert padinv("invert", photographs, "-o", out) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"padinv: The results of {photographs / 'b.jpg'} are lost: {out}" in last
    assert "cannot be written (File too large): make room there" in last
    assert padinv("invert", photographs, "-o", out) == 0
    assert not list(out.rglob(".*"))


def test_a_saved_code_is_read_and_made_again(
    padinv: Command, photographs: Path, inverter: Inverter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    padinv("invert", photographs, "-o", tmp_path / "first")
    assert padinv("invert", tmp_path / "first" / "codes", "-o", tmp_path / "second") == 0
    for name in "abc":
        first, second = (pixels(tmp_path / folder / "images" / f"{name}.png") for folder in ("first", "second"))
        assert np.abs(first - second).max() <= 1
    assert all("mse" not in record for record in records(tmp_path / "second"))
    # There is no photograph to paste it into, and it is done nevertheless.
    args = [tmp_path / "first" / "codes", "-o", tmp_path / "third", "--landmarks", RAW / "landmarks.json"]
    assert padinv("invert", *args) == padinv("invert", *args) == 0
    assert "3 of 3 were done already" in capsys.readouterr().out
    again = Inversion.load(tmp_path / "second" / "codes" / "a.safetensors", inverter.generator)
    assert isinstance(again, Inversion)


def test_workers_decode(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    assert padinv("invert", photographs, "-o", tmp_path / "out", "--workers", 1) == 0
    assert len(records(tmp_path / "out")) == 3


@pytest.mark.slow
def test_most_of_the_time_is_imports(model: Path, photographs: Path, tmp_path: Path) -> None:
    """In seconds of the processor, of which busy machines take more: so next to what the libraries alone take.

    With the bundled model, on two cores of which one was busy with something else, and one thread (medians of five):
    the libraries took 6.8 s, and the command 7.7 s in all.
    """

    def seconds(*words: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, *words], check=True, capture_output=True, env=ENVIRONMENT)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    libraries = seconds("-c", "import torch, torchvision, torchmetrics, pytorch_lightning")
    args = ["invert", str(photographs / "a.png"), "-o", str(tmp_path / "out"), "--model", str(model)]
    code = (
        f"import sys; from padinv.cli import main; main({args}); heavy = ['kornia', 'insightface', 'onnxruntime', "
        "'onnx2torch', 'wandb', 'sklearn', 'lpips', 'jsonargparse']; sys.exit(any(m in sys.modules for m in heavy))"
    )
    assert seconds("-c", code) < 2 * libraries


def done(output: Path) -> list[dict[str, Any]]:
    return [record for record in records(output) if "name" in record]


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_share_the_work(padinv: Command, model: Path, photographs: Path, tmp_path: Path) -> None:
    padinv("invert", photographs, "-o", tmp_path / "one")
    (photographs / "bad.png").write_text("a text")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "padinv", "invert", str(photographs), "-o", str(out), "--model", str(model)]
    for photographs_left in (3, 1):
        result = subprocess.run(
            [*command, "--device", "cpu", "--devices", "2", "--batch-size", "1"],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=600,
        )
        assert result.returncode == 1, result.stderr
        assert "bad.png cannot be read" in result.stderr
        assert [record.get("name") for record in records(out)] == ["a", "b", None, "c"]
        for record, alone in zip(done(out), records(tmp_path / "one"), strict=True):
            assert record["mse"] == pytest.approx(alone["mse"], rel=1e-4)
        assert (f"{4 - photographs_left} of 4 were done" in result.stdout) == (photographs_left == 1)
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[2])["error"].startswith(str(photographs))


def test_mtcnn_finds_faces_and_is_in_the_record(
    padinv: Command, tmp_path: Path, inverter: Inverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mtcnnruntime", reason='MTCNN needs pip install "padinv[faces]"')
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    out = tmp_path / "out"
    assert padinv("invert", RAW / "A000378.jpg", "-o", out, "--align") == 0
    (record,) = records(out)
    assert record["detector"] == "mtcnn"
    assert inverter.load(out / "codes" / "A000378.safetensors").detector == "mtcnn"
    assert padinv("invert", RAW / "A000378.jpg", "-o", out, "--align", "--detector", "mtcnn") == 0  # the same results


class OneFace:
    """Stands for a detector on this machine: it sees a face of the right size in all that is not black."""

    def __call__(self, photograph: torch.Tensor) -> torch.Tensor:
        points = torch.tensor([[46.0, 58], [82, 58], [64, 80], [47, 96], [81, 96]]) * photograph.shape[-1] / 128
        return points[None] if photograph.max() > -0.9 else torch.empty(0, 5, 2)


def test_what_is_no_crop_of_a_face_is_told(
    padinv: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("padinv.inversion.detectors.Glance.detectors", [OneFace()])
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in "bcdef":
        Image.new("RGB", (60, 50)).save(folder / f"{name}.png")
    Image.new("RGB", (60, 50), "grey").save(folder / "a.png")
    Image.new("RGB", (32, 32)).save(folder / "aa.png")  # of the model's size
    assert padinv("invert", folder, "-o", tmp_path / "out") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "--align" in line]
    assert [line.split(": ")[1] for line in lines] == [str(folder / f"{name}.png") for name in "bcd"]
    assert lines[2].endswith("add --align. Other photographs are not looked at.")
    points = [[12, 14], [26, 14], [19, 20], [13, 27], [25, 27]]
    (tmp_path / "points.json").write_text(json.dumps({"b.png": points}))
    assert padinv("invert", folder / "b.png", "-o", tmp_path / "aligned", "--landmarks", tmp_path / "points.json") == 0
    told = capsys.readouterr().err
    assert "--align" not in told
    assert f"{folder / 'b.png'}: its face measures" not in told  # less than twice the model's 32 px


def test_a_model_of_something_else_than_faces_says_nothing_of_them(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    none = [lambda photograph: torch.empty(0, 5, 2)]
    monkeypatch.setattr("padinv.inversion.detectors.Glance.detectors", none)
    assert padinv("invert", photographs, "-o", tmp_path / "out") == 0
    assert "--align" not in capsys.readouterr().err

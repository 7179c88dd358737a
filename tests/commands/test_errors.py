"""Whatever a user gives that cannot work is one sentence and exit code 1."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

import image_files
from command_files import Command, files

BAD = {
    "text.png": (b"a text\n" * 20, "it is not an image"),
    "empty.png": (b"", "the file is empty"),
    "cut.jpg": (image_files.BROKEN["cut.jpg"], "truncated"),
    "dot.png": (image_files.encode(Image.new("RGB", (1, 1))), "it has 1×1 pixels, and the smallest has 8×8"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC or AVIF image"),
    "bomb.png": (image_files.png_header(20_000, 20_000), "larger than the limit of 89,478,485 pixels"),
    "text.txt": (b"a text", "it is not an image"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_photographs(padinv: Command, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    assert padinv("invert", tmp_path / name, "-o", tmp_path / "out") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("padinv: ")]
    assert line.startswith(f"padinv: {tmp_path / name} cannot be read: ")
    assert reason in line
    assert files(tmp_path / "out") == ["metrics.jsonl"]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["invert", "{empty}"], "no images under"),
        (["invert", "{empty}/*.png"], "No file matches"),
        (["invert", "{empty}/a.png"], "There is no file"),
        (
            ["invert", "https://a.org/b.jpg"],
            "https://a.org/b.jpg is a URL, and photographs are not fetched: download it",
        ),
        (["invert", "{photo}", "-o", "s3://b"], "--output must be a folder of this machine, not the URL s3://b"),
        (["invert", "{photo}", "--aling"], "there is no option --aling: did you mean --align; padinv invert --help"),
        (["invert", "{photo}", "-o", ""], "--output must be a folder, and is empty"),
        (["edit", "{photo}", "--strenth=1", "--output"], "there is no option --strenth: did you mean --strength;"),
        (["invert", "{photo}", "-o", "{photo}"], "Nothing can be written to"),
        (["invert", "{photo}", "-o", "{photo}/out"], "Nothing can be written to"),
        (["invert", "{photo}", "--batch-size", "0"], "--batch-size must be 1 or more"),
        (["invert", "{photo}", "--batch-size", "99999999999999999999"], "--batch-size must be 2,147,483,647 or less"),
        (["invert", "{photo}", "--workers", "999999"], "--workers must be from 0 to 1024"),
        (["invert", "{photo}", "--generator", ""], "A path is empty"),
        (["invert", "{photo}", "--landmarks", ""], "--landmarks must be a file, and is empty"),
        (["invert", "{photo}", "--align", "--faces", "-1"], "or a number from 0 on, not '-1'"),
        (["invert", "{photo}", "--num-nodes", "2"], "nothing tells this machine which of them it is"),
        (["invert", ""], "A path is empty; a dot is the current folder"),
        (["invert", "", "{photo}"], "A path is empty"),
        (["invert", "-"], "not read from standard input"),
        (["invert", "~no-such-user/a.png"], "a user whom this machine does not have"),
        (["invert", "{photo}", "-o", "~no-such-user/out"], "a user whom this machine does not have"),
        (["invert", "{photo}", "--model", ""], "A path is empty"),
        (["invert", "{photo}", "--refine", "-1"], "--refine must be 0 or more"),
        (["invert", "{photo}", "--refine-features", "16"], "--refine-features is for refining: give --refine, too"),
        (["invert", "{photo}", "--refine", "1", "--refine-features", "128"], "features names [128] px"),
        (["invert", "{photo}", "--device", "tpu"], "--device must be one of"),
        (["invert", "{photo}", "--device", "cuda"], "there is none on this machine"),
        (["invert", "{photo}", "--precision", "16"], "--precision 16 needs a CUDA device"),
        (["invert", "{photo}", "--faces", "some"], "--faces must be largest, all"),
        (["invert", "{photo}", "--faces", "all"], "--faces and --detector are for aligning"),
        (["invert", "{photo}", "--landmarks", "{empty}/none.json"], "none.json cannot be read"),
        (["invert", "{photo}", "--model", "nothing"], "nothing"),
        (["invert", "{photo}", "--model", "https://a.org/b.ckpt"], "https://a.org/b.ckpt needs its SHA-256"),
        (["invert", "{photo}", "--sha256", "0" * 64], "encoder.safetensors has the SHA-256"),
        (["directions", "--find", "sefa", "--sha256", "12"], "sha256 must be 64 hexadecimal digits, not '12'"),
        (["edit", "{photo}"], "There is nothing to edit"),
        (["edit", "{photo}", "--direction", "age", "--directions", "{empty}"], "There are no directions"),
        (["edit", "{photo}", "--direction", "age", "--directions", "{directions}"], "There is no direction 'age'"),
        (["edit", "{photo}", "--direction", "sefa-0", "--strength", "1", "--strength", "2"], "once for each"),
        (["edit", "{photo}", "--strength", "2"], "give --direction"),
        (
            ["edit", "{photo}", "--direction", "sefa-0", "--padding-strength", "1", "--padding-strength", "2"],
            "once for",
        ),
        (["edit", "{photo}", "--truncation", "0.5", "--layers", "99"], "layers must be among 0-7"),
        (
            ["edit", "{photo}", "--direction", "sefa-0", "--strength", "nan"],
            "--strength must be a finite number, not nan",
        ),
        (["edit", "{photo}", "--direction", "sefa-0", "--strength", "-inf"], "--strength must be a finite number"),
        (
            ["edit", "{photo}", "--direction", "sefa-0", "--padding-strength", "inf"],
            "--padding-strength must be a finite",
        ),
        (["edit", "{photo}", "--truncation", "nan"], "--truncation must be a finite number"),
        (["edit", "{photo}", "--direction", "sefa-0", "--strength=--"], "--strength must have a value, not --"),
        (["edit", "{photo}", "--strength"], "--strength: expected one argument; padinv edit --help lists"),
        (["transfer", "{photo}", "{photo}", "{photo}", "--strength", "NaN"], "--strength must be a finite number"),
        (["transfer", "{photo}", "{photo}", "{photo}", "--padding-strength", "1e999"], "--padding-strength must be"),
        (["directions", "{photo}", "--strengths", "-1", "nan"], "--strengths must be a finite number"),
        (["directions", "--find", "sefa", "--count", "0"], "--count must be 1 or more"),
        (["interpolate", "{photo}", "{photo}", "--fps", "nan"], "--fps must be a finite number"),
        (["interpolate", "{photo}", "{photo}", "--frames", "1e9"], "--frames must be a whole number"),
        (["invert", "{photo}", "--refine", "1.5"], "--refine must be a whole number, not '1.5'"),
        (["show", "{photo}", "--tile", "99999"], "--tile must be from 64 to 4096"),
        (["blend", "{photo}", "{photo}", "--rings", "x"], "--rings must be resolutions"),
        (["blend", "{photo}", "{photo}", "--rings", "64"], "rings names [64] px"),
        (["blend", "{empty}", "{photo}"], "no images under"),
        (["blend", "{empty}/text.png", "{photo}"], "There is no file"),
        (["interpolate", "{photo}"], "Two photographs or more"),
        (["interpolate", "{photo}", "{photo}", "--frames", "1"], "--frames must be from 2 to"),
        (["show", "{photo}", "--tile", "8"], "--tile must be from 64"),
        (["show", "{other}"], "was made with the generator"),
        (["invert", "{directions}"], "holds no inversion"),
        (["directions", "--find", "linear"], "--find linear needs photographs"),
        (["directions", "--find", "sefa"], "--output must be given"),
        (["directions", "--find", "sefa", "--count", "99"], "count must be from 1 to 16"),
    ],
)
def test_bad_options(
    padinv: Command,
    args: list[str],
    reason: str,
    photographs: Path,
    other_code: Path,
    directions_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"photo": photographs / "a.png", "empty": empty, "other": other_code, "directions": directions_file}
    words = [word.format(**places) for word in args]
    needs_output = "-o" not in words and "--output" not in reason and "needs photographs" not in reason
    capsys.readouterr()
    assert padinv(words[0], *words[1:], *(["-o", tmp_path / "out"] if needs_output else [])) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("padinv: ")]
    assert reason in line


@pytest.mark.parametrize("command", ["invert", "edit", "blend", "transfer", "interpolate", "directions", "show"])
def test_help(command: str, padinv: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        padinv(command, "--help")
    assert end.value.code == 0
    assert f"usage: padinv {command}" in capsys.readouterr().out


def test_a_folder_to_read_only(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("padinv.files.TemporaryFile", refuse)  # root may write where permissions forbid it
    assert padinv("invert", photographs / "a.png", "-o", tmp_path / "out") == 1
    assert f"Nothing can be written to {tmp_path / 'out'} (Read-only file system)" in capsys.readouterr().err
    assert files(tmp_path) == ["photographs/a.png", "photographs/b.jpg", "photographs/c.png"]


def test_a_folder_that_becomes_unwritable(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "images").write_text("a file where the folder should be")
    assert padinv("invert", photographs / "a.png", "-o", out) == 1
    assert f"{out / 'images' / 'a.png'} cannot be written" in capsys.readouterr().err

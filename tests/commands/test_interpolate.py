from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command_files import Command, files, pixels
from padinv import InversionCode, Inverter
from padinv.commands.interpolate import enlarged, frames, write_gif


def test_gif(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--frames", 4, "--fps", 10, "--loop"]
    assert padinv("interpolate", photographs / "a.png", photographs / "c.png", "-o", out, *options) == 0
    with Image.open(out / "interpolation.gif") as animation:
        assert (animation.n_frames, animation.info["duration"], animation.info["loop"]) == (4 + 3, 100, 0)
        first = np.asarray(animation.convert("RGB")).astype(int)
        animation.seek(3)
        last = np.asarray(animation.convert("RGB")).astype(int)
    for frame, name in ((first, "a"), (last, "c")):
        image = enlarged(pixels(out / "images" / f"{name}.png").astype(np.uint8)).astype(int)
        assert frame.shape == (256, 256, 3)
        assert np.abs(frame - image).mean() < 8  # 256 colours
    assert "codes/a.safetensors" in files(out)


def test_a_photograph_may_come_twice(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    a, c = photographs / "a.png", photographs / "c.png"
    assert padinv("interpolate", a, c, a, "-o", tmp_path / "out", "--frames", 3) == 0
    with Image.open(tmp_path / "out" / "interpolation.gif") as animation:
        assert animation.n_frames == 3 + 2
        frames = []
        for number in (0, 2, 4):
            animation.seek(number)
            frames.append(np.asarray(animation.convert("RGB")).astype(int))
    assert np.abs(frames[0] - frames[2]).mean() < np.abs(frames[0] - frames[1]).mean() / 4


def test_latents_alone_and_a_photograph(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "latents.npy", np.zeros((8, 16), np.float32))
    assert padinv("interpolate", tmp_path / "latents.npy", photographs / "a.png", "-o", tmp_path / "out") == 1
    assert "padinv: latents has latents alone, and others have padding, too" in capsys.readouterr().err


def test_frames_go_through_all_codes_and_stop_nowhere(model: Path) -> None:
    inverter = Inverter.from_pretrained(model, device="cpu", batch_size=4)
    torch.manual_seed(0)
    codes = [inverter.encode(torch.rand(1, 3, 32, 32) * 2 - 1) for _ in range(3)]
    pictures = list(frames(inverter, codes, 5, "linear"))
    assert len(pictures) == 5 + 4
    ends = inverter.reconstruct(InversionCode.cat(codes)).clamp(-1, 1).permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    for picture, end in zip((pictures[0], pictures[4], pictures[8]), ends, strict=True):
        assert picture.dtype == np.uint8
        assert np.abs(picture - end).max() <= 1


def test_mp4(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="an extra")
    out = tmp_path / "out"
    options = ["--frames", 6, "--fps", 12, "--format", "mp4", "--easing", "linear"]
    assert padinv("interpolate", photographs / "a.png", photographs / "c.png", "-o", out, *options) == 0
    video = out / "interpolation.mp4"
    assert ffmpeg.count_frames_and_secs(str(video)) == (6, pytest.approx(6 / 12))
    decode = [ffmpeg.get_ffmpeg_exe(), "-i", str(video), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True).stdout
    pictures = np.frombuffer(raw, np.uint8).reshape(6, 256, 256, 3).astype(int)
    for picture, name in ((pictures[0], "a"), (pictures[-1], "c")):
        image = enlarged(pixels(out / "images" / f"{name}.png").astype(np.uint8)).astype(int)
        assert np.abs(picture - image).mean() < 12  # half of the colours' resolution


def test_mp4_without_its_package(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert padinv("interpolate", photographs, "-o", tmp_path / "out", "--format", "mp4") == 1
    assert 'pip install "padinv[video]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_gif_takes_frames_one_at_a_time(tmp_path: Path) -> None:
    made = []

    def pictures() -> object:
        for value in range(5):
            made.append(value)
            yield np.full((8, 8, 3), 50 * value, np.uint8)

    write_gif(pictures(), tmp_path / "a.gif", fps=50)
    with Image.open(tmp_path / "a.gif") as animation:
        assert (animation.n_frames, animation.info["duration"]) == (5, 20)
    assert made == list(range(5))

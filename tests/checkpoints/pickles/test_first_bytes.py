"""What is no checkpoint says what it is, and what to do: no exception's name, no raw key."""

from __future__ import annotations

import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import formats
from padinv import load_generator
from padinv.checkpoints.pickles.first_bytes import kind_of
from padinv.exceptions import CheckpointError


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("network.pth"))
    return file.getvalue()


def numpy_file() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def saved(**options: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"g_ema": formats.small_rosinality()}, file, **options)
    return file.getvalue()


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "page": (b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning", "web page.* in a browser"),
    "page in capitals": (b"\xef\xbb\xbf\n <HTML>\n<body>404", "web page"),
    "page in UTF-16": ("\ufeff<!DOCTYPE html><html>".encode("utf-16-le"), "web page"),
    "page in UTF-16, big-endian": ("\ufeff<html>".encode("utf-16-be"), "web page"),
    "page in UTF-16 without a mark": ("<html>".encode("utf-16-le"), "web page"),
    "page behind a comment": (b"<!-- saved -->\n<html>", "web page"),
    "page as XML": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "', "web page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
    "XML without a head": (b"<Error><Code>NoSuchKey</Code></Error>", "an XML document"),
    "JSON": (b'{"error": "Repository not found"}', "JSON text"),
    "JSON like safetensors": (b'{"json":{"a": 1}}', "JSON text"),
    "JSON over lines": (b'{\n  "metadata": {\n    "total_size": 1}}', "JSON text"),
    "JSON list": (b"[1, 2]", "JSON text"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s12--ab.pth\n", "git annex get"),
    "PNG": (picture("PNG"), r"image \(PNG\)"),
    "JPEG": (picture("JPEG"), r"image \(JPEG\)"),
    "GIF": (picture("GIF"), r"image \(GIF\)"),
    "WebP": (picture("WEBP"), r"image \(WebP\)"),
    "BMP": (picture("BMP"), r"image \(BMP\)"),
    "TIFF": (picture("TIFF"), r"image \(TIFF\)"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', r"image \(SVG\)"),
    "video": (b"\0\0\0\x20ftypisom\0\0\2\0", "a video"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "an ONNX file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
    "GGUF": (b"GGUF\3\0\0\0", "a GGUF file"),
    "tar": (tar(), "a tar archive: unpack it"),
    "gzip": (b"\x1f\x8b\x08\0", r"compressed \(gzip\): unpack it"),
    "xz": (b"\xfd7zXZ\0", "compressed"),
    "7z": (b"7z\xbc\xaf\x27\x1c", "archive"),
    "npy": (numpy_file(), "a NumPy array"),
    "npz": (zipped("latents.npy"), r"zip archive, but not of torch\.save, a NumPy archive"),
    "TorchScript": (zipped("net/data.pkl", "net/constants.pkl", "net/code/__torch__.py"), "a TorchScript program"),
    "zip of a checkpoint": (zipped("weights/network.pth", "readme.txt"), "around a checkpoint: unpack it"),
    "zip of something": (zipped("word/document.xml"), r"zip archive, but not of torch\.save\."),
    "lzma": (b"\x5d\0\0\x80\0" + b"\xff" * 8, r"compressed \(compress, lzma"),
    "page behind comments": (b"<!-- a -->\n<!-- b --><!doctype html>", "web page"),
    "page without a head": (b"<title>Sign in</title><script>", "web page"),
    "shortcut of Windows": (b"L\0\0\0\x01\x14\x02\0" + bytes(60), "a link, not the file itself"),
    "shortcut to a page": (b"[InternetShortcut]\r\nURL=https://drive.google.com/", "a link, not the file itself"),
    "shortcut of macOS": (b"bplist00\xd1\x01\x02SURL", "a link, not the file itself"),
    "resource fork": (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "macOS keep beside a file"),
    "zone": (b"[ZoneTransfer]\r\nZoneId=3\r\n", "Windows or macOS keep beside a file"),
    "DVC": (b"outs:\n- md5: a304afb96060aad90176268345e10355\n  size: 3\n", "dvc pull"),
    "SavedModel": (b"\x08\x01\x12\xd0\x8c\x01\n\xe4\x1e\n.\n\x0eAssignVariableOp\x12\x0c", "of TensorFlow"),
    "index of TensorFlow": (b"\0\0\x11\x08\x01\x1a\x02\x08\x01\0\x02\x08", "of TensorFlow"),
    "TFRecord": (b"\x14" + bytes(7) + b"\x12\x34\x56\x78\n\x12\n\x10image", "a TFRecord file"),
    "Core ML": (b"\x08\x04\x12\x9c\x02\n\x1e\n\x05input", "a Core ML model"),
    "ExecuTorch": (b"\x34\0\0\0ET12", "a program of ExecuTorch"),
    "Flax": (b"\x82\xa6params\x81\xa5dense\x81\xa6kernel\xc7\x10\x01", "a MessagePack file"),
    "Parquet": (b"PAR1\x15\x04", "a table"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(90), "a MATLAB file"),
    "Photoshop": (b"8BPS\0\x01", "an image"),
    "sound": (b"ID3\x04\0\0", "sound"),
    "LMDB": (bytes(16) + b"\xde\xc0\xef\xbe" + bytes(100), "a database"),
    "office": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "a document of Microsoft Office"),
    "PDF": (b"%PDF-1.7", "a PDF"),
    "program": (b"\x7fELF\2\1\1", "a program"),
    "script": (b"#!/bin/sh\necho\n", "a program"),
    "text": (b"model:\n  resolution: 256\n", "it is text"),
    "long text": ("Überschrift\n".encode() * 200, "it is text|damaged"),
    "zeros": (bytes(2000), "zeros"),
    "cut archive": (saved()[:-700], "ends early"),
    "cut stream": (saved(_use_new_zipfile_serialization=False)[:-700], "ends early"),
    "cut pickle": (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94", "ends early"),
    "noise": (np.random.Generator(np.random.PCG64(0)).bytes(500), "damaged, or no checkpoint|cannot be read"),
}


def test_a_stream_that_is_cut_anywhere(tmp_path: Path) -> None:
    """The order of its storages is that of addresses in memory: any of them may be the last, also one of four bytes."""
    content, path = saved(_use_new_zipfile_serialization=False), tmp_path / "network.pth"
    for cut in [*range(1, 100), *range(100, len(content), len(content) // 50)]:
        path.write_bytes(content[:-cut])
        with pytest.raises(CheckpointError, match=r"ends? early"):
            load_generator(path)


@pytest.mark.parametrize("name", FILES)
def test_what_it_is(tmp_path: Path, name: str) -> None:
    content, what = FILES[name]
    path = tmp_path / "network.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"(?s){what}") as raised:
        load_generator(path)
    message = str(raised.value)
    assert message.startswith(f"{path} cannot be read: it ")
    assert not any(word in message for word in ("Error", "Exception", "opcode"))


def test_very_many_comments_are_no_reason_to_wait() -> None:
    start = time.process_time()
    assert kind_of(b"<!---->" * 200) is None
    assert time.process_time() - start < 0.5


def test_folders_and_pipes(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder: .*none of a known ending"):
        load_generator(tmp_path)
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"is a folder: give the path of a checkpoint, such as last\.ckpt"):
        load_generator(tmp_path)
    (tmp_path / ".metadata").touch()
    with pytest.raises(CheckpointError, match="a distributed checkpoint"):
        load_generator(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="no regular file"):
        load_generator(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["a\0b", "n" * 5000])
def test_paths_that_no_file_can_have(path: str) -> None:
    with pytest.raises(CheckpointError, match=r"There is no file"):
        load_generator(path)


OTHERS = {
    "EG3D": ("backbone.synthesis.b4.conv1.weight", "superresolution.block0.conv0.weight"),
    "GANformer": ("synthesis.b8.conv0.weight", "synthesis.b8.conv0.transformer.to_queries.weight"),
    "StyleGAN3 of Hammer": ("synthesis.early_layer.frequency", "synthesis.layer0.weight"),
    "FastGAN": ("init.init.0.weight_orig", "se_64.main.1.weight_orig"),
    "a progressive GAN": ("layer0.weight", "output0.weight"),
    "a diffusion model": ("model.diffusion_model.input_blocks.0.0.weight",),
    "an ArcFace backbone": ("body.0.res_layer.0.weight", "output_layer.3.weight"),
}


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"models": {"generator": state}}])
@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures(tmp_path: Path, name: str, wrap: object) -> None:
    torch.save(wrap({key: torch.ones(1) for key in OTHERS[name]}), tmp_path / "network.pth")  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=rf"network\.pth holds {name}, but padinv works with StyleGAN2 alone"):
        load_generator(tmp_path / "network.pth")

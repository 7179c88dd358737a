"""edit, blend and transfer do what the functions of padinv.editing do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from code_samples import make_code
from command_files import Command, files, pixels, records, size
from padinv import InversionCode, Inverter
from padinv.bulk.task import BulkOptions
from padinv.commands.photographs import Blend, Edit
from padinv.editing import Direction, blend, face_mask, load_directions, mix, save_directions, transfer, truncate
from padinv.exceptions import ConfigError

A, B, C = "{folder}/a.png", "{folder}/b.jpg", "{folder}/c.png"


def edited(padinv: Command, args: list[Any], photographs: Path, out: Path) -> Callable[[Inverter, str], InversionCode]:
    words = [str(word).format(folder=photographs) for word in args]
    assert padinv(*words, "-o", out) == 0
    return lambda inverter, name: inverter.load(out / "codes" / f"{name}.safetensors").code


def assert_equal(code: InversionCode, expected: InversionCode) -> None:
    named, wanted = code.named_tensors(), expected.named_tensors()
    assert list(named) == list(wanted)
    for name, tensor in named.items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-4, rtol=1e-4)


def test_edit(padinv: Command, photographs: Path, tmp_path: Path, inverter: Inverter, directions_file: Path) -> None:
    out = tmp_path / "out"
    args = ["edit", A, B, "--directions", directions_file, "--direction", "sefa-1", "--strength", "-2"]
    load = edited(padinv, [*args, "--direction", "sefa-0", "--strength", "1", "--layers", "2-4"], photographs, out)
    known = load_directions(directions_file)
    for name in ("a.png", "b.jpg"):
        code = inverter.invert(photographs / name).code
        expected = known["sefa-0"].apply(known["sefa-1"].apply(code, -2, "2-4"), 1, "2-4")
        assert_equal(load(inverter, name[0]), expected)
    assert [record["name"] for record in records(out)] == ["a", "b"]
    assert all(record["mse"] > 0 for record in records(out))
    assert size(out / "grids" / "a.png") == (3 * 132 + 4, 136)  # photograph, reconstruction, result


@pytest.mark.parametrize(("options", "expected"), [([], -2.0), (["--padding-strength", "0.5"], 0.5)])
def test_edit_moves_padding_by_a_strength_of_its_own(
    padinv: Command, photographs: Path, tmp_path: Path, inverter: Inverter, options: list[str], expected: float
) -> None:
    code = inverter.invert(photographs / "a.png").code
    direction = Direction("wider", torch.ones(16), padding=code.padding.map(torch.ones_like))
    file = save_directions([direction], tmp_path / "directions.safetensors")
    args = ["edit", A, "--directions", file, "--direction", "wider", "--strength", "-2", *options]
    load = edited(padinv, args, photographs, tmp_path / "out")
    assert_equal(load(inverter, "a"), direction.apply(code, -2.0, padding_strength=expected))


@pytest.mark.parametrize(("given", "expected"), [([], -2.0), ([0.5], 0.5)])
def test_edit_moves_features_by_a_strength_of_its_own(tmp_path: Path, given: list[float], expected: float) -> None:
    code, step = make_code(features=True), make_code(1, 1, features=True)
    direction = Direction("wider", step.w_plus[0], padding=step.padding, features=step.features)
    file = save_directions([direction], tmp_path / "directions.safetensors")
    edit = Edit(direction=["wider"], strength=[-2.0], feature_strength=given, directions=str(file))
    edit.begin([], BulkOptions(tmp_path))
    assert_equal(edit.apply(code), direction.apply(code, -2.0, feature_strength=expected))
    with pytest.raises(ConfigError, match="--feature-strength must be given once for each"):
        Edit(direction=["wider"], feature_strength=[1.0, 2.0])


@pytest.mark.parametrize("face", [True, False])
def test_blend_takes_the_face_of_the_details(face: bool) -> None:
    contour, details = make_code(seed=1, features=True), make_code(seed=2, features=True)
    task = Blend(contour="unread", face=face)
    task.code = contour
    mask = face_mask(64) if face else None
    assert_equal(task.apply(details), blend(contour, details, mask=mask))


def test_edit_with_conditions_and_truncation(
    padinv: Command, photographs: Path, tmp_path: Path, inverter: Inverter, directions_file: Path
) -> None:
    args = ["edit", A, "--directions", directions_file, "--direction", "sefa-0", "--keep", "sefa-2"]
    load = edited(padinv, [*args, "--truncation", "0.5"], photographs, tmp_path / "out")
    known = load_directions(directions_file)
    code = truncate(inverter.invert(photographs / "a.png").code, inverter.generator, 0.5)
    assert_equal(load(inverter, "a"), known["sefa-0"].conditioned_on(known["sefa-2"]).apply(code))


def test_directions_in_the_folder_of_the_model_are_found(
    padinv: Command, photographs: Path, tmp_path: Path, model: Path, directions_file: Path
) -> None:
    import shutil

    shutil.copytree(model, tmp_path / "model")
    shutil.copy(directions_file, tmp_path / "model" / "directions.safetensors")
    args = ["edit", photographs / "a.png", "--direction", "sefa-0", "--model", tmp_path / "model"]
    assert padinv(*args, "-o", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], lambda contour, details: blend(contour, details)),
        (["--rings", "4,8"], lambda contour, details: blend(contour, details, rings=[4, 8])),
        (["--rings", "none"], lambda contour, details: blend(contour, details, rings=[])),
        (["--no-const"], lambda contour, details: blend(contour, details, const=False)),
        (
            ["--layers", "4-"],
            lambda contour, details: replace(mix(contour, details, "4-"), features=details.features),
        ),
        (
            ["--layers", "4-", "--rings", "4"],
            lambda contour, details: blend(
                contour, replace(details, w_plus=mix(contour, details, "4-").w_plus), rings=[4]
            ),
        ),
        (["--features", "16"], lambda contour, details: blend(contour, details, features=[16])),
    ],
)
def test_blend(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    inverter: Inverter,
    options: list[str],
    expected: Callable[[InversionCode, InversionCode], InversionCode],
) -> None:
    out = tmp_path / "out"
    load = edited(padinv, ["blend", A, B, C, *options], photographs, out)
    contour = inverter.invert(photographs / "a.png").code
    for name in ("b.jpg", "c.png"):
        assert_equal(load(inverter, name[0]), expected(contour, inverter.invert(photographs / name).code))
    assert [name for name in files(out) if name.startswith("images")] == ["images/b.png", "images/c.png"]
    assert size(out / "grids" / "b.png")[0] == 4 * 132 + 4  # the contour goes before


def test_transfer(padinv: Command, photographs: Path, tmp_path: Path, inverter: Inverter) -> None:
    out = tmp_path / "out"
    args = ["transfer", A, B, C, A, "--strength", "0.5", "--padding-strength", "2", "--feature-strength", "-1"]
    load = edited(padinv, args, photographs, out)
    a, b, c = (inverter.invert(photographs / name).code for name in ("a.png", "b.jpg", "c.png"))
    assert_equal(load(inverter, "c"), transfer(a, b, c, 0.5, 2, -1))
    assert_equal(load(inverter, "a"), transfer(a, b, a, 0.5, 2, -1))
    assert size(out / "grids" / "c.png")[0] == 5 * 132 + 4


def test_transfer_between_the_means_of_pairs(
    padinv: Command, photographs: Path, tmp_path: Path, inverter: Inverter
) -> None:
    befores, afters, out = tmp_path / "befores", tmp_path / "afters", tmp_path / "out"
    for folder, names in ((befores, ("a.png", "c.png")), (afters, ("b.jpg", "a.png"))):
        folder.mkdir()
        for name in names:
            shutil.copy(photographs / name, folder)
    assert padinv("transfer", befores, afters, photographs / "c.png", "-o", out) == 0
    a, b, c = (inverter.invert(photographs / name).code for name in ("a.png", "b.jpg", "c.png"))
    means = (InversionCode.cat([*pair]).mean() for pair in ((a, c), (a, b)))
    assert_equal(inverter.load(out / "codes" / "c.safetensors").code, transfer(*means, c))
    assert padinv("transfer", befores, afters, photographs / "c.png", "-o", out) == 0  # done already
    padinv("invert", befores, "-o", tmp_path / "codes")  # the codes of a folder of results
    padinv("transfer", tmp_path / "codes", afters, photographs / "c.png", "-o", out)
    means = (InversionCode.cat([*pair]).mean() for pair in ((a, c), (a, b)))
    assert_equal(inverter.load(out / "codes" / "c.safetensors").code, transfer(*means, c))


def test_codes_go_in_place_of_photographs(
    padinv: Command, photographs: Path, tmp_path: Path, inverter: Inverter
) -> None:
    padinv("invert", photographs, "-o", tmp_path / "codes")
    codes = tmp_path / "codes" / "codes"
    out = tmp_path / "out"
    assert padinv("blend", codes / "a.safetensors", codes / "b.safetensors", "-o", out) == 0
    contour, details = (inverter.load(codes / f"{name}.safetensors").code for name in "ab")
    assert_equal(inverter.load(out / "codes" / "b.safetensors").code, blend(contour, details))


def test_another_reference_is_another_command(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    a, b, c = (photographs / name for name in ("a.png", "b.jpg", "c.png"))
    assert padinv("blend", a, c, "-o", out) == 0
    assert padinv("blend", b, c, "-o", out) == 1
    assert "choose another --output" in capsys.readouterr().err
    assert padinv("blend", a, c, "-o", out) == 0
    assert "1 of 1 were done already" in capsys.readouterr().out


def test_aligned_edits_are_pasted_back(padinv: Command, tmp_path: Path, directions_file: Path) -> None:
    raw = Path(__file__).parents[1] / "data" / "raw-portraits"
    photograph = raw / "A000378.jpg"
    for strength in (0, 3):
        args = ["--directions", directions_file, "--direction", "sefa-0", "--strength", strength]
        out = tmp_path / str(strength)
        assert padinv("edit", photograph, *args, "-o", out, "--landmarks", raw / "landmarks.json") == 0
    still, moved = (pixels(tmp_path / s / "photographs" / "A000378.png") for s in ("0", "3"))
    assert (still != moved).any()
    assert (still[:2] == moved[:2]).all()  # away from the face


def altered(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Writes a saved code again with other tensors."""
    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        save_file(change(tensors), target, metadata=file.metadata())


BAD_CODES: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "nan": (lambda code: code | {"w_plus": code["w_plus"] * torch.nan}, "its code has NaN or infinite numbers"),
    "inf": (lambda code: code | {"ring_8": code["ring_8"] + torch.inf}, "its code has NaN or infinite numbers"),
    "whole": (lambda code: code | {"w_plus": code["w_plus"].int()}, "floating-point numbers, not torch.int32"),
    "short": (lambda code: code | {"w_plus": code["w_plus"][:, :4].contiguous()}, "style latents (B, 8, 16), not"),
    "narrow": (lambda code: code | {"ring_8": code["ring_8"][:, :4].contiguous()}, "a ring of 4 channels at 8 px"),
    "none": (lambda code: {"ring_8": code["ring_8"]}, "its parts make no sense"),
    "two": (lambda code: code | {"const": torch.cat([code["const"]] * 2)}, "its parts make no sense"),
    "huge": (lambda code: code | {"w_plus": torch.full_like(code["w_plus"], 3e38)}, "NaN or infinite numbers for it"),
}


def test_one_bad_code_is_not_that_of_the_others(
    padinv: Command, photographs: Path, tmp_path: Path, other_code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert padinv("invert", photographs / "a.png", "-o", tmp_path / "out") == 0
    codes = tmp_path / "codes"
    codes.mkdir()
    good = tmp_path / "out" / "codes" / "a.safetensors"
    for name, (change, _) in BAD_CODES.items():
        altered(good, codes / f"{name}.safetensors", change)
    shutil.copy(other_code, codes / "other.safetensors")
    for name, dtype in (("half", torch.float16), ("double", torch.float64)):
        altered(
            good, codes / f"{name}.safetensors", lambda code, dtype=dtype: {k: v.to(dtype) for k, v in code.items()}
        )
    args = ["--truncation", "0.5", "-o", tmp_path / "edited"]
    assert padinv("edit", codes, photographs / "b.jpg", *args) == 1
    done = {Path(record["photograph"]).stem: record for record in records(tmp_path / "edited")}
    assert {name for name, record in done.items() if "error" not in record} == {"half", "double", "b"}
    for name, (_, message) in {**BAD_CODES, "other": (None, "was made with the generator")}.items():
        assert message in done[name]["error"]
        assert f"{name}.safetensors" in done[name]["error"]
    assert "3 photographs" in capsys.readouterr().out


@pytest.mark.parametrize("network", ["encoder.PadInvEncoder", "generator.SynthesisNetwork"])
def test_networks_that_give_nan_are_reported_for_each_photograph(
    padinv: Command, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    module, _, name = network.partition(".")
    kind = getattr(import_module(f"padinv.networks.{module}"), name)
    forward = kind.forward

    def spoiled(self: torch.nn.Module, *args: Any) -> Any:
        made = forward(self, *args)
        return made.map(lambda tensor: tensor * torch.nan) if name == "PadInvEncoder" else made * torch.inf

    monkeypatch.setattr(kind, "forward", spoiled)
    assert padinv("invert", photographs, "-o", tmp_path / "out") == 1
    assert all("the networks give NaN" in record["error"] for record in records(tmp_path / "out"))
    assert not (tmp_path / "out" / "images").exists()


def test_latents_and_directions_of_other_tools(padinv: Command, tmp_path: Path, inverter: Inverter) -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 8, 16)
    torch.save(latents, tmp_path / "latents.pt")
    np.savez(tmp_path / "projected_w.npz", w=latents[:1].numpy())
    np.save(tmp_path / "one.npy", latents[1].numpy())
    np.save(tmp_path / "smile.npy", np.ones((1, 16), np.float32))
    out = tmp_path / "out"
    files = [tmp_path / name for name in ("latents.pt", "projected_w.npz", "one.npy")]
    args = ["--directions", tmp_path / "smile.npy", "--direction", "smile", "--strength", "-1e-1", "-o", out]
    assert padinv("edit", *files, *args) == 0
    for name, i in (("latents/1", 0), ("latents/2", 1), ("projected_w", 0), ("one", 1)):
        code = inverter.load(out / "codes" / f"{name}.safetensors").code
        torch.testing.assert_close(code.w_plus, latents[i, None] - 0.1)
        assert code.padding is None


def test_what_leads_too_far_is_said(
    padinv: Command, photographs: Path, tmp_path: Path, directions_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["edit", photographs / "a.png", "--directions", directions_file, "--direction", "sefa-0"]
    for strength, said in (("1", False), ("100", True)):
        assert padinv(*args, "--strength", strength, "-o", tmp_path / strength) == 0
        assert ("sefa-0 +100 is further than the direction was seen to hold" in capsys.readouterr().err) == said
    a = photographs / "a.png"
    assert padinv("transfer", a, photographs / "b.jpg", a, "--strength", "50", "-o", tmp_path / "transfer") == 0
    assert "50 times the difference of the pair" in capsys.readouterr().err
    assert padinv("edit", a, "--truncation", "30", "-o", tmp_path / "truncated") == 0
    assert "truncation 30 is far from 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["edit", A, "--directions", "{file}", "--direction", "sefa-0", "--layers", "99"],
        ["edit", A, "--directions", "{wrong}", "--direction", "wrong"],
        ["directions", A, "--directions", "{wrong}"],
        ["edit", A, "--directions", "{file}", "--direction", "sefa-0", "--keep", "none"],
        ["blend", A, B, "--layers", "99"],
        ["directions", A, B, "--directions", "{file}", "--layers", "99"],
        ["directions", A, "--find", "linear", "--labels", "{labels}", "--column", "age"],
        ["directions", A, "--find", "linear", "--labels", "{labels}", "--column", "tone", "--groups", "who"],
        ["directions", A, "--find", "linear", "--labels", "{labels}", "--column", "tone", "--layers", "99"],
        ["interpolate", A],
    ],
)
def test_nothing_is_encoded_before_the_options_are_right(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    directions_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
) -> None:
    np.save(tmp_path / "wrong.npy", np.ones((1, 512), np.float32))
    (tmp_path / "labels.csv").write_text("file,tone\na.png,light\nb.jpg,dark\n")
    places = {"folder": photographs, "file": directions_file, "wrong": tmp_path / "wrong.npy"}
    words = [word.format(**places, labels=tmp_path / "labels.csv") for word in args]

    def refuse(self: object, images: object) -> None:
        raise AssertionError("an encoder was called")

    monkeypatch.setattr("padinv.inversion.inverter.Inverter._encode_all", refuse)
    assert padinv(*words, "-o", tmp_path / "out") == 1


def test_scikit_learn_is_asked_for_first(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    options = ["--find", "linear", "--labels", tmp_path / "none.csv", "--column", "a", "-o", tmp_path / "out"]
    assert padinv("directions", photographs, *options) == 1
    assert 'pip install "padinv[editing]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

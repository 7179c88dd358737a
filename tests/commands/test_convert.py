from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import formats
import padinv
from padinv import Discriminator, Generator, Inverter, PadInvEncoder, load_discriminator, load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.commands.checkpoints import Convert, Inspect
from padinv.exceptions import CheckpointError


def ada(path: Path, **more: torch.Tensor) -> Path:
    return formats.write_ada(path, G_ema=formats.persistent({**formats.small_ada(), **more}))


def test_convert_keeps_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = ada(tmp_path / "network.pkl"), tmp_path / "new" / "network.safetensors"
    assert Convert.main([str(source), str(target)]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: Generator, 0.0 MB")
    z = torch.randn(2, 4)
    assert torch.equal(load_generator(target)(z), load_generator(source)(z))
    assert [file.name for file in target.parent.iterdir()] == [target.name]


def test_convert_other_networks(tmp_path: Path) -> None:
    target = tmp_path / "d.safetensors"
    assert Convert.main(["congress64", str(target), "--network", "discriminator"]) == 0
    images = torch.randn(4, 3, 64, 64)
    assert torch.equal(load_discriminator(target)(images), load_discriminator("congress64")(images))
    with pytest.raises(CheckpointError, match="holds no PadInvEncoder"):
        Convert.main([str(target), str(tmp_path / "e.safetensors"), "--network", "encoder"])


def test_convert_remembers_what_an_encoder_was_trained_for(tmp_path: Path) -> None:
    generator = load_generator("congress64")
    encoder = PadInvEncoder(generator.code_shape, resolution=64, depth=18, width=2)
    source = save_network(encoder, tmp_path / "e.safetensors", generator=fingerprint(generator))
    target = tmp_path / "again.safetensors"
    Convert.main([str(source), str(target), "--network", "encoder"])
    assert Inverter.from_pretrained(target).fingerprint == fingerprint(generator)


def test_convert_a_class(tmp_path: Path) -> None:
    embed = {"mapping.embed.weight": torch.randn(4, 3), "mapping.embed.bias": torch.zeros(4)}
    source = ada(tmp_path / "network.pkl", **embed, **{"mapping.fc0.weight": torch.randn(4, 8) * 100})
    for index in ("0", "2"):
        Convert.main([str(source), str(tmp_path / f"{index}.safetensors"), "--class-index", index])
    z = torch.randn(1, 4)
    images = [load_generator(tmp_path / f"{index}.safetensors")(z) for index in ("0", "2")]
    assert not torch.allclose(*images)
    with pytest.raises(CheckpointError, match=r"choose a class with class_index \(--class-index\), from 0 to 2"):
        Convert.main([str(source), str(tmp_path / "x.safetensors")])


def test_convert_refuses(tmp_path: Path) -> None:
    source = ada(tmp_path / "network.pkl")
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors"):
        Convert.main([str(source), str(tmp_path / "out.pt")])
    with pytest.raises(CheckpointError, match="is another file, or damaged"):
        Convert.main([str(source), str(tmp_path / "out.safetensors"), "--sha256", "0" * 64])
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        Convert.main([str(source), str(tmp_path / "file" / "out.safetensors")])


def inspected(path: Path | str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert Inspect.main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}


def test_inspect_tells_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ada(tmp_path / "network.pkl")
    told = inspected(path, capsys)
    assert told["format"] == "NVIDIA stylegan2-ada-pytorch (.pkl)"
    assert told["Generator"].startswith(
        "StyleGAN2, 8 px, 4 latents of 4, z of 4, 2 mapping layers, channels 4: 4, 8: 4, 0.00 M numbers, w_avg in"
    )
    assert told["load with"] == f"padinv.load_generator({str(path)!r})"
    load_generator(path)


def test_inspect_names_a_bundled_model_as_it_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert Inspect.main(["congress64"]) == 0
    printed = capsys.readouterr().out
    assert "padinv.load_generator('congress64')" in printed
    assert "padinv.load_encoder('congress64')" in printed
    assert "load with:     padinv.load_generator('/" not in printed


def test_inspect_conditional_and_without_w_avg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed = {"mapping.embed.weight": torch.randn(4, 3), "mapping.embed.bias": torch.zeros(4)}
    told = inspected(ada(tmp_path / "c.pkl", **embed, **{"mapping.fc0.weight": torch.randn(4, 8)}), capsys)
    assert told["classes"] == "3; choose one with class_index"
    assert told["Generator"].startswith("StyleGAN2, 8 px")
    assert told["load with"] == f"padinv.load_generator({str(tmp_path / 'c.pkl')!r}, class_index=0)"
    assert eval(told["load with"], {"padinv": padinv}).resolution == 8
    state = formats.small_rosinality()
    torch.save({"g_ema": state}, tmp_path / "r.pt")
    assert inspected(tmp_path / "r.pt", capsys)["Generator"].endswith("w_avg missing (estimated when loaded)")
    torch.save({"g_ema": {key: tensor for key, tensor in state.items() if "noises" not in key}}, tmp_path / "r.pt")
    assert "noise images missing (drawn when loaded)" in inspected(tmp_path / "r.pt", capsys)["Generator"]


def test_inspect_options_that_no_shape_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = Generator(8, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 4, 8: 4}, conv_clamp=256)
    discriminator = Discriminator(8, channels={4: 4, 8: 4}, conv_clamp=0.5, mbstd_group_size=None)
    told = inspected(save_network(generator, tmp_path / "g.safetensors"), capsys)
    assert "activations clamped at ±256" in told["Generator"]
    told = inspected(save_network(discriminator, tmp_path / "d.safetensors"), capsys)
    assert "activations clamped at ±0.5, minibatch statistic of all images" in told["Discriminator"]


def test_inspect_an_encoder_and_a_bundled_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = inspected("congress64", capsys)  # all of its files
    assert told["Generator"].startswith("StyleGAN2, 64 px, 10 latents of 256")
    assert told["Discriminator"].startswith("StyleGAN2, 64 px, channels")
    assert told["PadInvEncoder"].startswith("IResNet-SE, depth 18, 64 px, 10 latents of 256, padding at 4, 8, 16, 32")
    psp = {f"encoder.{key}": tensor for key, tensor in formats.state("psp", "encoder", divide=16).items()}
    torch.save({"state_dict": psp}, tmp_path / "psp.pt")
    told = inspected(tmp_path / "psp.pt", capsys)
    assert told["PadInvEncoder"].startswith("IResNet-SE, depth 50, 256 px, 10 latents of 32, W+ without padding")
    assert told["PadInvEncoder"].endswith("w_avg missing (give it to load_encoder as w_avg)")
    assert "load_encoder" in told["load with"]


def test_inspect_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = inspected(ada(tmp_path / "n.pkl", **{"synthesis.b4.const": torch.ones(3, 4, 4)}), capsys)
    assert told["Generator"].startswith("cannot be loaded")
    assert told["load with"] == "nothing: none of it fits"


def test_commands_are_light() -> None:
    code = "import sys, padinv.commands.checkpoints; sys.exit('pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ada(tmp_path / "a\x1b[2J\nb\u202e.pkl")
    assert Inspect.main([str(path)]) == 0
    target = tmp_path / "out\x1b]0;x\x07.safetensors"
    assert Convert.main([str(path), str(target)]) == 0
    printed = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(printed)
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError) as raised:
        load_generator(path)
    assert str(raised.value).isprintable()


def test_a_disk_that_is_read_only_or_full(tmp_path: Path) -> None:
    source = ada(tmp_path / "network.pkl")
    for place in ("/proc/new/out.safetensors", "/dev/full/out.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{place} cannot be written \(.*\): choose another place"):
            Convert.main([str(source), place])

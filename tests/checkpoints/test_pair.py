"""An encoder and its generator are found together, and every file is read once."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import formats
import padinv
from padinv import Generator, Inverter, PadInvEncoder, load_encoder, load_generator
from padinv.checkpoints import checkpoint, fingerprint, load_pair, save_network, sources
from padinv.checkpoints.cache import hash_file
from padinv.checkpoints.native import LIGHTNING_KEY
from padinv.cli import main
from padinv.exceptions import CheckpointError
from padinv.training.starting import weights_to_start_from


@pytest.fixture(scope="module")
def networks(generator_file: str) -> tuple[PadInvEncoder, Generator]:
    generator = load_generator(generator_file)
    torch.manual_seed(0)
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=2, w_avg=generator.w_avg)
    return encoder.requires_grad_(False).eval(), generator


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    read: list[str] = []

    def counted(reader: Callable[[Path], Any]) -> Callable[[Path], Any]:
        return lambda path: (read.append(path.name), reader(path))[1]

    for name in ("read_tensors", "read_pickle"):
        monkeypatch.setattr(checkpoint, name, counted(getattr(checkpoint, name)))
    return read


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def run_file(path: Path, trained_for: str, **named: nn.Module) -> Path:
    """What a training run leaves, of networks by their names in its state."""
    ours = {"generator": trained_for, **{type(network).__name__: network.config for network in named.values()}}
    state = {f"{name}.{key}": value for name, network in named.items() for key, value in network.state_dict().items()}
    return save({LIGHTNING_KEY: ours, "state_dict": state}, path)


def same(pair: tuple[nn.Module, nn.Module], other: tuple[nn.Module, nn.Module]) -> bool:
    return [fingerprint(network) for network in pair] == [fingerprint(network) for network in other]


def test_a_file_is_read_once(
    tmp_path: Path, networks: tuple[PadInvEncoder, Generator], reads: list[str], generator_file: str
) -> None:
    encoder, generator = networks
    native = save_network(encoder, tmp_path / "encoder.safetensors", generator=fingerprint(generator))
    both = run_file(tmp_path / "both.ckpt", fingerprint(generator), encoder=encoder, generator_ema=generator)
    for source, given, expected in (
        (native, generator_file, ["encoder.safetensors", Path(generator_file).name]),
        (native, generator, ["encoder.safetensors"]),
        (both, None, ["both.ckpt"]),
        (both, both, ["both.ckpt"]),  # named twice
    ):
        reads.clear()
        assert same(load_pair(source, given), networks)
        assert reads == expected
    reads.clear()
    assert fingerprint(load_encoder(both)) == fingerprint(encoder)
    assert main(["convert", str(both), str(tmp_path / "out.safetensors"), "--network", "encoder"]) == 0
    assert main(["inspect", str(both)]) == 0
    assert weights_to_start_from(encoder, str(both)).keys() == encoder.state_dict().keys()  # --model.encoder_weights
    assert reads == ["both.ckpt"] * 4
    reads.clear()
    assert load_pair(tmp_path / "out.safetensors", generator)[0].config == encoder.config
    assert reads == ["out.safetensors"]


def test_psp_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    state = {f"encoder.{key}": value for key, value in formats.state("psp", "encoder", divide=16).items()}
    state |= {f"decoder.{key}": value for key, value in formats.state("rosinality", "g_ema").items()}
    path = save({"state_dict": state, "opts": {"encoder_type": "GradualStyleEncoder"}}, tmp_path / "psp.pt")
    # The two are of different sizes, which is found last: the encoder takes the mean latent of the decoder.
    with pytest.raises(CheckpointError, match=r"w_avg is of another architecture: 'w_avg' has shape \(64,\)"):
        load_pair(path)
    assert reads == ["psp.pt"]


def test_a_bundled_pair_is_read_once(reads: list[str], tmp_path: Path) -> None:
    encoder, generator = load_pair("congress64")
    assert reads == ["congress64-encoder.safetensors", "congress64-generator.safetensors"]
    run = run_file(tmp_path / "last.ckpt", fingerprint(generator), encoder=encoder)
    reads.clear()
    assert same(load_pair(run), (encoder, generator))
    assert reads == ["last.ckpt", "congress64-generator.safetensors"]


def test_a_run_names_its_generator(
    tmp_path: Path, networks: tuple[PadInvEncoder, Generator], generator_file: str
) -> None:
    (tmp_path / "checkpoints").mkdir()
    last = run_file(tmp_path / "checkpoints" / "last.ckpt", fingerprint(networks[1]), encoder=networks[0])
    with pytest.raises(CheckpointError, match="without its generator"):
        load_pair(tmp_path)
    config = tmp_path / "config.yaml"
    for text in ("[", "model: 3", "model: {init_args: {generator: nowhere.pt}}"):
        config.write_text(text)
        with pytest.raises(CheckpointError, match="without its generator"):
            load_pair(tmp_path)
    config.write_text(f"model: {{init_args: {{generator: {generator_file}}}}}")
    with pytest.raises(CheckpointError, match="without its generator"):
        load_pair(last)  # a file stands for itself
    assert same(load_pair(tmp_path), networks)


def test_a_sha256(tmp_path: Path, networks: tuple[PadInvEncoder, Generator], monkeypatch: pytest.MonkeyPatch) -> None:
    """``https://`` asks for it, and both ways to a pair take it."""
    path = save_network(networks[0], tmp_path / "e.safetensors")
    url, sha256 = "https://example.org/e.safetensors", hash_file(path)
    monkeypatch.setattr(sources, "fetch", lambda asked, hashed: {(url, sha256): path}[asked, hashed])
    assert same(load_pair(url, networks[1], sha256), networks)
    inverter = Inverter.from_pretrained(url, networks[1], sha256=sha256, device="cpu")
    assert same((inverter.encoder, inverter.generator), networks)
    with pytest.raises(CheckpointError, match=r"needs its SHA-256.*give sha256="):
        Inverter.from_pretrained(url, networks[1])
    with pytest.raises(CheckpointError, match=f"has the SHA-256 {sha256}, not {'0' * 64}"):
        Inverter.from_pretrained(path, networks[1], sha256="0" * 64)


def test_what_is_no_encoder_says_so(tmp_path: Path, networks: tuple[PadInvEncoder, Generator]) -> None:
    path = save_network(networks[1], tmp_path / "g.safetensors")
    with pytest.raises(CheckpointError, match=r"g\.safetensors holds no PadInvEncoder, but a Generator"):
        load_pair(path)


def test_networks_are_named_by_their_classes_alone() -> None:
    """A kind of network is a class, which says its own name; only tables of public names spell it out."""
    named = {"Generator", "Discriminator", "PadInvEncoder"}
    source = Path(padinv.__file__).parent
    spelled = [
        f"{path.relative_to(source)}:{node.lineno}"
        for path in source.rglob("*.py")
        if path.name != "__init__.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in named
    ]
    assert spelled == []

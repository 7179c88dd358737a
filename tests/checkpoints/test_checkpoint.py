from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import formats
from padinv import Discriminator, Generator, PadInvEncoder, load_discriminator, load_encoder, load_generator
from padinv.checkpoints import fingerprint, open_checkpoint, save_network
from padinv.checkpoints.cache import hash_file
from padinv.checkpoints.native import LIGHTNING_KEY
from padinv.checkpoints.sources import resolve_source
from padinv.exceptions import CheckpointError, ConfigError

CHANNELS = {4: 8, 8: 4}


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(8, z_dim=6, w_dim=8, mapping_layers=2, channels=CHANNELS).eval()
    generator.w_avg.normal_()
    return generator.requires_grad_(False)


@pytest.fixture(scope="module")
def encoder(generator: Generator) -> PadInvEncoder:
    torch.manual_seed(0)
    return PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=2, w_avg=generator.w_avg).eval()


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_published_files(tmp_path: Path, generator: Generator) -> None:
    published, path = formats.hammer_generator(generator), tmp_path / "network.pth"
    other = {**published, "w_avg": published["w_avg"] + 1}
    for content in (
        {"models": {"generator": other, "generator_smooth": published}},
        {"models": {"generator": published}},
    ):
        assert same(load_generator(save(content, path)), generator)
        assert open_checkpoint(path).format.startswith("PadInv, Hammer")
    assert same(load_generator(save(published, path)), generator)


def test_our_own_files(tmp_path: Path, generator: Generator, encoder: PadInvEncoder) -> None:
    assert same(load_generator(save_network(generator, tmp_path / "g.safetensors")), generator)
    loaded = load_encoder(save_network(encoder, tmp_path / "e.safetensors"))
    assert same(loaded, encoder)
    assert loaded.config == encoder.config
    half = load_generator(save_network(generator, tmp_path / "h.safetensors", dtype=torch.float16))
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    assert not half.training
    assert not any(parameter.requires_grad for parameter in half.parameters())
    with pytest.raises(CheckpointError, match=r"g\.safetensors holds no Discriminator, but a Generator"):
        load_discriminator(tmp_path / "g.safetensors")


def test_half_precision_keeps_numbers_that_are_too_large_for_it(tmp_path: Path, encoder: PadInvEncoder) -> None:
    """The variances of BatchNorm grow with the weights before them."""
    state = encoder.state_dict()
    name = next(key for key in state if key.endswith("running_var"))
    before = state[name].clone()
    try:
        state[name].fill_(2e5)
        loaded = load_encoder(save_network(encoder, tmp_path / "e.safetensors", dtype=torch.float16)).state_dict()
    finally:
        state[name].copy_(before)
    assert (loaded[name] == 2e5).all()
    torch.testing.assert_close(
        loaded["style_heads.0.linear.weight"], state["style_heads.0.linear.weight"], rtol=1e-3, atol=1e-6
    )


NEW_OPTIONS = ("first_for_all", "padding_level", "padding_depth", "padding_heads")


def test_encoders_of_before_keep_loading(
    tmp_path: Path, generator: Generator, encoder: PadInvEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    images = torch.randn(1, 3, 32, 32)
    for rings in ([4, 8], []):
        encoder = PadInvEncoder(
            generator.code_shape, resolution=32, depth=18, width=2, padded_resolutions=rings, replace_const=bool(rings)
        ).eval()
        config = {key: value for key, value in encoder.config.items() if key not in NEW_OPTIONS}
        state = {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
        content = {LIGHTNING_KEY: {"PadInvEncoder": config}, "state_dict": state}
        loaded = load_encoder(save(content, tmp_path / "last.ckpt"))
        assert same(loaded, encoder)
        assert loaded.config == encoder.config
        for ours, theirs in zip(loaded(images).tensors(), encoder(images).tensors(), strict=True):
            assert torch.equal(ours, theirs)
    assert ["level 2 now, as published" in record.getMessage() for record in caplog.records] == [True]
    assert "it was level 0" in caplog.text


def test_a_fingerprint_covers_the_level(encoder: PadInvEncoder) -> None:
    other, same_level = (
        PadInvEncoder.from_config({**encoder.config, "padding_level": level}) for level in (1, encoder.padding_level)
    )
    for twin in (other, same_level):
        twin.load_state_dict(encoder.state_dict())
    assert fingerprint(same_level) == fingerprint(encoder) != fingerprint(other)


def test_options_that_no_shape_tells(tmp_path: Path, generator: Generator) -> None:
    """They are in files of ours and in fingerprints, which stay what they were for networks that lack them."""
    clamped = Generator(**{**generator.config, "conv_clamp": 2}).eval()
    clamped.load_state_dict(generator.state_dict())
    loaded = load_generator(save_network(clamped, tmp_path / "g.safetensors"))
    assert loaded.config == clamped.config
    assert loaded.config["conv_clamp"] == 2
    assert fingerprint(loaded) == fingerprint(clamped) != fingerprint(generator)
    generator = copy.deepcopy(generator)
    name = fingerprint(generator)
    del generator.config["conv_clamp"]
    assert fingerprint(generator) == name
    loaded = load_generator(save_network(generator, tmp_path / "g.safetensors"))  # as written before
    assert (loaded.config["conv_clamp"], fingerprint(loaded)) == (None, name)
    whole = Discriminator(8, channels=CHANNELS, mbstd_group_size=None)
    loaded = load_discriminator(save_network(whole, tmp_path / "d.safetensors"))
    assert loaded.mbstd_group_size is None
    other = Discriminator(8, channels=CHANNELS)
    other.load_state_dict(whole.state_dict())
    assert fingerprint(loaded) == fingerprint(whole) != fingerprint(other)


def test_discriminators_of_before_keep_loading(tmp_path: Path) -> None:
    """``mbstd_group_size`` was called ``mbstd_groups``; fingerprints stay what they were."""
    old = Discriminator(8, channels=CHANNELS, mbstd_group_size=2)
    for parameter in old.parameters():
        torch.nn.init.zeros_(parameter)
    old.config = {"resolution": 8, "channels": CHANNELS, "mbstd_groups": 2, "conv_clamp": None}
    state = {f"discriminator.{key}": tensor for key, tensor in old.state_dict().items()}
    run = save({LIGHTNING_KEY: {"Discriminator": old.config}, "state_dict": state}, tmp_path / "last.ckpt")
    for path in (save_network(old, tmp_path / "d.safetensors"), run):
        loaded = load_discriminator(path)
        assert loaded.mbstd_group_size == loaded.config["mbstd_group_size"] == 2
        assert "mbstd_groups" not in loaded.config
        assert fingerprint(loaded) == "cd99c06e9e2602a9"


def test_training_runs(tmp_path: Path, encoder: PadInvEncoder) -> None:
    discriminator = Discriminator(8, channels=CHANNELS)
    state = {f"encoder.{key}": tensor + 1 for key, tensor in encoder.state_dict().items()}
    state |= {f"discriminator.{key}": tensor for key, tensor in discriminator.state_dict().items()}
    configs = {"PadInvEncoder": encoder.config, "Discriminator": discriminator.config, "generator": "congress64"}
    path = save({LIGHTNING_KEY: configs, "state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    assert torch.equal(load_encoder(path).w_avg, encoder.w_avg + 1)
    assert same(load_discriminator(path), discriminator)
    state |= {f"encoder_ema.module.{key}": tensor for key, tensor in encoder.state_dict().items()}
    assert same(load_encoder(save({LIGHTNING_KEY: configs, "state_dict": state}, path)), encoder)
    with pytest.raises(CheckpointError, match=r"holds no Generator, but a PadInvEncoder and Discriminator \(padinv"):
        load_generator(path)


def test_configuration_and_weights_must_agree(tmp_path: Path, encoder: PadInvEncoder) -> None:
    state = {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
    content = {LIGHTNING_KEY: {"PadInvEncoder": {**encoder.config, "width": 4}}, "state_dict": state}
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt is of another architecture: 'backbone.stem.0.weight' has shape"
    ):
        load_encoder(save(content, tmp_path / "last.ckpt"))
    state["encoder.w_avg"] = state["encoder.w_avg"].int()
    content[LIGHTNING_KEY]["PadInvEncoder"]["width"] = 2
    with pytest.raises(CheckpointError, match=r"'w_avg' holds torch\.int32, which are no weights"):
        load_encoder(save(content, tmp_path / "last.ckpt"))


def ada(**keys: tuple[int, ...]) -> Any:
    return {"G_ema": formats.persistent({key.replace("__", "."): torch.ones(shape) for key, shape in keys.items()})}


def tf(*names: str) -> Any:
    return tuple(formats.tf_network("G", {name: np.ones((1, 1), np.float32) for name in names}) for _ in range(3))


OTHERS: dict[str, tuple[str, Any]] = {
    "StyleGAN3, config t": ("StyleGAN3", ada(synthesis__L0_36_512__weight=(2, 2, 3, 3), mapping__w_avg=(2,))),
    "StyleGAN3, input": ("StyleGAN3", ada(synthesis__input__freqs=(2, 2))),
    "StyleGAN-XL, of classes": (
        "StyleGAN-XL",
        ada(mapping__embed_proj__weight=(2, 2), synthesis__L0_36_512__weight=(2, 2, 3, 3)),
    ),
    "StyleGAN-XL": (
        "StyleGAN-XL",
        {
            **ada(synthesis__input__freqs=(2, 2)),
            "D": formats.persistent({"feature_networks.a.conv.weight": torch.ones(2)}),
        },
    ),
    "lucidrains": (
        "lucidrains' own architecture",
        {"GAN": {"S.net.0.weight": torch.ones(1), "GE.blocks.0.to_style1.weight": torch.ones(1)}, "version": "1.8"},
    ),
    "StyleGAN1, TensorFlow": (
        "StyleGAN1",
        tf("G_synthesis/4x4/Const/StyleMod/weight", "G_synthesis/ToRGB_lod0/weight"),
    ),
    "StyleGAN1, PyTorch": (
        "StyleGAN1",
        {"g_running": {"generator.progression.0.adain1.style.linear.weight": torch.ones(1)}},
    ),
    "StyleGAN1, GenForce": (
        "StyleGAN1",
        {"models": {"generator_smooth": {"synthesis.layer0.epilogue.bias": torch.ones(1)}}},
    ),
    "progressive GAN, TensorFlow": ("a progressive GAN", tf("4x4/Dense/weight", "ToRGB_lod7/weight")),
    "progressive GAN, PyTorch": ("a progressive GAN", {"progression.0.conv.0.conv.weight_orig": torch.ones(1)}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_are_recognised(tmp_path: Path, name: str) -> None:
    other, content = OTHERS[name]
    path = tmp_path / "network.pkl"
    if "TensorFlow" in name or "G_ema" in content:
        formats.write_pickle(content, path)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"network\.pkl holds {other}, but padinv works with StyleGAN2 alone"):
        load_generator(path)


@pytest.mark.parametrize("content", [{"weights": {"conv": torch.ones(1)}}, torch.ones(2), [1], {"models": None}, None])
def test_what_is_nothing_known(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match="holds no Generator, Discriminator or PadInvEncoder of a known format"):
        load_generator(save(content, tmp_path / "network.pt"))


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    for content in (b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"network\.pt cannot be read: it "):
            load_generator(path)


def test_everything_but_the_bytes_of_tensors_may_vary(tmp_path: Path, generator: Generator) -> None:
    """Strides, shared memory, half precision, types of storage: all that torch.save writes."""
    published = formats.hammer_generator(generator)
    published["mapping.dense0.weight"] = published["mapping.dense0.weight"].t().contiguous().t()
    both = torch.cat([published["mapping.dense0.bias"], published["mapping.dense1.bias"]])
    published |= {"mapping.dense0.bias": both[:8], "mapping.dense1.bias": both[8:]}
    published["synthesis.layer0.weight"] = torch.nn.Parameter(published["synthesis.layer0.weight"])
    for zipped in (True, False):
        torch.save(published, tmp_path / "network.pth", _use_new_zipfile_serialization=zipped)
        assert same(load_generator(tmp_path / "network.pth"), generator)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        cast = {key: tensor.to(dtype) for key, tensor in published.items()}
        loaded = load_generator(save(cast, tmp_path / "network.pth"))
        torch.testing.assert_close(loaded.w_avg, generator.w_avg, rtol=1e-2, atol=1e-2)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    (tmp_path / "network.npz").write_bytes(file.getvalue())
    with pytest.raises(CheckpointError, match=r"a zip archive, but not of torch\.save"):
        load_generator(tmp_path / "network.npz")


def test_one_object_for_all_networks(tmp_path: Path, generator: Generator, encoder: PadInvEncoder) -> None:
    state = {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
    state |= {f"generator_ema.{key}": tensor for key, tensor in generator.state_dict().items()}
    ours = {"PadInvEncoder": encoder.config, "Generator": generator.config, "generator": fingerprint(generator)}
    path = save({LIGHTNING_KEY: ours, "state_dict": state}, tmp_path / "last.ckpt")
    checkpoint = open_checkpoint(path)
    path.unlink()  # it keeps what it has read
    assert (checkpoint.path, checkpoint.format) == (path, "padinv training run (.ckpt)")
    assert set(checkpoint.holds) == {Generator, PadInvEncoder}
    assert (checkpoint.classes, checkpoint.trained_for) == (0, fingerprint(generator))
    first, second = checkpoint.load(Generator), checkpoint.load(Generator)
    first.w_avg.add_(1)
    assert same(second, generator)
    assert same(checkpoint.load(PadInvEncoder, generator=generator), encoder)
    assert torch.equal(checkpoint.load(PadInvEncoder, w_avg=torch.ones(8)).w_avg, torch.ones(8))
    with pytest.raises(CheckpointError, match=r"trained for the generator .*, but this one is "):
        checkpoint.load(PadInvEncoder, generator=first)
    with pytest.raises(CheckpointError, match="holds no Discriminator, but a "):
        checkpoint.load(Discriminator)
    with pytest.raises(CheckpointError, match="not conditional: leave out class_index"):
        checkpoint.load(Generator, class_index=0)
    with pytest.raises(ConfigError, match="w_avg and generator are of encoders: leave them out for a Generator"):
        checkpoint.load(Generator, w_avg=torch.ones(8))


def test_a_bundled_name_is_one_checkpoint() -> None:
    checkpoint = open_checkpoint("congress64")
    assert checkpoint.trained_for == fingerprint(checkpoint.load(Generator))
    assert same(checkpoint.load(Discriminator), load_discriminator("congress64"))
    path = resolve_source("congress64", PadInvEncoder)
    chosen = open_checkpoint("congress64", hash_file(path))
    assert (chosen.path, chosen.holds) == (path, (PadInvEncoder,))
    with pytest.raises(CheckpointError, match=r"-generator\.safetensors has the SHA-256 .*, not 0000"):
        open_checkpoint("congress64", "0" * 64)
    with pytest.raises(CheckpointError, match="There is no file 'nothing', nor a bundled one of that name"):
        open_checkpoint("nothing")


def test_files_of_other_networks_are_named(tmp_path: Path, generator: Generator) -> None:
    class Unknown(Generator):
        pass

    path = save_network(Unknown(**generator.config), tmp_path / "u.safetensors")
    assert open_checkpoint(path).holds == ()
    with pytest.raises(CheckpointError, match="holds no Generator, but a Unknown"):
        load_generator(path)

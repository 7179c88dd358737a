"""What tools lay around a state dict: the same network comes out, whatever the format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import formats
from padinv import Discriminator, Generator, PadInvEncoder, load_discriminator, load_encoder, load_generator
from padinv.checkpoints import open_checkpoint
from padinv.checkpoints.formats.wrapping import unwrap, views
from padinv.checkpoints.native import LIGHTNING_KEY
from padinv.exceptions import CheckpointError

State = dict[str, torch.Tensor]
CHANNELS = {4: 8, 8: 4}


def hammer() -> State:
    torch.manual_seed(0)
    generator = Generator(8, z_dim=6, w_dim=8, mapping_layers=2, channels=CHANNELS)
    generator.w_avg.normal_()
    return formats.hammer_generator(generator)


STATES: dict[str, Callable[[], State]] = {
    "rosinality": lambda: formats.small_rosinality(),
    "Hammer": hammer,
    "NVIDIA": lambda: formats.small_ada(),
}


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def other(state: State) -> State:
    return {key: tensor + 1 if "noise" not in key and tensor.ndim < 2 else tensor for key, tensor in state.items()}


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "DataParallel": lambda s: prefixed(s, "module."),
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
    "both": lambda s: prefixed(s, "module._orig_mod."),
    "compiled inside": lambda s: {
        k.replace("mapping.", "mapping._orig_mod.").replace("style.", "style._orig_mod."): t for k, t in s.items()
    },
    "DataParallel in a dictionary": lambda s: {"g_ema": prefixed(s, "module."), "g": prefixed(other(s), "module.")},
    "AveragedModel": lambda s: {"n_averaged": torch.tensor(3), **prefixed(s, "module.")},
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: {"step": 1}}}},
    "BasicSR": lambda s: {"params": other(s), "params_ema": s},
    "BasicSR without an average": lambda s: {"params": s},
    "g and generator_ema": lambda s: {"g": other(s), "generator_ema": s},
    "NumPy": lambda s: {"g_ema": {k: t.numpy() for k, t in prefixed(s, "module.").items()}},
    "NumPy alone": lambda s: {k: t.numpy() for k, t in s.items()},
    "generator_ema": lambda s: {"generator": other(s), "generator_ema": s},
    "Lightning": lambda s: {
        "state_dict": {**prefixed(s, "generator."), "loss.weight": torch.ones(1)},
        "pytorch-lightning_version": "2.6.0",
        "hyper_parameters": {"lr": 1e-4},
    },
    "Lightning, model": lambda s: {"state_dict": prefixed(s, "model.")},
    "Lightning, model.generator": lambda s: {"state_dict": prefixed(s, "model.generator.")},
    "Lightning, averaged": lambda s: {"state_dict": {**prefixed(other(s), "netG."), **prefixed(s, "netG_ema.")}},
    "compiled by Lightning": lambda s: {"state_dict": prefixed(s, "generator._orig_mod.")},
    "Gs": lambda s: {"G": other(s), "Gs": s},
    "g_running": lambda s: {"generator": other(s), "g_running": s},
    "SWA": lambda s: {**prefixed(s, "swa_model.module."), "swa_model.n_averaged": torch.tensor(1)},
    "ema_pytorch": lambda s: {
        **prefixed(other(s), "online_model."),
        **prefixed(s, "ema_model."),
        "initted": torch.tensor(True),
        "step": torch.tensor(5),
    },
    "timm": lambda s: {"state_dict": other(s), "state_dict_ema": s, "version": 2},
    "DeepSpeed": lambda s: {"module": s, "optimizer": None, "ds_config": {"train_batch_size": 8}},
    "twice the same": lambda s: {"a": {"weights": s}, "b": {"weights": dict(s)}},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("form", STATES)
def test_the_generator_comes_out(tmp_path: Path, form: str, wrapper: str) -> None:
    state = STATES[form]()
    plain = load_generator(save(state, tmp_path / "plain.pt"))
    assert same(load_generator(save(WRAPPERS[wrapper](state), tmp_path / "wrapped.pt")), plain)


@pytest.mark.parametrize("prefix", ["", "module.", "g_ema."])
def test_tensors_alone_as_safetensors(tmp_path: Path, prefix: str) -> None:
    state = formats.small_rosinality()
    save_file(prefixed(state, prefix), tmp_path / "a.safetensors", {"format": "pt"})
    expected = load_generator(save(state, tmp_path / "a.pt"))
    assert same(load_generator(tmp_path / "a.safetensors"), expected)
    save_file({"weight": torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"b\.safetensors holds no Generator.* but the entries 'weight'"):
        load_generator(tmp_path / "b.safetensors")


def test_discriminator_and_encoder_come_out(tmp_path: Path) -> None:
    d, encoder = formats.state("rosinality", "d"), formats.state("psp", "encoder", divide=16)
    g, average = formats.state("rosinality", "g_ema"), torch.ones(32)
    run = {"state_dict": {**prefixed(g, "netG."), **prefixed(d, "netD._orig_mod.")}}
    path = save(run, tmp_path / "run.ckpt")
    assert open_checkpoint(path).holds == (Generator, Discriminator)
    assert same(load_discriminator(path), load_discriminator(save({"d": d}, tmp_path / "d.pt")))
    expected = load_encoder(save({"state_dict": prefixed(encoder, "encoder."), "latent_avg": average}, path))
    for content in (
        {"state_dict": prefixed(encoder, "encoder.module."), "latent_avg": average},
        {"state_dict": prefixed(encoder, "module.encoder."), "latent_avg": average},
        {"state_dict": {**prefixed(encoder, "net.encoder."), "net.latent_avg": average}},
        {"model": {"state_dict": prefixed(encoder, "encoder.")}, "latent_avg": average},
        {**encoder, "latent_avg": average},
    ):
        assert same(load_encoder(save(content, path)), expected)


def test_our_own_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(8, channels=CHANNELS)
    shape = Generator(8, z_dim=6, w_dim=8, mapping_layers=1, channels=CHANNELS).code_shape
    encoder = PadInvEncoder(shape, resolution=32, depth=18, width=2)
    configs = {"PadInvEncoder": encoder.config, "Discriminator": discriminator.config}
    state = {**prefixed(encoder.state_dict(), "encoder._orig_mod."), "encoder_ema.n_averaged": torch.tensor(1)}
    state |= prefixed(encoder.state_dict(), "encoder_ema.module._orig_mod.")
    state |= prefixed(discriminator.state_dict(), "discriminator._orig_mod.")
    path = save({LIGHTNING_KEY: configs, "state_dict": state}, tmp_path / "last.ckpt")
    assert same(load_encoder(path), encoder)
    assert same(load_discriminator(path), discriminator)


def test_which_is_meant_is_said_or_asked_for(tmp_path: Path) -> None:
    state = formats.small_rosinality()
    path = save({"teacher": state, "student": other(state)}, tmp_path / "two.pt")
    with pytest.raises(CheckpointError, match=r"may be its Generator \(teacher and student\): keep one of them"):
        load_generator(path)
    one = load_generator(save({"teacher": {"deeper": other(state)}, "student": state}, path))
    assert same(one, load_generator(save(state, path)))


def test_shared_storages_are_there_once(tmp_path: Path) -> None:
    """Two names of the same weights, each with views of its own, in files that are no larger for it."""
    state = formats.state("rosinality", "g_ema")
    views = [{key: tensor.view_as(tensor) for key, tensor in state.items()} for _ in range(3)]
    for zipped in (True, False):
        torch.save(
            dict(zip(("g", "g_ema", "best"), views, strict=True)),
            path := tmp_path / "shared.pt",
            _use_new_zipfile_serialization=zipped,
        )
        assert path.stat().st_size < 1.2 * sum(t.numel() * 4 for t in state.values()) + 2**17
        assert same(load_generator(path), load_generator(save(state, tmp_path / "plain.pt")))


def test_whole_modules(tmp_path: Path) -> None:
    """torch.save(network) of any class: its weights are read, its class is not imported."""
    state = formats.small_rosinality()
    plain = load_generator(save(state, tmp_path / "plain.pt"))

    def whole(fields: dict[str, Any], tensors: State) -> Any:
        return formats.New(
            formats.Named("model", "Net"), {**formats.persistent(tensors).parts[1][0]["state"], **fields}
        )

    for content in (whole({}, state), {"g_ema": whole({}, prefixed(state, "module."))}):
        torch.save(content, tmp_path / "whole.pt", pickle_module=formats)
        assert same(load_generator(tmp_path / "whole.pt"), plain)
    encoder = formats.state("psp", "encoder", divide=16)
    net = whole(
        {"latent_avg": torch.ones(32), "opts": {"encoder_type": "Encoder4Editing"}}, prefixed(encoder, "encoder.")
    )
    torch.save(net, tmp_path / "psp.pt", pickle_module=formats)
    loaded = load_encoder(tmp_path / "psp.pt")
    assert loaded.first_for_all
    assert torch.equal(loaded.w_avg, torch.ones(32))


def test_whole_modules_keep_their_attributes(tmp_path: Path) -> None:
    """What no shape tells is not lost under DataParallel, in another module, or in an object that is a dictionary."""
    state = formats.small_ada()
    clamp = {"conv_clamp": 0.5, "activation": "lrelu"}
    for prefix in ("module.", "generator.", "generator.module."):
        facts = {f"{prefix}synthesis.b8.conv0": clamp, f"{prefix}mapping.fc0": {"activation": "lrelu"}}
        network = formats.persistent(prefixed(state, prefix), facts)
        for content in (network, {"G_ema": network}, {"any": {"thing": network}}, (network, None)):
            formats.write_pickle(content, tmp_path / "whole.pkl")
            assert load_generator(tmp_path / "whole.pkl").config["conv_clamp"] == 0.5


def test_several_state_dicts_in_a_row(tmp_path: Path) -> None:
    g, d = formats.state("rosinality", "g_ema"), formats.state("rosinality", "d")
    path = save((g, d), tmp_path / "both.pt")
    assert open_checkpoint(path).holds == (Generator, Discriminator)


def test_empty_networks_are_named(tmp_path: Path) -> None:
    path = formats.write_ada(tmp_path / "empty.pkl", G=None, D=None, G_ema=None)
    with pytest.raises(CheckpointError, match=r"holds no Generator.*'D \(empty\)', 'G \(empty\)', 'G_ema \(empty\)'"):
        load_generator(path)


def test_dictionaries_that_contain_themselves() -> None:
    inside: dict[str, Any] = {"module.weight": torch.ones(1)}
    inside["again"] = inside
    content = unwrap(inside)
    assert content["again"] is content
    assert [view.name for view in views({"a": content, "b": content})] == ["a"]
    wide = {str(i): {"x": torch.ones(1)} for i in range(1000)}
    assert len(views(wide)) == 200


def test_keys_that_would_meet_stay_as_they_are() -> None:
    both = {"module.weight": torch.ones(1), "weight": torch.zeros(1)}
    assert list(unwrap(both)) == list(both)

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import formats
from conformance import assert_agrees
from padinv import load_discriminator, load_generator
from padinv.exceptions import CheckpointError
from padinv.ops.equalized import scaled_leaky_relu
from padinv.ops.resampling import upsample

FORM = "nvidia-ada"


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_agrees_with_the_other_implementation(tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / "written"
    source = f"open({str(witness)!r}, 'w').write('run')\n"
    path = formats.write_ada(
        tmp_path / "network.pkl",
        protocol,
        G_ema=formats.persistent(formats.state(FORM, "generator"), source=source),
        D=formats.persistent(formats.state(FORM, "discriminator"), source=source),
    )
    generator, published, given = load_generator(path), formats.output(FORM), formats.inputs()
    assert_agrees(generator.mapping(given["z"]), published["mapping_w"])
    assert_agrees(generator.synthesis(given["w_plus"]), published["image"])
    assert torch.equal(generator.w_avg, formats.state(FORM, "generator")["mapping.w_avg"])
    assert_agrees(load_discriminator(path)(given["images"]), published["score"])
    assert not witness.exists()


def test_averaged_weights_go_first(tmp_path: Path) -> None:
    state = formats.state(FORM, "generator")
    other = {**state, "mapping.w_avg": state["mapping.w_avg"] + 1}
    both = {"G": formats.persistent(other), "G_ema": formats.persistent(state)}
    for networks, expected in ((both, state), ({"G": both["G"]}, other)):
        generator = load_generator(formats.write_ada(tmp_path / "network.pkl", **networks))
        assert torch.equal(generator.w_avg, expected["mapping.w_avg"])


def test_group_of_the_minibatch_statistic(tmp_path: Path) -> None:
    discriminator = formats.persistent(formats.state(FORM, "discriminator") | {"b4.mbstd.x": torch.zeros(1)})
    path = formats.write_ada(tmp_path / "network.pkl", D=discriminator)
    with pytest.raises(CheckpointError, match=r"b4\.mbstd\.x"):
        load_discriminator(path)
    meta = formats.persistent(formats.state(FORM, "discriminator"))
    modules = meta.parts[1][0]["state"]["_modules"]["b4"].parts[1][0]["state"]["_modules"]
    modules["mbstd"] = formats.persistent({}, {"": {"group_size": 2, "num_channels": 1}})
    assert load_discriminator(formats.write_ada(path, D=meta)).mbstd_group_size == 2


def test_the_whole_batch_is_a_group(tmp_path: Path) -> None:
    """Recomputed from a discriminator of another group: of 4 images, groups of 4 are the whole batch."""
    facts = {"b4.mbstd": {"group_size": None, "num_channels": 1}}
    state = formats.state(FORM, "discriminator")
    meta = formats.persistent(state, facts)
    modules = meta.parts[1][0]["state"]["_modules"]["b4"].parts[1][0]["state"]["_modules"]
    modules["mbstd"] = formats.persistent({}, facts, prefix="b4.mbstd.")
    discriminator = load_discriminator(formats.write_ada(tmp_path / "network.pkl", D=meta))
    assert discriminator.mbstd_group_size is None
    images = torch.cat([formats.inputs()["images"], formats.inputs()["images"].flip(3)])
    x = discriminator.features(images)[-1]
    statistic = (x.var(dim=0, unbiased=False) + 1e-8).sqrt().mean().expand(8, 1, 4, 4)
    x = scaled_leaky_relu(discriminator.conv(torch.cat([x, statistic], dim=1)))
    expected = discriminator.score(scaled_leaky_relu(discriminator.dense(x.flatten(1))))
    assert_agrees(discriminator(images), expected)
    modules["mbstd"] = formats.persistent({}, {"b4.mbstd": {"group_size": "4"}}, prefix="b4.mbstd.")
    with pytest.raises(CheckpointError, match="mbstd_group_size must be 1 or more, or None for the whole batch"):
        load_discriminator(formats.write_ada(tmp_path / "network.pkl", D=meta))


def layers(network: str) -> list[str]:
    """Names of the modules with a conv_clamp."""
    return [
        key.removesuffix(".weight")
        for key in formats.state(FORM, network)
        if re.search(r"(conv[01]?|torgb|fromrgb)\.weight$", key)
    ]


def test_a_bound_that_bites(tmp_path: Path) -> None:
    """NVIDIA clamps what each convolution and toRGB gives, after the activation's gain."""
    state = formats.state(FORM, "generator")
    facts = {name: {"conv_clamp": 0.75} for name in layers("generator")}
    clamped = load_generator(formats.write_ada(tmp_path / "g.pkl", G_ema=formats.persistent(state, facts)))
    free = load_generator(formats.write_ada(tmp_path / "f.pkl", G_ema=formats.persistent(state)))
    assert (clamped.config["conv_clamp"], free.config["conv_clamp"]) == (0.75, None)
    w = formats.inputs()["w_plus"]
    image, x = None, free.synthesis.const
    for k, (r, block) in enumerate(free.synthesis.blocks.items()):
        if r != "4":
            x = block.up(x, w[:, 2 * k - 1]).clamp(-0.75, 0.75)
        x = block.conv(x, w[:, 2 * k]).clamp(-0.75, 0.75)
        rgb = block.to_rgb(x, w[:, 2 * k + 1]).clamp(-0.75, 0.75)
        image = rgb if image is None else rgb + upsample(image, block.kernel)
    assert_agrees(clamped.synthesis(w), image)
    assert (image - free.synthesis(w)).abs().max() > 0.5 * image.abs().max()
    facts = {name: {"conv_clamp": 256} for name in layers("discriminator")} | {"b64.skip": {"conv_clamp": None}}
    path = formats.write_ada(tmp_path / "d.pkl", D=formats.persistent(formats.state(FORM, "discriminator"), facts))
    assert load_discriminator(path).config["conv_clamp"] == 256


@pytest.mark.parametrize("switched_off", [False, True])
def test_layers_without_noise(tmp_path: Path, switched_off: bool) -> None:
    state = formats.state(FORM, "generator")
    convs = [name for name in layers("generator") if "torgb" not in name]
    facts = {name: {"use_noise": False} for name in convs}
    left = {key: tensor for key, tensor in state.items() if switched_off or ".noise_" not in key}
    generator = load_generator(formats.write_ada(tmp_path / "g.pkl", G_ema=formats.persistent(left, facts)))
    noisy = load_generator(formats.write_ada(tmp_path / "g.pkl", G_ema=formats.persistent(state)))
    w = formats.inputs()["w_plus"]
    for noise in ("const", "random"):
        assert_agrees(generator.synthesis(w, noise=noise), noisy.synthesis(w, noise="none"))


@pytest.mark.parametrize(
    ("network", "facts", "message"),
    [
        ("generator", {"mapping.fc1": {"activation": "relu"}}, r"mapping\.fc1 has the activation relu, but .* lrelu"),
        ("generator", {"synthesis.b8.conv0": {"activation": "swish"}}, r"b8\.conv0 has the activation swish"),
        ("generator", {"synthesis.b8.conv0.affine": {"activation": "tanh"}}, "activation tanh, but .* have linear"),
        ("generator", {"synthesis.b8": {"architecture": "resnet"}}, "architecture resnet, but padinv's .* skip"),
        ("generator", {"synthesis.b4": {"architecture": "orig"}}, r"synthesis\.b4 has the architecture orig"),
        (
            "generator",
            {"synthesis.b8.conv0": {"conv_clamp": 256}, "synthesis.b8.conv1": {"conv_clamp": None}},
            "bounds",
        ),
        ("generator", {"synthesis.b8.conv0": {"conv_clamp": -1}}, "conv_clamp must be a positive number"),
        ("generator", {"mapping.fc1": {"bias_gain": "x"}}, "mapping.fc1 has no proper bias_gain"),
        ("discriminator", {"b4": {"architecture": "skip"}}, "b4 has the architecture skip, but .* have resnet"),
        ("discriminator", {"b4.fc": {"activation": "relu"}}, r"b4\.fc has the activation relu"),
        ("discriminator", {"b64.fromrgb": {"activation": "elu"}}, r"b64\.fromrgb has the activation elu"),
    ],
)
def test_attributes_of_other_networks_are_named(
    tmp_path: Path, network: str, facts: dict[str, dict[str, Any]], message: str
) -> None:
    name, load = ("G_ema", load_generator) if network == "generator" else ("D", load_discriminator)
    networks = {name: formats.persistent(formats.state(FORM, network), facts)}
    with pytest.raises(CheckpointError, match=message):
        load(formats.write_ada(tmp_path / "network.pkl", **networks))


def test_attributes_as_the_authors_networks_have_them(tmp_path: Path) -> None:
    facts: dict[str, dict[str, Any]] = {}
    for key in formats.state(FORM, "generator"):
        name = key.rpartition(".")[0]
        if name.endswith("affine"):
            facts[name] = {"activation": "linear", "bias_gain": 1, "weight_gain": np.float64(0.125)}
        elif "mapping.fc" in name:
            facts[name] = {"activation": "lrelu", "bias_gain": 0.01}
        elif "conv" in name:
            facts[name] = {"activation": "lrelu", "use_noise": True, "act_gain": np.float64(2**0.5), "conv_clamp": 256}
        elif "torgb" in name:
            facts[name] = {"conv_clamp": 256}
        elif name.startswith("synthesis.b"):
            facts[name] = {"architecture": "skip", "use_fp16": True, "is_last": False}
    state = formats.state(FORM, "generator")
    half = {key: t.half() if not re.search("fc|w_avg", key) else t for key, t in state.items()}
    for weights, tolerance in ((state, 1e-4), (half, 5e-3)):
        path = formats.write_ada(tmp_path / "network.pkl", G_ema=formats.persistent(weights, facts), G=None, D=None)
        generator = load_generator(path)
        assert {tensor.dtype for tensor in generator.state_dict().values()} == {torch.float32}
        assert_agrees(generator.synthesis(formats.inputs()["w_plus"]), formats.output(FORM)["image"], tolerance)


def test_one_network_is_the_whole_file(tmp_path: Path) -> None:
    """As PTI saves the generator that it tuned, with torch.save, and as a pickle."""
    facts = {name: {"conv_clamp": 0.5} for name in layers("generator")}
    network = formats.persistent(formats.state(FORM, "generator"), facts)
    torch.save(network, tmp_path / "model_tuned.pt", pickle_module=formats)
    formats.write_pickle(network, tmp_path / "model.pkl")
    for name in ("model_tuned.pt", "model.pkl"):
        generator = load_generator(tmp_path / name)
        assert generator.config["conv_clamp"] == 0.5
        assert_agrees(generator.mapping(formats.inputs()["z"]), formats.output(FORM)["mapping_w"])
    network = formats.persistent(conditional("generator"))
    path = formats.write_pickle(network, tmp_path / "model.pkl")
    assert load_generator(path, class_index=2).config["z_dim"] == 64


def test_state_dicts_say_what_was_assumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"G_ema": formats.state(FORM, "generator"), "D": formats.state(FORM, "discriminator")}
    path = tmp_path / "weights.pt"
    for saved in (content, content["G_ema"]):
        torch.save(saved, path)
        caplog.clear()
        assert_agrees(load_generator(path).synthesis(formats.inputs()["w_plus"]), formats.output(FORM)["image"])
        assert "does not tell the activations, their bound conv_clamp" in caplog.text
    torch.save(content, path)
    assert_agrees(load_discriminator(path)(formats.inputs()["images"]), formats.output(FORM)["score"])


def test_learning_rate_multipliers_of_other_layers(tmp_path: Path) -> None:
    state = formats.state(FORM, "generator")
    slow = {key: tensor / 0.5 if ".affine." in key else tensor for key, tensor in state.items()}
    facts = {key.rpartition(".")[0]: {"bias_gain": 0.5} for key in state if ".affine." in key}
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=formats.persistent(slow, facts))
    assert_agrees(load_generator(path).synthesis(formats.inputs()["w_plus"]), formats.output(FORM)["image"])


def test_another_learning_rate_multiplier_of_the_mapping(tmp_path: Path) -> None:
    state = formats.state(FORM, "generator")
    slow = {key: tensor / 10 if key.startswith("mapping.fc") else tensor for key, tensor in state.items()}
    facts = {f"mapping.fc{i}": {"bias_gain": 0.1} for i in range(4)}
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=formats.persistent(slow, facts))
    assert_agrees(load_generator(path).mapping(formats.inputs()["z"]), formats.output(FORM)["mapping_w"])


def conditional(network: str, classes: int = 3, width: int = 64) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    state = formats.state(FORM, network)
    state["mapping.embed.weight"] = torch.randn(width, classes, generator=random)
    state["mapping.embed.bias"] = torch.randn(width, generator=random)
    state["mapping.fc0.weight"] = (
        torch.randn(64, 64 + width if network == "generator" else width, generator=random) * 100
    )
    if network == "discriminator":
        state["mapping.fc0.bias"] = torch.randn(64, generator=random)
        state["b4.out.weight"] = torch.randn(64, 64, generator=random)
        state["b4.out.bias"] = torch.randn(64, generator=random)
    return state


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().mean(dim=-1, keepdim=True).sqrt()


@pytest.mark.parametrize("class_index", [0, 2])
def test_conditional_generator_of_a_class(tmp_path: Path, class_index: int) -> None:
    state = conditional("generator")
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=formats.persistent(state))
    z = formats.inputs()["z"]

    y = state["mapping.embed.weight"] @ torch.eye(3)[class_index] / math.sqrt(3) + state["mapping.embed.bias"]
    x = torch.cat([unit(z), unit(y).expand(2, -1)], dim=1)
    for i in range(4):
        weight, bias = state[f"mapping.fc{i}.weight"], state[f"mapping.fc{i}.bias"]
        x = scaled_leaky_relu(x @ weight.T * 0.01 / math.sqrt(weight.shape[1]) + bias * 0.01)
    assert_agrees(load_generator(path, class_index=class_index).mapping(z), x)


def test_conditional_discriminator_of_a_class(tmp_path: Path) -> None:
    state = conditional("discriminator")
    path = formats.write_ada(tmp_path / "network.pkl", D=formats.persistent(state))
    images = formats.inputs()["images"]
    plain = {key: tensor for key, tensor in state.items() if not key.startswith("mapping.")}
    # Its last layer, one output at a time, as unconditional discriminators of one output.
    scores = []
    for weight, bias in zip(state["b4.out.weight"][:8], state["b4.out.bias"][:8], strict=True):
        one = plain | {"b4.out.weight": weight[None], "b4.out.bias": bias[None]}
        scores.append(load_discriminator(formats.write_ada(tmp_path / "one.pkl", D=formats.persistent(one)))(images))
    y = unit(state["mapping.embed.weight"][:, 1] / math.sqrt(3) + state["mapping.embed.bias"])
    y = scaled_leaky_relu(state["mapping.fc0.weight"] @ y * 0.01 / 8 + state["mapping.fc0.bias"] * 0.01)
    only = torch.zeros(64)
    only[:8] = 1  # the other outputs are left out on both sides
    narrow = state | {
        "b4.out.weight": state["b4.out.weight"] * only[:, None],
        "b4.out.bias": state["b4.out.bias"] * only,
    }
    path = formats.write_ada(path, D=formats.persistent(narrow))
    expected = (torch.cat(scores, dim=1) * y[:8]).sum(dim=1, keepdim=True) / 8
    assert_agrees(load_discriminator(path, class_index=1)(images), expected)


@pytest.mark.parametrize(
    ("class_index", "message"),
    [
        (None, r"network\.pkl: This generator is conditional: choose a class with class_index \(.*\), from 0 to 2"),
        (3, "from 0 to 2, not 3"),
        (-1, "not -1"),
    ],
)
def test_a_conditional_network_needs_a_class(tmp_path: Path, class_index: int | None, message: str) -> None:
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=formats.persistent(conditional("generator")))
    with pytest.raises(CheckpointError, match=message):
        load_generator(path, class_index=class_index)


def test_an_unconditional_network_takes_no_class(tmp_path: Path) -> None:
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=formats.persistent(formats.state(FORM, "generator")))
    with pytest.raises(CheckpointError, match="is not conditional"):
        load_generator(path, class_index=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"synthesis.b8.torgb.weight": torch.ones(1, 64, 1, 1)}, "Its images have 1 channels; padinv's are RGB"),
        ({"synthesis.b8.conv0.resample_filter": torch.ones(4, 4) / 16}, r"no other|\[1, 3, 3, 1\]"),
        ({"synthesis.b8.skip.weight": torch.ones(64, 64, 1, 1)}, r"'synthesis\.b8\.skip\.weight' is not a key"),
        ({"synthesis.b4.const": torch.ones(63, 4, 4)}, r"\(1, 63, 4, 4\), but this Generator needs \(1, 64, 4, 4\)"),
    ],
)
def test_other_architectures_are_named(tmp_path: Path, change: dict[str, torch.Tensor], message: str) -> None:
    state = formats.state(FORM, "generator") | change
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=formats.persistent(state))
    with pytest.raises(CheckpointError, match=message):
        load_generator(path)


def test_minibatch_statistics_of_other_sizes_are_named(tmp_path: Path) -> None:
    state = formats.state(FORM, "discriminator")
    for channels in (0, 2):
        other = state | {"b4.conv.weight": torch.ones(64, 64 + channels, 3, 3)}
        path = formats.write_ada(tmp_path / "network.pkl", D=formats.persistent(other))
        with pytest.raises(CheckpointError, match=f"statistic has {channels} channels; that of padinv's .* has one"):
            load_discriminator(path)


@pytest.mark.parametrize("name", ["again", "again" * 4000])
def test_modules_that_contain_themselves(tmp_path: Path, name: str) -> None:
    meta = formats.persistent(formats.state(FORM, "generator"))
    modules = meta.parts[1][0]["state"]["_modules"]
    modules[name] = formats.New(formats.Named("dnnlib.util", "EasyDict"), {"_modules": modules})
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=meta)
    with pytest.raises(CheckpointError, match="without an end"):
        load_generator(path)

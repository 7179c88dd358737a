from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import formats
from conformance import assert_agrees
from padinv import load_discriminator, load_generator
from padinv.exceptions import CheckpointError
from padinv.ops.equalized import scaled_leaky_relu

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
    assert load_discriminator(formats.write_ada(path, D=meta)).mbstd_groups == 2


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
    [(None, "conditional: choose a class with class_index, from 0 to 2"), (3, "from 0 to 2, not 3"), (-1, "not -1")],
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


@pytest.mark.parametrize("name", ["again", "again" * 4000])
def test_modules_that_contain_themselves(tmp_path: Path, name: str) -> None:
    meta = formats.persistent(formats.state(FORM, "generator"))
    modules = meta.parts[1][0]["state"]["_modules"]
    modules[name] = formats.New(formats.Named("dnnlib.util", "EasyDict"), {"_modules": modules})
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=meta)
    with pytest.raises(CheckpointError, match="without an end"):
        load_generator(path)

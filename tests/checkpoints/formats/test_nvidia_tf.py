from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import formats
from conformance import assert_agrees
from padinv import Discriminator, Generator, load_discriminator, load_generator
from padinv.exceptions import CheckpointError
from padinv.ops.modulated_conv import modulated_conv2d
from padinv.ops.resampling import blur, fir_kernel

CHANNELS = {4: 8, 8: 6, 16: 4}


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(16, z_dim=10, w_dim=12, mapping_layers=3, mapping_width=14, channels=CHANNELS).eval()
    for parameter in generator.parameters():  # noise strengths and biases must not be zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    generator.w_avg.normal_()
    return generator.requires_grad_(False)


@pytest.fixture(scope="module")
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    discriminator = Discriminator(16, channels=CHANNELS, mbstd_group_size=2).eval()
    for parameter in discriminator.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return discriminator.requires_grad_(False)


def write(path: Path, *networks: Any, protocol: int = 4) -> Path:
    return formats.write_pickle(networks, path, protocol)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_gives_the_same_images_and_scores(
    tmp_path: Path, generator: Generator, discriminator: Discriminator, protocol: int
) -> None:
    other = Generator(**generator.config)
    path = write(
        tmp_path / "stylegan2.pkl",
        formats.tf_generator(other),
        formats.tf_discriminator(discriminator, resolution=16, num_channels=3, label_size=0, mbstd_group_size=2),
        formats.tf_generator(generator, resolution=16, resample_kernel=[1, 3, 3, 1], truncation_psi=0.5),
        protocol=protocol,
    )
    loaded = load_generator(path)
    z, images = torch.randn(2, 10), torch.randn(4, 3, 16, 16)
    assert_agrees(loaded(z, 0.7), generator(z, 0.7), 1e-5)
    assert_agrees(load_discriminator(path)(images), discriminator(images), 1e-5)


def test_upsampling_kernel_is_that_of_the_upsampled_map(tmp_path: Path, generator: Generator) -> None:
    """TensorFlow's: zeros between the pixels, correlation with the stored kernel, then the filter."""
    state = formats.tf_generator(generator).state["components"]["synthesis"].state
    stored = torch.from_numpy(np.array(dict(state["variables"])["8x8/Conv0_up/weight"])).permute(3, 2, 0, 1)
    x, style = torch.randn(1, 8, 4, 4), torch.ones(1, 8)
    spread = torch.zeros(1, 8, 7, 7)
    spread[:, :, ::2, ::2] = x
    full = F.conv2d(spread, stored / np.sqrt(8 * 9), padding=2)  # 9 px, as the transposed convolution gives
    expected = blur(full, fir_kernel(), padding=(1, 1), gain=4)
    loaded = load_generator(write(tmp_path / "stylegan2.pkl", formats.tf_generator(generator)))
    weight = loaded.synthesis.blocks["8"].up.weight
    ours = modulated_conv2d(x, weight, style, demodulate=False, upsample_kernel=fir_kernel())
    assert_agrees(ours, expected, 1e-5)


def test_flat_names(tmp_path: Path, generator: Generator) -> None:
    fields = formats.tf_generator(generator).state
    flat = dict(fields["variables"])
    for name, component in fields["components"].items():
        flat |= {f"G_{name}/{key}": value for key, value in component.state["variables"]}
    loaded = load_generator(write(tmp_path / "stylegan2.pkl", formats.tf_network("Gs", flat)))
    z = torch.randn(2, 10)
    assert_agrees(loaded(z), generator(z), 1e-5)


def test_other_byte_order_and_half_precision(tmp_path: Path, generator: Generator) -> None:
    fields = formats.tf_generator(generator)
    for kind in (">f4", "<f8", "<f2"):
        fields.state["variables"] = [("dlatent_avg", generator.w_avg.numpy().astype(kind))]
        loaded = load_generator(write(tmp_path / "stylegan2.pkl", fields))
        torch.testing.assert_close(loaded.w_avg, generator.w_avg, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [np.float32, np.float64, float])
def test_numbers_without_axes(tmp_path: Path, generator: Generator, kind: Any) -> None:
    """TensorFlow gives them as numpy.float32, which is pickled by another function than arrays are."""
    network = formats.tf_generator(generator)
    fields = network.state["components"]["synthesis"].state
    fields["variables"] = [("lod", kind(0))] + [
        (name, kind(value) if name.endswith("noise_strength") else value) for name, value in fields["variables"]
    ]
    network.state["variables"].append(("lod", 0))
    for protocol in (2, 4):
        loaded = load_generator(write(tmp_path / "stylegan2.pkl", network, protocol=protocol))
        for r, block in generator.synthesis.blocks.items():
            assert torch.equal(loaded.synthesis.blocks[r].conv.noise_strength, block.conv.noise_strength)
        z = torch.randn(2, 10)
        assert_agrees(loaded(z), generator(z), 1e-5)


def test_without_noise(tmp_path: Path, generator: Generator) -> None:
    network = formats.tf_generator(generator, use_noise=False)
    fields = network.state["components"]["synthesis"].state
    fields["variables"] = [(name, value) for name, value in fields["variables"] if "noise" not in name]
    loaded, z = load_generator(write(tmp_path / "stylegan2.pkl", network)), torch.randn(2, 10)
    for noise in ("const", "random"):
        assert_agrees(loaded(z, noise=noise), generator(z, noise="none"), 1e-5)


def test_a_bound_and_groups(tmp_path: Path, generator: Generator, discriminator: Discriminator) -> None:
    """Options of the whole network, or of the component."""
    network = formats.tf_generator(generator)
    network.state["components"]["synthesis"].state["static_kwargs"] = {"conv_clamp": 0.5, "architecture": "skip"}
    critic = formats.tf_discriminator(discriminator, mbstd_group_size=None, conv_clamp=0.25, architecture="resnet")
    path = write(tmp_path / "stylegan2.pkl", critic, network)
    assert load_generator(path).config["conv_clamp"] == 0.5
    config = load_discriminator(path).config
    assert (config["mbstd_group_size"], config["conv_clamp"]) == (None, 0.25)


@pytest.mark.parametrize(
    "option",
    [
        {"resample_kernel": [1, 2, 1]},
        {"label_size": 10},
        {"nonlinearity": "relu"},
        {"mapping_lrmul": 0.1},
        {"architecture": "resnet"},
        {"architecture": "orig"},
        {"normalize_latents": False},
    ],
)
def test_other_options_are_named(tmp_path: Path, generator: Generator, option: dict[str, Any]) -> None:
    path = write(tmp_path / "stylegan2.pkl", formats.tf_generator(generator, **option))
    with pytest.raises(CheckpointError, match=f"made with another {next(iter(option))}"):
        load_generator(path)


def test_other_variables_are_named(tmp_path: Path, generator: Generator, discriminator: Discriminator) -> None:
    network = formats.tf_generator(generator)
    network.state["variables"].append(("synthesis/8x8/Skip/weight", np.zeros((1, 1, 8, 6), np.float32)))
    with pytest.raises(CheckpointError, match=r"'synthesis/8x8/Skip/weight' is no variable"):
        load_generator(write(tmp_path / "stylegan2.pkl", network))
    network = formats.tf_discriminator(discriminator, architecture="skip")
    with pytest.raises(CheckpointError, match="another architecture than padinv's networks have, which is resnet"):
        load_discriminator(write(tmp_path / "stylegan2.pkl", network))
    network = formats.tf_discriminator(discriminator)
    kept = [(name, value) for name, value in network.state["variables"] if "Skip" not in name]
    with pytest.raises(CheckpointError, match="no skip connections, which the residual architecture has"):
        load_discriminator(write(tmp_path / "stylegan2.pkl", formats.tf_network("D", dict(kept))))
    network.state["variables"].append(("8x8/FromRGB/weight", np.zeros((1, 1, 3, 6), np.float32)))
    with pytest.raises(CheckpointError, match="2 inputs where the residual architecture has one"):
        load_discriminator(write(tmp_path / "stylegan2.pkl", network))

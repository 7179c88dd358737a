from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from padinv import Generator, InversionCode, PaddingCode, load_generator
from padinv.feature_maps import draw_code, heat_map, padded_maps
from padinv.ops import map_to_ring, ring_positions


@pytest.fixture
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


def random_code(generator: Generator, batch: int = 2) -> InversionCode:
    torch.manual_seed(0)
    channels = generator.code_shape.channels
    rings = {r: torch.randn(batch, channels[r], ring_positions(r)) for r in (4, 16)}
    w_plus = torch.randn(batch, generator.num_layers, generator.code_shape.w_dim)
    return InversionCode(w_plus, PaddingCode(torch.randn(batch, channels[4], 4, 4), rings))


def test_maps_are_what_the_convolutions_read(generator: Generator) -> None:
    code = random_code(generator)
    maps = padded_maps(generator, code)
    assert {r: tuple(padded.shape) for r, padded in maps.items()} == {
        r: (2, channels, r + 2, r + 2) for r, channels in generator.code_shape.channels.items()
    }
    for r in (4, 16):
        assert torch.equal(map_to_ring(maps[r]), code.padding.rings[r])
    for r in (8, 32):
        assert not map_to_ring(maps[r]).any()
    # The first convolution, done by hand: the map, the weight as it is stored, demodulation, noise, bias, activation.
    conv = generator.synthesis.blocks["4"].conv
    style = conv.style(code.w_plus[:, 0])
    weight = conv.weight[None] * style[:, None, :, None, None]
    y = F.conv2d(maps[4], conv.weight) * weight.square().sum(dim=(2, 3, 4)).add(1e-8).rsqrt()[:, :, None, None]
    y = F.leaky_relu(y + conv.noise * conv.noise_strength + conv.bias[:, None, None], 0.2) * 2**0.5
    outputs = []
    handle = conv.register_forward_hook(lambda *arguments: outputs.append(arguments[-1]))
    generator.synthesis(*code.parts)
    handle.remove()
    torch.testing.assert_close(y, outputs[0], atol=1e-4, rtol=1e-4)


def test_generator_is_left_as_it_was(generator: Generator) -> None:
    code = random_code(generator)
    before = generator.synthesis(*code.parts)
    draw_code(generator, code)
    assert torch.equal(generator.synthesis(*code.parts), before)
    assert not any(block.conv._forward_pre_hooks for block in generator.synthesis.blocks.values())


def test_heat_map_parts_the_ring_from_the_map() -> None:
    values = torch.zeros(1, 1, 6, 6)
    values[0, 0, 0, 0] = -1  # a corner of the ring: magnitude counts
    plain, framed = heat_map(values, 60)[0], heat_map(values, 60, framed=True)[0]
    assert plain[:, 0, 0].sum() > 2 * plain[:, 30, 30].sum()
    line = torch.zeros(60, 60, dtype=torch.bool)
    line[9:51, 9:51] = True
    line[11:49, 11:49] = False
    assert (framed[:, line] == 1).all()
    assert torch.equal(framed[:, ~line], plain[:, ~line])


def test_drawing(generator: Generator) -> None:
    code = random_code(generator)
    images = generator.synthesis(*code.parts)
    assert draw_code(generator, code, [images], tile=64).shape == (3, 2 * 68 + 4, 4 * 68 + 4)
    shape = generator.code_shape
    features = {r: torch.randn(2, shape.channels[r], r, r) for r in (16, 8)}
    more = draw_code(generator, replace(code, features=features), [images], tile=64)
    assert more.shape == (3, 2 * 68 + 4, 6 * 68 + 4)
    assert torch.equal(more[:, 4:68, -136:-72], heat_map(features[8], 64)[0])  # by ascending resolution
    without = InversionCode(code.w_plus)
    assert draw_code(generator, without, tile=64).shape == (3, 2 * 68 + 4, 4 * 68 + 4)  # 4, 8, 16 and 32 px

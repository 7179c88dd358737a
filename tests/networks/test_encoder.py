from __future__ import annotations

import pytest
import torch

from padinv import Generator, PadInvEncoder
from padinv.codes import CodeShape
from padinv.exceptions import ConfigError

SHAPE = CodeShape(8, 16, {4: 12, 8: 10, 16: 8, 32: 6})


def tiny(**options: object) -> PadInvEncoder:
    torch.manual_seed(0)
    return PadInvEncoder(SHAPE, **{"resolution": 32, "depth": 18, "width": 4, **options}).eval()


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_any_resolution(resolution: int) -> None:
    code = tiny(resolution=resolution)(torch.randn(2, 3, resolution, resolution))
    assert code.w_plus.shape == (2, 8, 16)
    assert code.padding.const.shape == (2, 12, 4, 4)
    assert {r: tuple(ring.shape) for r, ring in code.padding.rings.items()} == {
        r: (2, SHAPE.channels[r], 4 * r + 4) for r in (4, 8, 16, 32)
    }


def test_large_input_is_built_for() -> None:
    encoder = tiny(resolution=1024, width=2)
    assert [len(head.convs) // 2 for head in encoder.style_heads] == [6] * 3 + [7] * 4 + [8]


def test_what_it_predicts_fits_its_generator() -> None:
    generator = Generator(32, z_dim=8, w_dim=16, mapping_layers=1, channels=SHAPE.channels)
    code = tiny()(torch.randn(2, 3, 32, 32))
    assert generator.synthesis(*code.parts).shape == (2, 3, 32, 32)
    assert generator.code_shape == SHAPE


@pytest.mark.parametrize(
    ("options", "rings", "const"),
    [
        ({"padded_resolutions": [4, 16]}, {4, 16}, True),
        ({"padded_resolutions": []}, set(), True),
        ({"padded_resolutions": [8], "replace_const": False}, {8}, False),
    ],
)
def test_choice_of_padding(options: dict[str, object], rings: set[int], const: bool) -> None:
    padding = tiny(**options)(torch.randn(1, 3, 32, 32)).padding
    assert set(padding.rings) == rings
    assert (padding.const is not None) == const


def test_without_padding_it_is_a_w_plus_encoder() -> None:
    encoder = tiny(padded_resolutions=[], replace_const=False)
    code = encoder(torch.randn(1, 3, 32, 32))
    assert code.padding is None
    assert not any("padding" in key for key in encoder.state_dict())
    full = tiny()
    assert full.load_state_dict(encoder.state_dict(), strict=False).unexpected_keys == []
    torch.testing.assert_close(full.eval()(torch.ones(1, 3, 32, 32)).w_plus, encoder(torch.ones(1, 3, 32, 32)).w_plus)


def test_latents_are_offsets_from_the_mean_which_is_part_of_the_state() -> None:
    encoder, images = tiny(), torch.randn(1, 3, 32, 32)
    before = encoder(images).w_plus
    assert "w_avg" in encoder.state_dict()
    encoder.w_avg.add_(2.0)
    torch.testing.assert_close(encoder(images).w_plus, before + 2.0)


def test_constants_are_offsets_from_the_generators_own() -> None:
    encoder, images = tiny(), torch.randn(1, 3, 32, 32)
    before = encoder(images).padding.const
    assert encoder.const_avg.shape == before.shape[1:]
    encoder.const_avg.add_(2.0)
    torch.testing.assert_close(encoder(images).padding.const, before + 2.0)
    assert tiny(replace_const=False).const_avg is None


def test_begins_near_the_mean() -> None:
    from padinv.networks.encoder import INITIAL_GAIN

    heads = tiny(padded_resolutions=[4]).style_heads
    assert heads[0].linear.weight.std().item() == pytest.approx(INITIAL_GAIN, rel=0.2)


def test_rings_are_what_full_maps_would_hold() -> None:
    """The 1×1 heads applied to whole maps, then cropped, then stripped of their inside."""
    import torch.nn.functional as F

    from padinv.networks.heads import center_crop
    from padinv.ops import map_to_ring

    head = tiny().padding_head
    level = torch.randn(2, 32, 32, 32)
    p = F.interpolate(head.extractor(level), size=(34, 34), mode="bicubic", align_corners=True)
    _, rings, _ = head(level)
    for r, conv in head.ring_heads.items():
        whole = F.conv2d(p, conv.weight.unsqueeze(-1), conv.bias)
        torch.testing.assert_close(rings[int(r)], map_to_ring(center_crop(whole, int(r) + 2)), rtol=1e-4, atol=1e-5)


WIDE = {4: 16, 8: 16, 16: 16, 32: 16, 64: 16, 128: 8, 256: 4}


@pytest.mark.parametrize(
    ("rings", "options", "level"),
    [
        ([4], {}, 1),
        ([4, 8], {}, 1),
        ([4, 8, 16], {}, 1),
        ([4, 8, 16, 32], {}, 1),
        ([4, 8, 16, 32, 64], {}, 1),
        ([4, 64], {"padding_level": 0}, 0),
        ([8, 16], {"padding_level": 2, "padding_depth": 0}, 2),
        ([4, 8, 16], {"padding_heads": False}, 1),
        ([4, 8], {"padding_heads": False, "padding_depth": 3, "replace_const": False}, 1),
    ],
)
def test_padding_by_the_published_formula(rings: list[int], options: dict[str, object], level: int) -> None:
    """P is one level, whatever the rings, through bottlenecks, resized; the constant and the rings are cut from it."""
    torch.manual_seed(0)
    encoder = PadInvEncoder(
        CodeShape(14, 8, WIDE), resolution=256, depth=18, width=2, fpn_channels=16, padded_resolutions=rings, **options
    ).eval()
    images = torch.randn(1, 3, 256, 256)
    levels = encoder.fpn(encoder.backbone(images)[:0:-1])
    assert [x.shape[-1] for x in levels] == [16, 32, 64]
    p = levels[level]
    for bottleneck in encoder.padding_head.extractor:
        p = bottleneck(p)
    assert len(encoder.padding_head.extractor) == options.get("padding_depth", 2)
    size = max(rings) + 2
    p = torch.nn.functional.interpolate(p, (size, size), mode="bicubic", align_corners=True)

    padding = encoder(images).padding
    half = size // 2
    if options.get("replace_const", True):
        torch.testing.assert_close(padding.const, p[..., half - 2 : half + 2, half - 2 : half + 2])
    else:
        assert padding.const is None
    for r, whole in padding.maps().items():
        expected = p[..., half - r // 2 - 1 : half + r // 2 + 1, half - r // 2 - 1 : half + r // 2 + 1]
        if options.get("padding_heads", True):
            head = encoder.padding_head.ring_heads[str(r)]
            expected = torch.einsum("oi,bihw->bohw", head.weight[..., 0], expected) + head.bias[:, None, None]
        expected = expected.clone()
        expected[..., 1:-1, 1:-1] = 0
        torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("resolution", "level"), [(32, 2), (64, 2), (128, 2), (256, 1), (512, 0), (1024, 0)])
def test_padding_comes_from_the_level_of_32_px_or_the_nearest(resolution: int, level: int) -> None:
    code = CodeShape(8, 16, {4: 4, 8: 4, 16: 4, 32: 4, 64: 4})
    for rings in ([4], [4, 8, 16, 32], [4, 64]):
        encoder = PadInvEncoder(code, resolution=resolution, depth=18, width=1, padded_resolutions=rings)
        assert encoder.padding_level == encoder.config["padding_level"] == level


@pytest.mark.parametrize("depth", [18, 50, 100, 152])
def test_depths(depth: int) -> None:
    assert (
        sum(len(stage) for stage in tiny(depth=depth, width=1, fpn_channels=4).backbone.stages)
        == {
            18: 8,
            50: 24,
            100: 49,
            152: 50,
        }[depth]
    )


def test_config_rebuilds_it() -> None:
    encoder = tiny(padded_resolutions=[4], padding_level=0, padding_depth=1, padding_heads=False, fpn_channels=12)
    twin = PadInvEncoder.from_config(encoder.config)
    twin.load_state_dict(encoder.state_dict())
    images = torch.randn(1, 3, 32, 32)
    for theirs, ours in zip(twin.eval()(images).tensors(), encoder(images).tensors(), strict=True):
        assert torch.equal(theirs, ours)


@pytest.mark.slow
def test_compiles_without_graph_breaks() -> None:
    encoder, images = tiny(), torch.randn(2, 3, 32, 32)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images).w_plus, encoder(images).w_plus, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 48}, "power of two from 32 to 1024, not 48"),
        ({"resolution": 16}, "not 16"),
        ({"depth": 34}, r"one of \[18, 50, 100, 152\], not 34"),
        ({"padded_resolutions": [4, 64]}, r"names 64 px, but this generator has layers at \[4, 8, 16, 32\] px"),
        ({"latents_per_level": [3, 4]}, "three numbers that add up to the generator's 8 latents"),
        ({"latents_per_level": [3, 4, 2]}, "add up"),
        ({"feature_resolutions": [64]}, r"feature_resolutions names 64 px, but this generator has layers at \[4, 8"),
        ({"width": 0}, "width must be 1 or more, not 0"),
        ({"width": -4}, "width must be 1 or more, not -4"),
        ({"fpn_channels": 0}, "fpn_channels must be 1 or more, not 0"),
        ({"width": 4.0}, "width must be 1 or more, not 4.0"),
        ({"feature_resolutions": [8], "feature_width": 0}, "feature_width must be 1 or more, not 0"),
        ({"padding_level": 3}, "padding_level must be 0, 1 or 2, a level of the pyramid, not 3"),
        ({"padding_depth": -1}, "padding_depth must be 0 or more, not -1"),
        (
            {"padding_heads": False, "fpn_channels": 12},
            "the ring at 8 px has the 12 channels of the pyramid, but this generator has 10 there; set fpn_channels",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**options)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(B, 3, 32, 32\), not \(1, 3, 64, 64\)"):
        tiny()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("features", [[16], [4, 8, 16, 32]])
def test_features_fit_the_generator_and_start_at_zero(resolution: int, features: list[int]) -> None:
    encoder = tiny(resolution=resolution, feature_resolutions=features)
    images = torch.randn(2, 3, resolution, resolution)
    code = encoder(images)
    assert {r: tuple(f.shape) for r, f in code.features.items()} == {r: (2, SHAPE.channels[r], r, r) for r in features}
    assert not any(residual.any() for residual in code.features.values())
    plain = tiny(resolution=resolution)
    plain.load_state_dict({key: tensor for key, tensor in encoder.state_dict().items() if "feature" not in key})
    for name, tensor in plain(images).named_tensors().items():
        assert torch.equal(code.named_tensors()[name], tensor)


def test_features_can_go_without_padding() -> None:
    code = tiny(padded_resolutions=[], replace_const=False, feature_resolutions=[16])(torch.randn(1, 3, 32, 32))
    assert code.padding is None
    assert code.feature_resolutions == [16]


@pytest.mark.parametrize(("resolution", "level"), [(4, 0), (8, 0), (16, 1), (32, 2), (64, 2)])
def test_features_come_from_the_level_of_their_size_or_the_nearest(resolution: int, level: int) -> None:
    shape = CodeShape(10, 16, {**SHAPE.channels, 64: 4})
    encoder = PadInvEncoder(shape, resolution=64, depth=18, width=4, feature_resolutions=[resolution]).eval()
    torch.nn.init.normal_(encoder.feature_heads[str(resolution)].output.weight)
    levels = []
    handle = encoder.fpn.register_forward_hook(lambda *arguments: levels.extend(arguments[-1]))
    features = encoder(torch.randn(1, 3, 64, 64)).features[resolution]
    handle.remove()
    assert [x.shape[-1] for x in levels] == [8, 16, 32]
    torch.testing.assert_close(features, encoder.feature_heads[str(resolution)](levels[level]))
    assert features.shape == (1, shape.channels[resolution], resolution, resolution)


def test_feature_width_and_config() -> None:
    encoder = tiny(feature_resolutions=[16, 8], feature_width=5)
    assert [conv.out_channels for conv in encoder.feature_heads["8"].convs] == [5, 5]
    for parameter in encoder.feature_heads.parameters():
        torch.nn.init.normal_(parameter)
    twin = PadInvEncoder.from_config(encoder.config).eval()
    twin.load_state_dict(encoder.state_dict())
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(twin(images).features[16], encoder(images).features[16])
    old = {key: value for key, value in tiny().config.items() if "feature" not in key}
    assert PadInvEncoder.from_config(old).state_dict().keys() == tiny().state_dict().keys()

from __future__ import annotations

import pytest
import torch
from jsonargparse import ArgumentParser

from padinv import Discriminator
from padinv.exceptions import ConfigError
from padinv.networks.discriminator import minibatch_stddev
from padinv.ops.resampling import blur, blur_downsample


def tiny() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(16, channels={4: 8, 8: 6, 16: 4}).eval()


def test_scores_and_features() -> None:
    discriminator = tiny()
    images = torch.randn(4, 3, 16, 16)
    assert discriminator(images).shape == (4, 1)
    assert [tuple(f.shape) for f in discriminator.features(images)] == [(4, 6, 8, 8), (4, 8, 4, 4)]


def test_features_depend_on_each_image_alone() -> None:
    discriminator, images = tiny(), torch.randn(4, 3, 16, 16)
    for whole, single in zip(discriminator.features(images), discriminator.features(images[2:3]), strict=True):
        torch.testing.assert_close(whole[2:3], single, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(discriminator(images)[2:3], discriminator(images[2:3]))


def test_minibatch_stddev_of_groups() -> None:
    x = torch.tensor([0.0, 10.0, 2.0, 10.0, 4.0, 10.0, 6.0, 10.0]).view(8, 1, 1, 1).expand(8, 2, 3, 3)
    channel = minibatch_stddev(x, 4)[:, 2, 0, 0]
    # Even samples 0, 2, 4, 6 are one group of variance 5; the odd ones are all alike.
    torch.testing.assert_close(channel[0::2], torch.full((4,), 5.0**0.5))
    torch.testing.assert_close(channel[1::2], torch.full((4,), 1e-4))


def test_minibatch_stddev_of_the_whole_batch() -> None:
    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 3, 3)
    torch.testing.assert_close(minibatch_stddev(x, None)[:, 2], torch.full((6, 3, 3), (35 / 12) ** 0.5))
    whole = Discriminator(16, channels={4: 8, 8: 6, 16: 4}, mbstd_group_size=None)
    assert Discriminator(**whole.config).mbstd_group_size is None
    assert whole(torch.randn(7, 3, 16, 16)).shape == (7, 1)


def test_the_group_size_by_its_old_name() -> None:
    old = {"resolution": 8, "channels": {4: 4, 8: 4}, "mbstd_groups": 2}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--d", type=str | Discriminator)
    parsed = parser.parse_object({"d": {"class_path": "padinv.Discriminator", "init_args": old}})
    for make in (lambda: Discriminator(**old), lambda: parser.instantiate(parsed).d):
        with pytest.warns(DeprecationWarning, match="mbstd_groups is called mbstd_group_size now"):
            assert make().mbstd_group_size == 2
    assert Discriminator.from_config(old).mbstd_group_size == 2  # of a file: no warning
    assert "mbstd_groups" not in Discriminator.from_config(old).config


def test_convolutions_are_clamped() -> None:
    discriminator = tiny()
    clamped = Discriminator(**{**discriminator.config, "conv_clamp": 0.3}).eval()
    clamped.load_state_dict(discriminator.state_dict())
    images = torch.randn(4, 3, 16, 16)

    def act(x: torch.Tensor) -> torch.Tensor:
        return (torch.where(x > 0, x, 0.2 * x) * 2**0.5).clamp(-0.3, 0.3)

    x = act(discriminator.from_rgb(images))
    for block in discriminator.blocks.values():
        skip = block.skip(blur_downsample(x, block.kernel))
        x = act(block.down(blur(act(block.conv(x)), block.kernel, padding=(2, 2)), stride=2, padding=0))
        x = (x + skip) / 2**0.5
    x = discriminator.dense(act(discriminator.conv(minibatch_stddev(x))).flatten(1))
    expected = discriminator.score(torch.where(x > 0, x, 0.2 * x) * 2**0.5)
    torch.testing.assert_close(clamped(images), expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(discriminator(images), expected, rtol=0.05)


@pytest.mark.parametrize("ranks", [2, 4])
def test_groups_stay_the_same_when_samples_are_dealt_out_to_ranks(ranks: int) -> None:
    x = torch.randn(16, 2, 4, 4)
    together = minibatch_stddev(x)
    for rank in range(ranks):
        torch.testing.assert_close(minibatch_stddev(x[rank::ranks]), together[rank::ranks])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tiny()(torch.zeros(1, 3, 32, 32)), r"\(B, 3, 16, 16\), not \(1, 3, 32, 32\)"),
        (lambda: tiny()(torch.zeros(6, 3, 16, 16)), "batch of 6 images has no whole groups of 4"),
        (lambda: Discriminator(16, channels={4: 8}), r"from 4 to 16 px once, not \[4\]"),
        (lambda: Discriminator(20), "not 20"),
        (
            lambda: Discriminator(8, mbstd_group_size=0),
            "mbstd_group_size must be 1 or more, or None for the whole batch, not 0",
        ),
    ],
)
def test_what_does_not_fit_is_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()

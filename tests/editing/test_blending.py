from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from code_samples import make_code, same
from padinv import InversionCode, PaddingCode, load_generator
from padinv.editing import blend
from padinv.exceptions import ConfigError

RINGS = st.none() | st.sets(st.sampled_from([4, 8]))


@given(RINGS, st.booleans())
def test_with_itself_is_itself(rings: set[int] | None, const: bool) -> None:
    code = make_code()
    assert same(blend(code, code, rings=rings, const=const), code)


@given(RINGS, st.booleans())
def test_every_part_comes_from_one_of_both(rings: set[int] | None, const: bool) -> None:
    contour, details = make_code(seed=1), make_code(seed=2)
    blended = blend(contour, details, rings=rings, const=const).named_tensors()
    ours = {f"ring_{r}" for r in ([4, 8] if rings is None else rings)} | ({"const"} if const else set())
    for name, part in blended.items():
        source = contour if name in ours else details
        assert torch.equal(part, source.named_tensors()[name])


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1)])
def test_one_with_many(sizes: tuple[int, int]) -> None:
    contour, details = make_code(sizes[0], 1), make_code(sizes[1], 2)
    blended = blend(contour, details)
    assert len(blended) == 3
    assert same(blended[2], blend(contour[min(2, sizes[0] - 1)], details[min(2, sizes[1] - 1)]))


def test_what_the_details_lack_is_left_to_the_generator() -> None:
    contour, bare = make_code(), make_code(padding=False)
    assert blend(contour, bare, rings=[8], const=False).named_tensors().keys() == {"w_plus", "ring_8"}
    assert blend(contour, bare, rings=[], const=False).padding is None
    without_const = InversionCode(contour.w_plus, PaddingCode(None, contour.padding.rings))
    assert torch.equal(blend(without_const, contour).padding.const, contour.padding.const)


def test_padding_moves_the_image_and_ring_choice_matters() -> None:
    """Over the bundled generator: the more of the contour's padding, the further from the details' image."""
    generator = load_generator("congress64")
    shape, random = generator.code_shape, torch.Generator().manual_seed(0)
    rings = {r: torch.randn(2, shape.channels[r], 4 * r + 4, generator=random) for r in (4, 16)}
    codes = InversionCode(generator.w_avg.expand(2, shape.num_layers, -1), PaddingCode(None, rings))
    contour, details = codes[0], codes[1]
    images = [generator.synthesis(*blend(contour, details, rings=r).parts) for r in ([], [16], [4, 16])]
    distances = [(image - images[0]).square().mean() for image in images]
    assert 0 == distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize(
    ("contour", "details", "rings", "message"),
    [
        (make_code(padding=False), make_code(), None, "this code has none"),
        (make_code(), make_code(), [4, 32], r"rings names \[32\] px, but the contour has rings at \[4, 8\]"),
        (make_code(2), make_code(3), None, "there are 2 in contour, 3 in details"),
        (make_code(), InversionCode(torch.zeros(3, 8, 16)), None, r"latents are \(6, 16\) in contour, \(8, 16\) in"),
    ],
)
def test_what_does_not_fit_is_named(
    contour: InversionCode, details: InversionCode, rings: list[int] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        blend(contour, details, rings=rings)

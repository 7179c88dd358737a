"""A drag moves what is at a handle to its target, and leaves what a mask protects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from padinv import Generator, InversionCode, PaddingCode
from padinv.codes import CodeShape
from padinv.editing import DragStep, drag, drag_steps
from padinv.exceptions import ConfigError, DataError

SIZE = 32
HANDLE, TARGET = (12.0, 15.0), (17.0, 15.0)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(4)
    return Generator(SIZE, z_dim=8, w_dim=16, mapping_layers=2, channels={4: 12, 8: 10, 16: 8, 32: 6}).eval()


def some_code(shape: CodeShape, count: int = 1, padding: bool = True) -> InversionCode:
    torch.manual_seed(5)
    rings = {r: torch.randn(count, shape.channels[r], 4 * r + 4) for r in (4, 8, 16)}
    const = torch.randn(count, shape.channels[4], 4, 4)
    w_plus = torch.randn(count, shape.num_layers, shape.w_dim)
    return InversionCode(w_plus, PaddingCode(const, rings) if padding else None)


@pytest.fixture
def code(generator: Generator) -> InversionCode:
    return some_code(generator.code_shape)


def features(generator: Generator, code: InversionCode, resolution: int = 16) -> Tensor:
    seen: list[Tensor] = []
    hook = generator.synthesis.blocks[str(resolution)].register_forward_hook(lambda *call: seen.append(call[2][0]))
    with torch.no_grad():
        generator.synthesis(*code.parts)
    hook.remove()
    return seen[0][0]


def test_what_is_at_the_handle_comes_to_the_target(generator: Generator, code: InversionCode) -> None:
    said: list[DragStep] = []
    dragged = drag(code, generator, [HANDLE], [TARGET], steps=100, on_step=said.append)
    assert said[0].number == 0
    assert said[0].distances == (5.0,)
    assert said[0].handles == (HANDLE,)
    assert said[-1].distances[0] <= 1.0
    assert 0 < said[-1].number < 100
    assert torch.equal(said[-1].code.w_plus, dragged.w_plus)
    # Not by the tracking of the drag itself: at the target there is now what was at the handle.
    before, after = features(generator, code), features(generator, dragged)
    wanted = before[:, 7, 6]  # (12, 15) px of 32 is (6, 7) of 16
    assert (after[:, 7, 8] - wanted).norm() < 0.75 * (before[:, 7, 8] - wanted).norm()


@pytest.mark.parametrize("padding", [True, False])
def test_each_step_is_whole_and_the_given_code_stays(generator: Generator, code: InversionCode, padding: bool) -> None:
    given = code.clone()
    *_, last = drag_steps(code, generator, [HANDLE], [TARGET], steps=3, padding=padding, layers="0-2")
    for name, tensor in code.named_tensors().items():
        assert torch.equal(tensor, given.named_tensors()[name]), name
    changed = {n for n, t in last.code.named_tensors().items() if not torch.equal(t, code.named_tensors()[n])}
    # The finer rings are too far from the handle for a gradient.
    assert changed == ({"w_plus", "const", "ring_4"} if padding else {"w_plus"})
    assert torch.equal(last.code.w_plus[:, 3:], code.w_plus[:, 3:]), "other layers stay"
    assert not torch.equal(last.code.w_plus[:, :3], code.w_plus[:, :3])
    with torch.no_grad():
        torch.testing.assert_close(last.image, generator.synthesis(*last.code.parts))
    assert all(p.grad is None for p in generator.parameters())


def test_the_mask_protects_what_is_outside(generator: Generator, code: InversionCode) -> None:
    mask = torch.zeros(SIZE, SIZE)
    mask[8:24, 4:28] = 1
    start = features(generator, code)
    moved = {}
    for name, one in (("free", None), ("masked", mask)):
        after = features(generator, drag(code, generator, [HANDLE], [TARGET], mask=one, steps=10, tolerance=0.1))
        outside = (after - start).abs().mean(dim=0) * (mask[::2, ::2] == 0)
        moved[name] = float(outside.sum())
    assert moved["masked"] < 0.7 * moved["free"]


def test_images_of_a_batch_are_dragged_each_by_itself(generator: Generator) -> None:
    both = some_code(generator.code_shape, 2)
    options: dict[str, Any] = {"handles": [HANDLE], "targets": [TARGET], "steps": 4}
    together = drag(both, generator, **options)
    alone = drag(both[1], generator, **options)
    torch.testing.assert_close(together.w_plus[1:], alone.w_plus)


def test_several_handles_and_no_padding(generator: Generator) -> None:
    code = some_code(generator.code_shape, padding=False)
    steps = list(drag_steps(code, generator, [HANDLE, (20, 8)], [TARGET, (20, 8)], steps=5))
    assert steps[-1].code.padding is None
    assert len(steps[-1].handles) == 2
    assert steps[0].distances == (5.0, 0.0)


def test_features_move_with_the_padding(generator: Generator, code: InversionCode) -> None:
    code = replace(code, features={16: 0.1 * torch.randn(1, 8, 16, 16)})
    *_, last = drag_steps(code, generator, [HANDLE], [TARGET], steps=2)
    assert not torch.equal(last.code.named_tensors()["features_16"], code.named_tensors()["features_16"])
    *_, last = drag_steps(code, generator, [HANDLE], [TARGET], steps=2, padding=False)
    assert torch.equal(last.code.named_tensors()["features_16"], code.named_tensors()["features_16"])


def test_it_ends_where_there_is_nothing_to_do(generator: Generator, code: InversionCode) -> None:
    assert [step.number for step in drag_steps(code, generator, [HANDLE], [HANDLE])] == [0]
    assert [step.number for step in drag_steps(code, generator, [HANDLE], [TARGET], steps=0)] == [0]


def test_it_works_in_inference_mode_and_leaks_no_mode(generator: Generator, code: InversionCode) -> None:
    with torch.inference_mode():
        steps = drag_steps(code.clone(), generator, [HANDLE], [TARGET], steps=2)
        next(steps)
        assert torch.is_inference_mode_enabled()
    with torch.no_grad():
        next(steps)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"handles": []}, "There are no handles"),
        ({"targets": [TARGET, TARGET]}, "1 handles and 2 targets"),
        ({"targets": [(40.0, 3.0)]}, r"inside the image, 0 to 31 px, but one is \(40, 3\)"),
        ({"handles": [(float("nan"), 3.0)]}, "inside the image"),
        ({"mask": torch.ones(3, 3)}, "mask has shape"),
        ({"resolution": 12}, "resolution must be one of 4, 8, 16, 32"),
        ({"layers": "0-9"}, "layers must be among 0-7"),
        ({"steps": -1}, "steps must be 0 or more"),
        ({"rate": float("inf")}, "rate must be finite"),
        ({"code": lambda shape: some_code(shape, 2)}, "one image, not of 2"),
        ({"code": lambda shape: InversionCode(torch.ones(1, 3, 5))}, "takes style latents"),
    ],
)
def test_what_cannot_be_is_told_at_once(
    generator: Generator, code: InversionCode, change: dict[str, Any], sentence: str
) -> None:
    make: Callable[[CodeShape], InversionCode] = change.pop("code", lambda _: code)
    options: dict[str, Any] = {"handles": [HANDLE], "targets": [TARGET], **change}
    with pytest.raises(ConfigError, match=sentence):
        drag_steps(make(generator.code_shape), generator, **options)


def test_numbers_that_grow_out_of_bounds(generator: Generator, code: InversionCode) -> None:
    with pytest.raises(DataError, match="smaller rate"):
        drag(code, generator, [HANDLE], [TARGET], steps=50, rate=1e38)

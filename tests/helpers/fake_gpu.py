"""A device that holds no numbers, to find what would fail on a GPU where there is none.

Torch's fake tensors have a device and a type, and no values. An operation on tensors of two devices raises an error, as
on a GPU, and so does what no GPU tensor can do: become an array, be drawn by the CPU's generator, index a CPU tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

aten = torch.ops.aten
NUMPY, TOLIST = Tensor.numpy, Tensor.tolist
VALUES = {torch.bool: True, torch.int64: 2, torch.int32: 0}
"""What reading a number gives, by its type; 0.5 for all others. Of one image there would be no variance."""

FALSE = (aten.eq.Scalar, aten.eq.Tensor, aten.le.Scalar, aten.lt.Scalar, aten.lt.Tensor)
"""Comparisons that are false when they are read: what is not zero, and not few, goes through the most code."""


class FakeGPU(FakeTensorMode):
    """The mode in which tensors are fake; ``truth`` is what reading a truth value gives."""

    avoid_device_init = True  # torch then asks no driver

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.truth = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            if (constant := getattr(args[0], "constant", None)) is not None:
                return constant.item()
            if args[0].dtype == torch.bool:
                return self.truth and not getattr(args[0], "is_false", False)
            return VALUES.get(args[0].dtype, 0.5)
        if func is aten.equal.default:
            return False
        if (random := kwargs.get("generator")) is not None:
            place = kwargs.get("device") or (args[0].device if isinstance(args[0], Tensor) else random.device)
            if torch.device(place).type != random.device.type:
                raise RuntimeError(f"a generator of {random.device} cannot draw on {place}")
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            whole, indices, *rest = args
            if whole.device.type == "cpu" and any(i is not None and i.device.type != "cpu" for i in indices):
                raise RuntimeError(f"indices on the device cannot index a tensor of {whole.device}")
            args = (whole, [place for index in indices for place in self._without_masks(index)], *rest)
        if func.overloadpacket is aten.to and isinstance(args[0], FakeTensor):
            args[0].constant = None  # under inference mode torch would copy the number itself to the device
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if func in FALSE and isinstance(result, FakeTensor):
            result.is_false = True
        return result

    def _without_masks(self, index: Tensor | None) -> list[Tensor | None]:
        """A mask chooses as many places as it has numbers: how many are true, nobody knows."""
        if index is None or index.dtype != torch.bool:
            return [index]
        with self:
            return [torch.zeros(index.numel(), dtype=torch.int64, device=index.device) for _ in index.shape]


def _numpy(self: Tensor, *, force: bool = False) -> Any:
    if not isinstance(self, FakeTensor):
        return NUMPY(self, force=force)
    if self.device.type != "cpu":
        raise TypeError(f"can't convert {self.device} tensor to numpy: use Tensor.cpu()")
    if self.requires_grad:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")
    if self.dtype == torch.bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    return np.full(self.shape, 0.5 if self.is_floating_point() else 1, str(self.dtype).removeprefix("torch."))


def _tolist(self: Tensor) -> Any:
    if not isinstance(self, FakeTensor) and self.device.type == "cpu":
        return TOLIST(self)
    return [_tolist(part) for part in self] if self.ndim else self.item()


@contextmanager
def fake_gpu(kind: str) -> Iterator[FakeGPU]:
    """Makes all new tensors fake, and lets a device of a kind be used as if it were there.

    Args:
        kind: "cuda", which knows autocast; or "meta", which autograd takes on a machine without a GPU.
    """
    autocast, from_numpy, mode = torch.autocast, torch.from_numpy, FakeGPU()

    def fake(tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else mode.from_tensor(tensor, static_shapes=True)

    def apply(self: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
        """As torch's own, which cannot replace a fake parameter that something else refers to."""
        for module in self.children() if recurse else ():
            module._apply(fn)
        for key, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[key] = nn.Parameter(fn(fake(parameter.detach())), parameter.requires_grad)
        self._buffers |= {key: fn(fake(buffer)) for key, buffer in self._buffers.items() if buffer is not None}
        return self

    def other_autocast(device_type: str, *args: Any, **options: Any) -> Any:
        return nullcontext() if device_type == "meta" else autocast(device_type, *args, **options)

    with (
        patch.object(Tensor, "numpy", _numpy),
        patch.object(Tensor, "tolist", _tolist),
        patch.object(nn.Module, "_apply", apply),
        patch("torch.from_numpy", lambda array: fake(from_numpy(array))),
        patch.object(Tensor, "__deepcopy__", lambda self, memo: self.detach().clone()),
        patch.object(Tensor, "is_meta", False, create=True),
        patch("torch.autocast", other_autocast),
        patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
        patch("torch.cuda.is_bf16_supported", lambda *_, **__: True),
        mode,
    ):
        if kind == "cuda":
            _ask_nothing_of_a_driver()
        yield mode


def _ask_nothing_of_a_driver() -> None:
    """Skips the test where a version of torch, such as 2.8 built for CUDA, needs a driver even for fakes."""
    x = torch.ones(2, device="cuda")
    try:
        x[x > 0]
    except torch.AcceleratorError:
        pytest.skip("this version of torch asks for CUDA's driver")


class FakeAccelerator(CPUAccelerator):
    """Lets Lightning train there."""

    def setup_device(self, device: torch.device) -> None:
        """Asks for nothing."""


def fake_strategy() -> SingleDeviceStrategy:
    return SingleDeviceStrategy(device=torch.device("meta"), accelerator=FakeAccelerator())

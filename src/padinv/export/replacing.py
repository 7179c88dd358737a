"""Functions of torch that are traced as others, which are faster where an exported file is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch.overrides import TorchFunctionMode

Others: TypeAlias = dict[Callable[..., Any], Callable[..., Any]]
"""What is called instead, by function."""


class Replacing(TorchFunctionMode):
    """Within it, each call of some functions of torch is one of others, with the same arguments.

    Args:
        others: what is called instead, by function. In there the functions are torch's own again.

    >>> import torch
    >>> with Replacing({torch.sin: torch.cos}):
    ...     torch.sin(torch.zeros(1))
    tensor([1.])
    """

    def __init__(self, others: Others) -> None:
        super().__init__()
        self.others = others

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls the other function, if there is one."""
        return self.others.get(func, func)(*args, **kwargs or {})

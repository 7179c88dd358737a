"""Runs every command on photographs: many at once, on one device or on many.

Names are loaded when first used, since the help of a command needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padinv.bulk.module import BulkInversion
    from padinv.bulk.naming import output_names
    from padinv.bulk.outputs import OutputFolder
    from padinv.bulk.running import Report, run
    from padinv.bulk.task import BulkOptions, Task
    from padinv.sources.finding import find_photographs

__all__ = ["BulkInversion", "BulkOptions", "OutputFolder", "Report", "Task", "find_photographs", "output_names", "run"]

_HOMES = {
    "BulkInversion": "bulk.module",
    "BulkOptions": "bulk.task",
    "OutputFolder": "bulk.outputs",
    "Report": "bulk.running",
    "Task": "bulk.task",
    "find_photographs": "sources.finding",
    "output_names": "bulk.naming",
    "run": "bulk.running",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"padinv.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'padinv.bulk' has no attribute {name!r}")

"""The reference evaluation of inversion: any method's pictures, under a named protocol, with intervals.

Names are loaded when first used, since the help of a command needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padinv.evaluation.inverted import Inverted, measure_speed
    from padinv.evaluation.measuring import Evaluator, Measures, build_measures
    from padinv.evaluation.pairs import Files, Pairs, match
    from padinv.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
    from padinv.evaluation.report import write_report
    from padinv.evaluation.results import Evaluation, Number, Sampling
    from padinv.evaluation.running import Settings, evaluate

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "Evaluator",
    "Files",
    "Inverted",
    "Measures",
    "Number",
    "Pairs",
    "Protocol",
    "Sampling",
    "Settings",
    "build_measures",
    "evaluate",
    "find_protocol",
    "match",
    "measure_speed",
    "write_report",
]

_HOMES = {
    "inverted": ("Inverted", "measure_speed"),
    "measuring": ("Evaluator", "Measures", "build_measures"),
    "pairs": ("Files", "Pairs", "match"),
    "protocols": ("PROTOCOLS", "Protocol", "find_protocol"),
    "report": ("write_report",),
    "results": ("Evaluation", "Number", "Sampling"),
    "running": ("Settings", "evaluate"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"padinv.evaluation.{home}"), name)
    raise AttributeError(f"module 'padinv.evaluation' has no attribute {name!r}")

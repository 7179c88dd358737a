"""The reference evaluation of inversion: any method's pictures, under a named protocol, with intervals."""

from padinv.evaluation.inverted import Inverted, measure_speed
from padinv.evaluation.measuring import Evaluator, Measures, build_measures
from padinv.evaluation.pairs import Files, Pairs, Settings, match
from padinv.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
from padinv.evaluation.report import write_report
from padinv.evaluation.results import Evaluation, Number, Sampling
from padinv.evaluation.running import evaluate

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

"""Compares encoders: trains them alike, measures them image by image, and says where a difference is sure."""

from padinv.comparison.measuring import Measured, Ruler
from padinv.comparison.report import Report, summarize
from padinv.comparison.rows import Comparison, Row, comparisons, parse_comparison, read_comparison
from padinv.comparison.training import Run, plan

__all__ = [
    "Comparison",
    "Measured",
    "Report",
    "Row",
    "Ruler",
    "Run",
    "comparisons",
    "parse_comparison",
    "plan",
    "read_comparison",
    "summarize",
]

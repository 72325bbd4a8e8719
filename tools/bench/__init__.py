"""Measures the zoo on packaged ground truth: price and time through the real backends, accuracy by condition."""

from catp.tools.bench.report import BenchReport, ToolRow
from catp.tools.bench.run import run

__all__ = ["BenchReport", "ToolRow", "run"]

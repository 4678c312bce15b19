"""The benchmarks that come with the harness. They name tasks, backbones and data sets by id, and import none."""

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites import tabular, text, vision

BENCHMARKS: list[BenchmarkSpec] = [*vision.BENCHMARKS, *text.BENCHMARKS, *tabular.BENCHMARKS]

__all__ = ["BENCHMARKS"]

"""The benchmarks that come with the harness. They name tasks, backbones and data sets by id, and import none."""

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites import audio, multimodal, tabular, text, video, vision

BENCHMARKS: list[BenchmarkSpec] = [
    spec for module in (vision, text, tabular, audio, video, multimodal) for spec in module.BENCHMARKS
]

__all__ = ["BENCHMARKS"]

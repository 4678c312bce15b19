"""The benchmarks that come with the harness. They name tasks, backbones and data sets by id, and import none."""

from dataclasses import replace

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites import audio, multimodal, tabular, text, video, vision

__all__ = ["BENCHMARKS"]

_LISTED = [spec for module in (vision, text, tabular, audio, video, multimodal) for spec in module.BENCHMARKS]


def _finetuned(spec: BenchmarkSpec) -> BenchmarkSpec:
    """A benchmark of the suite ``tasks`` whose encoder is fine-tuned on the few labels, in place of a linear probe.

    It has three draws of the headline's number of labels, since each draw trains all weights.
    """
    few = "evaluators.few-labels."
    given = {key: value for key, value in spec.overrides.items() if not key.startswith("evaluators.")}
    counts, shares = (spec.overrides.get(few + name, usual) for name, usual in (("per_class", (10,)), ("shares", ())))
    options = {"per_class": counts[:1], "shares": shares[: not counts], "draws": 3, "method": "finetune"}
    return replace(
        spec,
        id=f"finetune-{spec.id.removeprefix('tasks-')}",
        suites=("finetune",),
        evaluators=("few-labels", "linear"),
        headline=spec.headline if spec.headline.startswith("few-labels.") else "few-labels.accuracy@10",
        overrides={**given, **{few + name: value for name, value in options.items()}},
    )


BENCHMARKS: list[BenchmarkSpec] = [*_LISTED, *(_finetuned(spec) for spec in _LISTED if "tasks" in spec.suites)]

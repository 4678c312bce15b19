"""Watch the logged metrics and warn once if nothing is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from selfsup.training.observe.collapse_monitor import (
    HEAD_METRICS,
    describe_assignments,
    describe_chance,
    describe_codebook,
    describe_head,
    describe_left_out,
)

_EARLY = 0.2
"""Share of the run before which nothing is reported."""
_FIRST_STEPS = 20
"""Steps before which nothing is reported, however short the run is."""
_IN_A_ROW = 3
"""Consecutive logged lines with a fault before it is reported."""
_LONG_WAIT = 0.3
"""Share of the time that steps may wait for data."""


class MetricWatch:
    """Checks each logged line; one call per line. ``streams`` says whether rows are decoded while they are needed.

    It checks ``data_wait`` (share of the time that steps wait for data), ``left_out`` (share of samples that the task leaves
    out), ``codebook_perplexity``, and ``contrastive_loss`` (or ``loss``) against ``chance_loss`` (the loss of guessing). For
    collapse in a head it compares ``target_std``, ``target_rank``, ``sample_std`` and ``output_std`` with their first values,
    and checks ``teacher_entropy`` and ``prototypes_used``.
    """

    def __init__(self, total_steps: int, warn: Callable[[str], None], *, streams: bool = False) -> None:
        self._total, self._warn, self._streams = total_steps, warn, streams
        self._seen: dict[str, int] = {}
        self._first: dict[str, float] = {}

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Check one line of metrics."""
        for name in HEAD_METRICS:
            if name in metrics:
                self._first.setdefault(name, metrics[name])
        if metrics.get("left_out", 0) > 0 and "left_out" not in self._seen:
            self._seen["left_out"] = 1
            self._warn(describe_left_out(metrics["left_out"]))
        if step > _FIRST_STEPS:
            self._note("data_wait", describe_data_wait(metrics.get("data_wait", 0.0), streams=self._streams), step)
        if step < max(_EARLY * self._total, _FIRST_STEPS):
            return
        if "codebook_perplexity" in metrics:
            self._note("codebook", describe_codebook(metrics["codebook_perplexity"]), step)
        assigns = {"teacher_entropy", "prototypes_used"} <= metrics.keys()
        # Healthy projections cluster around prototypes, so with prototypes only the assignments show a collapse.
        watched = [name for name in HEAD_METRICS if name in metrics and not (assigns and name in ("target_std", "target_rank"))]
        heads = [describe_head(name, metrics[name], self._first[name]) for name in watched]
        if heads:  # report once, though a collapse shows in several of them
            self._note("head", next((text for text in heads if text), ""), step)
        if assigns:
            self._note("assignments", describe_assignments(metrics["teacher_entropy"], metrics["prototypes_used"]), step)
        loss = metrics.get("contrastive_loss", metrics.get("loss"))
        if "chance_loss" in metrics and loss is not None:
            self._note("chance", describe_chance(loss, metrics["chance_loss"]), step)

    def _note(self, kind: str, warning: str, step: int) -> None:
        """Count consecutive lines with a warning, and show it once."""
        count = self._seen.get(kind, 0)
        if count >= _IN_A_ROW:
            return
        self._seen[kind] = count + 1 if warning else 0
        if warning and count + 1 == _IN_A_ROW:
            self._warn(f"{warning} (step {step})")


def describe_data_wait(share: float, *, streams: bool) -> str:
    """A warning if steps wait for data, with a remedy; else an empty text.

    Args:
        share: of the time, 0 to 1.
        streams: whether rows are decoded while they are needed.
    """
    if share < _LONG_WAIT:
        return ""
    remedy = (
        "Prepare the rows once (--no-stream), or decode the stream with more processes (--set streaming.workers=N)."
        if streams
        else "Put the cache on a faster disk (SELFSUP_CACHE=DIR), or give the run more processor cores."
    )
    return f"Warning: steps wait for data during {100 * share:.0f} % of the time. {remedy}"

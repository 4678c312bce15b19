"""Measurements across parts."""

from __future__ import annotations

from selfsup.specs import EvaluatorSpec

EVALUATORS: tuple[EvaluatorSpec, ...] = ()

"""Tasks with a recipe of their own; what the core composes is not among them."""

from __future__ import annotations

from selfsup.specs import TaskSpec

TASKS: tuple[TaskSpec, ...] = ()

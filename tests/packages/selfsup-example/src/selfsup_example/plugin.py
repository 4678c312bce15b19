"""What the example registers."""

from __future__ import annotations

from selfsup import hookimpl
from selfsup.registry import CommandSpec, ObjectiveSpec

SELFSUP_API = 1


@hookimpl
def selfsup_objectives() -> list[ObjectiveSpec]:
    """One loss, which becomes a task in every modality with views."""
    return [
        ObjectiveSpec(
            id="example-spread",
            summary="Pull the two views of a sample together and push all samples apart, by Gaussian potentials.",
            target="selfsup_example.spread:recipe",
            family="joint-embedding",
            paper="Wang and Isola 2020, arXiv 2005.10242, eq. 1 and 2",
        )
    ]


@hookimpl
def selfsup_commands() -> list[CommandSpec]:
    """One command."""
    return [CommandSpec(id="example-greet", summary="Greet somebody.", target="selfsup_example.greet:command")]

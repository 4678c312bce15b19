"""Tables of what is registered: tasks, evaluators and data sets of a modality, and objectives."""

from __future__ import annotations

from pathlib import Path

from selfsup.registry import registry
from site_pages.markdown import code, save, table, text


def write(out: Path) -> None:
    """Write ``fragments/``, which pages include."""
    house = registry()
    fragments = out / "fragments"
    for modality in house.modalities:
        folder = fragments / modality
        tasks = [task for task in house.tasks.values() if task.modality == modality]
        save(
            folder / "tasks.md",
            table(
                ("task", "what it learns from", "family, network"),
                (
                    [
                        code(task.id),
                        f"{text(task.summary)}<br>*{text(task.paper)}*",
                        f"{task.family}<br>{code(_backbone(task.id))}",
                    ]
                    for task in tasks
                ),
            ),
        )
        save(folder / "evaluators.md", _evaluators(modality))
        datasets = [spec for spec in house.datasets.values() if spec.modality == modality]
        save(
            folder / "datasets.md",
            table(
                ("data set", "what it is", "network", "licence"),
                (
                    [code(spec.id), text(spec.summary), "" if spec.embedded else "needed", text(spec.licence)]
                    for spec in datasets
                ),
            )
            if datasets
            else "None is registered.",
        )
    save(
        fragments / "objectives.md",
        table(
            ("objective", "family", "what it asks for", "paper"),
            ([code(spec.id), spec.family, text(spec.summary), text(spec.paper)] for spec in house.objectives.values()),
        ),
    )


def _evaluators(modality: str) -> str:
    return table(
        ("evaluator", "what it measures", "labels"),
        (
            [code(spec.id), text(spec.summary), ", ".join(spec.label_kinds) if spec.needs_labels else "none needed"]
            for spec in registry().evaluators.values()
            if spec.modality in ("", modality)
        ),
    )


def _backbone(task: str) -> str:
    house = registry()
    spec = house.tasks[task]
    modality = house.modalities[spec.modality]
    return spec.backbone or (modality.token_backbone if spec.needs_tokens else modality.backbone)

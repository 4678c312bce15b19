"""Runs the conformance checks of means on tasks with a planted fault: their means are over a part's own tokens.

A script of its own, since spawned processes must be able to import what they run.
Usage: ``python local_means.py FOLDER TASK...``; writes JSON: task to what the checks say of it with the fault.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import torch

from selfsup.tasks import PretextTask, StepOutput
from selfsup.testing import TaskCase, check_accumulated_chunks, check_training_on_devices, check_two_processes, task_cases
from selfsup.testing.toy.sequences.installed import installed
from selfsup.types import Batch


class LocalMean(PretextTask):
    """A task that does not say what its loss is a mean over."""

    def __init__(self, task: PretextTask) -> None:
        super().__init__()
        self.task = task
        self.couples_samples = task.couples_samples

    @property
    def backbone(self):
        return self.task.backbone

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        output = self.task(batch, generator)
        return StepOutput(output.loss, output.metrics)


@dataclasses.dataclass(frozen=True)
class FaultyCase(TaskCase):
    def build(self, seed: int = 0) -> PretextTask:
        return LocalMean(super().build(seed))


def main(folder: Path, wanted: list[str]) -> None:
    with installed(folder):
        cases = [FaultyCase(case.spec) for case in task_cases() if case.spec.id in wanted]
        found = {id: [error] for id, error in check_two_processes(cases).items()}
        for case in cases:
            try:
                check_accumulated_chunks(case)
            except AssertionError as error:
                found.setdefault(case.spec.id, []).append(str(error))
        found["on devices"] = list(check_training_on_devices(cases[:1], steps=1).values())
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

"""Read and write the record of an evaluation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from selfsup.config import Config
from selfsup.damaged_files import read_json, short_reason
from selfsup.errors import ArtifactError
from selfsup.runtime.files import atomic_write, utc_now

SCHEMA_VERSION = 1
_AGAIN = "Delete it, and evaluate again."


class ResultRecord(Config):
    """The result of one evaluation: task, data, evaluator, settings, metrics."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # JSON has no NaN, and null would look like a missing number

    schema_version: int = SCHEMA_VERSION
    """Version of this record's fields."""
    task: str
    """Id of the pretext task."""
    backbone: str
    """Id of the backbone."""
    dataset: str
    """The evaluated source, as the user named it."""
    dataset_fingerprint: str
    """Hash of its content."""
    evaluator: str
    """Id of the evaluator."""
    options: dict[str, Any] = Field(default_factory=dict)
    """All options of the evaluator."""
    metrics: dict[str, float]
    """Name to value; the first one is the headline."""
    n_train: int
    """Number of training rows for probes."""
    n_test: int
    """Number of test rows."""
    pretrained_share: float | None = None
    """Share of the test rows that the encoder was trained on, 0 to 1; None if unknown."""
    seed: int
    """Seed of the evaluator."""
    encoder: str
    """Hash of the encoder's weights and config."""
    checkpoint: str | None = None
    """Checkpoint of the run (``best``); None: the last weights."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Package to version."""
    device: str = ""
    """Kind and model of the device."""
    seconds: float
    """Wall-clock time of the evaluation, in seconds."""
    peak_memory: int = 0
    """Peak memory in bytes."""
    created: str = Field(default_factory=utc_now)
    """Time of the evaluation, ISO 8601, UTC."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Further facts (class names, how the test rows were chosen), as plain JSON values."""

    @property
    def headline(self) -> tuple[str, float]:
        """Name and value of the first metric."""
        return next(iter(self.metrics.items()))

    def file_name(self) -> str:
        """A name that depends on encoder, data and settings only, so that a repeated evaluation replaces its record."""
        what = [
            self.task,
            self.backbone,
            self.dataset,
            self.dataset_fingerprint,
            self.evaluator,
            self.options,
            self.seed,
            self.encoder,
        ]
        digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]
        return f"{self.evaluator.replace('/', '-')}-{digest}.json"

    def write(self, directory: str | Path) -> Path:
        """Write the record into a folder, in full or not at all.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        return atomic_write(Path(directory) / self.file_name(), self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> ResultRecord:
        """Read a record.

        Raises:
            ArtifactError: the file is not a record, or one of a later version.
        """
        try:
            content = read_json(Path(path))
            version = int(content["schema_version"])
        except Exception as error:  # the file may hold values of any kind
            raise ArtifactError(f"{path} is not a result record: {short_reason(error)}. {_AGAIN}") from error
        if version > SCHEMA_VERSION:
            raise ArtifactError(
                f"{path} was written by a later selfsup (record version {version}; this one reads up to "
                f"{SCHEMA_VERSION}). Update selfsup."
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            place = ".".join(map(str, wrong["loc"]))
            raise ArtifactError(f"{path} is not a result record: {place}: {wrong['msg']}. {_AGAIN}") from error


def read_results(directory: str | Path) -> list[ResultRecord]:
    """All records of a folder, by file name; empty if the folder does not exist."""
    return [ResultRecord.read(path) for path in sorted(Path(directory).glob("*.json"))]

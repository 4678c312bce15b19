"""Write the record of an evaluation."""

from __future__ import annotations

import hashlib
from typing import Any

from selfsup.artifacts import Encoder, ResultRecord
from selfsup.config import Config
from selfsup.evaluation.splits import Splits
from selfsup.runtime import device_name, package_versions, peak_memory


def record_of(
    encoder: Encoder, splits: Splits, evaluator: str, config: Config, metrics: dict[str, float], seed: int, seconds: float
) -> ResultRecord:
    """The record of one evaluation."""
    both = f"{splits.train.fingerprint}\n{splits.test.fingerprint}"
    details: dict[str, Any] = {
        "test_rows": splits.test_rows,
        "repeated_share": splits.repeated_share,
        "bad_rows": splits.bad_rows,
        "precision": splits.test.precision,
    }
    if splits.part is not None:
        details |= {"part": splits.part, "rows_without_part": splits.rows_without_part}
    steps, total = (encoder.metadata.get(key) for key in ("steps", "of_steps"))
    if not encoder.metadata.get("checkpoint") and steps is not None and total is not None and steps < total:
        details["unfinished"] = {"steps": steps, "of_steps": total}
    if encoder.metadata.get("checkpoint"):
        details["checkpoint_step"] = encoder.metadata.get("checkpoint_step")
        details["chosen_on_test_rows"] = splits.chosen_on_test_rows
    if splits.train.labels is not None:
        details["label_kind"] = splits.train.label_kind
        details["unlabelled_rows"] = splits.unlabelled_rows
    if splits.train.class_names:
        details["class_names"] = list(splits.train.class_names)
    return ResultRecord(
        task=encoder.task,
        backbone=encoder.backbone_id,
        dataset=splits.name,
        dataset_fingerprint=hashlib.sha256(both.encode()).hexdigest(),
        evaluator=evaluator,
        options=config.model_dump(mode="json"),
        metrics=metrics,
        n_train=len(splits.train.store),
        n_test=len(splits.test.store),
        pretrained_share=splits.pretrained_share,
        seed=seed,
        encoder=encoder.digest(),
        checkpoint=encoder.metadata.get("checkpoint"),
        versions=dict(package_versions()),
        device=device_name(encoder.device),
        seconds=seconds,
        peak_memory=peak_memory(encoder.device),
        details=details,
    )

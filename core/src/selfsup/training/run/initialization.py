"""Find a run's initial weights and teacher, with the processor and pretraining rows that come with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from selfsup.artifacts.initial_weights import (
    InitialWeights,
    check_meaning,
    initial_weights,
    load_into,
    weights_digest,
)
from selfsup.artifacts.loading import load_processor, without_first_weights
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.artifacts.run_directory import RunDirectory
from selfsup.artifacts.saving import PROCESSOR_FOLDER
from selfsup.backbones import Backbone, whole_state
from selfsup.damaged_files import read_json
from selfsup.data.processor import Processor
from selfsup.errors import ArtifactError, ConfigError
from selfsup.registry import registry
from selfsup.runtime.files import atomic_write, give_folder_name, storage_errors
from selfsup.runtime.temporary_files import temporary_folder
from selfsup.tasks.joint_embedding.frozen_teacher import FrozenTeacher
from selfsup.training.loop.checkpoint import LAST
from selfsup.training.run.config import RunConfig
from selfsup.training.run.part_origins import part_weights, start_parts
from selfsup.types import Info
from selfsup.validation import validated

_ROWS_FILE = "pretraining_rows.json"
_PART_ROWS = "part-rows-"


def keep_start(processor: Processor, origin: Origin, run: RunDirectory) -> None:
    """Save in a run's folder what a resumed run needs, in full or not at all, since its sources may be gone by then.

    Args:
        processor: fitted.
        origin: of the run.
        run: its folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(run.start), temporary_folder(run.start) as temporary:
        (temporary / PROCESSOR_FOLDER).mkdir()
        processor.save(temporary / PROCESSOR_FOLDER)
        origin.save(temporary)
        give_folder_name(temporary, run.start)


@dataclass
class Origin:
    """Initial weights of a run, with the processor and pretraining rows that come with them."""

    processor: Processor | None = None
    """A fitted processor; None: one is fitted on the run's rows."""
    processor_of: str = ""
    """Source of the processor, for messages."""
    rows: list[PretrainingRows] = field(default_factory=list)
    """Rows that the weights, and a teacher, have learned from."""
    weights: InitialWeights | None = None
    """None: newly drawn weights, or those of a checkpoint."""
    parts: dict[str, InitialWeights] = field(default_factory=dict)
    """For rows with several parts: part name to the initial weights of its network."""
    part_rows: dict[str, PretrainingRows] = field(default_factory=dict)
    """Part name to the rows that these weights have learned from."""
    built_by_options: bool = False
    """Whether building the backbone from the run's options loads the weights already."""
    resumed: bool = False
    """Whether a checkpoint has the weights, so that their source, which may be gone, is not read."""
    messages: list[str] = field(default_factory=list)
    """Messages, after :meth:`start`."""
    record: dict[str, Any] | None = None
    """Entry of ``run.json``, after :meth:`start`."""

    def start(self, backbone: Backbone, info: Info) -> None:
        """Load the initial weights into a new backbone."""
        if self.resumed:
            for network in backbone.modules():
                if isinstance(network, Backbone):
                    network.started_from = "a checkpoint"
        if self.parts:
            self.messages, self.record = start_parts(backbone, self.parts, info)
        if self.weights is None:
            return
        source, share = self.weights.source, 1.0
        if self.built_by_options:
            digest = weights_digest(whole_state(backbone))
        else:
            fitted, digest = load_into(backbone, self.weights, info)
            share = fitted.share
            self.messages = [f"Of the weights of {source}, {line}." for line in fitted.describe()]
        self.messages.insert(0, f"The network starts from {source}.")
        self.record = {"source": source, "weights": digest, "share": round(share, 6), "backbone": self.weights.backbone_id}

    def together(self, rows: PretrainingRows) -> PretrainingRows:
        """The run's rows and those that its initial weights have learned from."""
        for former in self.rows:
            rows = rows.after(former)
        own = {name: part.after(self.part_rows[name]) for name, part in rows.parts.items() if name in self.part_rows}
        return replace(rows, parts={**rows.parts, **own})

    def save(self, folder: Path) -> None:
        """Save the rows that the initial weights have learned from.

        Raises:
            StorageError: the folder cannot be written.
        """
        kept = {f"rows-{place}": rows for place, rows in enumerate(self.rows)}
        for name, rows in {**kept, **{f"{_PART_ROWS}{part}": rows for part, rows in self.part_rows.items()}}.items():
            rows.save(folder / name)
            atomic_write(folder / name / _ROWS_FILE, json.dumps(rows.as_dict()) + "\n")


def origin_of(config: RunConfig, run: RunDirectory | None = None) -> Origin:
    """Find the initial weights of a run.

    Args:
        config: resolved in full.
        run: a run to resume; None: a new run.

    Raises:
        ConfigError: the source has no weights, or is of another modality.
        ArtifactError: it cannot be read.
    """
    modality = registry().get("task", config.task).modality
    teacher = teacher_of(config)
    if run is not None and (run.checkpoints / LAST).exists():
        return _kept(config, run, modality)
    if registry().get("modality", modality).joins:
        teacher = ""  # it teaches one part
    if isinstance(config.init, dict):
        parts = part_weights(config.init, modality, config.backbone, config.model_dump())
        known = {name: own.pretraining_rows for name, own in parts.items() if own.pretraining_rows is not None}
        return Origin(parts=parts, part_rows=known)
    found = [initial_weights(source, modality, backbone=backbone) for source, backbone in _sources(config, teacher)]
    ours = next((weights for weights in found if weights.processor is not None), None)
    return Origin(
        processor=None if ours is None else ours.processor,
        processor_of="" if ours is None else ours.source,
        rows=[weights.pretraining_rows for weights in found if weights.pretraining_rows is not None],
        weights=found[0] if config.init else None,
        built_by_options=bool(config.init) and found[0].come_with(config.backbone, config.backbone_options),
    )


def teacher_of(config: RunConfig) -> str:
    """The source of a run's teacher; empty: its task has none.

    Raises:
        ConfigError: the task needs a teacher, and the config names none.
    """
    recipe = registry().task_recipe(registry().get("task", config.task))
    if recipe.teacher is None:
        return ""
    source = recipe.teacher(validated(recipe.config, config.task_options, what="the task's options"))
    if source is None:
        raise ConfigError(
            f"{config.task} has no teacher: name the encoder that it learns from (--set objective.teacher=RUN; also a "
            "folder of transformers or timm, hf://owner/name, or timm/NAME)."
        )
    return source


def teachers(source: str, modality: str, info: Info) -> tuple[InitialWeights, Info, int | None]:
    """The weights of a teacher, the info of its batches, and the index of its part in a row.

    Args:
        source: as ``init``.
        modality: of the run.
        info: of the run's processor; if rows have parts, the teacher is for the first part of its modality.

    Raises:
        ConfigError: the teacher is of another modality, or would misread the batches; the message says why.
        ArtifactError: it cannot be read.
    """
    parts: Mapping[str, Any] = info.get("parts") or {}
    if not parts:
        found = initial_weights(source, modality)
        check_meaning(found, info, f"teach {modality}")
        return found, info, None
    reasons = []
    for place, (name, part) in enumerate(parts.items()):
        try:
            found = initial_weights(source, part["modality"])
            check_meaning(found, part["info"], f"teach the part {name}")
        except ConfigError as error:
            reasons.append(str(error))
        else:
            return found, part["info"], place
    raise ConfigError(f"{source} can teach no part of these rows. " + " ".join(reasons))


def build_teacher(config: RunConfig, info: Info) -> FrozenTeacher | None:
    """The frozen teacher of a run's task; None: it has none.

    Raises:
        ConfigError: no teacher is named, or it is of another modality or would misread the batches.
        ArtifactError: it cannot be read.
    """
    source = teacher_of(config)
    if not source:
        return None
    found, seen, view = teachers(source, registry().get("task", config.task).modality, info)
    theirs = found.processor.info() if found.processor is not None else {**seen, **_sizes(found.processor_options)}
    for key in ("channels",):
        if key in theirs and key in seen and theirs[key] != seen[key]:
            raise ConfigError(f"{source} cannot teach here: its images have {theirs[key]} {key}, and these {seen[key]}.")
    backbone = found.backbone(theirs)
    if lost := backbone.lost_weights():
        raise ConfigError(f"{source} cannot teach here: it would have {lost}. Take a network that reads what it reads.")
    size, resize = theirs.get("image_size"), registry().modality_objects(found.modality).resize
    adapt = None if size is None or resize is None else partial(resize, size=size)
    return FrozenTeacher(backbone, source=source, digest=weights_digest(backbone.state_dict()), adapt=adapt, view=view)


def _sizes(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a processor that are also in the info of its batches."""
    return {name: options[name] for name in ("image_size",) if name in options}


def _sources(config: RunConfig, teacher: str) -> list[tuple[str, str]]:
    first = config.init if isinstance(config.init, str) else ""
    return [(source, backbone) for source, backbone in ((first, config.backbone), (teacher, "")) if source]


def _kept(config: RunConfig, run: RunDirectory, modality: str) -> Origin:
    """What a run to resume has saved of its origin."""
    processor = run.start / PROCESSOR_FOLDER
    rows = [_read_rows(folder) for folder in sorted(run.start.glob("rows-*"))]
    return Origin(
        processor=load_processor(processor, modality) if processor.is_dir() else None,
        processor_of=str(run.path),
        rows=[each for each in rows if each is not None],
        part_rows={name: own for name, own in _part_rows(run).items() if own is not None},
        resumed=True,
    )


def _part_rows(run: RunDirectory) -> dict[str, PretrainingRows | None]:
    return {folder.name.removeprefix(_PART_ROWS): _read_rows(folder) for folder in sorted(run.start.glob(f"{_PART_ROWS}*"))}


def _read_rows(folder: Path) -> PretrainingRows | None:
    try:
        described = read_json(folder / _ROWS_FILE)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder / _ROWS_FILE} cannot be read: {error}") from error
    return PretrainingRows.load(folder, described)


def adjusted_processor(processor: Processor, options: Mapping[str, Any], source: str) -> Processor:
    """A processor that came with weights, changed to the options of a run.

    Raises:
        ConfigError: an option differs that only a new fit could change.
    """
    wanted = validated(type(processor).Config, options, what="the processor's options")
    theirs, ours = processor.config.model_dump(mode="json"), wanted.model_dump(mode="json")
    differing = [name for name in ours if ours[name] != theirs.get(name)]
    if fixed := [name for name in differing if name not in processor.adjustable]:
        able = ", ".join(f"processor.{name}" for name in sorted(processor.adjustable)) or "none"
        raise ConfigError(
            f"processor.{fixed[0]}={ours[fixed[0]]!r} cannot be set: the processor comes with {source}, which was trained with "
            f"{theirs.get(fixed[0])!r}. Options that can be set otherwise: {able}."
        )
    return processor.adjusted(wanted) if differing else processor


def processor_note(config: RunConfig, origin: Origin) -> str:
    """A message on a processor that came with weights; empty: one is fitted on the run's rows."""
    if origin.processor is None or origin.resumed:
        return ""
    theirs = origin.processor.config.model_dump(mode="json")
    others = [
        f"processor.{name}={value} (theirs: {theirs.get(name)})"
        for name, value in config.processor_options.items()
        if value != theirs.get(name)
    ]
    text = f"The processor of {origin.processor_of} is used as it is"
    return f"{text}, but with {', '.join(others)}." if others else f"{text}."


def without_origin(config: RunConfig) -> RunConfig:
    """The config without the initial weights, whose source may be gone."""
    return config.model_copy(update={"init": None, "backbone_options": without_first_weights(config.backbone_options)})

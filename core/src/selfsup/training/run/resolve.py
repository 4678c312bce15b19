"""Resolve the caller's options to the full config of a run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from selfsup.artifacts.initial_weights import initial_weights
from selfsup.config import Config
from selfsup.config_layers import EXCLUSIVE, merge_layers
from selfsup.damaged_files import read_json
from selfsup.errors import ConfigError, LeftOutOptionsWarning
from selfsup.registry import registry
from selfsup.registry.specs import BackboneSpec, ModalitySpec, TaskSpec
from selfsup.training.run.config import RunConfig
from selfsup.training.run.part_origins import part_weights
from selfsup.training.run.resolve_origin import Chosen, check_one_start, chosen_by, told_start, without_former_start
from selfsup.training.settings import overrides
from selfsup.validation import check_effect, validated

_OF_THE_TASK = ("task_options", "optimization", "backbone", "backbone_options")
"""Sections of a config that do not carry over to another task."""
_SHORT = {
    "epochs": "optimization.epochs",
    "steps": "optimization.steps",
    "max_steps": "optimization.max_steps",
    "batch_size": "optimization.batch_size",
    "lr": "optimization.lr",
}
"""Short names that always mean these, whatever options a task has."""


def resolve_config(options: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> RunConfig:
    """The full config of a run: the paper's values, overridden by a file's, overridden by the caller's.

    Args:
        options: key to value, in any form that ``--set`` takes; ``task`` and ``data`` among them, unless ``base`` has them.
        base: the config of an earlier run or of a file.

    Raises:
        UsageError: a key, a value or an id is not allowed; the message says what is.
    """
    return _resolve(options, base, replace=True)


def stored_config(stored: Mapping[str, Any], again: Mapping[str, Any] | None = None) -> RunConfig:
    """The config of a run as it was stored; the source of its initial weights, which may be gone, is not read.

    Args:
        stored: as in ``run.json``.
        again: further options of a caller; they only replace options that mean the same.
    """
    return _resolve(again or {}, stored, replace=again is None, stored=True)


def _resolve(options: Mapping[str, Any], base: Mapping[str, Any] | None, *, replace: bool, stored: bool = False) -> RunConfig:
    base = dict(base or {})
    task = str(options.get("task") or base.get("task") or "")
    if not task:
        raise ConfigError("no task was given, such as vision/simclr; `selfsup list tasks` shows all of them.")
    spec = registry().get("task", task)
    modality = registry().get("modality", spec.modality)
    recipe = registry().task_recipe(spec)
    left_out: list[str] = []
    if base.get("task", task) != task:
        left_out = [f"{name} (of {base['task']})" for name in _OF_THE_TASK if base.get(name)]
        base = _for_another_task(base)
    named = str(options.get("backbone") or base.get("backbone") or "")
    init, anew = told_start(options, base)
    chosen = Chosen() if stored else chosen_by(init, modality.id, named)
    backbone = named or chosen.backbone or default_backbone(spec, modality)
    if base.get("backbone", backbone) != backbone and base.pop("backbone_options", None):
        left_out.append(f"backbone_options (of {base['backbone']})")
    if left_out:
        text = f"the config's {', '.join(left_out)} are left out, as {task} on {backbone} has its own."
        warnings.warn(f"{text} Give again what should stay.", LeftOutOptionsWarning, stacklevel=4)
    backbone_spec = check_backbone(backbone, spec)
    processor = registry().processor_class(modality.id)
    backbone_recipe = registry().backbone_recipe(backbone)
    classes = {section: config for section, config in sections_of(task, backbone).items() if section}
    listing = f"selfsup list options {task}" + (f" --backbone {backbone}" if options.get("backbone") else "")
    given = _place(options, classes, listing, {flag.name: flag.option for flag in modality.flags})
    check_one_start(init, given)
    if base.get("backbone_options") and not stored:
        base["backbone_options"] = without_former_start(base["backbone_options"], anew, backbone)
    if isinstance(init, Mapping) and not stored:
        chosen = Chosen(parts=part_weights(init, modality.id, backbone, merge_layers(base, given)))
    optimization = {"batch_size": processor.batch_size, **recipe.optimization}
    fields = classes["backbone"].model_fields
    suited = {key: value for key, value in recipe.backbone.items() if key in fields}
    suited |= chosen.backbone_options(backbone)
    paper = {"optimization": optimization, "processor_options": recipe.processor, "backbone_options": suited}
    merged = merge_layers(merge_layers(paper, base), given, replace=replace)
    merged |= {"task": task, "backbone": backbone, "init": init}
    if not merged.get("data"):
        raise ConfigError("no data was given; name a data set, a folder, a file or hf://owner/name (--data SRC).")
    if backbone_spec.id != backbone:
        merged["backbone_options"] = {**merged.get("backbone_options", {}), "name": backbone.partition("/")[2]}
    valid: dict[str, Config] = {}
    for section in ("backbone", "task", "processor"):
        if section == "processor" and not stored:
            if recipe.teacher is not None and not modality.joins and (teacher := recipe.teacher(valid["task"])):
                chosen = replace_fields(chosen, teacher=initial_weights(teacher, modality.id))
            named_by_options = backbone_recipe.preprocessing(valid["backbone"]) if backbone_recipe.preprocessing else {}
            # Options of the initial weights override the task's values; a file's and the caller's override both.
            own = {"processor_options": chosen.processor_options(named_by_options, recipe.processor, processor)}
            again = merge_layers(merge_layers(paper, own, base), given, replace=replace)
            merged["processor_options"] = again.get("processor_options", {})
        values = validated(classes[section], merged.get(f"{section}_options", {}), what=f"the {section}'s options")
        if section == "backbone" and (idle := _idle(values, suited, base, given)):
            # Drop options that the task suggests but that have no effect here.
            kept = {name: value for name, value in merged["backbone_options"].items() if name not in idle}
            values = validated(classes[section], kept, what=f"the {section}'s options")
        valid[section] = values
        merged[f"{section}_options"] = values.model_dump(mode="json")
    resolved = validated(RunConfig, merged, what="the run's options")
    _check_given(resolved, valid, given)
    return resolved


def _idle(values: Config, suited: Mapping[str, Any], *told: Mapping[str, Any]) -> set[str]:
    """Options of a backbone that only the task suggests, and that have no effect."""
    said = {name for layer in told for name in layer.get("backbone_options", {})}
    return (values.without_effect().keys() & suited.keys()) - said


def sections_of(task: str, backbone: str) -> dict[str, type[Config]]:
    """The sections of a run's options: ``""`` (the run itself), ``processor``, ``backbone`` and ``task``.

    Raises:
        UnknownIdError: there is no such task or backbone.
    """
    spec = registry().get("task", task)
    return {
        "": RunConfig,
        "processor": registry().processor_class(spec.modality).Config,
        "backbone": registry().backbone_recipe(backbone).config,
        "task": registry().task_recipe(spec).config,
    }


def read_config_file(path: Path) -> dict[str, Any]:
    """The config in a JSON file: a ``run.json``, or the options themselves.

    Raises:
        ConfigError: the file cannot be read or has no JSON object.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the config file {path} cannot be read: {error}.") from None
    if isinstance(content, dict) and "format_version" in content:
        content = content.get("config")
    if not isinstance(content, dict):
        raise ConfigError(f"the config file {path} holds no options: it should be a JSON object, or a run's run.json.")
    return content


def default_backbone(spec: TaskSpec, modality: ModalitySpec) -> str:
    """The default backbone of a task."""
    return spec.backbone or (modality.token_backbone if spec.needs_tokens else modality.backbone)


def check_backbone(backbone: str, spec: TaskSpec) -> BackboneSpec:
    """The spec of a backbone that fits a task.

    Raises:
        UnknownIdError: there is no such backbone.
        ConfigError: it is of another modality, or has no tokens and the task masks tokens.
    """
    found = registry().get("backbone", backbone)
    if found.modality != spec.modality:
        raise ConfigError(
            f"the backbone {backbone!r} is for {found.modality}, and the task {spec.id!r} is for {spec.modality}; "
            f"`selfsup list backbones --modality {spec.modality}` shows those that fit."
        )
    if spec.needs_tokens and not found.tokens:
        fitting = [item.id for item in registry().backbones.values() if item.modality == spec.modality and item.tokens]
        raise ConfigError(
            f"the task {spec.id!r} hides tokens of its input, and the backbone {backbone!r} has none. "
            f"Take {' or '.join(fitting)}."
        )
    return found


def _for_another_task(base: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the values that its task brought."""
    kept = {key: value for key, value in base.items() if key not in _OF_THE_TASK}
    former = registry().tasks.get(str(base.get("task")))
    brought = registry().task_recipe(former).processor if former is not None else {}
    options = kept.get("processor_options")
    if brought and options:
        kept["processor_options"] = {key: value for key, value in options.items() if key not in brought}
    return kept


def _check_given(resolved: RunConfig, valid: Mapping[str, Config], given: Mapping[str, Any]) -> None:
    """Check that every option of the caller has an effect.

    Raises:
        ConfigError: two options exclude each other, or one has no effect.
    """
    optimization = given.get("optimization", {})
    for pair in EXCLUSIVE:
        if pair != ("epochs", "steps") and all(optimization.get(name) is not None for name in pair):
            raise ConfigError(f"optimization.{pair[0]} and optimization.{pair[1]} say the same in two ways: give one of them.")
    named = given.get("backbone_options", {}).get("name")
    if named is not None and named != resolved.backbone_options["name"]:
        raise ConfigError(
            f"backbone.name={named} has no effect: the backbone is {resolved.backbone}. Name the other one with --backbone."
        )
    if not (registry().get("task", resolved.task).needs_labels or resolved.val):
        for name in ("label_kind", "unlabelled"):
            if given.get(name):
                raise ConfigError(f"{name} has no effect: {resolved.task} sees no labels, and no --val names rows with labels.")
    check_effect(resolved, given)
    for section, values in valid.items():
        check_effect(values, given.get(f"{section}_options", {}), prefix="" if section == "task" else f"{section}.")


def _place(
    options: Mapping[str, Any], classes: Mapping[str, type[Config]], listing: str, short: Mapping[str, str]
) -> dict[str, Any]:
    """Options under their full paths in the run's config; ``short`` are further short names."""
    placed = overrides.place(options, {"": RunConfig, **classes}, short={**short, **_SHORT}, listing=listing)
    run = placed.pop("", {})
    return {**run, **{f"{section}_options": values for section, values in placed.items()}}

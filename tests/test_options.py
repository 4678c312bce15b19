"""Each option of each task, backbone, processor and evaluator can be set from the command line, by its type, and arrives."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from selfsup.config import Config
from selfsup.errors import ConfigError, LeftOutOptionsWarning
from selfsup.evaluation import choose_evaluators
from selfsup.registry import registry
from selfsup.training.run.config import RunConfig
from selfsup.training.run.resolve import resolve_config
from selfsup.training.settings.options import task_options
from selfsup.training.settings.overrides import annotation_of, parse_assignments, resolve_key
from selfsup.training.settings.values import read_value

TASKS = sorted({(spec.modality, spec.family): id for id, spec in sorted(registry().tasks.items())}.values())
"""One of each family in each modality."""


def owners() -> list[str]:
    """What has options: the run, and each processor, backbone, evaluator and task."""
    found = registry()
    kinds = {"processor": found.modalities, "backbone": found.backbones, "evaluator": found.evaluators, "task": found.tasks}
    return ["run", *(f"{kind} {id}" for kind, ids in kinds.items() for id in ids)]


def config_of(owner: str) -> type[Config]:
    """The config class of an owner; tasks are composed here, and not when tests are collected."""
    found, (kind, _, id) = registry(), owner.partition(" ")
    if kind == "run":
        return RunConfig
    if kind == "processor":
        return found.processor_class(id).Config
    if kind == "task":
        return found.task_recipe(found.get("task", id)).config
    return found.backbone_recipe(id).config if kind == "backbone" else found.load(found.get("evaluator", id)).config


def leaves(config: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, (*prefix, name))
        else:
            yield (*prefix, name)


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation allows, one by one."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def written(annotation: Any) -> list[tuple[str, Any]]:
    """Texts for a field of a type, and what each stands for."""
    texts: list[tuple[str, Any]] = []
    for member in members(annotation):
        if member is type(None):
            texts.append(("null", None))
        elif get_origin(member) is Literal:
            texts += [(str(word), word) for word in get_args(member)]
        elif member is bool:
            texts += [("true", True), ("false", False)]
        elif member is int:
            texts.append(("3", 3))
        elif member is float:
            texts += [("0.25", 0.25), ("1", 1.0), ("1e-3", 1e-3)]
        elif member is str and type(None) in members(annotation):
            texts += [("7", "7"), ('"none"', "none")]
        elif member is str:
            texts += [("7", "7"), ("none", "none")]
        elif get_origin(member) is tuple:
            items = get_args(member)
            kinds = [items[0], items[0]] if Ellipsis in items else list(items)
            parts = [next(iter(written(get_args(kind)[0] if hasattr(kind, "__metadata__") else kind))) for kind in kinds]
            values = [value for _, value in parts]
            texts += [(",".join(text for text, _ in parts), values), (json.dumps(values), values)]
        else:
            assert get_origin(member) is dict, f"a type that the command line does not know: {member}"
            texts.append(('{"a": "b"}', {"a": "b"}))
    return texts


@pytest.mark.parametrize("owner", owners())
def test_each_option_is_read_by_its_type_and_those_without_effect_exist(owner: str) -> None:
    config = config_of(owner)
    sections = {"x": config}
    for path in leaves(config):
        annotation, key = annotation_of(("x", *path), sections), ".".join(("x", *path))
        assert resolve_key(key, sections) == ("x", *path)
        for text, value in written(annotation):
            found = read_value(text, annotation, key)
            assert found == value, (path, text)
            assert type(found) is type(value), (path, text)
        if type(None) not in members(annotation):
            with pytest.raises(ConfigError, match="has no null"):
                read_value("null", annotation, key)
    for each in nested_configs(config):
        if "name" not in each.model_fields and not any(field.is_required() for field in each.model_fields.values()):
            assert each().without_effect().keys() <= each.model_fields.keys()


@pytest.mark.parametrize("id", TASKS)
def test_each_listed_default_can_be_written_out_and_gives_the_same_run(id: str) -> None:
    before = resolve_config({"task": id, "data": "somewhere"})
    options = [option for option in task_options(id) if option.command == "pretrain"]
    assert len({option.key for option in options}) == len(options)
    assert all(option.meaning and option.type for option in options)
    listed = {option.key: option.default for option in options}
    assert listed["optimization.batch_size"] == before.optimization.batch_size
    # Of an optimizer's settings some say the same in two ways, and those of the run have flags.
    sections = [key for key in listed if "." in key and not key.startswith("optimization.")]
    settings = [f"{key}={_text(listed[key])}" for key in sections]
    after = resolve_config({"task": id, "data": "somewhere", **parse_assignments(settings)})
    changed = {"initial_share"}  # momenta that are written out are taken as they are
    assert _without(after.model_dump(), changed) == _without(before.model_dump(), changed)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value != "null" else json.dumps(value)


def _without(values: Any, names: set[str]) -> Any:
    if isinstance(values, dict):
        return {key: _without(value, names) for key, value in values.items() if key not in names}
    return values


@pytest.mark.parametrize(
    ("task", "setting", "value"),
    [
        ("text/clm", "processor.packing=none", "none"),
        ("tabular/scarf", "processor.scaling=none", "none"),
        ("tabular/scarf", "processor.drop=a,b", ["a", "b"]),
        ("audio/simclr", "backbone.mel.standardize=none", "none"),
        ("vision/patch-position", "transformation.color_guard=none", "none"),
        ("vision/simclr", "processor.image_size=auto", "auto"),
        ("vision/simclr", "optimization.weight_decay_end=null", None),
    ],
)
def test_a_word_of_a_field_is_that_word_and_not_null(task: str, setting: str, value: Any) -> None:
    config = resolve_config({"task": task, "data": "somewhere", **parse_assignments([setting])}).model_dump(mode="json")
    key = setting.partition("=")[0]
    section, *names = key.split(".")
    found: Any = config.get(f"{section}_options", config.get(section, config["task_options"].get(section)))
    for name in names:
        found = found[name]
    assert found == value


IDLE = {
    "vision/simclr": [
        ("optimizer=lars", "optimization.betas=0.8,0.9", "the optimizer is lars"),
        ("optimizer=adamw", "optimization.momentum=0.5", "the optimizer is adamw"),
        ("optimizer=sgd", "optimization.trust_coefficient=0.1", "the optimizer is sgd"),
        ("optimizer=sgd", "adapt_biases=true", "the optimizer is sgd"),
        ("seed=0", "clip_per_parameter=true", "optimization.clip is null"),
        ("schedule=constant", "final_lr_fraction=0.1", "the schedule is constant"),
        ("views.n_local=0", "views.local_scale=0.1,0.2", "views.n_local is 0"),
        ("views.jitter_p=0", "views.hue=0.3", "views.jitter_p is 0"),
        ("views.blur_p=0", "views.blur_sigma=1,2", "nothing is blurred"),
    ],
    "vision/dino": [("warmup_teacher_temperature=0.03", "objective.warmup_fraction=0", "warmup_fraction is 0")],
    "vision/swav": [("objective.queue_size=0", "objective.queue_start=0.5", "queue_size is 0")],
    "vision/vicregl": [("objective.alpha=1", "objective.n_matches=3,3", "alpha is 1")],
    "vision/data2vec": [
        ("task.masking=blocks", "task.span=3", "masking is blocks"),
        ("task.masking=spans", "task.mask_ratio=0.3", "masking is spans"),
        ("task.masking=random", "task.block_scale=0.1,0.2", "masking is random"),
    ],
    "vision/ijepa": [("task.masking=random", "task.target_aspect=1,1", "masking is random")],
    "vision/colorization": [("corruption.target=regression", "corruption.cell=20", "corruption.target is regression")],
    "vision/inpainting": [
        ("corruption.holes=blocks", "corruption.share=0.5", "corruption.holes is blocks"),
        ("corruption.holes=regions", "corruption.n_holes=2", "corruption.holes is regions"),
    ],
    "audio/simclr": [
        ("views.noise_p=0", "views.noise_snr=1,2", "views.noise_p is 0"),
        ("views.longest_seconds=null", "views.same_segment=true", "views.longest_seconds is null"),
    ],
    "audio/denoising-autoencoder": [("corruption.kind=masking", "corruption.snr=1,2", "corruption.kind is masking")],
    "audio/hubert": [("task.recluster=[]", "task.layer=1", "recluster is empty")],
    "text/mlm": [("processor.tokenizer=bpe", "views.local_share=0.1,0.2", "")],
    "text/simclr": [
        ("processor.tokenizer=some/folder", "processor.vocab_size=500", "processor.tokenizer is loaded"),
        ("processor.tokenizer=bpe", "processor.add_special=true", "processor.tokenizer is trained"),
        ("views.n_local=0", "views.local_share=0.1,0.2", "views.n_local is 0"),
    ],
    "tabular/scarf": [
        ("processor.scaling=none", "processor.quantiles=9", "processor.scaling is none"),
        ("backbone.categories=one-hot", "backbone.category_dim=9", "backbone.categories is one-hot"),
    ],
    "video/cvrl": [
        ("views.n_local=0", "views.local_frames=4", "views.n_local is 0"),
        ("views.blur_p=0", "views.blur_min_size=8", "views.blur_p is 0"),
    ],
}


@pytest.mark.parametrize(("task", "other", "setting", "why"), [(task, *case) for task, cases in IDLE.items() for case in cases])
def test_an_option_without_effect_is_refused_with_the_reason(task: str, other: str, setting: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"has no effect: {why}" if why else "unknown config key"):
        resolve_config({"task": task, "data": "somewhere", **parse_assignments([other, setting])})


@pytest.mark.parametrize(
    ("backbone", "settings", "message"),
    [
        ("timm/resnet18", ["backbone.name=resnet50"], "backbone.name=resnet50 has no effect: the backbone is timm/resnet18"),
        ("timm/resnet18", ["backbone.checkpoint=x.pth", "backbone.pretrained=true"], "pretrained has no effect"),
        ("timm/vit_tiny_patch16_224", ["backbone.checkpoint=x.pth", "backbone.positions=sin-cos"], "positions has no effect"),
        ("resnet-narrow", ["lr=0.1", "base_lr=0.2"], r"lr and optimization\.base_lr say the same in two ways"),
        ("resnet-narrow", ["warmup_epochs=1", "warmup_fraction=0.2"], "say the same in two ways"),
        ("resnet-narrow", ["epochs=1", "steps=2"], "epochs and steps are both set"),
    ],
)
def test_options_that_exclude_each_other_are_refused(backbone: str, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_config({"task": "vision/simclr", "data": "somewhere", "backbone": backbone, **parse_assignments(settings)})


@pytest.mark.parametrize(
    ("evaluator", "options", "message"),
    [
        ("few-labels", {"method": "linear", "finetune": {"epochs": 3}}, "finetune has no effect: the method is linear"),
        ("few-labels", {"method": "finetune", "linear": {"l2": [1.0]}}, "linear has no effect: the method is finetune"),
        ("perplexity", {"head": "own", "steps": 7}, "steps has no effect: head is own"),
    ],
)
def test_options_of_evaluators_without_effect_are_refused(evaluator: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_evaluators([evaluator], {evaluator: options})


def test_what_a_config_says_of_another_task_or_backbone_is_told() -> None:
    stored = resolve_config({"task": "vision/simclr", "data": "somewhere", "lr": 0.5, "backbone.width": 8}).model_dump()
    with pytest.warns(LeftOutOptionsWarning, match=r"optimization \(of vision/simclr\).* are left out, as vision/byol on"):
        assert resolve_config({"task": "vision/byol"}, stored).optimization.lr is None
    with pytest.warns(LeftOutOptionsWarning, match=r"backbone_options \(of resnet-narrow\)"):
        assert "width" not in resolve_config({"backbone": "vit-tiny"}, stored).backbone_options
    assert resolve_config({}, stored).optimization.lr == 0.5


@pytest.mark.parametrize(
    ("task", "size"),
    [("vision/simclr", 256), ("audio/wav2vec2", 64), ("video/videomae", 32), ("tabular/byol", 256), ("tabular/scarf", 128)],
)
def test_the_batch_size_is_what_the_task_asks_for_or_what_suits_the_modality(task: str, size: int) -> None:
    options = {"task": task, "data": "nothing is read"}
    assert resolve_config(options).optimization.batch_size == size
    assert resolve_config({**options, "batch_size": 7}).optimization.batch_size == 7


def nested_configs(config: type[Config]) -> Iterator[type[Config]]:
    yield config
    for field in config.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from nested_configs(field.annotation)

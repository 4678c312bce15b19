"""Check registered specs: light, documented, and with a target that fits."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
from pydantic import BaseModel

from selfsup.backbones import BackboneRecipe, TokenBackbone
from selfsup.data import CurvePreview, ImagePreview, Processor, TextPreview
from selfsup.data.previews import PREVIEW_SIDE
from selfsup.errors import ConfigError, PluginError
from selfsup.evaluation.base import EvaluatorRecipe
from selfsup.objectives.base import ObjectiveRecipe
from selfsup.registry import registry, specs
from selfsup.tasks import TaskRecipe
from selfsup.tasks.composed import RECIPES
from selfsup.testing.kit.cases import fitted_processor
from selfsup.testing.kit.objective_checks import check_absent_rows, check_collapse, small_objective
from selfsup.training.run.config import OptimizationConfig
from selfsup.validation import validated

HEAVY = (
    "torch", "torchvision", "torchaudio", "transformers", "tokenizers", "timm", "av", "PIL", "sklearn", "datasets", "pandas",
    "pyarrow", "pydantic", "numpy",
)  # fmt: skip
"""What importing an entry module must not import."""


def check_entry_module_is_light(module: str) -> None:
    """Importing a plugin's entry module, in a fresh interpreter, imports nothing heavy."""
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{module} does not import: {done.stderr.strip().splitlines()[-1:]}"
    assert not done.stdout.strip(), f"importing {module} imports {done.stdout.strip()}"


def check_spec(spec: specs.Spec) -> None:
    """The spec is documented, its target imports, and what it leads to is of the right kind."""
    assert len(spec.summary) <= 120, f"the summary has {len(spec.summary)} characters; 120 fit a line of `selfsup list`"
    if isinstance(spec, specs.TaskSpec | specs.ObjectiveSpec) and spec.family != "reference":
        assert spec.paper, "no paper is named"
    if isinstance(spec, specs.DatasetSpec):
        assert spec.licence, "no licence is named"
    if isinstance(spec, specs.TaskSpec):
        _check_recipe(spec, registry().task_recipe(spec))
    elif isinstance(spec, specs.TargetSpec) and not _missing_extra(spec):
        _check_target(spec, registry().load(spec))


def _check_recipe(spec: specs.TaskSpec, recipe: TaskRecipe) -> None:
    """Options are described, and the optimizer and the processor have those that the recipe (or its preset) sets."""
    _check_config(recipe.config)
    recipe.config()
    processor = registry().processor_class(spec.modality)
    backbone = registry().backbone_recipe(spec.backbone or registry().get("modality", spec.modality).backbone)
    for what, config, values in (
        ("optimization", OptimizationConfig, recipe.optimization),
        ("processor", processor.Config, recipe.processor),
        ("backbone", backbone.config, spec.preset.backbone if spec.preset is not None else {}),
    ):
        try:
            validated(config, values, what=what)
        except ConfigError as error:
            owner = registry().plugin(spec).label()
            raise PluginError(f"task {spec.id!r} of the plugin {owner}: {error}") from error


def _check_target(spec: specs.Spec, target: Any) -> None:
    if isinstance(spec, specs.ObjectiveSpec):
        wanted = RECIPES[spec.family]
        assert isinstance(target, wanted), f"the target is {type(target).__name__}, not {wanted.__name__}"
        _check_config(target.config)
        if isinstance(target, ObjectiveRecipe):
            check_collapse(target)
            if small_objective(target).handles_absent:
                check_absent_rows(target)
    elif isinstance(spec, specs.EvaluatorSpec):
        assert isinstance(target, EvaluatorRecipe), f"the target is {type(target).__name__}, not EvaluatorRecipe"
        _check_config(target.config)
    elif isinstance(spec, specs.ModalitySpec):
        _check_findings(fitted_processor(spec.id))
        _check_previews(fitted_processor(spec.id))
    elif isinstance(spec, specs.BackboneSpec):
        assert isinstance(target, BackboneRecipe), f"the target is {type(target).__name__}, not BackboneRecipe"
        _check_config(target.config)
        if not spec.id.endswith("/*"):
            backbone, _ = registry().build_backbone(spec.id, {}, fitted_processor(spec.modality).info())
            assert backbone.modality == spec.modality
            assert isinstance(backbone, TokenBackbone) == spec.tokens, "`tokens` does not say what the backbone is"


def _check_findings(processor: Processor) -> None:
    """Every run shows what the processor found: something, as short lines."""
    facts = processor.findings().facts
    assert facts, "findings() says nothing of what the processor decided"
    for topic, text in facts.items():
        assert text.strip(), f"the finding {topic!r} is empty"
        assert len((topic + text).splitlines()) == 1, f"the finding {topic!r} is more than a line: {text!r}"
    kinds = processor.column_kinds()
    assert all(isinstance(kind, str) and kind for kind in kinds.values()), f"column_kinds() holds what is no text: {kinds}"


def _check_previews(processor: Processor) -> None:
    """A row of the modality can be shown in the report, as something small."""
    (row,) = registry().modality_objects(processor.modality).mock_rows(1, 0)
    previews = processor.preview(row)
    assert previews, "preview() shows nothing of a row"
    for preview in previews:
        if isinstance(preview, ImagePreview):
            shape, kind = preview.pixels.shape, preview.pixels.dtype
            assert kind == np.uint8, f"preview() gives a picture of {kind}, not uint8"
            assert len(shape) == 2 or shape[2:] == (3,), f"preview() gives a picture of shape {shape}, not [H, W] or [H, W, 3]"
            assert max(shape[0], shape[1]) <= 4 * PREVIEW_SIDE, f"preview() gives a picture of {shape[1]} x {shape[0]} pixels"
        elif isinstance(preview, CurvePreview):
            assert 2 <= len(preview.values) <= 240, f"preview() gives a curve of {len(preview.values)} values, not 2 to 240"
            assert np.isfinite(preview.values).all(), "preview() gives a curve with values that are not finite"
        else:
            assert isinstance(preview, TextPreview), f"preview() gives a {type(preview).__name__}"
            assert 0 < len(preview.text) <= 2000, f"preview() gives a text of {len(preview.text)} characters, not 1 to 2,000"


def _missing_extra(spec: specs.TargetSpec) -> bool:
    """Loggers and executors may need a package that is not installed; they say so in ``requires``."""
    from importlib.util import find_spec

    return any(find_spec(name) is None for name in getattr(spec, "requires", ()))


def _check_config(config: type[BaseModel]) -> None:
    """Every option is described, has a default, and unknown keys are refused."""
    assert config.model_config.get("extra") == "forbid", f"{config.__name__} lets unknown keys pass"
    for name, field in config.model_fields.items():
        where = f"{config.__name__}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            _check_config(field.annotation)
        else:
            assert field.description, f"{where} has no description (a docstring under the field)"
        assert not field.is_required() or name == "name", f"{where} has no default"

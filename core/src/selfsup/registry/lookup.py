"""From a name to its spec, and from a spec to its object, imported on use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from selfsup.errors import ConfigError, DuplicateIdError, PluginError, SpecError, UnknownIdError
from selfsup.registry import suggestions
from selfsup.registry.composition import COMPOSE, RANDOM_INIT, SUPERVISED, composed_tasks
from selfsup.registry.kinds import KINDS, kind_of
from selfsup.registry.plugin_loader import Plugins, get_plugin_manager
from selfsup.registry.records import PluginRecord
from selfsup.registry.specs import (
    BackboneSpec,
    BenchmarkSpec,
    CommandSpec,
    DatasetSpec,
    EvaluatorSpec,
    ExecutorSpec,
    LoggerSpec,
    ModalitySpec,
    ObjectiveSpec,
    Spec,
    TargetSpec,
    TaskSpec,
)

if TYPE_CHECKING:
    from selfsup.backbones import Backbone, BackboneRecipe
    from selfsup.config import Config
    from selfsup.data.processor import Processor
    from selfsup.tasks import CorruptionRecipe, TaskRecipe, ViewsRecipe
    from selfsup.types import Info

S = TypeVar("S", bound=Spec)


class Registry:
    """Everything that the plugins register, and the tasks composed of it.

    Args:
        plugins: from :func:`selfsup.registry.get_plugin_manager`.
    """

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.modalities = self._registered(ModalitySpec)
        self.objectives = self._registered(ObjectiveSpec)
        self.backbones = self._registered(BackboneSpec)
        self.evaluators = self._registered(EvaluatorSpec)
        self.datasets = self._registered(DatasetSpec)
        self.benchmarks = self._registered(BenchmarkSpec)
        self.commands = self._registered(CommandSpec)
        self.loggers = self._registered(LoggerSpec)
        self.executors = self._registered(ExecutorSpec)
        self._recipes: dict[str, tuple[tuple[object, ...], TaskRecipe]] = {}

    @cached_property
    def tasks(self) -> dict[str, TaskSpec]:
        """Composed tasks, and in their place or beside them those with a recipe of their own, sorted by id."""
        tasks: dict[str, TaskSpec] = {}
        for modality in self.modalities.values():
            tasks.update({task.id: task for task in composed_tasks(modality, self.objectives.values())})
        return dict(sorted((tasks | self._registered(TaskSpec)).items()))

    def _registered(self, spec: type[S]) -> dict[str, S]:
        name = next(kind.name for kind in KINDS.values() if kind.spec is spec)
        return {id: cast(S, item.spec) for id, item in self.plugins.specs[name].items()}

    def all(self, kind: str) -> Mapping[str, Spec]:
        """All specs of a kind ("task", "backbone", ...) by id."""
        return cast("Mapping[str, Spec]", getattr(self, KINDS[kind].plural))

    @overload
    def get(self, kind: Literal["modality"], id: str) -> ModalitySpec: ...
    @overload
    def get(self, kind: Literal["task"], id: str) -> TaskSpec: ...
    @overload
    def get(self, kind: Literal["objective"], id: str) -> ObjectiveSpec: ...
    @overload
    def get(self, kind: Literal["backbone"], id: str) -> BackboneSpec: ...
    @overload
    def get(self, kind: Literal["evaluator"], id: str) -> EvaluatorSpec: ...
    @overload
    def get(self, kind: Literal["dataset"], id: str) -> DatasetSpec: ...
    @overload
    def get(self, kind: Literal["benchmark"], id: str) -> BenchmarkSpec: ...
    @overload
    def get(self, kind: Literal["command"], id: str) -> CommandSpec: ...
    @overload
    def get(self, kind: Literal["logger"], id: str) -> LoggerSpec: ...
    @overload
    def get(self, kind: Literal["executor"], id: str) -> ExecutorSpec: ...
    @overload
    def get(self, kind: str, id: str) -> Spec: ...
    def get(self, kind: str, id: str) -> Spec:
        """The spec of that kind and id.

        A backbone id such as ``timm/vit_tiny_patch16_224`` finds the family ``timm/*``.

        Raises:
            UnknownIdError: there is none; the message says what is close.
            MissingPluginError: its plugin is not installed; the message says how to install it.
            DuplicateIdError: more than one plugin claims it.
        """
        if kind not in KINDS:
            raise UnknownIdError(f"there is no kind {kind!r}; the kinds are {', '.join(KINDS)}.")
        specs = self.all(kind)
        found = id if id in specs else f"{id.partition('/')[0]}/*"
        if (kind, found) in self.plugins.contested:
            raise DuplicateIdError(self.plugins.contested[kind, found])
        if found in specs and (id == found or (kind == "backbone" and id.partition("/")[2])):
            return specs[found]
        raise suggestions.error(self, kind, id)

    def load(self, spec: TargetSpec) -> Any:
        """Import what a spec describes.

        Raises:
            PluginError: its target cannot be imported.
        """
        return self.resolve(spec, "target")

    def resolve(self, spec: Spec, field: str) -> Any:
        """Import what one field of a spec names (``target``, ``views``, ``corruption``, ...); None if it names nothing.

        Raises:
            PluginError: it cannot be imported.
        """
        target = spec.target_of(field)
        if not target:
            return None
        module, _, attribute = target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            owner = self.plugin(spec)
            raise PluginError(
                f"{kind_of(spec).name} {spec.id!r}: its {field} {target!r} cannot be imported: "
                f"{type(error).__name__}: {error}. "
                f"The fault is in the plugin {owner.label()} or in what it requires."
            ) from error

    def plugin(self, spec: Spec) -> PluginRecord:
        """The plugin that registered a spec; for a composed task its objective's, or its modality's if that is the core's."""
        if isinstance(spec, TaskSpec) and spec.composed:
            objective = self.plugins.specs["objective"].get(spec.objective)
            if objective is not None and objective.plugin.name != "core":
                return objective.plugin
            return self.plugins.specs["modality"][spec.modality].plugin
        return self.plugins.specs[kind_of(spec).name][spec.id].plugin

    def provider(self, spec: Spec) -> tuple[str, str]:
        """Distribution that registers a spec, and its version."""
        record = self.plugin(spec)
        return record.distribution, record.version

    def modality_objects(self, modality: str) -> ModalityObjects:
        """What the tasks of a modality are composed of."""
        return ModalityObjects(self, self.get("modality", modality))

    def task_recipe(self, spec: TaskSpec) -> TaskRecipe:
        """The recipe of a task, its own or composed.

        Raises:
            PluginError: a target cannot be imported, or a preset has a default that is not allowed.
        """
        loaded = self.load(spec)
        if spec.preset is None and not spec.composed:
            return cast("TaskRecipe", loaded)
        # Composing builds pydantic models, which takes a tenth of a second.
        parts = (spec, self.modalities.get(spec.modality), self.objectives.get(spec.objective), loaded)
        known = self._recipes.get(spec.id)
        if known is None or any(before is not now for before, now in zip(known[0], parts, strict=True)):
            known = self._recipes[spec.id] = parts, self._composed(spec, loaded)
        return known[1]

    def _composed(self, spec: TaskSpec, loaded: Any) -> TaskRecipe:
        if spec.preset is not None:
            return self._preset_recipe(spec, loaded)
        if spec.target == RANDOM_INIT:
            return cast("TaskRecipe", loaded())
        modality = self.modality_objects(spec.modality)
        if spec.target == SUPERVISED:
            return cast("TaskRecipe", loaded(modality.supervised_views))
        if spec.target != COMPOSE:
            raise PluginError(f"task {spec.id!r} says that it is composed, but its target is {spec.target!r}, not {COMPOSE!r}.")
        return cast("TaskRecipe", loaded(spec, self.load(self.get("objective", spec.objective)), modality))

    def _preset_recipe(self, spec: TaskSpec, compose: Any) -> TaskRecipe:
        recipe = self.resolve(spec, "preset.recipe") or self.load(self.get("objective", spec.objective))
        try:
            return cast("TaskRecipe", compose(spec, recipe, ModalityObjects(self, self.get("modality", spec.modality), spec)))
        except (ConfigError, SpecError) as error:
            owner = self.plugin(spec).label()
            raise PluginError(f"task {spec.id!r} of the plugin {owner}: its preset is wrong: {error}") from error

    def backbone_recipe(self, id: str) -> BackboneRecipe:
        """The recipe of a backbone, or of the family that it belongs to."""
        return cast("BackboneRecipe", self.load(self.get("backbone", id)))

    def build_backbone(self, id: str, options: Mapping[str, Any], info: Info) -> tuple[Backbone, Config]:
        """Make a backbone.

        Args:
            id: a registered id, or one of a family (``timm/resnet18``), whose options then get ``name``.
            options: of the backbone's config.
            info: what the fitted processor says of its batches.

        Returns:
            The backbone, and its options in full.

        Raises:
            ConfigError: an option is unknown or not allowed.
        """
        from selfsup.validation import validated

        spec = self.get("backbone", id)
        recipe = cast("BackboneRecipe", self.load(spec))
        name = {"name": id.partition("/")[2]} if spec.id != id else {}
        config = validated(recipe.config, {**options, **name}, what=f"backbone {id!r}")
        backbone = recipe.build(config, info)
        return backbone, backbone.full_options(config)

    def processor_class(self, modality: str) -> type[Processor]:
        """The processor class of a modality."""
        return cast("type[Processor]", self.load(self.get("modality", modality)))


@dataclass(frozen=True)
class ModalityObjects:
    """The objects that a modality's spec names, imported on use; None where it names none."""

    registry: Registry
    spec: ModalitySpec
    task: TaskSpec | None = None
    """A task with a preset, whose own views and corruption go before the modality's."""

    @property
    def views(self) -> ViewsRecipe | None:
        """Default views."""
        return cast("ViewsRecipe | None", self._preset("views") or self.registry.resolve(self.spec, "views"))

    @property
    def single_views(self) -> ViewsRecipe | None:
        """The one view that composed tasks see which make none by themselves."""
        return cast("ViewsRecipe | None", self._preset("views") or self.registry.resolve(self.spec, "single_views"))

    @property
    def supervised_views(self) -> ViewsRecipe | None:
        """Light augmentation of supervised training."""
        return cast("ViewsRecipe | None", self.registry.resolve(self.spec, "supervised_views"))

    @property
    def corruption(self) -> CorruptionRecipe | None:
        """Default corruption."""
        return cast("CorruptionRecipe | None", self._preset("corruption") or self.registry.resolve(self.spec, "corruption"))

    def _preset(self, name: str) -> Any:
        return None if self.task is None else self.registry.resolve(self.task, f"preset.{name}")

    @property
    def resize(self) -> Any:
        """``(batch, size) -> batch``: frames of another size."""
        return self.registry.resolve(self.spec, "resize")

    @property
    def raw_features(self) -> Any:
        """``(batch, info) -> Tensor [B, F]``."""
        return self.registry.resolve(self.spec, "raw_features")

    def other_raw_features(self, name: str) -> Any:
        """A further raw-feature baseline by its name: ``(batch, info) -> Tensor [B, F]``.

        Raises:
            UnknownIdError: the modality has none of that name.
        """
        others = self.spec.other_raw_features
        if name not in others:
            raise UnknownIdError(
                f"the modality {self.spec.id!r} has no raw features {name!r}; beside its usual ones it has "
                f"{', '.join(sorted(others)) or 'none'}."
            )
        return self.registry.resolve(self.spec, f"other_raw_features.{name}")

    @property
    def mock_rows(self) -> Any:
        """``(n, seed) -> list[Row]``."""
        return self.registry.resolve(self.spec, "mock_rows")

    @property
    def noise_rows(self) -> Any:
        """Name to ``(n, seed) -> list[Row]``, or None."""
        return self.registry.resolve(self.spec, "noise_rows")


_cached: Registry | None = None


def registry() -> Registry:
    """The registry of all plugins, made at the first call (and anew after :func:`selfsup.registry.reset`)."""
    global _cached
    plugins = get_plugin_manager()
    if _cached is None or _cached.plugins is not plugins:
        _cached = Registry(plugins)
    return _cached

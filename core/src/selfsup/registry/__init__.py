"""What plugins register: specs, the hooks that give them, the loader that finds plugins, and the registry that looks names up.

Nothing here imports torch.
"""

from selfsup.registry.composition import FAMILIES
from selfsup.registry.hookspecs import API_VERSION, hookimpl
from selfsup.registry.kinds import KINDS, Kind
from selfsup.registry.lookup import ModalityObjects, Registry, registry
from selfsup.registry.plugin_loader import Plugins, get_plugin_manager, reset
from selfsup.registry.presets import preset
from selfsup.registry.records import PluginRecord, Status
from selfsup.registry.specs import (
    BackboneSpec,
    BenchmarkSpec,
    CommandSpec,
    DatasetSpec,
    EvaluatorSpec,
    ExecutorSpec,
    Family,
    Flag,
    LoggerSpec,
    ModalitySpec,
    ObjectiveSpec,
    Preset,
    Spec,
    TargetSpec,
    TaskSpec,
)
from selfsup.registry.suggestions import KNOWN_MODALITIES

__all__ = [
    "API_VERSION",
    "FAMILIES",
    "KINDS",
    "KNOWN_MODALITIES",
    "BackboneSpec",
    "BenchmarkSpec",
    "CommandSpec",
    "DatasetSpec",
    "EvaluatorSpec",
    "ExecutorSpec",
    "Family",
    "Flag",
    "Kind",
    "LoggerSpec",
    "ModalityObjects",
    "ModalitySpec",
    "ObjectiveSpec",
    "PluginRecord",
    "Plugins",
    "Preset",
    "Registry",
    "Spec",
    "Status",
    "TargetSpec",
    "TaskSpec",
    "get_plugin_manager",
    "hookimpl",
    "preset",
    "registry",
    "reset",
]

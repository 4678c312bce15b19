"""What plugins register: specs, the hooks that give them, the loader that finds plugins, and the registry that looks names up.

Nothing here imports torch.
"""

from selfsup.registry.hookspecs import API_VERSION, hookimpl
from selfsup.registry.kinds import KINDS, Kind
from selfsup.registry.loader import Plugins, get_plugin_manager, reset
from selfsup.registry.lookup import ModalityObjects, Registry, registry
from selfsup.registry.records import PluginRecord, Status

__all__ = [
    "API_VERSION",
    "KINDS",
    "Kind",
    "ModalityObjects",
    "PluginRecord",
    "Plugins",
    "Registry",
    "Status",
    "get_plugin_manager",
    "hookimpl",
    "registry",
    "reset",
]

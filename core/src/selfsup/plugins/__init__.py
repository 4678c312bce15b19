"""Plugins: the hooks they implement, and the loader that finds them."""

from selfsup.plugins.hookspecs import API_VERSION, hookimpl
from selfsup.plugins.kinds import KINDS, Kind
from selfsup.plugins.manager import Plugins, get_plugin_manager, reset
from selfsup.plugins.records import PluginRecord, Status

__all__ = ["API_VERSION", "KINDS", "Kind", "PluginRecord", "Plugins", "Status", "get_plugin_manager", "hookimpl", "reset"]

"""The tabular plugin: tables of numbers, categories and dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup_tabular.column_transfer import Transferred, transfer
    from selfsup_tabular.sklearn import SelfSupervisedFeatures

__all__ = ["SelfSupervisedFeatures", "Transferred", "transfer"]

_HOMES = {"SelfSupervisedFeatures": "sklearn", "Transferred": "column_transfer", "transfer": "column_transfer"}


def __getattr__(name: str) -> Any:
    """Import on first use, because importing the plugin's entry module must stay light."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

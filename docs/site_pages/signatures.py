"""How signatures are shown."""

from __future__ import annotations

import inspect

from selfsup.config import Config


def shorten(app: object, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None):
    """A configuration has no signature: its fields follow in a table."""
    if what == "class" and inspect.isclass(obj) and issubclass(obj, Config):
        return "", None
    return signature, returns

"""Networks for rows of several parts."""

from __future__ import annotations

from selfsup.specs import BackboneSpec

BACKBONES: tuple[BackboneSpec, ...] = ()

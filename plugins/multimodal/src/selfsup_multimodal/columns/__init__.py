"""Chooses which column of a source is which part of a row."""

from selfsup_multimodal.columns.choose import choose
from selfsup_multimodal.columns.names import Part, parse_parts

__all__ = ["Part", "choose", "parse_parts"]

"""The base of every validated configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen, fully validated set of options.

    Unknown keys are refused. The docstring under a field is its description: one line, with units and the paper's default;
    the conformance checks look for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

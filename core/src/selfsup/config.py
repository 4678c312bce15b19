"""The base class of every validated configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from selfsup.validation import check_effect, validated

__all__ = ["Config", "check_effect", "idle", "validated"]


class Config(BaseModel):
    """A frozen, fully validated set of options.

    Unknown keys are refused. The docstring under a field is its description: one line, with units and the paper's default;
    the conformance checks look for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    def without_effect(self) -> dict[str, str]:
        """Options without effect given the values of the others: name to reason (``"masking is spans"``); by default none.

        Setting one of them to a value other than its default is an error.
        """
        return {}


def idle(reason: str, when: bool, *names: str) -> dict[str, str]:
    """``names`` with the reason why they have no effect, for :meth:`Config.without_effect`; empty unless ``when``."""
    return dict.fromkeys(names, reason) if when else {}

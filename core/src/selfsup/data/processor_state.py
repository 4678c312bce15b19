"""Save and load a processor's config and fitted state as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selfsup.config import Config
from selfsup.damaged_files import read_json
from selfsup.errors import ArtifactError
from selfsup.validation import validated

C = TypeVar("C", bound=Config)


def write_state(path: Path, config: Config, **fitted: Any) -> None:
    """Write a config, under the key ``config``, and the fitted state, plain JSON values by key."""
    state = {"config": config.model_dump(mode="json"), **fitted}
    path.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


@contextmanager
def reading_state(path: Path, kind: str, config: type[C]) -> Iterator[tuple[C, dict[str, Any]]]:
    """Read what :func:`write_state` wrote; build the processor from it inside the ``with`` block.

    Args:
        path: of the file.
        kind: of processor, for the message (``image``).
        config: class of the config.

    Raises:
        ArtifactError: the file is missing, or the block finds a missing key or an invalid value.
    """
    try:
        state = read_json(path)
        yield validated(config, state["config"], what="its config"), state
    except ArtifactError:
        raise
    except Exception as error:  # a damaged file may hold values of any kind
        raise ArtifactError(f"{path} is not a saved {kind} processor ({error}); save the encoder again.") from error

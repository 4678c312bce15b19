"""A modality without tokens, to test what the core does where nothing can be masked: a row is a vector of fixed length.

The plugin of :mod:`selfsup.testing.toy.sequences` registers it. It has views and a network that gives one embedding a row, and
so all joint-embedding tasks except those that compare tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone, BackboneRecipe, Encoded
from selfsup.config import Config
from selfsup.data.processor import Processor
from selfsup.data.processor_state import reading_state, write_state
from selfsup.data.samples import Sample
from selfsup.errors import BadRowError, DataError
from selfsup.tasks.base import Views, ViewsRecipe
from selfsup.types import Batch, Info, Row

WIDTH = 10
"""Numbers in a mock row."""
_FILE = "processor.json"


class VectorProcessorConfig(Config):
    """Options of the processor: there are none."""


class VectorProcessor(Processor):
    """Learns how many numbers a row has; batches have ``vector`` ([B, F] float)."""

    modality: ClassVar[str] = "vector"
    Config = VectorProcessorConfig

    def __init__(self, config: VectorProcessorConfig) -> None:
        super().__init__(config)
        self.width = 0

    def fit(self, rows: Iterable[Row]) -> Self:
        """Take the width of the first row."""
        for row in rows:
            self.width = len(row["vector"])
            return self
        raise DataError("There is no row to fit the processor on.")

    def info(self) -> Info:
        """``width``, F."""
        return {"width": self.width}

    def encode(self, row: Row) -> Sample:
        """One row to its vector."""
        vector = np.asarray(row["vector"], dtype=np.float32)
        if vector.shape != (self.width,):
            raise BadRowError(f"the vector has the shape {vector.shape}, not {(self.width,)}")
        return {"vector": vector}

    def save(self, directory: Path) -> None:
        """Write ``processor.json``."""
        write_state(directory / _FILE, VectorProcessorConfig(), width=self.width)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read ``processor.json``."""
        with reading_state(directory / _FILE, "vector", VectorProcessorConfig) as (config, state):
            processor = cls(config)
            processor.width = state["width"]
        return processor


class VectorViewsConfig(Config):
    """Options of the views."""

    n_global: int = Field(default=2, ge=1)
    """Views with all noise."""
    n_local: int = Field(default=0, ge=0)
    """Further views, made in the same way."""
    noise: float = Field(default=0.2, ge=0)
    """Standard deviation of the noise on each number."""


class VectorViews(Views):
    """Adds Gaussian noise."""

    def __init__(self, config: VectorViewsConfig, info: Info) -> None:
        super().__init__()
        self.n_global, self.n_local, self.noise = config.n_global, config.n_local, config.noise

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """One batch for each view."""
        x = batch["vector"]
        draws = [torch.randn(x.shape, generator=generator, device=x.device) for _ in range(self.n_global + self.n_local)]
        return [{**batch, "vector": x + self.noise * draw} for draw in draws]


class VectorNetworkConfig(Config):
    """Options of the network."""

    dim: int = Field(default=32, ge=1)
    """Width D of the embedding."""


class VectorNetwork(Backbone):
    """Two linear layers with a ReLU between them; there are no tokens."""

    modality: ClassVar[str] = "vector"

    def __init__(self, config: VectorNetworkConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.dim
        self.layers = nn.Sequential(nn.Linear(info["width"], config.dim), nn.ReLU(), nn.Linear(config.dim, config.dim))

    def forward(self, batch: Batch) -> Encoded:
        """One embedding a row."""
        return Encoded(self.layers(batch["vector"]))


def mock_rows(n: int, seed: int) -> list[dict[str, Any]]:
    """``n`` rows around one of three centres each."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((3, WIDTH))
    return [{"vector": (centres[number % 3] + 0.3 * rng.standard_normal(WIDTH)).tolist()} for number in range(n)]


def raw_features(batch: Batch, info: Info) -> Tensor:
    """[B, F] float: the numbers themselves."""
    return batch["vector"]


VIEWS = ViewsRecipe(VectorViewsConfig, VectorViews)
NETWORK = BackboneRecipe(VectorNetworkConfig, VectorNetwork)

"""Views, corruptions and transformations compute in the precision of their input, whatever that of the run."""

import pytest
import torch

from selfsup.tasks import Corruption, Transformation, Views


@pytest.mark.parametrize("kind", [Views, Corruption, Transformation])
def test_autocast_is_off_inside(kind):
    class Product(kind):
        build_decoder = loss = None

        def forward(self, batch, generator):
            return batch["x"] @ batch["x"]

    batch = {"x": torch.full((3, 3), 1 / 3)}
    with torch.autocast("cpu", torch.bfloat16):
        assert (batch["x"] @ batch["x"]).dtype == torch.bfloat16
        inside = Product()(batch, None)
    assert inside.dtype == torch.float32

"""Every modality's transformers give bit-identical gradients where their blocks are computed again in the backward pass."""

from dataclasses import replace

import pytest
import torch

from selfsup.registry import registry
from selfsup.testing.kit.cases import TaskCase
from selfsup.training.device.recompute import recomputing

CASES = {  # task, the backbone where it is another than the default
    "text/mlm": "",
    "text/clm": "",
    "text/simcse": "",  # dropout by seeds that the forward pass sets
    "text/data2vec": "",
    "vision/mae": "vit-tiny",
    "vision/dino": "vit-tiny",
    "audio/wav2vec2": "",
    "audio/mae": "mel-vit",
    "video/videomae": "",
    "tabular/mae": "ft-transformer",
    "multimodal/clip": "",
    "multimodal/mae": "",
}


def case(task: str) -> TaskCase:
    spec = registry().get("task", task)
    return TaskCase(replace(spec, backbone=CASES[task]) if CASES[task] else spec, rows=6)


@pytest.mark.parametrize("task", CASES)
def test_gradients_are_the_same_to_the_last_bit(task):
    made, found = case(task), []
    for wanted in (False, True):
        network, generator = made.task(), made.generator()
        torch.manual_seed(0)
        with recomputing(network, wanted):
            loss = network(made.batch(), generator).loss
            loss.backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
        found.append({**gradients, **dict(network.named_buffers()), "loss": loss.detach(), "drawn": torch.get_rng_state()})
    one, other = found
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []

"""Options that save memory, in every modality: blocks that are computed again in the backward pass, and weights in bf16."""

from dataclasses import replace

import pytest
import torch

from selfsup.registry import registry
from selfsup.testing.kit.cases import TaskCase
from selfsup.training.device.recompute import recomputing
from selfsup.training.device.tune import tune_for_device
from selfsup.training.loop.bf16_weights import store_in_bf16

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


NETWORKS = {
    **CASES,
    "vision/simclr": "",
    "vision/byol": "resnet18-cifar",
    "audio/simclr": "",
    "audio/apc": "",  # a GRU
    "audio/cpc": "",
    "audio/hubert": "",
    "video/simclr": "",
    "tabular/scarf": "",
    "tabular/vime": "tabular-resnet",
    "text/electra": "",
    "multimodal/simclr": "",
}


@pytest.mark.parametrize("task", NETWORKS)
def test_weights_in_bf16_give_about_the_same_loss_and_gradient(task):
    spec = registry().get("task", task)
    made = TaskCase(replace(spec, backbone=NETWORKS[task]) if NETWORKS[task] else spec, rows=6)
    losses, norms = [], []
    for halves in (False, True):
        network, generator = made.task(), made.generator()
        tune_for_device(network, torch.device("cpu"), "bf16")
        if halves:
            stored = store_in_bf16(network)
            sizes = [parameter.numel() for parameter in network.backbone.parameters() if parameter.requires_grad]
            assert stored > 0.3 * sum(sizes)
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(made.batch(), generator).loss
        loss.backward()
        network.after_step(0.1)
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        losses.append(loss.item())
        norms.append(float(torch.stack([gradient.float().norm() for gradient in gradients]).norm()))
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert norms[1] == pytest.approx(norms[0], rel=0.35)

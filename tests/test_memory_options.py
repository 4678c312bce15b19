"""Options that save memory, in every modality: blocks that are computed again in the backward pass, and weights in bf16."""

from copy import deepcopy
from dataclasses import replace

import pytest
import timm.layers
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.testing.kit.cases import TaskCase
from selfsup.training.device.blocks import repeated_blocks
from selfsup.training.device.recompute import recomputing
from selfsup.training.device.tune import tune_for_device
from selfsup.training.loop import sharding
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


def kinds_while_computing(blocks):
    """The types that weights of blocks have when one of them computes; empty until then."""
    kinds = set()
    for block in blocks:
        block.register_forward_pre_hook(lambda block, inputs: kinds.update(p.dtype for p in block.parameters()))
    return kinds


class NormedBlock(torch.nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(8, 8), norm

    def forward(self, x):
        return self.norm(x + self.linear(x))


class TwoBlocks(Backbone):
    """A block without and one with a norm."""

    modality, embed_dim = "toy", 8

    def __init__(self, norm):
        super().__init__()
        self.plain, self.normed = torch.nn.Linear(8, 8), NormedBlock(norm)

    def forward(self, batch):
        return Encoded(self.normed(batch["x"]) + self.plain(batch["x"]))

    def blocks(self):
        return [self.plain, self.normed]


@pytest.fixture(scope="module")
def mesh():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("data_parallel",))
    distributed.destroy_process_group()


@pytest.mark.parametrize("task", CASES)
def test_blocks_that_are_gathered_in_bf16_give_about_the_same_loss_and_gradient(task, mesh):
    made, found = case(task), []
    for halves in (False, True):
        network, generator = made.task(), made.generator()
        tune_for_device(network, torch.device("cpu"), "bf16", channels_last=False)
        with torch.no_grad():
            torch.manual_seed(0)
            for parameter in network.parameters():  # those of a new norm are 0 and 1
                parameter.add_(0.01 * torch.randn_like(parameter))
        sharding.shard(network, mesh, bf16_blocks=halves)
        computed = kinds_while_computing(block for block, owner in repeated_blocks(network).items() if owner is not None)
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(made.batch(), generator).loss
        loss.backward()
        network.after_step(0.1)
        assert computed == {torch.bfloat16 if halves else torch.float32}
        gradients = {name: sharding.whole(p.grad) for name, p in network.named_parameters() if p.grad is not None}
        assert {value.dtype for value in [*gradients.values(), *network.parameters()]} == {torch.float32}
        found.append((loss.item(), gradients))
    (loss, gradients), (other_loss, others) = found
    assert other_loss == pytest.approx(loss, rel=0.01)
    assert others.keys() == gradients.keys()
    together = [torch.cat([value.flatten() for value in values.values()]) for values in (gradients, others)]
    assert (together[0] - together[1]).norm() < 0.05 * together[0].norm()


def test_a_network_without_blocks_is_not_gathered_in_bf16(mesh):
    network = TaskCase(registry().get("task", "tabular/scarf"), rows=6).task()
    with pytest.raises(ConfigError, match=r"names none without batch norm \(Backbone.blocks\). Use precision=bf16, or"):
        sharding.shard(network, mesh, bf16_blocks=True)


@pytest.mark.parametrize(
    ("norm", "in_bf16"),
    [
        (torch.nn.LayerNorm(8), True),
        (torch.nn.LayerNorm(8, elementwise_affine=False), True),
        (torch.nn.LayerNorm(8, bias=False), True),
        (torch.nn.GroupNorm(2, 8), True),
        (torch.nn.RMSNorm(8), True),
        (timm.layers.LayerNorm(8), True),
        (torch.nn.BatchNorm1d(8), False),
    ],
    ids=str,
)
def test_norms_of_blocks_compute_in_float32(norm, in_bf16, mesh):
    x, found = 3 * torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), []
    for halves in (False, True):
        torch.manual_seed(0)
        network = TwoBlocks(deepcopy(norm))
        sharding.shard(network, mesh, bf16_blocks=halves)
        kinds = kinds_while_computing([network.normed])
        with torch.autocast("cpu", torch.bfloat16):
            found.append(network({"x": x}).pooled)
        assert kinds == {torch.bfloat16 if halves and in_bf16 else torch.float32}
    assert found[0].dtype == found[1].dtype == torch.float32
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)

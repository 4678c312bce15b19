"""One gated recurrent layer, with torch's fused kernels where available."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GRULayer(nn.Module):
    """A gated recurrent unit over [B, N, D] (Cho et al. 2014, arXiv:1406.1078), with the weights and the maths of ``nn.GRU``.

    ``nn.GRU`` keeps a second list of its weights, which is not updated when the parameters are replaced.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.input = nn.Linear(dim, 3 * dim)
        self.state = nn.Linear(dim, 3 * dim)
        bound = dim**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] to the same, first to last."""
        if has_fused_kernel(x.device):
            # Products are not under autocast, which would convert weights that are kept in bf16.
            weights = [each.to(x.dtype) for each in (self.input.weight, self.state.weight, self.input.bias, self.state.bias)]
            start = x.new_zeros(1, x.shape[0], x.shape[2])
            output: Tensor = torch.gru(x, start, weights, True, 1, 0.0, self.training, False, True)[0]
            return output
        return self.stepwise(x)

    def stepwise(self, x: Tensor) -> Tensor:
        """The same in plain operators, token by token."""
        given = F.linear(x, self.input.weight.to(x.dtype), self.input.bias)
        state = self.state.weight.to(x.dtype)
        h = x.new_zeros(x.shape[0], x.shape[2])
        outputs: list[Tensor] = []
        for step in range(x.shape[1]):
            reset, update, new = given[:, step].chunk(3, dim=1)
            from_reset, from_update, from_new = F.linear(h, state, self.state.bias).chunk(3, dim=1)
            gate = torch.sigmoid(update + from_update)
            candidate = torch.tanh(new + torch.sigmoid(reset + from_reset) * from_new)
            h = torch.lerp(candidate, h, gate)
            outputs.append(h)
        return torch.stack(outputs, dim=1)


def has_fused_kernel(device: torch.device) -> bool:
    """Whether torch runs all steps in one call on the device: CPUs, and CUDA devices that exist."""
    return device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_available())

"""The parameters of a batch of networks, or their gradients, in blocks that one operation updates at once.

A block is [layers, networks, rows, columns]. All hidden layers of all networks are one block, each layer of it
contiguous, which batched matrix products need of what they write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .draw import Drawn


@dataclass(frozen=True)
class Parameters:
    """Weights [fan_in, fan_out], hidden biases [1, width], last biases [outputs, 1], slopes [1, 1] of a PReLU.

    Attributes:
        first: [1, networks, inputs, width].
        hidden: [depth - 1, networks, width, width].
        last: [1, networks, width, outputs].
        bias: [depth, networks, 1, width].
        last_bias: [1, networks, outputs, 1].
        slope: [depth, networks, 1, 1], or [0, networks, 1, 1] where none is trained.
    """

    first: Tensor
    hidden: Tensor
    last: Tensor
    bias: Tensor
    last_bias: Tensor
    slope: Tensor

    @property
    def blocks(self) -> list[Tensor]:
        """What is there to update."""
        return [b for b in (self.first, self.hidden, self.last, self.bias, self.last_bias, self.slope) if b.numel()]

    @property
    def networks(self) -> int:
        """How many networks."""
        return self.first.shape[1]

    def like(self) -> Parameters:
        """Return zeros of the same shape."""
        return Parameters(*(torch.zeros_like(b) for b in self._fields()))

    def weights(self) -> list[Tensor]:
        """Return the weight of each Linear, [networks, fan_in, fan_out]."""
        return [self.first[0], *self.hidden.unbind(0), self.last[0]]

    def select(self, networks: Sequence[int]) -> Parameters:
        """Return a copy of these networks alone."""
        index = torch.as_tensor(networks, device=self.first.device)
        return Parameters(*(b.index_select(1, index) for b in self._fields()))

    def network(self, index: int) -> list[Drawn]:
        """Return the layers of one network as torch keeps them."""
        biases = [*self.bias[:, index, 0].unbind(0), self.last_bias[0, index, :, 0]]
        weights = [w[index].t() for w in self.weights()]
        return [Drawn(w, b) for w, b in zip(weights, biases, strict=True)]

    def _fields(self) -> list[Tensor]:
        return [self.first, self.hidden, self.last, self.bias, self.last_bias, self.slope]


def stack(networks: Sequence[Sequence[Drawn]], *, slopes: Sequence[float] | None, device: torch.device) -> Parameters:
    """Return networks of one shape as `Parameters`.

    Args:
        networks: the layers of each.
        slopes: of each network's PReLUs; None where no slope is trained.
        device: where they shall lie.
    """
    depth, count, dtype = len(networks[0]) - 1, len(networks), networks[0][0].weight.dtype

    def block(layers: range, part: int, shape: tuple[int, int]) -> Tensor:
        out = torch.empty(len(layers), count, *shape, dtype=dtype)
        for i, layer in enumerate(layers):
            for k, network in enumerate(networks):
                out[i, k] = network[layer][part].t().reshape(shape) if part == 0 else network[layer][1].view(shape)
        return out.to(device)

    inputs, width = networks[0][0].weight.shape[::-1]
    outputs = networks[0][-1].weight.shape[0]
    trained = depth if slopes is not None else 0
    slope = torch.tensor(slopes or [0.0] * count, dtype=dtype, device=device).view(1, count, 1, 1)
    return Parameters(
        first=block(range(1), 0, (inputs, width)),
        hidden=block(range(1, depth), 0, (width, width)),
        last=block(range(depth, depth + 1), 0, (width, outputs)),
        bias=block(range(depth), 1, (1, width)),
        last_bias=block(range(depth, depth + 1), 1, (outputs, 1)),
        slope=slope.repeat(trained, 1, 1, 1),
    )

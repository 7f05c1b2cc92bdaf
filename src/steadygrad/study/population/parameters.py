"""The parameters of a batch of networks, or their gradients, in blocks that one operation updates at once.

A block is [layers, networks, rows, columns]. All hidden layers of all networks are one block, each layer of it
contiguous, which batched matrix products need of what they write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .draw import Drawn


@dataclass(frozen=True)
class Parameters:
    """Weights and biases [fan_out, 1] of every Linear, slopes [1, 1] of a PReLU.

    Weights are [fan_out, fan_in], as torch keeps them, apart from the first: the other way around it fits the examples
    as they lie in the data, row by row.

    Attributes:
        first: [1, networks, inputs, width].
        hidden: [depth - 1, networks, width, width].
        last: [1, networks, outputs, width].
        bias: [depth, networks, width, 1].
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
        """Return the weight of each Linear, [networks, fan_out, fan_in]."""
        return [self.first[0].mT, *self.hidden.unbind(0), self.last[0]]

    def as_stored(self) -> list[Tensor]:
        """Return the weight of each Linear as it is stored: the first [networks, inputs, width]."""
        return [self.first[0], *self.hidden.unbind(0), self.last[0]]

    def select(self, networks: Sequence[int]) -> Parameters:
        """Return a copy of these networks alone."""
        index = torch.as_tensor(networks, device=self.first.device)
        return Parameters(*(b.index_select(1, index) for b in self._fields()))

    def network(self, index: int) -> list[Drawn]:
        """Return the layers of one network as torch keeps them."""
        biases = [*self.bias[:, index, :, 0].unbind(0), self.last_bias[0, index, :, 0]]
        return [Drawn(w[index], b) for w, b in zip(self.weights(), biases, strict=True)]

    def _fields(self) -> list[Tensor]:
        return [self.first, self.hidden, self.last, self.bias, self.last_bias, self.slope]


def stack(networks: Sequence[Sequence[Drawn]], *, slopes: Sequence[float] | None, device: torch.device) -> Parameters:
    """Return networks of one shape as `Parameters`.

    Args:
        networks: the layers of each.
        slopes: of each network's PReLUs; None where no slope is trained.
        device: where they shall lie.
    """
    depth, count = len(networks[0]) - 1, len(networks)
    first, last = networks[0][0].weight, networks[0][-1].weight
    (width, inputs), outputs = first.shape, len(last)

    def block(layers: Sequence[int], shape: tuple[int, int], part: Callable[[Drawn], Tensor]) -> Tensor:
        out = first.new_empty(len(layers), count, *shape)
        for i, layer in enumerate(layers):
            for k, network in enumerate(networks):
                out[i, k] = part(network[layer])
        return out.to(device)

    trained = depth if slopes is not None else 0
    slope = first.new_tensor(slopes or [0.0] * count).to(device).view(1, count, 1, 1)
    return Parameters(
        first=block([0], (inputs, width), lambda drawn: drawn.weight.t()),
        hidden=block(range(1, depth), (width, width), lambda drawn: drawn.weight),
        last=block([depth], (outputs, width), lambda drawn: drawn.weight),
        bias=block(range(depth), (width, 1), lambda drawn: drawn.bias.unsqueeze(1)),
        last_bias=block([depth], (outputs, 1), lambda drawn: drawn.bias.unsqueeze(1)),
        slope=slope.repeat(trained, 1, 1, 1),
    )

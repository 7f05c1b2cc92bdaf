"""Plain SGD without the gradients of weights: W -= lr delta h' is one product that adds to what stands there.

To form a gradient, add up its squares and take it off a weight goes five times through memory of the weight's size; the
product that adds goes through it twice. For the same, the squares of delta and h are added up, which bound those of the
gradient: |delta h'| <= |delta| |h|. Only where the bound is not finite, or a norm is asked for, gradients are formed.

A weight is not updated before the next forward pass is about to use it: it is in the cache then. That is one layer
ahead, since the pass overwrites the h that its update is made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from steadygrad.study.point import Point

from .accumulate import all_accumulations
from .curve import Curve
from .held import held
from .network import Network
from .products import Compute, column_products, squares


class Bound:
    """An upper bound of the norm of each network's gradient, from what its backward pass multiplies.

    Args:
        network: that forms no gradients of weights.
        x: its batch.
    """

    def __init__(self, network: Network, x: Tensor) -> None:
        deltas, depth, count = network.deltas(), len(network.deltas()), x.shape[0]
        # A weight has a row, and a bias one, whose gradient is known: its second factor is 1.
        self._lefts, self._rights = x.new_zeros(2 * depth + 2, count), x.new_ones(2 * depth + 2, count)
        self._of_x = _square(x, self._rights, 0)
        # Both are in the cache when the gradient has come through the activation.
        self._see: list[tuple[Compute, ...]] = [
            (_square(delta, self._lefts, i), _square(h, self._rights, i + 1))
            for i, (delta, h) in enumerate(zip(deltas, network.outputs(), strict=True))
        ]
        self._see.append((_square(network.logits, self._lefts, depth),))
        to = network.gradients
        self._of_biases = squares(to.bias, self._lefts[depth + 1 : -1]), squares(to.last_bias, self._lefts[-1:])
        self._total = column_products(self._lefts, self._rights, x.new_zeros(count))

    def see(self, layer: int, _: Tensor) -> None:
        """The gradient with respect to the output of this layer has come."""
        for square in self._see[layer]:
            square()

    def see_all(self) -> None:
        """All of them have come."""
        for squares_of_layer in self._see:
            for square in squares_of_layer:
                square()

    def __call__(self) -> Tensor:
        """Return the bounds, [networks], of the last backward pass."""
        self._of_x()
        for square in self._of_biases:
            square()
        return self._total().sqrt()


def _square(batch: Tensor, out: Tensor, row: int) -> Compute:
    return squares(batch.unsqueeze(0), out[row : row + 1])


class Direct:
    """Lets networks take a step of plain SGD.

    Args:
        network: that forms no gradients of weights.
        points: of the networks, without momentum, decay and clipping.
        x: the batch.
        way: of `updates`.
    """

    def __init__(self, network: Network, points: Sequence[Point], x: Tensor, way: int) -> None:
        self._network, self._bound = network, Bound(network, x)
        rates = [point.learning_rate for point in points]
        self._rates = x.new_tensor(rates).neg_().view(-1, 1, 1)
        # One rate is a factor of the products; several are multiplied into what they are products of.
        self._several = len(set(rates)) > 1
        self._updates = updates(network, 1.0 if self._several else -rates[0])[way]
        self._pending = False  # whether all but the first weight are still to be updated

    def forward(self) -> Tensor:
        """See `Update`."""
        logits = self._network.forward(before=self._before if self._pending else None)
        self._pending = False
        return logits

    def learn(self, loss: Tensor, curve: Curve) -> None:
        """See `Update`."""
        network, parameters = self._network, self._network.parameters
        network.backward(self._bound.see)
        norms = self._bound()
        if curve.keeps_this_step or not math.isfinite(torch.dot(loss, norms)):
            network.form()
            norms = network.norms()
        active = curve.see(loss, norms)
        with held(parameters.blocks, active):
            self._begin()
            if active is not None:
                self.settle()

    def settle(self) -> None:
        """See `Update`."""
        if self._pending:
            for layer in range(len(self._updates) - 1):
                self._before(layer)
        self._pending = False

    def _begin(self) -> None:
        """Update what lies in the cache, or is of a batch that will be gone."""
        parameters, gradients = self._network.parameters, self._network.gradients
        parameters.bias.addcmul_(gradients.bias, self._rates)
        parameters.last_bias.addcmul_(gradients.last_bias, self._rates)
        if self._several:
            for delta in (*self._network.deltas(), self._network.logits):
                delta.mul_(self._rates)
        self._updates[0]()
        self._pending = True

    def _before(self, layer: int) -> None:
        self._updates[layer + 1]()


def updates(network: Network, alpha: float) -> list[list[Compute]]:
    """Return the ways to add alpha times its gradient to each weight, each a call a layer."""
    pairs = list(zip(network.parameters.as_stored(), network.factors, strict=True))
    turned = torch.empty_like(network.deltas()[0].mT, memory_format=torch.contiguous_format)
    ways = [all_accumulations(*pair, weight, alpha=alpha, turned=turned) for weight, pair in pairs]
    return [list(way) for way in zip(*ways, strict=True)]

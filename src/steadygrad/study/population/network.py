"""Forward and backward of a batch of networks, by hand, into buffers that are allocated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .activations import Phi
from .parameters import Parameters
from .products import product

# What looks at a layer: its index and its output, or the gradient with respect to it, [networks, examples, units].
Look = Callable[[int, Tensor], object]


class Network:
    """Networks of one shape on batches of one size.

    Every product is one batched matrix product over all networks; autograd is not involved. Views and products are made
    once: at width 16 making them anew at each step takes as long as the arithmetic.

    Args:
        parameters: of all networks; read anew at each call, so that they may change in place.
        phi: the activation.
        slope: [networks, 1, 1] of an activation with a slope that is not trained.
        x: the batch, [networks, examples, inputs]; read anew at each call too.
        backward: whether there will be a backward pass; without one the layers share two buffers.
    """

    def __init__(self, parameters: Parameters, phi: Phi, slope: Tensor, x: Tensor, *, backward: bool = True) -> None:
        self.parameters, self.phi = parameters, phi
        depth, count, _, width = parameters.bias.shape
        shape = (count, x.shape[1], width)
        self._z = _buffers(x, depth, shape, all_kept=backward)
        self._h = self._z if phi.from_output else _buffers(x, depth, shape, all_kept=backward)
        self.logits = x.new_zeros((count, parameters.last.shape[3], x.shape[1]))
        self._biases = parameters.bias.unbind(0)
        self._slopes = parameters.slope.unbind(0) if phi.trained_slope else (slope,) * depth
        below, weights = [x, *self._h], self.parameters.weights()
        self._forward = [product(below[i], weights[i], self._z[i]) for i in range(depth)]
        self._to_logits = product(weights[-1].mT, self._h[-1].mT, self.logits)
        if backward:
            self._prepare_backward(below)

    def _prepare_backward(self, below: Sequence[Tensor]) -> None:
        self.gradients = self.parameters.like()
        self._bias_gradients = self.gradients.bias.unbind(0)
        weights, gradients, depth = self.parameters.weights(), self.gradients.weights(), len(self._z)
        pair = [torch.zeros_like(self._z[0]) for _ in range(2)]
        # The gradient goes from one buffer to the other and back.
        delta = [pair[(depth - 1 - i) % 2] for i in range(depth)]
        self._layer_delta = delta
        self._from_logits = product(self.logits.mT, weights[-1].mT, delta[-1])
        self._last_gradient = product(self._h[-1].mT, self.logits.mT, gradients[-1])
        self._weight_gradients = [product(below[i].mT, delta[i], gradients[i]) for i in range(depth)]
        self._back = [product(delta[i], weights[i].mT, delta[i - 1]) for i in range(1, depth)]

    def forward(self, look: Look | None = None) -> Tensor:
        """Return the logits [networks, outputs, examples], in a buffer that the next call overwrites.

        Args:
            look: is shown the output of each Linear; that of the last one transposed, as the logits are.
        """
        for layer, (multiply, z, out) in enumerate(zip(self._forward, self._z, self._h, strict=True)):
            multiply()
            z.add_(self._biases[layer])
            if look is not None:
                look(layer, z)
            self.phi.forward(z, out, self._slopes[layer])
        self._to_logits()
        self.logits.add_(self.parameters.last_bias[0])
        if look is not None:
            look(len(self._z), self.logits.mT)
        return self.logits

    def backward(self, look: Look | None = None) -> Parameters:
        """Return the gradients of the loss, in buffers that the next call overwrites.

        The gradient with respect to the logits must stand in `logits`, where a loss leaves it.

        Args:
            look: is shown the gradient with respect to the output of each Linear, the last first.
        """
        if look is not None:
            look(len(self._z), self.logits.mT)
        self._last_gradient()
        torch.sum(self.logits, 2, keepdim=True, out=self.gradients.last_bias[0])
        self._from_logits()
        for layer in reversed(range(len(self._z))):
            delta = self._layer_delta[layer]
            self._through_activation(layer, delta)
            if look is not None:
                look(layer, delta)
            self._weight_gradients[layer]()
            torch.sum(delta, 1, keepdim=True, out=self._bias_gradients[layer])
            if layer:
                self._back[layer - 1]()
        return self.gradients

    def _through_activation(self, layer: int, delta: Tensor) -> None:
        z, slope = self._z[layer], self._slopes[layer]
        if self.phi.trained_slope:
            torch.sum(delta * z.clamp_max(0), (1, 2), keepdim=True, out=self.gradients.slope[layer])
        self.phi.backward(delta, z, self._h[layer], slope)

    def outputs(self) -> tuple[Tensor, ...]:
        """Return phi(z) of each hidden layer of the last call; there must be a backward pass to keep them for."""
        return self._h

    def slope_is_zero(self, layer: int) -> Tensor:
        """Return where phi' is 0 at the last call's pre-activations, [networks, examples, units]."""
        ones = torch.ones_like(self._z[layer])
        self.phi.backward(ones, self._z[layer], self._h[layer], self._slopes[layer])
        return ones == 0


def _buffers(like: Tensor, depth: int, shape: tuple[int, ...], *, all_kept: bool) -> tuple[Tensor, ...]:
    """One for each layer, or two that the layers take in turn: what a layer reads is in the other one."""
    made: tuple[Tensor, ...] = like.new_zeros((depth if all_kept else min(depth, 2), *shape)).unbind(0)
    return tuple(made[i % len(made)] for i in range(depth))

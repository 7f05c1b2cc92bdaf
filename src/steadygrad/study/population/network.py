"""Forward and backward of a batch of networks, by hand, into buffers that are allocated once."""

from __future__ import annotations

from collections.abc import Callable

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
    """

    def __init__(self, parameters: Parameters, phi: Phi, slope: Tensor, x: Tensor) -> None:
        self.parameters, self.gradients, self.phi = parameters, parameters.like(), phi
        depth, count, _, width = parameters.bias.shape
        examples, outputs = x.shape[1], parameters.last.shape[3]
        self._z = x.new_zeros((depth, count, examples, width)).unbind(0)
        self._h = self._z if phi.from_output else x.new_zeros((depth, count, examples, width)).unbind(0)
        self._delta = x.new_zeros((2, count, examples, width)).unbind(0)
        self.logits = x.new_zeros((count, outputs, examples))
        self._biases, self._bias_gradients = parameters.bias.unbind(0), self.gradients.bias.unbind(0)
        self._slopes = parameters.slope.unbind(0) if phi.trained_slope else (slope,) * depth
        self._make_products(x)

    def _make_products(self, x: Tensor) -> None:
        weights, gradients, depth = self.parameters.weights(), self.gradients.weights(), len(self._z)
        below = [x, *self._h]
        self._forward = [product(below[i], weights[i], self._z[i]) for i in range(depth)]
        self._to_logits = product(weights[-1].mT, self._h[-1].mT, self.logits)
        # The gradient goes from one buffer to the other and back.
        delta = [self._delta[(depth - 1 - i) % 2] for i in range(depth)]
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
        """Return phi(z) of each hidden layer of the last call."""
        return self._h

    def slope_is_zero(self, layer: int) -> Tensor:
        """Return where phi' is 0 at the last call's pre-activations, [networks, examples, units]."""
        ones = torch.ones_like(self._z[layer])
        self.phi.backward(ones, self._z[layer], self._h[layer], self._slopes[layer])
        return ones == 0

"""Forward and backward of a batch of networks, by hand, into buffers that are allocated once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .activations import Phi
from .parameters import Parameters

# What looks at a layer: its index and its output, or the gradient with respect to it, [networks, examples, units].
Look = Callable[[int, Tensor], object]


class Network:
    """Networks of one shape on batches of one size.

    Every product is one batched matrix product over all networks; autograd is not involved. The views of the blocks
    are made once: at width 16 making them anew takes as long as the arithmetic.

    Args:
        parameters: of all networks; read anew at each call, so that they may change in place.
        phi: the activation.
        slope: [networks, 1, 1] of an activation with a slope that is not trained.
        examples: of a batch.
    """

    def __init__(self, parameters: Parameters, phi: Phi, slope: Tensor, *, examples: int) -> None:
        self.parameters, self.gradients, self.phi = parameters, parameters.like(), phi
        self._depth, count, _, width = parameters.bias.shape
        shape = (self._depth, count, examples, width)
        # Ends at zero, not empty: where a function passes nothing on, what was there must not be taken for a number.
        self._z = parameters.first.new_zeros(shape).unbind(0)
        self._h = self._z if phi.from_output else parameters.first.new_zeros(shape).unbind(0)
        self._h_t = [h.mT for h in self._h]
        self._delta = parameters.first.new_zeros((2, count, examples, width)).unbind(0)
        outputs = parameters.last.shape[3]
        self.logits = parameters.first.new_zeros((count, outputs, examples))
        self._weights, self._weight_gradients = parameters.weights(), self.gradients.weights()
        self._weights_t = [w.mT for w in self._weights]
        self._biases, self._bias_gradients = parameters.bias.unbind(0), self.gradients.bias.unbind(0)
        self._slopes = parameters.slope.unbind(0) if phi.trained_slope else (slope,) * self._depth

    def forward(self, x: Tensor, look: Look | None = None) -> Tensor:
        """Return the logits [networks, outputs, examples], in a buffer that the next call overwrites.

        Args:
            x: [networks, examples, inputs].
            look: is shown the output of each Linear; the last one transposed, as the logits are.
        """
        h = x
        for layer in range(self._depth):
            z, out = self._z[layer], self._h[layer]
            torch.baddbmm(self._biases[layer], h, self._weights[layer], out=z)
            if look is not None:
                look(layer, z)
            self.phi.forward(z, out, self._slopes[layer])
            h = out
        torch.baddbmm(self.parameters.last_bias[0], self._weights_t[-1], h.mT, out=self.logits)
        if look is not None:
            look(self._depth, self.logits.mT)
        return self.logits

    def backward(self, x: Tensor, gradient: Tensor, look: Look | None = None) -> Parameters:
        """Return the gradients of the loss, in buffers that the next call overwrites.

        Args:
            x: what `forward` was given.
            gradient: of the loss with respect to the logits, [networks, outputs, examples].
            look: is shown the gradient with respect to the output of each Linear, the last first.
        """
        if look is not None:
            look(self._depth, gradient.mT)
        torch.bmm(self._h_t[-1], gradient.mT, out=self._weight_gradients[-1])
        torch.sum(gradient, 2, keepdim=True, out=self.gradients.last_bias[0])
        delta, spare = self._delta
        torch.bmm(gradient.mT, self._weights_t[-1], out=delta)
        for layer in reversed(range(self._depth)):
            self._through_activation(layer, delta)
            if look is not None:
                look(layer, delta)
            below = self._h_t[layer - 1] if layer else x.mT
            torch.bmm(below, delta, out=self._weight_gradients[layer])
            torch.sum(delta, 1, keepdim=True, out=self._bias_gradients[layer])
            if layer:
                torch.bmm(delta, self._weights_t[layer], out=spare)
                delta, spare = spare, delta
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

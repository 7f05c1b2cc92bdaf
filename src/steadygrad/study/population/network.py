"""Forward and backward of a batch of networks, by hand, into buffers that are allocated once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .activations import Phi
from .norms import Norms
from .parameters import Parameters
from .products import product, row_sums

# What looks at a layer: its index and its output, or the gradient with respect to it, [networks, units, examples].
Look = Callable[[int, Tensor], object]


class Network:
    """Networks of one shape on batches of one size.

    Every product is one batched matrix product over all networks; autograd is not involved. Views and products are made
    once: at width 16 making them anew at each step takes as long as the arithmetic. Examples come last in all that
    passes: with weights as torch keeps them, each product then reads its matrices along rows that are whole vectors,
    apart from the gradient of a weight, which is summed over examples.

    Args:
        parameters: of all networks; read anew at each call, so that they may change in place.
        phi: the activation.
        slope: [networks, 1, 1] of an activation with a slope that is not trained.
        x: the batch, [networks, examples, inputs]; read anew at each call too.
        backward: whether there will be a backward pass; without one the layers share two buffers.
        forms: whether that pass forms the gradients of the weights; otherwise it keeps what they are products of.
    """

    def __init__(
        self, parameters: Parameters, phi: Phi, slope: Tensor, x: Tensor, *, backward: bool = True, forms: bool = True
    ) -> None:
        self.parameters, self.phi = parameters, phi
        depth, count, width, _ = parameters.bias.shape
        shape = (count, width, x.shape[1])
        self._z = _buffers(x, depth, shape, all_kept=backward)
        self._h = self._z if phi.from_output else _buffers(x, depth, shape, all_kept=backward)
        self.logits = x.new_zeros((count, parameters.last.shape[2], x.shape[1]))
        self._biases = parameters.bias.unbind(0)
        self._slopes = parameters.slope.unbind(0) if phi.trained_slope else (slope,) * depth
        hidden = parameters.hidden.unbind(0)
        self._forward = [
            product(parameters.first[0].mT, x.mT, self._z[0]),
            *(product(hidden[i], self._h[i], self._z[i + 1]) for i in range(depth - 1)),
        ]
        self._to_logits = product(parameters.last[0], self._h[-1], self.logits)
        if backward:
            self._forms = forms
            self._prepare_backward(x)

    def _prepare_backward(self, x: Tensor) -> None:
        self.gradients = to = self.parameters.like()
        self.norms = Norms(to)
        depth = len(self._z)
        # Where it need not be kept a gradient goes from one buffer to the other and back.
        self._delta = delta = _buffers(x, depth, self._z[0].shape, all_kept=not self._forms)
        self._last_bias_gradient = row_sums(self.logits, to.last_bias[0])
        self._from_logits = product(self.parameters.last[0].mT, self.logits, delta[-1])
        self._bias_gradients = [row_sums(delta[i], to.bias[i]) for i in range(depth)]
        hidden = self.parameters.hidden.unbind(0)
        self._back = [product(hidden[i - 1].mT, delta[i], delta[i - 1]) for i in range(1, depth)]
        self.factors = [
            (x.mT, delta[0].mT),
            *((delta[i], self._h[i - 1].mT) for i in range(1, depth)),
            (self.logits, self._h[-1].mT),
        ]
        room = x.new_zeros(self._z[0].mT.shape)
        turned = [None, *[room] * depth]
        self._weight_gradients = [
            product(*pair, out, turned=t) for pair, out, t in zip(self.factors, to.as_stored(), turned, strict=True)
        ]

    def forward(self, look: Look | None = None, before: Callable[[int], object] | None = None) -> Tensor:
        """Return the logits [networks, outputs, examples], in a buffer that the next call overwrites.

        Args:
            look: is shown the output of each Linear.
            before: is called with the index of each hidden layer before its output is overwritten.
        """
        for layer, (multiply, z, out) in enumerate(zip(self._forward, self._z, self._h, strict=True)):
            if before is not None:
                before(layer)
            multiply()
            z.add_(self._biases[layer])
            if look is not None:
                look(layer, z)
            self.phi.forward(z, out, self._slopes[layer])
        self._to_logits()
        self.logits.add_(self.parameters.last_bias[0])
        if look is not None:
            look(len(self._z), self.logits)
        return self.logits

    def backward(self, look: Look | None = None) -> Parameters:
        """Return the gradients of the loss, in buffers that the next call overwrites; see `forms` for the weights'.

        The gradient with respect to the logits must stand in `logits`, where a loss leaves it.

        Args:
            look: is shown the gradient with respect to the output of each Linear, the last first.
        """
        if look is not None:
            look(len(self._z), self.logits)
        if self._forms:
            self._form(-1)
        self._last_bias_gradient()
        self._from_logits()
        for layer in reversed(range(len(self._z))):
            self._through_activation(layer, self._delta[layer])
            if look is not None:
                look(layer, self._delta[layer])
            if self._forms:
                self._form(layer)
            self._bias_gradients[layer]()
            if layer:
                self._back[layer - 1]()
        return self.gradients

    def form(self) -> None:
        """Form the gradients of the weights from what the last backward pass kept."""
        for layer in range(len(self._weight_gradients)):
            self._form(layer)

    def _form(self, layer: int) -> None:
        self._weight_gradients[layer]()
        self.norms.see_weight(layer)  # while it is in the cache

    def _through_activation(self, layer: int, delta: Tensor) -> None:
        z, slope = self._z[layer], self._slopes[layer]
        if self.phi.trained_slope:
            torch.sum(delta * z.clamp_max(0), (1, 2), keepdim=True, out=self.gradients.slope[layer])
        self.phi.backward(delta, z, self._h[layer], slope)

    def deltas(self) -> tuple[Tensor, ...]:
        """Return the gradients with respect to the output of each hidden Linear, where the last pass kept them."""
        return self._delta

    def outputs(self) -> tuple[Tensor, ...]:
        """Return phi(z) of each hidden layer of the last call; there must be a backward pass to keep them for."""
        return self._h

    def slope_is_zero(self, layer: int) -> Tensor:
        """Return where phi' is 0 at the last call's pre-activations, [networks, units, examples]."""
        ones = torch.ones_like(self._z[layer])
        self.phi.backward(ones, self._z[layer], self._h[layer], self._slopes[layer])
        return ones == 0


def _buffers(like: Tensor, depth: int, shape: tuple[int, ...], *, all_kept: bool) -> tuple[Tensor, ...]:
    """One for each layer, or two that the layers take in turn: what a layer reads is in the other one."""
    made: tuple[Tensor, ...] = like.new_zeros((depth if all_kept else min(depth, 2), *shape)).unbind(0)
    return tuple(made[i % len(made)] for i in range(depth))

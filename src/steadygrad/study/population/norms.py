"""The norm of each network's gradient."""

from __future__ import annotations

from torch import Tensor

from .parameters import Parameters
from .products import on_one_thread, squares


class Norms:
    """Each network's Euclidean norm over all its gradients.

    On one thread the squares of a weight's gradient are added up as soon as it is formed: later it would have to come
    back from behind the second-level cache. Elsewhere calls cost more than that, and all layers are taken at once.

    Args:
        gradients: read anew at each call.

    >>> import torch
    >>> from steadygrad.study.population.parameters import Parameters
    >>> full, none = torch.full((1, 2, 2, 2), 2.0), torch.zeros(0, 2, 1, 1)
    >>> norms = Norms(Parameters(full, full, full, none, none, none))
    >>> for layer in range(3):
    ...     norms.see_weight(layer)
    >>> norms()
    tensor([6.9282, 6.9282])
    """

    def __init__(self, gradients: Parameters) -> None:
        weights = [gradients.first, gradients.hidden, gradients.last]
        if one_by_one := on_one_thread(gradients.first):
            weights = [layer for block in weights for layer in block.split(1)]
        rest = [block for block in (gradients.bias, gradients.last_bias, gradients.slope) if block.numel()]
        parts = [block for block in weights if block.numel()] + rest
        self._squares = parts[0].new_empty(sum(map(len, parts)), gradients.networks)
        square = [squares(a, out) for a, out in zip(parts, self._squares.split([*map(len, parts)]), strict=True)]
        first_rest = len(square) - len(rest) if one_by_one else 0
        self._early, self._late = square[:first_rest], square[first_rest:]

    def see_weight(self, layer: int) -> None:
        """The gradient of this layer's weight is formed."""
        if self._early:
            self._early[layer]()

    def __call__(self) -> Tensor:
        """Return the norms, [networks], where all gradients are formed."""
        for square in self._late:
            square()
        return self._squares.sum(0).sqrt_()

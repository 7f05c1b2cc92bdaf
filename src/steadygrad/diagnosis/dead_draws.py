"""How often a chain of ReLU layers is dead, by drawing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Width:
    """A layer to be drawn.

    Attributes:
        fan_in: terms of a unit.
        units: how many.
        weight: deviation of its weights.
        bias: root mean square of its biases.
    """

    fan_in: int
    units: int
    weight: float
    bias: float


def dead_share(layers: Sequence[Width], *, examples: int, c: float) -> float:
    """Return the share of a thousand draws in which some layer is zero on every example.

    Theory's correlation map holds for wide layers; a layer of few units brings examples together faster, so the risk of
    a narrow network is found by drawing it. Inputs are Gaussian with correlation c between any two.

    Args:
        layers: of the chain, from the input on.
        examples: in a batch.
        c: correlation of two inputs, in [0, 1].

    >>> wide, narrow = ([Width(fan_in=n, units=n, weight=(2 / n) ** 0.5, bias=0.0)] * 16 for n in (32, 4))
    >>> dead_share(wide, examples=32, c=0.0), dead_share(narrow, examples=32, c=0.0) > 0.2
    (0.0, True)
    """
    generator = torch.Generator().manual_seed(0)

    def gaussian(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n = layers[0].fan_in
    x = c**0.5 * gaussian(DRAWS, 1, n) + (1 - c) ** 0.5 * gaussian(DRAWS, examples, n)
    dead = torch.zeros(DRAWS, dtype=torch.bool)
    for layer in layers:
        weight = layer.weight * gaussian(DRAWS, x.shape[-1], layer.units)
        x = (x @ weight + layer.bias * gaussian(DRAWS, 1, layer.units)).relu()
        dead |= (x == 0).all(2).all(1)
    return float(dead.double().mean())

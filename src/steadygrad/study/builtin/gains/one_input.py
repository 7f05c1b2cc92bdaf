"""One input through drawn networks: the second moment of each layer, and the gradient's, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steadygrad.study.data import Data
from steadygrad.study.point import Point
from steadygrad.study.population.lockstep import train

FEATURES, OUTPUTS = 64, 10
# Networks at once: those of width 512 and 32 layers take 32 MB each, three times over.
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one input gives.

    Attributes:
        log_q: ln q of each hidden layer, [seeds, depth].
        log_grad: ln of the squared gradient of each layer over that of the output, [seeds, depth].
    """

    log_q: NDArray[np.float64]
    log_grad: NDArray[np.float64]


def one_input(*, q: float, seeds: int, depth: int, width: int, **scales: Any) -> Seen:
    """Draw networks and pass one input through each, the same direction at every q.

    Args:
        q: second moment of the input's entries.
        seeds: networks.
        depth: hidden layers.
        width: units of each.
        **scales: fields of `Point`: the activation, sigma_w, sigma_b.

    >>> seen = one_input(q=1.0, seeds=3, depth=2, width=16, activation="relu", sigma_w=2**0.5)
    >>> seen.log_q.shape
    (3, 2)
    """
    data = _data(q)
    points = [Point(depth=depth, width=width, steps=0, curve=0, seed=seed, **scales) for seed in range(seeds)]
    drawn = [out for i in range(0, seeds, _AT_ONCE) for out in train(points[i : i + _AT_ONCE], data=data)]
    grads = np.log(np.array([outcome.start.grad_q for outcome in drawn]))
    log_q = np.log(np.array([outcome.start.q[:depth] for outcome in drawn]))
    return Seen(log_q=log_q, log_grad=grads[:, :depth] - grads[:, depth:])


def _data(q: float) -> Data:
    x = torch.randn(1, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x *= (q / x.square().mean()).sqrt()
    target = torch.eye(OUTPUTS, dtype=torch.float64)[:1]
    return Data(inputs=x, targets=target, test_inputs=x, test_targets=target)

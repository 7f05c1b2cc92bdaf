"""What passes each layer of every network: the moments of `Signals`, from one forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor

from steadygrad.study.data import Data
from steadygrad.study.outcome import Signals

from .activations import Phi
from .batches import everything
from .losses import LossAndGradient
from .network import Network
from .parameters import Parameters

# Examples that signals are measured on: means of q over them and the units are known to a few percent.
MEASURED = 128


def signals(parameters: Parameters, phi: Phi, slope: Tensor, loss: LossAndGradient, data: Data) -> list[Signals]:
    """Return the signals of every network.

    Args:
        parameters: of the networks.
        phi: their activation.
        slope: [networks, 1, 1], where it is not trained.
        loss: whose gradient passes back.
        data: the first `MEASURED` examples of it are looked at.
    """
    x, y = everything(data, parameters.networks, at_most=MEASURED)
    network = Network(parameters, phi, slope, x)
    q: list[Tensor] = []
    signal: list[Tensor] = []
    backward: list[Tensor] = []

    def look(_: int, z: Tensor) -> None:
        q.append(_second(z))
        signal.append(z.var(2, correction=1).mean(1) if z.shape[2] > 1 else torch.zeros_like(z[:, 0, 0]))

    logits = network.forward(look)
    dead = [_dead(network, layer) for layer in range(len(network.outputs()))]
    loss(logits, y)
    network.backward(lambda _, g: backward.append(_second(g)))
    columns = [torch.stack(c, 1).tolist() for c in (q, signal, backward[::-1], dead)]
    return [
        Signals(q=tuple(a), signal=tuple(b), grad_q=tuple(c), dead_fraction=tuple(d))
        for a, b, c, d in zip(*columns, strict=True)
    ]


def _second(z: Tensor) -> Tensor:
    # In double: a gradient of 1e-25 is one, its square in float is not.
    return z.double().square().mean((1, 2))


def _dead(network: Network, layer: int) -> Tensor:
    nothing = (network.outputs()[layer] == 0) & network.slope_is_zero(layer)
    return nothing.all(2).double().mean(1)

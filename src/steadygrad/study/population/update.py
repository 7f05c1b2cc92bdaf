"""A step of the networks of a population: forward, gradients, their norms, clipping, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from steadygrad.study.point import Point

from .activations import Phi
from .clipping import Clipper
from .curve import Curve
from .direct import Bound, Direct, updates
from .held import held
from .network import Network
from .optimizers import optimizer
from .parameters import Parameters
from .products import Compute, fastest, on_one_thread

_fastest: dict[Hashable, int] = {}


class Update(Protocol):
    """Shows the networks of a population a batch, and lets them learn from it."""

    def forward(self) -> Tensor:
        """Return the logits of the batch: see `Network.forward`."""

    def learn(self, loss: Tensor, curve: Curve) -> None:
        """Go back through the networks, and update those that are to take the step.

        Args:
            loss: of each network; its gradient stands in the logits.
            curve: takes note of the step.
        """

    def settle(self) -> None:
        """Update what has waited: from here on the parameters are those after the last step."""


class Formed:
    """Gradients are formed, clipped, and handed to the optimizer.

    Args:
        network: that forms them.
        points: of the networks.
        slope: [networks, 1, 1] of the activation.
    """

    def __init__(self, network: Network, points: Sequence[Point], slope: Tensor) -> None:
        self._network, self._blocks = network, network.parameters.blocks
        self._gradients = network.gradients.blocks
        self._optimizer = optimizer(self._blocks, points)
        self._clipper = Clipper(points, slope)

    def forward(self) -> Tensor:
        """See `Update`."""
        return self._network.forward()

    def settle(self) -> None:
        """See `Update`."""

    def learn(self, loss: Tensor, curve: Curve) -> None:
        """See `Update`."""
        self._network.backward()
        norms = self._network.norms()
        active = curve.see(loss, norms)
        clipped = self._clipper.clip_(self._gradients, norms)
        if clipped is not None:
            curve.count_clipped(clipped, active)
        with held([*self._blocks, *self._optimizer.state], active):
            self._optimizer.step(self._gradients)


def update_of(points: Sequence[Point], parameters: Parameters, phi: Phi, slope: Tensor, x: Tensor) -> Update:
    """Return what trains networks in the least time: gradients of weights are formed where that is wanted.

    Where plain SGD may do without, both are timed when a shape is first met, each with all its layers, so that weights
    come from where they are when many others have been used meanwhile.

    Args:
        points: of the networks.
        parameters: of the networks.
        phi: their activation.
        slope: [networks, 1, 1], where it is not trained.
        x: the batch, read anew at each step.
    """
    if is_plain(points) and not phi.trained_slope and _may_gain(parameters, x):
        way = _fastest_way(Network(parameters, phi, slope, torch.zeros_like(x), forms=False), x)
        if way:
            network = Network(parameters, phi, slope, x, forms=False)
            return Direct(network, points, x, way - 1)
    return Formed(Network(parameters, phi, slope, x), points, slope)


def is_plain(points: Sequence[Point]) -> bool:
    """Return whether a step is W -= lr g for all, of gradients as they are."""
    return all(
        p.optimizer == "sgd" and not (p.momentum or p.weight_decay) and p.clip_norm is None and p.clip_value is None
        for p in points
    )


def _may_gain(parameters: Parameters, x: Tensor) -> bool:
    """Whether what is kept of a backward pass is no more than the gradients that are not formed."""
    weights = sum(weight[0].numel() for weight in parameters.as_stored())
    return on_one_thread(x) and weights >= x.shape[1] * (parameters.bias[:, 0].numel() + parameters.last_bias.shape[2])


def _fastest_way(network: Network, x: Tensor) -> int:
    """0 where gradients are formed; otherwise 1 more than the way to add them. All are 0 here: nothing changes."""
    weights = [(weight.shape, weight.stride()) for weight in network.parameters.as_stored()]
    kind = (x.dtype, x.shape, x.stride(), *weights)
    if kind not in _fastest:
        bound = Bound(network, x)
        ways = [partial(_form, network), *(partial(_add, bound, adds) for adds in updates(network, -1.0))]
        _fastest[kind] = fastest(ways)
    return _fastest[kind]


def _form(network: Network) -> None:
    network.form()
    rate = network.gradients.first.new_full((network.parameters.networks, 1, 1), -1.0)
    for weight, gradient in zip(network.parameters.as_stored(), network.gradients.as_stored(), strict=True):
        weight.addcmul_(gradient, rate)


def _add(bound: Bound, adds: Sequence[Compute]) -> None:
    bound.see_all()
    for add in adds:
        add()

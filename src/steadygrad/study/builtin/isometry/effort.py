"""How much a run of `dynamical-isometry` computes, and the networks that it is about."""

from __future__ import annotations

from dataclasses import dataclass

from steadygrad import theory
from steadygrad.theory.jacobian import Weights

WEIGHTS: tuple[Weights, ...] = ("gaussian", "orthogonal")
# Near-linear: the edge's q* is small with its bias.
TANH_SIGMA_B = 0.01


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An activation at its critical point.

    Attributes:
        activation: its name.
        sigma_w: with chi_1 = 1.
        sigma_b: of the biases.
        q: the variance that they keep.
    """

    activation: str
    sigma_w: float
    sigma_b: float
    q: float


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is computed.

    Attributes:
        draws: networks whose Jacobian is taken, >= 2.
        depths: of these, rising.
        trained_width: of networks that are trained.
        trained_depths: of these, rising.
        rates: learning rates, of which the best counts.
        seeds: networks a cell, >= 2.
        steps: of training.
    """

    draws: int = 100
    depths: tuple[int, ...] = (2, 4, 8, 16)
    trained_width: int = 64
    trained_depths: tuple[int, ...] = (4, 16, 48)
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    seeds: int = 4
    steps: int = 150


FULL = Effort()


def settings() -> tuple[Setting, ...]:
    """Return the linear, the tanh and the ReLU network at chi_1 = 1.

    >>> [setting.activation for setting in settings()]
    ['identity', 'tanh', 'relu']
    """
    edge = theory.edge_of_chaos("tanh", sigma_b=TANH_SIGMA_B).only
    return (
        Setting(activation="identity", sigma_w=1.0, sigma_b=0.0, q=1.0),
        Setting(activation="tanh", sigma_w=edge.sigma_w, sigma_b=edge.sigma_b, q=edge.q),
        Setting(activation="relu", sigma_w=2**0.5, sigma_b=0.0, q=1.0),
    )

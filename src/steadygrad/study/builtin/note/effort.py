"""How much a run of the foundations computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is computed.

    Attributes:
        seeds: networks a setting, >= 2.
        steps: of training.
        depth: hidden layers of the deep networks, >= 2.
        width: units of a hidden layer.
    """

    seeds: int = 8
    steps: int = 200
    depth: int = 16
    width: int = 64


FULL = Effort()

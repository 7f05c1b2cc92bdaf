"""How much a run of `critical-gain` computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is computed.

    Attributes:
        draws: networks that one input is passed through, >= 2.
        width: of these.
        layers: of these, >= 8.
        trained_width: of networks that are trained.
        depths: of these, rising.
        scales: how many values of sigma_w they have, from 1.2 to 2.
        seeds: networks a cell, >= 2.
        steps: of training.
    """

    draws: int = 32
    width: int = 512
    layers: int = 16
    trained_width: int = 64
    depths: tuple[int, ...] = (8, 16, 24)
    scales: int = 17
    seeds: int = 4
    steps: int = 200


FULL = Effort()

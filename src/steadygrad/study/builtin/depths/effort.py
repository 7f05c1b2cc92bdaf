"""How much a run of `trainable-depth` computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is computed.

    Attributes:
        draws: networks whose signals are measured, >= 2.
        drawn_width: units of their layers.
        drawn_depth: their hidden layers, >= 16.
        reaches: the xi that are trained, on either side of the edge.
        depths: hidden layers of networks that are trained, rising; of each scale those between 1.5 and 24 xi.
        width: units of their layers.
        seeds: networks a cell, >= 2.
        steps: of training; its quarter and its half are looked at too.
    """

    draws: int = 16
    drawn_width: int = 256
    drawn_depth: int = 32
    reaches: tuple[float, ...] = (2.5, 4.0, 6.0)
    depths: tuple[int, ...] = (3, 4, 6, 8, 11, 16, 22, 30, 42, 58, 80)
    width: int = 64
    seeds: int = 3
    steps: int = 200


FULL = Effort()

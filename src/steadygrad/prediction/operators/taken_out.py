"""What a norm takes out of the gradient: the mean of what it takes together, and what lies along its output.

Ioffe and Szegedy (2015), Ba, Kiros and Hinton (2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from steadygrad.prediction import hermite
from steadygrad.prediction.field import Field
from steadygrad.prediction.interpreter import Interpreter
from steadygrad.prediction.met_as_term import along_term
from steadygrad.prediction.values import Moments, Signal, Statistic


def without(field: Field, removed: tuple[float, float], output: Field | None, over_batch: bool) -> Field:
    """Return the field of a gradient without its mean, and without what lies along the output, of mean zero.

    Where each example has a mean of its own, of two there goes what their means have in common.
    """
    (mean, met), left = removed, 1 - sum(removed)
    known = output is not None and output.sizes == field.sizes
    alike = (output.within, output.across) if output is not None and known else (np.zeros(1), np.zeros(1))
    own, other = (1 - gap for gap in field.mean())
    common = 1.0, 1.0 if over_batch or not own > 0 else other / own
    within, across = (
        np.clip(1 - (1 - gap - share * (mean + met * (1 - far))) / left, 0.0, 2.0)
        for gap, share, far in zip((field.within, field.across), common, alike, strict=True)
    )
    in_all = field.in_all and ((own - mean) / left, (other - common[1] * mean) / left)
    return replace(field, within=within, across=across, in_all=in_all)


def removed_of(
    run: Interpreter, g: Signal, statistic: torch.Tensor, common: Callable[[Moments], float], entries: int
) -> tuple[float, float, float]:
    """Return what of a gradient goes: what entries share, and what lies along the output z, and does so by chance.

    Of g h(z) with one g for all that a norm takes together, E[h]² lies along the mean and E[h z]² along z; with a g of
    its own for each entry, E[h² z²] of `entries` lies along z: less where h is small where z is large.
    """
    mean = common(g.moments)
    if g.wave is None or g.wave.source is None or g.base is None:
        return mean, 0.0, 1 / entries
    z, w = hermite.tables()[:2]
    known, square = run.value(statistic), (g.wave.values**2).mean(0)
    output = known.source if isinstance(known, Statistic) else None
    size = max(float(square @ w), 1e-300)
    met = along_term(g.wave, output or g.wave.source, run.kinship)
    shared = max(common(g.base) - 1 / entries, 0.0) * met**2 / size
    return mean, shared, float(square @ (w * z * z)) / size / entries

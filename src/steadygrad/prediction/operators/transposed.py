"""A matrix that is met transposed, as by the decoder of an autoencoder with tied weights: it gives back what it took.

Given z = W x, what W^T makes of h is that of a fresh matrix and, along x, x zᵀh/|x|² (Bayati and Montanari 2011, "The
dynamics of message passing", equation 3.12): x times the terms, Var(w) and Cov(h, z)/Var(z), which is E[h'] for a
function of z, by Stein's identity. So it is of gradients, whose first use of the matrix is W g. Approximate: of several
uses the latest alone is looked at, and the sum is taken as Gaussian.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from steadygrad.prediction.interpreter import Interpreter
from steadygrad.prediction.kinship import Sum
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.source import Wave
from steadygrad.prediction.values import Fill, Moments, Signal

LEAST = 1e-6  # share of what is given back that is followed


def turned(matrix: torch.Tensor, summed: int) -> bool:
    """Whether a matrix is summed over the dimension of which the entries are farther apart."""
    return matrix.stride(summed) > matrix.stride(1 - summed)


def met(run: Interpreter, y: Signal, x: Signal, weight: Fill, *, terms: int, units: int, other_way: bool) -> Signal:
    """Return y = W x with what W gives back, and remember this use of W."""
    back = x.base is not None
    before = run.uses.get((weight.source, not other_way, back))
    made = y if before is None else _given_back(run, y, x, before, weight.variance * terms, units)
    if run.remembers:
        run.uses[weight.source, other_way, back] = (x.moments, y.moments)
    return made


def _given_back(
    run: Interpreter, y: Signal, h: Signal, before: tuple[Moments, Moments], gain: float, units: int
) -> Signal:
    x, z = before
    factor = gain * _slope(run, h.moments, z)
    own, other = y.moments.q, factor**2 * x.q
    share = float(other.mean()) / max(float((own + other).mean()), 1e-300)
    if share < LEAST or (x.field is None) != (y.moments.field is None) or not run.remembers:
        return y
    fresh = replace(y.moments, mean=y.moments.mean + factor * x.mean, q=own + other, d=y.moments.d + factor**2 * x.d)
    spread = y.moments.spread.scaled(1 - share).plus(x.spread.scaled(share))
    field = y.moments.field
    if field is not None and x.field is not None and field.sizes == x.field.sizes:
        field = field.mixed(1 - share, x.field, share)
    m = replace(fresh, spread=spread, field=field, origin=Sum(((y.moments, 1.0), (x, factor))))
    if y.base is not None:
        return replace(y, moments=m, base=m, mark="approximate", linear=None)
    source = gaussian(m, units, run.batch)
    source.root = m = replace(m, unit_variance=source.own_variance)
    return replace(y, moments=m, wave=Wave(source, source.nodes, gaussian=True), mark="approximate", linear=None)


def _slope(run: Interpreter, h: Moments, z: Moments) -> float:
    """Return Cov(h, z)/Var(z) of one unit."""
    size, mean = np.sqrt(float(h.q.mean()) * float(z.q.mean())), float(z.mean.mean())
    together = run.kinship.of(h, z)[0] * size - float(h.mean.mean()) * mean
    return float(together / max(float(z.q.mean()) - mean**2, 1e-300))

"""From samples back to moments: for heads and losses, where every operator can simply be run on numbers.

A head is small; its nonlinear loss mixes the classes of an example. So its logits are drawn (draws.py), over the
weights, and the user's own loss is run on each draw, forward and backward; what comes of it is marked approximate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .batch import AT_ONCE, Batch
from .spread import CERTAIN, Bend, Noises, Spread, matched
from .values import Array, Draws, Moments


def moments_of(draws: Draws, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of samples of a tensor with a leading example axis, its spread split by what caused it."""
    values = draws.values.double().reshape(len(draws.values), batch.size, -1).numpy()
    size = float(np.sqrt((values**2).mean()))
    if size == 0:
        return nothing(batch)
    moments = _unit_moments(draws, values / size, batch, noises)
    spread = moments.spread.plus(draws.factor)
    return replace(moments, mean=moments.mean * size, q=moments.q * size**2, d=moments.d * size**2, spread=spread)


def nothing(batch: Batch) -> Moments:
    """Return the moments of zeros."""
    r = batch.followed
    return Moments(np.zeros(r), np.zeros(r), np.zeros((r, r)), CERTAIN)


def _unit_moments(draws: Draws, values: Array, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of samples that are scaled to a second moment of one over all draws."""
    mean, q, d = followed(values, batch)
    each = (values**2).mean((1, 2))
    log = np.log(np.maximum(each, 1e-300))  # a draw that is zero is as far down as a double goes
    root = draws.root.double().reshape(len(draws.root), batch.size, -1).numpy()
    spread = _fitted(draws, log, _overlaps(values), _along(values, root), noises)
    moments = Moments(mean, q, d, spread, float(each.var()))
    excess = _excess(values, moments, batch)
    met, along = _alignment(values, root), float(_along(values, root).mean()) - 1 / values.shape[2]
    return replace(moments, excess=excess, alignment=met, crossed=met, along=along)


def _along(gradient: Array, signal: Array) -> Array:
    """Return the mean squared cosine of gradient and signal of one example, per draw; 1/n where shapes do not meet."""
    if gradient.shape != signal.shape:
        return np.full(len(gradient), 1 / gradient.shape[2])
    met = (gradient * signal).sum(2) ** 2
    sizes = (gradient**2).sum(2) * (signal**2).sum(2)
    return np.asarray((met / np.maximum(sizes, 1e-300)).mean(1))


def _alignment(gradient: Array, signal: Array) -> float:
    """Return E[(g·z)²]/E[g² z²] over draws and over all pairs of examples; 1/n where the shapes do not meet."""
    if gradient.shape != signal.shape:
        return 1.0 / int(gradient.shape[2])
    sizes = (gradient**2).sum((1, 2)) * (signal**2).sum((1, 2))
    return float(_met(gradient, signal).sum() / sizes.sum()) if sizes.sum() > 0 else 0.0


def _met(a: Array, b: Array) -> Array:
    """Return Σ (a_i·b_j)² over all pairs of examples, for each draw of [draws, examples, features].

    It is the product of the two Gram matrices of the features as well: the smaller ones are made, a draw at a time.
    """
    if a.shape[1] <= a.shape[2]:
        return np.array([float(((x @ y.T) ** 2).sum()) for x, y in zip(a, b, strict=True)])
    return np.array([float(((x.T @ x) * (y.T @ y)).sum()) for x, y in zip(a, b, strict=True)])


def _excess(values: Array, moments: Moments, batch: Batch) -> Array:
    """Return how much the products of two examples vary over draws, so that the overlap is that of the whole batch."""
    x = values[:, batch.chosen]
    square = float(((values**2).mean((1, 2)) ** 2).mean())
    if square == 0:
        return np.zeros_like(moments.d)
    second = ((np.einsum("sif,sjf->sij", x, x) / x.shape[2]) ** 2).mean(0) / square
    whole = float(_met(values, values).mean()) / (values.shape[1] * values.shape[2]) ** 2 / square
    expected = (moments.product / float(moments.q.mean())) ** 2
    return np.asarray(np.maximum(second * whole / batch.pair_mean(second) - expected, 0.0))


def _overlaps(values: Array) -> Array:
    """Return Σ (x·y)² / (Σ x·x)² over the pairs of the whole batch, for each draw."""
    trace = (values**2).sum((1, 2))
    return np.asarray(_met(values, values) / np.maximum(trace**2, 1e-300))


def _fitted(draws: Draws, log: Array, overlaps: Array, along: Array, noises: Noises) -> Spread:
    """Return log second moments of draws as a form: a parabola in the scale of the draw, and a noise for the rest.

    The noise is such that the whole has the median and the 95% interval of the draws.
    """
    scale = draws.scale - draws.scale.mean()
    bow = scale**2 - (scale**2).mean()
    (slope, curvature), rest = _regression(log, scale, bow / 2)
    nothing = np.zeros(0)
    known = replace(draws.spread.centred.scaled(slope), bend=Bend(curvature, draws.spread.weights, nothing, nothing))
    mean, variance, third = (whole - part for whole, part in zip(matched(log), noises.of(known), strict=True))
    noise = noises.noise(mean, max(variance, 0.0), third)
    forms = []
    for quantity in (overlaps, along / max(float(along.mean()), 1e-300)):
        (by_scale, by_rest), _ = _regression(quantity, scale, rest - rest.mean())
        forms.append(draws.spread.scaled(by_scale).plus(noise.scaled(by_rest)).weights)
    overlap, alongside = forms
    return replace(known.plus(noise), bend=Bend(curvature, draws.spread.weights, overlap, alongside))


def _regression(y: Array, *terms: Array) -> tuple[Array, Array]:
    """Return the slopes of y on centred terms, and the rest; a term that hardly varies has slope 0."""
    x = np.array([t if t.var() > 1e-12 else np.zeros_like(t) for t in terms]).T
    slopes: Array = np.linalg.lstsq(x, y - y.mean(), rcond=None)[0]
    return slopes, y - x @ slopes


def followed(values: Array, batch: Batch) -> tuple[Array, Array, Array]:
    """Return mean, q and d of the followed examples from values [draws, examples, features] of the whole batch.

    They are scaled so that their averages, q and the mean of d over pairs, are those of the whole batch.
    """
    return _as_whole(_here_and_whole(values, batch), batch)


def _here_and_whole(values: Array, batch: Batch) -> tuple[Any, ...]:
    """Return mean, q and d of the followed examples, and mean q and mean d of all: means over features, all of them."""
    x = values[:, batch.chosen]
    whole_d = float(values.var(axis=1, ddof=1).mean()) if batch.size > 1 else 0.0
    return x.mean((0, 2)), (x**2).mean((0, 2)), _half_squared_distance(x), float((values**2).mean()), whole_d


def _as_whole(found: tuple[Any, ...], batch: Batch) -> tuple[Array, Array, Array]:
    mean, q, d, whole_q, whole_d = found
    here_d = batch.distinct_mean(d) if batch.followed > 1 else 0.0
    q = q * _scale(whole_q, float(q.mean()))
    return mean, q, d * _scale(whole_d, here_d)


def _scale(whole: float, here: float) -> float:
    return whole / here if here > 0 else 1.0


def _half_squared_distance(x: Array) -> Array:
    """Return the mean over draws and features of half the squared difference of every two examples."""
    r = x.shape[1]
    centred = x - x.mean(1, keepdims=True)
    gram = np.einsum("sif,sjf->ij", centred, centred) / (x.shape[0] * x.shape[2])
    diagonal: NDArray[np.float64] = np.diag(gram)
    d = np.maximum((diagonal[:, None] + diagonal) / 2 - gram, 0.0)
    d[np.arange(r), np.arange(r)] = 0.0
    return np.asarray(d)


def moments_of_data(x: torch.Tensor, batch: Batch) -> Moments:
    """Return the moments of the batch itself."""
    values = x.detach().reshape(1, len(x), -1)
    parts = values.split(max(AT_ONCE // len(x), 1), dim=2)
    found = [_here_and_whole(part.double().numpy(), batch) for part in parts]
    shares = [part.shape[2] / values.shape[2] for part in parts]
    means = tuple(sum(s * x for s, x in zip(shares, column, strict=True)) for column in zip(*found, strict=True))
    return Moments(*_as_whole(means, batch), CERTAIN)

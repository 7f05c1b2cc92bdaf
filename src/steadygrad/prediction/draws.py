"""Signals drawn as samples, for operators that can only be run on numbers.

Each signal is drawn by a generator of its own, so that two of them are independent and one that is met twice is itself.
Examples are correlated as they are, positions by their lag, features are independent; a gradient is drawn as a Gaussian
of its moments times what it was multiplied by, at its typical size: its spread over draws is added afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri

from . import hermite
from .axes import EXAMPLE, SPREAD_OUT, Axis, Dimension
from .batch import Batch
from .field import Field
from .kin_draws import Seeds
from .normal import gaussian
from .propagation import centred
from .source import Source
from .spread import CERTAIN, Noises, Spread, quantile
from .values import Array, Draws, Moments, Signal

MOST_DRAWS = 512
FEWEST_DRAWS = 16
BUDGET = 1 << 21
ALIKE = 1e-6  # of what examples differ by, or have in common, below which it is nothing
MOST_PLACES = 1 << 10  # positions whose correlation is drawn by lag; of more any two have in common what all have


def draws_within(budget: int, entries: int) -> int:
    """Return how many draws of so many entries are made, an even number: each has its negative among them."""
    count = min(MOST_DRAWS, budget // max(entries, 1))
    return count - count % 2


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a dimension of the tensor: which dimension, what it runs over, and its stride in memory."""

    dim: int
    axis: Axis
    stride: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """How samples, [examples, positions, features], are laid out as a tensor of this shape."""

    shape: tuple[int, ...]
    pieces: tuple[_Piece, ...]

    def of(self, *, positions: bool) -> list[_Piece]:
        """Return the pieces that are positions, or that are features, as they follow each other in memory."""
        found = [p for p in self.pieces if p.axis.role != EXAMPLE and (p.axis.role >= 0) == positions]
        return sorted(found, key=lambda p: (p.axis.role, -p.stride))

    def laid(self, samples: Array) -> torch.Tensor:
        """Return samples, [draws, examples, positions, features], as tensors."""
        order = [p for p in self.pieces if p.axis.role == EXAMPLE] + self.of(positions=True) + self.of(positions=False)
        whole = samples.reshape(len(samples), *(p.axis.size for p in order))
        place = sorted(range(len(order)), key=lambda i: (order[i].dim, -order[i].stride))
        small = [len(samples)] + [1] * len(self.shape)
        for p in order:
            small[p.dim + 1] *= p.axis.size
        laid = whole.transpose(0, *(i + 1 for i in place)).reshape(small)
        return torch.from_numpy(np.ascontiguousarray(laid)).float().expand(len(samples), *self.shape)


def _layout(tensor: torch.Tensor, dims: tuple[Dimension, ...], batch: Batch) -> _Layout | None:
    """Return the layout of a tensor whose examples come first, outermost where others share their dimension.

    None for another.
    """
    pieces = tuple(
        _Piece(i, axis, axis.stride * tensor.stride(i)) for i, dim in enumerate(dims) for axis in dim
        if axis.role != SPREAD_OUT
    )  # fmt: skip
    examples = [p for p in pieces if p.axis.role == EXAMPLE]
    if batch.size > 1 and ([p.axis.size for p in examples] != [batch.size] or dims[0][-1:] != (examples[0].axis,)):
        return None
    return _Layout(tuple(tensor.shape), pieces)


def draws_of(
    signal: Signal,
    tensor: torch.Tensor,
    dims: tuple[Dimension, ...],
    *,
    count: int,
    seeds: Seeds,
    batch: Batch,
    noises: Noises,
) -> Draws | None:
    """Return samples of a signal, [draws, *shape]; None where there would be too few, or examples do not come first."""
    layout = _layout(tensor, dims, batch)
    if layout is None or count < FEWEST_DRAWS:
        return None
    shape = _Shape(
        count,
        tuple(p.axis.size for p in layout.of(positions=True)),
        math.prod(p.axis.size for p in layout.of(positions=False)),
    )
    if signal.base is not None:
        return _of_gradient(signal, signal.base, layout, shape, seeds, batch)
    wave = signal.wave
    source = wave.source if wave else gaussian(signal.moments, max(tensor.numel() // batch.size, 1), batch)
    if source is None:
        return None
    scale = _scales(source, count, noises)
    values = wave.values if wave else source.nodes
    key = source if wave else signal.moments
    z = _standard(source, shape, seeds, key, batch) * np.exp(scale / 2)[:, None, None, None]
    samples = layout.laid(_evaluated(values, z, batch))
    gaussian_too = wave is None or wave.gaussian
    root = samples if gaussian_too else layout.laid(_evaluated(source.nodes, z, batch))
    return Draws(samples, scale, source.before, root, signal.ancestors)


@dataclass(frozen=True, slots=True)
class _Shape:
    draws: int
    places: tuple[int, ...]
    features: int


def _of_gradient(
    signal: Signal, base: Moments, layout: _Layout, shape: _Shape, seeds: Seeds, batch: Batch
) -> Draws | None:
    source = gaussian(base, max(shape.features, 1), batch)
    g = _evaluated(source.nodes, _standard(source, shape, seeds, base, batch), batch)
    wave = signal.wave
    if wave is not None and wave.source is not None:
        g = g * _evaluated(wave.values, _standard(wave.source, shape, seeds, wave.source, batch), batch)
    elif wave is not None:
        g = g * float(wave.values.mean())
    samples = layout.laid(g)
    none = torch.zeros(shape.draws, batch.size, 1)
    return Draws(samples, np.zeros(shape.draws), CERTAIN, none, signal.ancestors, signal.moments.spread)


def _scales(source: Source, count: int, noises: Noises) -> Array:
    cumulants = noises.of(source.before)
    scores = ndtri((np.arange(count) + 0.5) / count)
    return np.array([quantile(cumulants, z) for z in np.random.default_rng(0).permutation(scores)])


def _standard(source: Source, shape: _Shape, seeds: Seeds, drawn: Any, batch: Batch) -> Array:
    """Draw ξ, [draws, examples, places, features], the second half the negative of the first."""
    alike = _alike_everywhere(source, shape.places)
    places, half = math.prod(shape.places) + (alike > 0), np.zeros(())
    for seed, factor in seeds.rows(source, drawn, (shape.places, shape.features), batch):
        normal = np.random.default_rng(seed).standard_normal((shape.draws // 2, len(factor), places, shape.features))
        half = half + (factor @ normal.reshape(*normal.shape[:2], -1)).reshape(normal.shape)
    if alike:
        half = math.sqrt(alike) * half[:, :, :1] + math.sqrt(1 - alike) * half[:, :, 1:]
    between = _between(source, shape.places)
    if between is not None:
        half = _placed(half, 1 - batch.of_all(source.gap), *between)
    half = half if batch.each_drawn else half[:, batch.stand_in]
    return np.concatenate([half, -half])


def _alike_everywhere(source: Source, places: tuple[int, ...]) -> float:
    """Return what any two of many positions have in common, as a mean over all pairs; 0 where each pair's is drawn."""
    found: Field | None = source.field
    if found is None or not places or math.prod(places) != found.count or found.count <= MOST_PLACES:
        return 0.0
    variance, mean = float((source.std**2).mean()), float((source.mean**2).mean())
    return float(np.clip(1 - found.apart()[0] * (variance + mean) / max(variance, 1e-300), 0.0, 1.0))


def _between(source: Source, places: tuple[int, ...]) -> tuple[Array, Array, Array] | None:
    """Return the correlations of positions of an example and of two, [places, places], and by what each is larger.

    None where positions are taken as independent.
    """
    found: Field | None = source.field
    if found is None or not places or math.prod(places) != found.count or found.count > MOST_PLACES:
        return None
    at = np.stack(np.unravel_index(np.arange(found.count), found.sizes))
    lag = tuple(np.abs(at[:, :, None] - at[:, None]))
    own, other = (x[lag] for x in centred(source).correlations)
    return own, other, np.sqrt(np.maximum(found.share.ravel(), 0.0))


def _placed(half: Array, examples: Array, own: Array, other: Array, size: Array) -> Array:
    """Return draws, [draws, examples, places, features], that are independent at all places as they are correlated.

    With the correlation G of examples, of mean c between two of them, W = `own` of the places of one and X = `other` of
    those of two, that of all is X + (G - c)/(1 - c) (W - X): two examples that are one have W, two on average X. So the
    mean over R examples has X + (W - X)/R, and what differs from it the places of W - X.
    """
    count = len(examples)
    c = (examples.sum() - np.trace(examples)) / max(count * (count - 1), 1)
    if count < 2 or 1 - c < ALIKE:
        return np.asarray((size[:, None] * _symmetric_root(own)) @ half)
    mean, apart = half.mean(1, keepdims=True), own - other
    left = c + (1 - c) / count
    common = _symmetric_root(other + apart / count) / math.sqrt(left) if left > ALIKE else np.zeros_like(own)
    single = _symmetric_root(apart) / math.sqrt(1 - c)
    return np.asarray(size[:, None] * (common @ mean + single @ (half - mean)))


def _symmetric_root(covariance: Array) -> Array:
    """Return the root that turns no place into another, so that kin that are drawn by one seed meet place by place.

    Where lags that are means leave it negative along some direction, each place keeps its variance.
    """
    values, vectors = np.linalg.eigh(covariance)
    found = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    own, whole = np.maximum(np.diag(covariance), 0.0), (found**2).sum(1)
    return np.asarray(found * np.sqrt(own / np.maximum(whole, 1e-300))[:, None])


def _evaluated(values: Array, z: Array, batch: Batch) -> Array:
    nodes = hermite.tables()[0]
    if len(values) == 1:
        return _line(z, nodes, values[0])
    return np.stack([_line(z[:, b], nodes, values[row]) for b, row in enumerate(batch.stand_in)], axis=1)


def _line(z: Array, nodes: Array, values: Array) -> Array:
    """Interpolate between the nodes, and go on straight beyond them."""
    inside = np.interp(z, nodes, values)
    slope = (values[-1] - values[-2]) / (nodes[-1] - nodes[-2])
    first = (values[1] - values[0]) / (nodes[1] - nodes[0])
    return np.asarray(inside + slope * np.maximum(z - nodes[-1], 0) + first * np.minimum(z - nodes[0], 0))


def shortened(draws: Draws, count: int) -> Draws:
    """Return the first of some draws, and the negatives that belong to them."""
    if len(draws.values) == count:
        return draws
    half = len(draws.values) // 2
    kept = np.concatenate([np.arange(count // 2), half + np.arange(count // 2)])
    at = torch.from_numpy(kept)
    return Draws(draws.values[at], draws.scale[kept], draws.spread, draws.root[at], draws.ancestors, draws.factor)


def factor_of(draws: list[Draws]) -> Spread:
    """Return the spread of the gradient among some draws that an operator takes, which is linear in it."""
    return next((d.factor for d in draws if len(d.factor.weights)), CERTAIN)


def leading(draws: list[Draws]) -> Draws:
    """Return the draws whose scale is followed, those of what goes forward where there are any, with all ancestors."""
    first = next((d for d in draws if d.spread.weights.any()), draws[0])
    ancestors = 0
    for d in draws:
        ancestors |= d.ancestors
    return replace(first, ancestors=ancestors, factor=factor_of(draws))

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
from .drawn_places import among
from .kin_draws import Seeds
from .normal import gaussian
from .source import Source
from .spread import CERTAIN, Noises, Spread, quantile
from .values import Array, Draws, Moments, Signal

MOST_DRAWS = 512
FEWEST_DRAWS = 16
BUDGET = 1 << 21


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
    known = among(source, shape.places, batch)
    places, half = math.prod(shape.places) + (known is not None and known.alike is not None), np.zeros(())
    for seed, factor in seeds.rows(source, drawn, (shape.places, shape.features), batch):
        normal = np.random.default_rng(seed).standard_normal((shape.draws // 2, len(factor), places, shape.features))
        half = half + np.einsum("ij,sjpf->sipf", factor, normal, optimize=True)
    half = half if known is None else known.mixed(half)
    half = half if batch.each_drawn else half[:, batch.stand_in]
    return np.concatenate([half, -half])


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

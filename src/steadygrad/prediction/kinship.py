"""What two signals have in common where a weight is met more than once: how each came about, and products of the two.

A recurrent network meets one matrix at every step, so what it makes of two inputs is alike as they are: for z = W x + b
and z' = W x' + b, E[z z'] = Var(w) Σ x x' + Var(b) (the rules of Yang 2019, "Tensor programs I", for matrices,
functions and sums). Going back the same holds for W^T g. Products of two factors are taken as products of what each has
in common with its like. Kept relative to the second moments, so that numbers that scale a signal need not be known.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from . import hermite
from .batch import Batch
from .values import Array, Moments

if TYPE_CHECKING:
    from .source import Source

Kin: TypeAlias = tuple[float, float]
"""The mean product of two tensors for one example, and for two, relative to the root of their second moments."""


@dataclass(frozen=True, slots=True, eq=False)
class Through:
    """A product with a matrix: `gain` is its variance times the terms; `bias` its source and second moment."""

    weight: int
    before: Moments
    gain: float
    bias: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of a Gaussian source by its values on the nodes, times a gradient `base` going back."""

    source: Source
    values: Array
    base: Moments | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """A sum of signals, each times a number."""

    parts: tuple[tuple[Moments, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A product of two signals of different origin."""

    first: Moments
    second: Moments


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some features of a signal at some of its positions: `features` says which, `places` where each axis starts."""

    whole: Moments
    features: Hashable
    places: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Signals side by side, and the share of each of all entries."""

    parts: tuple[tuple[Moments, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Known numbers, [examples, ...]."""

    tensor: torch.Tensor


Origin: TypeAlias = Through | Function | Sum | Product | Part | Beside | Data


def _size(m: Moments) -> float:
    return max(float(m.q.mean()), 1e-140)


def _times(kin: Kin, factor: float) -> Kin:
    return kin[0] * factor, kin[1] * factor


def _plus(*kins: Kin) -> Kin:
    return math.fsum(k[0] for k in kins), math.fsum(k[1] for k in kins)


@dataclass(slots=True)
class Kinship:
    """Products of pairs of signals, each found once."""

    batch: Batch
    _known: dict[tuple[int, int], tuple[Moments, Moments, Kin]] = field(default_factory=dict)
    _series: dict[int, tuple[Function, Array]] = field(default_factory=dict)

    def of(self, a: Moments, b: Moments) -> Kin:
        """Return E[a b]/sqrt(E[a²] E[b²]) for one example and for two distinct ones."""
        key = (id(a), id(b)) if id(a) <= id(b) else (id(b), id(a))
        found = self._known.get(key)
        if found is None:
            kin = self._found(a, b)
            found = self._known[key] = (a, b, (float(np.clip(kin[0], -1, 1)), float(np.clip(kin[1], -1, 1))))
        return found[2]

    def itself(self, m: Moments) -> Kin:
        """Return those of a signal with itself."""
        apart = self.batch.distinct_mean(m.d) if len(m.q) > 1 else 0.0
        return 1.0, 1 - apart / _size(m)

    def _found(self, a: Moments, b: Moments) -> Kin:
        if a is b or (a.origin is not None and a.origin is b.origin):
            return self.itself(a)
        match a.origin, b.origin:
            case Sum(parts), _:
                return self._of_sum(parts, a, b)
            case _, Sum(parts):
                return self._of_sum(parts, b, a)
            case Beside() as x, Beside() as y:
                return self._beside(x, y, (a, b))
            case Through() as x, Through() as y:
                return self._through(x, y, (a, b))
            case Part() as x, Part() as y:
                return self._parts(x, y, (a, b))
            case Data(x), Data(y):
                return _of_data(x, y, self.batch)
            case Function() as x, Function() as y:
                return self._functions(x, y, (a, b))
            case Product() as x, Product() as y:
                each = zip(self.of(x.first, y.first), self.of(x.second, y.second), strict=True)
                own, other = (k * m for k, m in each)
                return _times((own, other), self._scale(x, a) * self._scale(y, b))
            case (Product() as x, _):
                return self._of_product(x, a, b)
            case (_, Product() as y):
                return self._of_product(y, b, a)
            case (Function() as x, _):
                return self._of_function(x, a, b)
            case (_, Function() as y):
                return self._of_function(y, b, a)
            case _:
                return self._means(a, b)

    def _means(self, a: Moments, b: Moments) -> Kin:
        product = float(a.mean.mean()) * float(b.mean.mean()) / math.sqrt(_size(a) * _size(b))
        return product, product

    def _of_sum(self, parts: tuple[tuple[Moments, float], ...], a: Moments, b: Moments) -> Kin:
        return _plus(*(_times(self.of(m, b), factor * math.sqrt(_size(m) / _size(a))) for m, factor in parts))

    def _beside(self, x: Beside, y: Beside, whole: tuple[Moments, Moments]) -> Kin:
        if [share for _, share in x.parts] != [share for _, share in y.parts]:
            return self._means(*whole)
        size = math.sqrt(_size(whole[0]) * _size(whole[1]))
        pairs = zip(x.parts, y.parts, strict=True)
        return _plus(
            *(_times(self.of(m, n), share * math.sqrt(_size(m) * _size(n)) / size) for (m, share), (n, _) in pairs)
        )

    def _through(self, x: Through, y: Through, after: tuple[Moments, Moments]) -> Kin:
        size = math.sqrt(_size(after[0]) * _size(after[1]))
        bias = x.bias[1] if x.bias and y.bias and x.bias[0] == y.bias[0] else 0.0
        common = (bias / size, bias / size)
        if x.weight != y.weight:
            return common
        before = math.sqrt(x.gain * y.gain * _size(x.before) * _size(y.before))
        return _plus(_times(self.of(x.before, y.before), before / size), common)

    def _parts(self, x: Part, y: Part, parts: tuple[Moments, Moments]) -> Kin:
        if x.features != y.features or len(x.places) != len(y.places):
            return self._means(*parts)
        if x.whole is not y.whole and x.whole.origin is not y.whole.origin:
            return self.of(x.whole, y.whole) if x.places == y.places else self._means(*parts)
        f, lag = x.whole.field, tuple(abs(i - j) for i, j in zip(x.places, y.places, strict=True))
        if f is None or not lag or len(lag) != len(f.sizes):
            return self.itself(x.whole) if x.places == y.places else self._means(*parts)
        return 1 - float(f.within[lag]), 1 - float(f.across[lag])

    def _scale(self, x: Product, whole: Moments) -> float:
        return math.sqrt(_size(x.first) * _size(x.second) / _size(whole))

    def _of_product(self, x: Product, a: Moments, b: Moments) -> Kin:
        """E[x y s] = E[x] E[y s] + E[y] E[x s] - E[x] E[y] E[s], where all three vary little together."""
        first, second, other = (float(m.mean.mean()) for m in (x.first, x.second, b))
        size = math.sqrt(_size(a) * _size(b))
        less = -first * second * other / size
        return _plus(
            _times(self.of(x.second, b), first * math.sqrt(_size(x.second) * _size(b)) / size),
            _times(self.of(x.first, b), second * math.sqrt(_size(x.first) * _size(b)) / size),
            (less, less),
        )

    def _of_function(self, x: Function, a: Moments, b: Moments) -> Kin:
        """E[f(z) s] = E[f] E[s] + E[f'] Cov(z, s) for a Gaussian s; of a gradient times f(z) what the gradient has."""
        series = self._expanded(x)
        if x.base is not None:
            return _times(self.of(x.base, b), float(series[0]) * math.sqrt(_size(x.base) / _size(a)))
        constant = float(series[0]) * float(b.mean.mean()) / math.sqrt(_size(a) * _size(b))
        root = x.source.root
        if root is None:
            return constant, constant
        mean, std = float(x.source.mean.mean()), max(float(x.source.std.mean()), 1e-150)
        met = self.of(root, b)
        less = mean * float(b.mean.mean())
        slope = float(series[1]) / std / math.sqrt(_size(a) * _size(b))
        own, other = (constant + slope * (k * math.sqrt(_size(root) * _size(b)) - less) for k in met)
        return own, other

    def _functions(self, x: Function, y: Function, whole: tuple[Moments, Moments]) -> Kin:
        if (x.base is None) != (y.base is None):
            return self._means(*whole)
        c = self._correlation(x.source, y.source)
        masses = self._expanded(x) * self._expanded(y)
        left = float(masses.sum()) - hermite.decay(1 - np.array(c)) @ masses
        scale = math.sqrt(_size(whole[0]) * _size(whole[1]))
        if x.base is None or y.base is None:
            return float(left[0]) / scale, float(left[1]) / scale
        met = self.of(x.base, y.base)
        scale /= math.sqrt(_size(x.base) * _size(y.base))
        return met[0] * float(left[0]) / scale, met[1] * float(left[1]) / scale

    def _expanded(self, x: Function) -> Array:
        """Return a function's Hermite coefficients, the mean over examples."""
        found = self._series.get(id(x))
        if found is None:
            whole = hermite.expand(np.broadcast_to(x.values, x.source.nodes.shape)).plain.mean(0)
            found = self._series[id(x)] = (x, whole)
        return found[1]

    def _correlation(self, x: Source, y: Source) -> Kin:
        """Return the correlations of two sources, their means apart."""
        if x is y:
            return 1.0, 1 - (self.batch.distinct_mean(x.gap) if len(x.mean) > 1 else 0.0)
        if x.root is None or y.root is None:
            return 0.0, 0.0
        scale = max(float(x.std.mean()) * float(y.std.mean()), 1e-300)
        size, less = math.sqrt(_size(x.root) * _size(y.root)), float(x.mean.mean()) * float(y.mean.mean())
        own, other = (float(np.clip((k * size - less) / scale, -1, 1)) for k in self.of(x.root, y.root))
        return own, other


def _of_data(x: torch.Tensor, y: torch.Tensor, batch: Batch) -> Kin:
    if x.shape != y.shape:
        return 0.0, 0.0
    a, b = (t.detach().double().reshape(len(t), -1) for t in (x, y))
    size = math.sqrt(float((a * a).mean()) * float((b * b).mean())) or 1.0
    own = float((a * b).mean())
    whole = float((a.mean(0) * b.mean(0)).mean())
    n = batch.size
    return own / size, (whole * n - own) / max(n - 1, 1) / size

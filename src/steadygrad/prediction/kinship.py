"""What two signals have in common where a weight is met more than once: how each came about, and products of the two.

A recurrent network meets one matrix at every step, so what it makes of two inputs is alike as they are: for z = W x + b
and z' = W x' + b, E[z z'] = Var(w) Σ x x' + Var(b) (the rules of Yang 2019, "Tensor programs I", for matrices,
functions and sums). Going back the same holds for W^T g. Products of two factors are taken as products of what each has
in common with its like. Kept relative to the second moments, so that numbers that scale a signal need not be known.
"""

from __future__ import annotations

import itertools
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
    from .spread import Spread

Kin: TypeAlias = tuple[float, float]
"""The mean product of two tensors for one example, and for two, relative to the root of their second moments."""
Joint: TypeAlias = tuple[float, float]
"""The same as it is."""

LOW, NEAR = 8, 0.1  # orders of a product of functions, and the correlation below which what they leave is below 1e-8
DEEPEST = 100  # steps from a pair to those that it follows from: of more, four frames each, Python has too few
ROUNDING = 1e-12  # of means of odd functions, which quadrature leaves at some 1e-17
_born = itertools.count().__next__


@dataclass(frozen=True, slots=True, eq=False)
class Through:
    """A product with a matrix: `gain` is its variance times the terms; `bias` its source and second moment.

    `units` says how many sums it makes, `tails` what is left of the fourth cumulant of a weight, over the terms, and of
    a bias, relative to their variances squared.
    """

    weight: int
    before: Moments
    gain: float
    bias: tuple[int, float] | None = None
    units: float = 1.0
    tails: tuple[float, float] = (0.0, 0.0)
    back: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of a Gaussian source by its values on the nodes, times a gradient `base` going back."""

    source: Source
    values: Array
    base: Moments | None = None
    born: int = field(default_factory=_born)


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """A sum of signals, each times a number."""

    parts: tuple[tuple[Moments, float], ...]
    born: int = field(default_factory=_born)


@dataclass(frozen=True, slots=True, eq=False)
class Like(Sum):
    """What is like its input but for its size, as behind a norm: that many times it."""


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A product of two signals of different origin."""

    first: Moments
    second: Moments
    born: int = field(default_factory=_born)


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


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A parameter as it is, the same for every example; `tail` is the fourth cumulant of its entries."""

    source: int
    tail: float


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A signal of which no more is known than that it is this one, wherever it is met."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Independent normal entries, so many an example, and the noise of their mean square."""

    noise: Spread
    entries: float


Origin: TypeAlias = Drawn | Through | Function | Sum | Product | Part | Beside | Data | Filled | Given


def _times(kin: Kin, factor: float) -> Kin:
    return kin[0] * factor, kin[1] * factor


def _bounded(x: float) -> float:
    return min(max(x, -1.0), 1.0)


def _plus(*kins: Kin) -> Kin:
    return math.fsum(k[0] for k in kins), math.fsum(k[1] for k in kins)


@dataclass(slots=True)
class Kinship:
    """Products of pairs of signals, each found once."""

    batch: Batch
    _known: dict[tuple[int, int], tuple[Moments, Moments, Kin]] = field(default_factory=dict)
    _series: dict[int, tuple[Function, Array, tuple[float, ...]]] = field(default_factory=dict)
    _sizes: dict[int, tuple[Moments | Source, float, float]] = field(default_factory=dict)
    _correlated: dict[tuple[int, int], tuple[Source, Source, Kin]] = field(default_factory=dict)
    _depth: int = 0

    def of(self, a: Moments, b: Moments) -> Kin:
        """Return E[a b]/sqrt(E[a²] E[b²]) for one example and for two distinct ones."""
        i, j = id(a), id(b)
        key = (i, j) if i <= j else (j, i)
        found = self._known.get(key)
        if found is None:
            self._depth += 1
            try:
                own, other = self._found(a, b) if self._depth <= DEEPEST else self._means(a, b)
            finally:
                self._depth -= 1
            found = self._known[key] = (a, b, (_bounded(own), _bounded(other)))
        return found[2]

    def itself(self, m: Moments) -> Kin:
        """Return those of a signal with itself."""
        apart = self.batch.distinct_mean(m.d) if len(m.q) > 1 else 0.0
        return 1.0, 1 - apart / self._size(m)

    def correlation(self, x: Source, y: Source) -> Kin:
        """Return the correlations of two sources, their means apart."""
        i, j = id(x), id(y)
        key = (i, j) if i <= j else (j, i)
        found = self._correlated.get(key)
        if found is None:
            found = self._correlated[key] = (x, y, self._correlation(x, y))
        return found[2]

    def _correlation(self, x: Source, y: Source) -> Kin:
        if x is y:
            return 1.0, 1 - (self.batch.distinct_mean(x.gap) if len(x.mean) > 1 else 0.0)
        if x.root is None or y.root is None:
            return 0.0, 0.0
        (std_x, mean_x), (std_y, mean_y) = self._units(x, x.root), self._units(y, y.root)
        scale, less = max(std_x * std_y, 1e-300), mean_x * mean_y
        own, other = self._joint(x.root, y.root)
        return _bounded((own - less) / scale), _bounded((other - less) / scale)

    def _units(self, source: Source, root: Moments) -> tuple[float, float]:
        """The deviation of a source's units and their mean; where a normal stands for these, they have their own."""
        if source.factors is None and source.steps is None:
            _, std, mean = self._scale(source)
            return std, mean
        mean = self._mean(root)
        return math.sqrt(max(self._size(root) - mean**2, 0.0)), mean

    def _scale(self, m: Moments | Source) -> tuple[Moments | Source, float, float]:
        """The mean over examples of the second moment, or of a source's deviation, and that of the mean."""
        found = self._sizes.get(id(m))
        if found is None:
            size = max(float(m.q.mean()), 1e-140) if isinstance(m, Moments) else float(m.std.mean())
            found = self._sizes[id(m)] = (m, size, float(m.mean.mean()))
        return found

    def _size(self, m: Moments) -> float:
        return self._scale(m)[1]

    def _mean(self, m: Moments) -> float:
        return self._scale(m)[2]

    def _ratio(self, part: Moments, whole: Moments) -> float:
        """The root of how large the second moment of the one is beside that of the other."""
        return math.sqrt(self._size(part) / self._size(whole))

    def _root(self, a: Moments, b: Moments) -> float:
        return math.sqrt(self._size(a) * self._size(b))

    def _found(self, a: Moments, b: Moments) -> Kin:
        if a is b or (a.origin is not None and a.origin is b.origin):
            return self.itself(a)
        match a.origin, b.origin:
            case Sum() as x, y if not _is_newer(y, x):
                return self._of_sum(x.parts, a, b)
            case x, Sum() as y if not _is_newer(x, y):
                return self._of_sum(y.parts, b, a)
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
                return self._products(x, y, (a, b))
            case (Product() as x, _):
                return _times(self._peeled(x, b), 1 / self._root(a, b))
            case (_, Product() as y):
                return _times(self._peeled(y, a), 1 / self._root(a, b))
            case (Function() as x, _):
                return self._of_function(x, a, b)
            case (_, Function() as y):
                return self._of_function(y, b, a)
            case _:
                return self._means(a, b)

    def _means(self, a: Moments, b: Moments) -> Kin:
        product = self._mean(a) * self._mean(b) / self._root(a, b)
        return product, product

    def _of_sum(self, parts: tuple[tuple[Moments, float], ...], a: Moments, b: Moments) -> Kin:
        own = other = 0.0
        for m, factor in parts:
            share = factor * self._ratio(m, a)
            if abs(share) > ROUNDING:
                kin = self.of(m, b)
                own, other = own + share * kin[0], other + share * kin[1]
        return own, other

    def _beside(self, x: Beside, y: Beside, whole: tuple[Moments, Moments]) -> Kin:
        if [share for _, share in x.parts] != [share for _, share in y.parts]:
            return self._means(*whole)
        pairs = zip(x.parts, y.parts, strict=True)
        joint = _plus(*(_times(self._joint(m, n), share) for (m, share), (n, _) in pairs))
        return _times(joint, 1 / self._root(*whole))

    def _through(self, x: Through, y: Through, after: tuple[Moments, Moments]) -> Kin:
        size = self._root(*after)
        bias = x.bias[1] if x.bias and y.bias and x.bias[0] == y.bias[0] else 0.0
        common = (bias / size, bias / size)
        if x.weight != y.weight:
            return common
        before = math.sqrt(x.gain * y.gain) * self._root(x.before, y.before)
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

    def _joint(self, a: Moments, b: Moments, factor: float = 1.0) -> Joint:
        """A number times E[a b], which is not asked for where the number is a rounding error."""
        if abs(factor) < ROUNDING:
            return 0.0, 0.0
        own, other = self.of(a, b)
        size = factor * self._root(a, b)
        return own * size, other * size

    def _peeled(self, x: Product, s: Moments) -> Joint:
        """E[f g s] = E[f] E[g s] + E[g] E[f s] - E[f] E[g] E[s], where all three vary little together."""
        f, g = self._mean(x.first), self._mean(x.second)
        less = -f * g * self._mean(s)
        return _plus(self._joint(x.second, s, f), self._joint(x.first, s, g), (less, less))

    def _products(self, x: Product, y: Product, whole: tuple[Moments, Moments]) -> Kin:
        """E[f g h k]: what the means of f and g leave with h k, and the reverse, that of both once; and what has none.

        So f and g may be of what h k is made of, as a state is of the one before.
        """
        (f, g), (h, k) = (x.first, x.second), (y.first, y.second)
        mf, mg, mh, mk = self._mean(f), self._mean(g), self._mean(h), self._mean(k)
        fh, gk = self._joint(f, h), self._joint(g, k)
        means = 3 * mf * mg * mh * mk
        both = ((fh[i] - mf * mh) * (gk[i] - mg * mk) - mg * mk * fh[i] - mf * mh * gk[i] + means for i in (0, 1))
        crossed = _plus(self._joint(f, k, -mg * mh), self._joint(g, h, -mf * mk))
        joint = _plus(self._peeled(x, whole[1]), self._peeled(y, whole[0]), crossed, (next(both), next(both)))
        return _times(joint, 1 / self._root(*whole))

    def _of_function(self, x: Function, a: Moments, b: Moments) -> Kin:
        """E[f(z) s] = E[f] E[s] + E[f'] Cov(z, s) for a Gaussian s; of a gradient times f(z) what the gradient has."""
        _, _, series = self._expanded(x)
        if x.base is not None:
            share = series[0] * self._ratio(x.base, a)
            return _times(self.of(x.base, b), share) if abs(share) > ROUNDING else (0.0, 0.0)
        constant = series[0] * self._mean(b) / self._root(a, b)
        root = x.source.root
        if root is None:
            return constant, constant
        _, std, mean = self._scale(x.source)
        less = mean * self._mean(b)
        slope = series[1] / max(std, 1e-150) / self._root(a, b)
        own, other = (constant + slope * (k - less) for k in self._joint(root, b))
        return own, other

    def _functions(self, x: Function, y: Function, whole: tuple[Moments, Moments]) -> Kin:
        if (x.base is None) != (y.base is None):
            return self._means(*whole)
        if x.base is None or y.base is None:
            return _times(self._functions_alone(x, y), 1 / self._root(*whole))
        return self._gradients((x, x.base), (y, y.base), whole)

    def _functions_alone(self, x: Function, y: Function) -> Joint:
        """E[f(z) g(z')] of the functions without their gradients."""
        own, other = self.correlation(x.source, y.source)
        (_, a, low), (_, b, others) = self._expanded(x), self._expanded(y)
        if max(abs(own), abs(other)) < NEAR:
            few = [f * g for f, g in zip(low, others, strict=True)]
            return _polynomial(few, own), _polynomial(few, other)
        masses = a * b
        left = float(masses.sum()) - hermite.decay(np.array((1 - own, 1 - other))) @ masses
        return float(left[0]), float(left[1])

    def _gradients(
        self, x: tuple[Function, Moments], y: tuple[Function, Moments], whole: tuple[Moments, Moments]
    ) -> Kin:
        """E[g f h k] of gradients g and h: what one has with the other whole, and the reverse, that of both once."""
        (a, b), (one, g), (two, h) = whole, x, y
        mine, theirs = self._ratio(g, a), self._ratio(h, b)
        f, k = self._expanded(one)[2][0], self._expanded(two)[2][0]
        own, other = _times(self.of(g, h), mine * theirs)
        first = _times(self.of(g, b), f * mine) if abs(f) > ROUNDING else (0.0, 0.0)
        second = _times(self.of(a, h), k * theirs) if abs(k) > ROUNDING else (0.0, 0.0)
        both = self._functions_alone(one, two) if own or other else (0.0, 0.0)
        twice = 2 * f * k
        return (
            first[0] + second[0] + own * (both[0] - twice),
            first[1] + second[1] + other * (both[1] - twice),
        )

    def _expanded(self, x: Function) -> tuple[Function, Array, tuple[float, ...]]:
        """Return a function's Hermite coefficients, the mean over examples, and the first eight of them."""
        found = self._series.get(id(x))
        if found is None:
            whole = hermite.expand(np.broadcast_to(x.values, x.source.nodes.shape)).plain.mean(0)
            found = self._series[id(x)] = (x, whole, tuple(whole[:LOW].tolist()))
        return found


def _is_newer(x: Origin | None, y: Sum) -> bool:
    """Whether x was made of what was there when y was: then y has nothing of x in it."""
    return isinstance(x, Function | Sum | Product) and x.born > y.born


def _polynomial(coefficients: list[float], x: float) -> float:
    total = 0.0
    for a in reversed(coefficients):
        total = total * x + a
    return total


def _of_data(x: torch.Tensor, y: torch.Tensor, batch: Batch) -> Kin:
    if x.shape != y.shape:
        return 0.0, 0.0
    a, b = (t.detach().double().reshape(len(t), -1) for t in (x, y))
    size = math.sqrt(float((a * a).mean()) * float((b * b).mean())) or 1.0
    own = float((a * b).mean())
    whole = float((a.mean(0) * b.mean(0)).mean())
    n = batch.size
    return own / size, (whole * n - own) / max(n - 1, 1) / size

"""Products of every two places of a few small images, of one and of two, which a mean over places is made of.

What images have in common on average over places is a small difference of large numbers: means over all pairs of places
that are as far apart (`Field.within` and `Field.across`) do not tell it, as an image is brighter here than there, and
windows meet the middle more often than a border of zeros. Of images of few places all pairs are kept, [entries,
entries] over examples and places, as half the mean squared differences

    D_ij = (K_ii + K_jj)/2 - K_ij,    K_ij = E[x_i x_j],

of which no digit is lost where images are nearly alike. The mean-field map is exact on them: a window adds those of its
taps, a border being a place without a signal; a function takes each pair by Hermite's series; a mean over places with
weights m has D' = m D m' - (m D m + m' D m')/2. Of the corrections of finite width two are in it: N units let log
lengths l of entries vary together, by Cov(f_i², f_j²)/(N E[f_i²] E[f_j²]), windows add them as they add lengths, and

    E[√(l_i l_j)]/√(E[l_i] E[l_j]) = exp(-Var(log l_i - log l_j)/8)    (l lognormal);

and D of means varies more over draws than that of places, as their differences point in fewer directions. Behind a
function F(D) that is bent, what D of all pairs varies by over draws, of relative variance v, leaves F exp(F'' D² v/2F)
on average: of the network as a whole, as it goes to each pair by its own D. What else finite width does to D of two
places it is taken to do to that of their means: these are multiplied by what a place has by lag over what it has here.

Approximate: what lengths take of products is taken off q of a mean, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .decays import GRID, decay_on_grid, decayed
from .hermite import Expansion, expand, tables

if TYPE_CHECKING:
    from .values import Moments

Array = NDArray[np.float64]
Places = NDArray[np.intp]
MOST = 256  # entries of a block, examples and places; of two examples, as many as `PAIRS` lets
PAIRS = 1 << 18  # of entries in all blocks: 2 MB
PAIRED = 12  # pairs of examples that stand for those of a larger batch, at least: of each its own
SMALL = 0.05  # of the log of a difference, over which a bend is taken
STEP = 0.01  # of a correlation, over which a slope is taken
LEVELS = 9  # of the deviation, between which coefficients are taken along a line
MORE = 4 * PAIRS  # of entries that windows make of them
WORK = 1 << 25  # pairs, times taps, that are added up for a layer: a tenth of a second
COMMON, OWN = 48, 9  # nodes of what all entries share of a unit, of what each has of its own
LEAST = 1e-6  # of a difference
TINY = 1e-150  # whose square is a number


@dataclass(frozen=True, slots=True)
class Gram:
    """Blocks of a few examples each.

    `squares`: [blocks, examples, places], second moments relative to their mean; `gaps`: [blocks, entries, entries], D
    relative to the same mean, entries being all places of the first example, then those of the next; `lengths`:
    [blocks, entries, entries], covariance of their log second moments over draws, which is in D as well. `batch`: of
    how many examples these are a part; `varied`: by how much the log of D of the means over all places varies more,
    over draws, than that of D at each place.
    """

    squares: Array
    gaps: Array
    lengths: Array
    batch: int
    varied: float = 0.0

    @property
    def level(self) -> float:
        """The mean second moment."""
        return float(self.squares.mean())

    @property
    def whole(self) -> bool:
        """Whether one block has all examples of the batch."""
        return self.squares.shape[:2] == (1, self.batch)

    @property
    def apart(self) -> Array:
        """D of two examples at the same place, the mean over places, [blocks, examples, examples]."""
        found: Array = self._by_place(self.gaps).diagonal(axis1=2, axis2=4).mean(-1)
        return found

    @property
    def gap(self) -> float:
        """The mean D of distinct examples at the same place."""
        return _of_distinct(self.apart)

    @property
    def entries(self) -> Array:
        """Second moments of all entries, [blocks, entries]."""
        return self.squares.reshape(len(self.squares), -1)

    def _by_place(self, pairs: Array) -> Array:
        blocks, r, places = self.squares.shape
        return pairs.reshape(blocks, r, places, r, places)

    @property
    def _unlike(self) -> Array:
        """By how much E[√(l l')] of every two entries is less than √(E[l] E[l']), relative to it."""
        own = np.diagonal(self.lengths, axis1=1, axis2=2)
        return np.asarray(-np.expm1(-np.maximum(2 * half_sums(own) - 2 * self.lengths, 0.0) / 8))

    @property
    def of_lengths(self) -> float:
        """D of distinct examples at the same place, the mean over places, if their mean lengths were all of it."""
        roots = np.sqrt(self.squares)
        return 1 - _of_distinct((roots[:, :, None] * roots[:, None]).mean(-1)) / self.level

    @property
    def of_like_lengths(self) -> Array:
        """D of every two entries if all draws had them of their mean lengths."""
        unlike = self._unlike
        return np.asarray((self.gaps - half_sums(self.entries) * unlike) / (1 - unlike))

    def with_lengths(self, lengths: Array) -> Gram:
        """Return it where log second moments, so far alike in all draws, have these covariances."""
        new = replace(self, lengths=lengths)
        return replace(new, gaps=self.gaps + (half_sums(self.entries) - self.gaps) * new._unlike)

    def relative(self) -> Gram:
        """Return it relative to its mean."""
        level = self.level
        return replace(self, squares=self.squares / level, gaps=self.gaps / level) if level > 0 else self

    def scaled(self, factor: float) -> Gram:
        """Return it beside a term that is the same everywhere: `factor` of the second moment varies."""
        if factor == 1.0:
            return self
        squares = 1 + factor * (self.squares - 1)
        return replace(self, squares=squares, gaps=self.gaps * factor, lengths=self.lengths * factor**2)

    def centred(self) -> Gram:
        """Return that of what differs from the mean over all examples of the batch, and their places."""
        blocks = self._by_place(self.gaps).mean(4)  # [blocks, examples, places, examples]
        own = np.moveaxis(blocks.diagonal(axis1=1, axis2=3), -1, 1)
        others = (blocks.sum(3) - own) / (blocks.shape[1] - 1)
        off = own / self.batch + others * (1 - 1 / self.batch)
        return replace(self, squares=np.maximum(2 * off - off.mean(), 0.0)).relative()

    def mixed(self, weight: float, other: Gram | None, rest: float) -> Gram | None:
        """Return that of a sum of two independent terms of these weights, long where both are; None if not known."""
        if other is None or other.squares.shape != self.squares.shape:
            return None
        squares, gaps = (weight * getattr(self, n) + rest * getattr(other, n) for n in ("squares", "gaps"))
        one, two = (np.sqrt(np.maximum(x.lengths, 0.0)) for x in (self, other))
        sizes = weight * self.of_means[0], rest * other.of_means[0]
        varied = sum(x.varied * size**2 for x, size in zip((self, other), sizes, strict=True))
        return Gram(squares, gaps, (weight * one + rest * two) ** 2, self.batch, varied / max(sum(sizes), TINY) ** 2)

    def summed(self, places: Places) -> Gram | None:
        """Return that of sums over windows, relative to their mean; None where there are too many pairs.

        Args:
            places: [taps, windows], the place that a tap meets, -1 where it meets none.
        """
        (blocks, r, count), (taps, windows) = self.squares.shape, places.shape
        entries = r * windows
        if blocks * entries**2 > MORE or taps * blocks * entries**2 > WORK:
            return None
        squares, gaps = self._beside_nothing()
        met = np.where(places < 0, count, places)[:, None] + np.arange(r)[:, None] * (count + 1)
        whole, weights = np.zeros((blocks, entries, entries)), np.zeros((blocks, entries, squares.shape[1]))
        for at in met.reshape(taps, -1):
            whole += gaps.take(at, 1).take(at, 2)
            weights[:, np.arange(entries), at] += squares[:, at]
        sums = weights.sum(2)
        weights = np.delete(weights, np.s_[count :: count + 1], axis=2) / np.maximum(sums, TINY)[..., None]
        lengths = weights @ self.lengths @ weights.transpose(0, 2, 1)
        return replace(self, squares=sums.reshape(blocks, r, windows), gaps=whole, lengths=lengths).relative()

    def _beside_nothing(self) -> tuple[Array, Array]:
        """Return squares and gaps where each example has one place more, without a signal."""
        blocks, r, count = self.squares.shape
        squares = np.pad(self.squares, ((0, 0), (0, 0), (0, 1))).reshape(blocks, -1)
        gaps = half_sums(squares)
        inside = gaps.reshape(blocks, r, count + 1, r, count + 1)[:, :, :count, :, :count]
        inside[...] = self._by_place(self.gaps)
        return squares, gaps

    def averaged(self, weights: Array) -> Gram | None:
        """Return that of means over places, [means, places], relative to the places' second moment.

        Where weights do not add up to one, the rest is a place's without a signal. None where there are too many pairs.
        """
        if len(self.squares) * (self.squares.shape[1] * len(weights)) ** 2 > MORE:
            return None
        left = 1 - weights.sum(1, keepdims=True)
        if (left > LEAST).any():
            squares, gaps = self._beside_nothing()
            lengths = np.pad(self._by_place(self.lengths), ((0, 0), *((0, 0), (0, 1)) * 2)).reshape(gaps.shape)
            padded = replace(self, squares=squares.reshape(*self.squares.shape[:2], -1), gaps=gaps, lengths=lengths)
            return padded.averaged(np.concatenate([weights, left], axis=1))
        means = len(weights)
        gaps = np.einsum("mp,kapbq,nq->kambn", weights, self._by_place(self.gaps), weights, optimize=True)
        gaps = gaps.reshape(len(gaps), gaps.shape[1] * means, -1)
        own = np.diagonal(gaps, axis1=1, axis2=2) / 2
        squares = np.maximum(self.squares @ weights.T - 2 * own.reshape(*self.squares.shape[:2], means), 0.0)
        gaps = np.maximum(gaps - 2 * half_sums(own), 0.0)
        zero_diagonal(gaps)
        return replace(self, squares=squares, gaps=gaps, lengths=self._lengths_of_means(weights, squares))

    def _lengths_of_means(self, weights: Array, squares: Array) -> Array:
        """Return the covariances of log second moments of means: that of a place counts as it lies along the mean."""
        products = self._by_place(half_sums(self.entries) - self.gaps)
        along = np.einsum("mp,kapaq,mq->kamp", weights, products, weights, optimize=True)
        along /= np.maximum(squares, TINY)[..., None]
        found = np.einsum("kamp,kapbq,kbnq->kambn", along, self._by_place(self.lengths), along, optimize=True)
        return np.asarray(found.reshape(len(found), squares[0].size, -1))

    def of_units(self, units: float) -> Gram:
        """Return that of so many Gaussian units: log lengths vary by 2 ρ²/units more."""
        like = self.of_like_lengths
        alike = 1 - angle(like, np.sqrt(self.entries))
        return replace(self, gaps=like).with_lengths(self.lengths + 2 * alike**2 / units)

    def argument(self, gaps: Callable[[Array], Array], power: float) -> Gram:
        """Return that of a Gaussian, given that of a function of it, whose sizes are this power of the Gaussian's.

        Args:
            gaps: of the Gaussian, 1 - c, by those of the function at one size.
            power: d log E[f²]/d log Var(z).
        """
        squares = self.squares ** (1 / power)
        std = np.sqrt(squares.reshape(self.entries.shape))
        z = gaps(angle(self.of_like_lengths, np.sqrt(self.entries)))
        apart = std[:, :, None] * std[:, None, :] * z + (std[:, :, None] - std[:, None, :]) ** 2 / 2
        return replace(self, squares=squares, gaps=apart).relative().with_lengths(self.lengths / power**2)

    def behind(self, values: Array, mean: float, scale: float, units: float, varied: float = 0.0) -> Gram:
        """Return that of a function of so many Gaussian units, relative to its mean.

        Args:
            values: of the function on the nodes, [nodes].
            mean: the units' squared mean, relative to their second moment.
            scale: of the deviations, so that the function is of one that is 1.
            units: how many there are.
            varied: variance over draws of the log of D of all pairs, which they have in common.
        """
        std = np.sqrt(np.maximum(self.entries - mean, 0.0)) * scale
        levels = levels_of(std)
        f = expand(np.array([np.interp(tables()[0] * s, tables()[0], values) for s in levels]))
        gap = angle(self.of_like_lengths * scale**2, std)
        low, part = between_levels(std, levels)
        between = low, np.minimum(low + 1, len(levels) - 1)
        own = (1 - part)[..., None] * f.plain[low] + part[..., None] * f.plain[between[1]]
        bend = np.exp(np.interp(gap, GRID, _bends((f.plain**2).mean(0))) * varied)
        gaps = _distances(own) + _turned(f.plain, gap, between, part) * bend
        zero_diagonal(gaps)
        new = replace(self, squares=(own**2).sum(-1).reshape(self.squares.shape), gaps=gaps).relative()
        new = new.with_lengths(self._lengths_behind(f, gap, units))
        return replace(new, varied=self._varied_behind(new, f, values, float(gap.mean()), units))

    def _lengths_behind(self, f: Expansion, gap: Array, units: float) -> Array:
        """Return the covariances of log second moments: as sizes pass the function, and what so many units add."""
        s = float(f.stein.sum()) / max(2 * float(f.q.sum()), TINY)
        masses = (f.square**2).mean(0) / max(float((f.q**2).mean()), TINY)
        masses[0] = 0.0
        return np.asarray(s * s * self.lengths + (float(masses.sum()) - decayed(gap, masses)) / units)

    def _varied_behind(self, new: Gram, f: Expansion, values: Array, gap: float, units: float) -> float:
        """Return by how much the log of D of means over places varies more than that of D at each, behind a function.

        What it varied by before goes on as far as D grows as it does where it is small; a unit adds 2 E[v²]/E[v]² r, v
        the variance that examples have of their own, given what all entries have in common, r the overlap of
        differences, which is larger where places are summed.
        """
        masses = (f.plain**2).mean(0) / max(float(f.q.mean()), TINY)
        below, above = decayed(np.clip([gap - STEP, gap + STEP], 0.0, 2.0), masses)
        (here, overlap), (after, _) = self.of_means, new.of_means
        slope = min(float(above - below) / (2 * STEP) * here / max(after, TINY), 1.0)
        more = max(overlap - _overlap(self._by_place(self.gaps), self.batch), 0.0)
        return slope * slope * self.varied + 2 * _unevenness(values, gap) * more / units

    @property
    def of_means(self) -> tuple[float, float]:
        """D of the means over all places of two examples, and the overlap of their differences."""
        of_all = self._by_place(self.gaps).mean((2, 4))
        apart = of_all - half_sums(np.diagonal(of_all, axis1=1, axis2=2))
        return _of_distinct(apart), _overlap(apart[:, :, None, :, None], self.batch)


def _of_distinct(pairs: Array) -> float:
    """Return the mean over pairs of distinct examples, [blocks, examples, examples]."""
    r, own = pairs.shape[1], float(np.diagonal(pairs, axis1=1, axis2=2).sum())
    return float((pairs.sum() - own) / (len(pairs) * r * (r - 1)))


def levels_of(values: Array) -> Array:
    """Return levels from the least to the largest of values."""
    return np.linspace(values.min(), values.max(), LEVELS) if np.ptp(values) > 0 else values.ravel()[:1]


def between_levels(values: Array, levels: Array) -> tuple[Places, Array]:
    """Return the level below each value, and how far it is on the way to the next."""
    last = len(levels) - 1
    at = np.clip((values - levels[0]) / max(float(np.ptp(levels)), TINY) * last, 0, last)
    low = np.minimum(at.astype(np.intp), max(last - 1, 0))
    return low, np.asarray(at - low)


def half_sums(squares: Array) -> Array:
    """Return half the sum of every two of a block."""
    return np.asarray((squares[..., :, None] + squares[..., None, :]) / 2)


def zero_diagonal(pairs: Array) -> None:
    """Let an entry not differ from itself."""
    each = np.arange(pairs.shape[-1])
    pairs[:, each, each] = 0.0


def _overlap(gaps: Array, batch: int) -> float:
    """Return the mean squared cosine of differences from the mean of a batch, [blocks, examples, places, ...] twice.

    Of fewer examples that differ in all directions alike it would be larger.
    """
    _, r, places, _, _ = gaps.shape
    centred = gaps.mean(1, keepdims=True) + gaps.mean(3, keepdims=True) - gaps.mean((1, 3), keepdims=True) - gaps
    traces = np.einsum("kapap->k", centred)
    found = float(((centred**2).sum((1, 2, 3, 4)) / np.maximum(traces, TINY) ** 2).mean())
    return float(found + (1 / (batch - 1) - 1 / (r - 1)) / places)


def _unevenness(values: Array, gap: float) -> float:
    """Return E[v²]/E[v]² of the variance v that f has given what all entries have in common, at correlation 1 - gap."""
    (m, w), (e, own) = (np.polynomial.hermite_e.hermegauss(n) for n in (COMMON, OWN))
    w, own, gap = w / w.sum(), own / own.sum(), min(max(gap, LEAST), 1.0)
    y = np.interp(math.sqrt(1 - gap) * m[:, None] + math.sqrt(gap) * e, tables()[0], values)
    variance = (y * y) @ own - (y @ own) ** 2
    mean, square = float(variance @ w), float(variance**2 @ w)
    return square / max(mean, TINY) ** 2


def angle(gaps: Array, std: Array) -> Array:
    """Return 1 - corr of every two entries, (D - (s - s')²/2)/(s s')."""
    size = std[:, :, None] * std[:, None, :]
    uneven = (std[:, :, None] - std[:, None, :]) ** 2 / 2
    return np.asarray(np.clip(np.where(size > 0, (gaps - uneven) / np.maximum(size, TINY), 0.0), 0.0, 2.0))


def _distances(rows: Array) -> Array:
    """Return half the squared distance of every two rows of a block."""
    centred = rows - rows.mean(1, keepdims=True)
    products = centred @ centred.transpose(0, 2, 1)
    return np.asarray(np.maximum(half_sums(np.diagonal(products, axis1=1, axis2=2)) - products, 0.0))


def _bends(masses: Array) -> Array:
    """Return F'' D²/2F on the grid of differences D, F(D) = sum masses_n (1 - c^n); 0 at the ends."""
    less, here, more = (decayed(np.clip(GRID * math.exp(x), 0.0, 2.0), masses) for x in (-SMALL, 0.0, SMALL))
    bend = (more - 2 * here + less) / SMALL**2 - (more - less) / (2 * SMALL)
    inside = (GRID > 0) & (GRID * math.exp(SMALL) < GRID[-1])
    return np.where(inside, bend / np.maximum(2 * here, TINY), 0.0)


def _turned(plain: Array, gap: Array, between: tuple[Places, Places], part: Array) -> Array:
    """Return sum_n a_n a'_n (1 - c^n), a and a' along a line between the coefficients at two levels each."""
    table = np.einsum("in,jn,gn->ijg", plain, plain, decay_on_grid(), optimize=True).ravel()
    (below, share), found = on_grid(gap), np.zeros_like(gap)
    weights = 1 - part, part
    for i, u in zip(between, weights, strict=True):
        for j, v in zip(between, weights, strict=True):
            start = (i[:, :, None] * len(plain) + j[:, None, :]) * len(GRID) + below
            here = table.take(start)
            found += u[:, :, None] * v[:, None, :] * (here + share * (table.take(start + 1) - here))
    return found


def on_grid(gap: Array) -> tuple[Places, Array]:
    """Return the point of the grid below each difference, and how far it is on the way to the next."""
    below = np.minimum((np.sqrt(gap / GRID[-1]) * (len(GRID) - 1)).astype(np.intp), len(GRID) - 2)
    return below, np.asarray((gap - GRID[below]) / (GRID[below + 1] - GRID[below]))


def of_data(values: Array) -> Gram | None:
    """Return that of data, [examples, *places, features]; None where its places are too many.

    >>> of_data(np.array([[[1.0], [1.0]], [[1.0], [3.0]]])).apart.round(3).tolist()
    [[[0.0, 0.333], [0.333, 0.0]]]
    """
    count, places = len(values), math.prod(values.shape[1:-1])
    each = min(max(MOST // places, 2), count)
    blocks = min(count // each, PAIRS // (each * places) ** 2)
    pairs = blocks * each * (each - 1) // 2
    if pairs < min(PAIRED, count * (count - 1) // 2) or not pairs:
        return None
    rows = values[np.linspace(0, count - 1, blocks * each).round().astype(int)]
    rows = rows.reshape(blocks, each * places, -1) / values.shape[-1] ** 0.5
    gaps = _distances(rows)
    found = Gram((rows**2).sum(-1).reshape(blocks, each, places), gaps, np.zeros_like(gaps), count)
    return found.relative() if found.level > 0 else None


def forgotten(m: Moments) -> Moments:
    """Return moments of which pairs of places are no longer known."""
    return m if m.field is None or m.field.gram is None else replace(m, field=replace(m.field, gram=None))

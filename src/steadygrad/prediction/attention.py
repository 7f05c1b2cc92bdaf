"""Softmax attention at initialization: what passes it, forward and backward.

Queries, keys and values are functions of the weights that are independent of each other; keys are taken as
exchangeable, but for the mask. Logits of one query are then Gaussian over keys, with variance

    s² = scale² d q_Q q_K (1 - c_K),    c_K the correlation of two keys,

and the weights p = softmax are those of independent Gaussian logits: C = E[sum p²] as in theory.softmax_at_init. What
comes out is what the values have in common, and C of what they have not: q_V (c_V + C (1 - c_V)). Two queries whose
logits are correlated by c share C at s sqrt(c). Approximate throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from steadygrad.theory.softmax_at_init import collision_at_init

from . import each_pair, of_mean
from .batch import Batch
from .drawn_heads import Heads, Tokens
from .field import Array, Field, white
from .handed_back import along_and_left, of_weighted_mean
from .lags import autocorrelation
from .reach import Reach
from .spread import CERTAIN
from .values import Moments

STEEPEST = 8.0  # logits beyond are an argmax
STEPS = 16  # of a unit of their deviation
DRAWN = 1 << 16  # weights


@lru_cache(maxsize=4096)
def _drawn(keys: int, scale: float, width: int) -> tuple[float, float, float, float]:
    """Return `keys` times what one query's weights come to, drawn: see `Weights`.

    Only the part of a key along the query matters to the weights; the others are isotropic.
    """
    rng = np.random.default_rng(0)
    z = rng.standard_normal((max(DRAWN // keys, 64), keys))
    long = rng.chisquare(width, (len(z), 1)) / width  # |q|² relative to its mean
    p = np.exp(scale * np.sqrt(long) * z)
    p /= p.sum(1, keepdims=True)
    square = p * p
    total = square.sum(1, keepdims=True)
    steep = square * (1 - 2 * p + total)
    along = square * (z - (p * z).sum(1, keepdims=True)) ** 2
    means = (square, steep, (along + (width - 1) * steep) / width, long * steep)
    found = [float(x.sum(1).mean()) * keys for x in means]
    return found[0], found[1], found[2], found[3]


@dataclass(frozen=True, slots=True)
class Weights:
    """Of a softmax p over keys of Gaussian logits z = q·k, each for each number of keys: `collision` E[sum p²]; with
    J = diag(p) - p p^T its derivative, `steep` E|J|², `of_keys` E|J k|² and `of_queries` E|q|² |J|², relative to one
    entry of k and q.
    """

    collision: Array
    steep: Array
    of_keys: Array
    of_queries: Array


def weights_of(keys: Array, scale: float, width: int) -> Weights:
    """Return them for logits of this deviation: between powers of two on a line in the log of the number of keys."""
    powers = np.arange(0, math.ceil(math.log2(max(float(keys.max()), 2.0))) + 1)
    table = _between(scale, lambda s: np.array([_drawn(int(2**p), s, width) for p in powers]))
    return Weights(*(np.interp(np.log2(keys), powers, column) / keys for column in table.T))


def _between(scale: float, table: Callable[[float], Array]) -> Array:
    """Return a table for logits of this deviation, on a line between those of steps of 1/16: off by 0.0005 f''."""
    steps = min(max(scale, 0.0), STEEPEST) * STEPS
    below = math.floor(steps)
    low = table(below / STEPS)
    return low if steps == below else low + (steps - below) * (table((below + 1) / STEPS) - low)


@lru_cache(maxsize=4096)
def _collision(classes: int, scale: float) -> float:
    return collision_at_init(classes=classes, logit_scale=scale) * classes


def collisions(keys: Array, s: float) -> Array:
    """Return E[sum p²] for so many keys: between powers of two on a line of n E[sum p²] in log n."""
    powers = np.arange(0, math.ceil(math.log2(max(float(keys.max()), 2.0))) + 1)
    known = _between(s, lambda s: np.array([_collision(int(2**p), s) for p in powers]))
    return np.asarray(np.interp(np.log2(keys), powers, known) / keys)


@dataclass(frozen=True, slots=True)
class Attention:
    """Queries and keys as they meet: their moments, the width of a head, and what multiplies their product.

    `kept` is the share of weights that dropout leaves; `added` the variance over keys of what is added to logits, such
    as a bias by distance, of each query its own, and `common` how much of it two examples share.
    """

    query: Moments
    key: Moments
    width: int
    reach: Reach
    scale: float = 1.0
    kept: float = 1.0
    added: float = 0.0
    common: float = 0.0

    @property
    def variance(self) -> float:
        """The variance over keys of the products of one query, what is added left away."""
        size = self.scale**2 * self.width * _size(self.query) * _size(self.key)
        return size * apart(self.key)[0]

    def weighted(self) -> Weights:
        """Return what the weights of one query come to."""
        return weights_of(self.reach.keys, math.sqrt(self.variance + self.added), self.width)

    def shared(self, correlation: float, added: float = 0.0) -> Array:
        """Return E[sum p p'] of two queries with the same keys whose products are so correlated, [queries].

        `added` is the variance of what their logits have in common beside.
        """
        return collisions(self.reach.keys, math.sqrt(self.variance * min(max(correlation, 0.0), 1.0) + added))

    def weights(self, batch: Batch) -> Moments:
        """Return the moments of the weights themselves."""
        n, r = self.reach.all_keys, batch.followed
        q, two = (float(self.weighted().collision.mean()) / self.kept / n, float(self.of_two_examples().mean()) / n)
        d = batch.off_diagonal(max(q - two, 0.0))
        return Moments(np.full(r, 1 / n), np.full(r, q), d, CERTAIN)

    def of_two_queries(self) -> float:
        """Return E[sum p p'] of two queries of one example, with the keys that they share."""
        even = float((1 / self.reach.keys).mean())
        return self.reach.met * float(self.shared(1 - apart(self.query)[0]).mean()) / even

    def of_two_examples(self) -> Array:
        """Return E[sum p p'] of one query in two examples, [queries]."""
        own, other = apart(self.key)
        here = max(other - _here(self.key), 0.0) / own if own > 0 else 0.0
        return self.shared((1 - _here(self.query)) * here, self.common)

    def forward(self, value: Moments, batch: Batch) -> Moments:
        """Return the moments of the weighted means of values, over the positions of the queries.

        Under a causal mask each query's keys are alike as the first so many are.
        """
        own, other = apart(value)
        c, q = self.weighted().collision, float(value.q.mean())
        products, (one, pair) = self._of_first(value), self._of_keys(value)
        each = pair + c * (one / self.kept - pair) + self.drawn_along(c) * _of_tokens(value, batch)
        level, met = float(each.mean()), self._of_examples(value, products)
        apart_here = value.d / q - _here(value) if q > 0 else value.d
        product = float(met.mean()) - float(self.of_two_examples().mean()) * apart_here
        d = np.maximum((level - product) * (value.q[:, None] + value.q) / 2, 0.0)
        np.fill_diagonal(d, 0.0)
        within = 1 - (1 - own * (1 - self.of_two_queries())) / level
        across = 1 - (1 - other + self.reach.met * max(other - _here(value), 0.0)) / level
        positions = self.query.field.sizes if self.query.field else (self.reach.queries,)
        field = white(positions, within, max(across, within), batch.distinct_mean(d) / (level * q) if q > 0 else 0.0)
        if each.size == field.count:
            field = replace(field, share=(each / level).reshape(positions))
        field = replace(field, beyond=_varied(value))
        if products is not None:
            field = each_pair.told(field, self._of_two(products, each, met) / level)
        return Moments(value.mean, value.q * level, d, value.spread, excess=value.excess, field=field)

    def _of_first(self, value: Moments) -> Array | None:
        """Return the products of every two values under a causal mask."""
        causal = self.reach.causal and value.field is not None and value.field.sizes == (self.reach.queries,)
        return each_pair.known(value.field) if causal and value.field is not None else None

    def _of_keys(self, value: Moments) -> tuple[Array | float, Array | float]:
        """Return the squares of the values that a query reaches, and the products of two, [queries] or one number."""
        products = self._of_first(value)
        return (1.0, 1 - apart(value)[0]) if products is None else each_pair.of_first(products[0])

    def _apart_of_keys(self, value: Moments) -> Array | float:
        """Return by how much two distinct values differ of those that a query reaches, [queries] or one number."""
        one, pair = self._of_keys(value)
        return one - pair

    def _of_examples(self, value: Moments, products: Array | None) -> Array:
        """Return the products of one query's means in two examples, [queries]: of one key in both, and of two."""
        here, other, two = 1 - _here(value), 1 - apart(value)[1], self.of_two_examples()
        own, rest = (here, other) if products is None else each_pair.of_first(products[1])
        return np.asarray(rest + two * (own - rest))

    def _of_two(self, products: Array, each: Array, met: Array) -> Array:
        """Return the products of every two means; of keys that two queries share, weights are alike beyond 1/n.

        `each` and `met` are those of one query, of an example and of two.
        """
        found = each_pair.of_means(products)
        places = np.arange(len(each)) + 1.0
        beyond = max(self.of_two_queries() / self.reach.met - 1, 0.0) * (1 - float(products[0].mean()))
        found[0] += beyond / np.maximum(places[:, None], places)
        for of_pairs, alone in zip(found, (each, met), strict=True):
            np.fill_diagonal(of_pairs, alone)
        return found

    def along_the_mean(self, value: Moments) -> float:
        """Return d log q'/d log M, of means q' of values and M of all of them (of_mean.py), as they are alike by c.

        q' is c + C (1 - c) of one value, M of T of them c + (1 - c)/T.
        """
        if value.field is None or value.field.of_mean is None or value.field.count < 2:
            return 0.0
        c, (one, pair) = self.weighted().collision, self._of_keys(value)
        level = float((pair + c * (one - pair)).mean())
        return float((1 - c).mean()) / (1 - 1 / value.field.count) * of_mean.share(value.field) / max(level, 1e-300)

    def of_mean(self, value: Moments) -> tuple[float, float]:
        """Return d log M'/d log M, M' of the mean over all queries, and n/2 of what it varies by beside.

        Weights that give each key as much keep M; under a causal mask the first count more (handed_back.py).
        """
        products = self._of_first(value)
        if products is None or len(products[0]) != self.reach.all_keys:
            return 1.0, 0.0
        places = self.reach.keys
        return of_weighted_mean(products[0], (1 / places)[::-1].cumsum()[::-1] / len(places))

    @property
    def heads(self) -> Heads:
        """The heads as they are drawn; of masks the causal one is told apart."""
        keys = self.reach.keys
        scale = round(self.scale * math.sqrt(_size(self.query) * _size(self.key) * self.width), 1)
        causal = keys.size > 1 and float(keys[0]) < float(keys[-1])
        return Heads(self.reach.all_keys, self.width, min(scale, STEEPEST) / math.sqrt(self.width), causal)

    def drawn_along(self, collision: Array) -> Array:
        """Return how far weights follow what is like the query's favourite: s² of flat weights, 1 of an argmax.

        Keys and values are made of the same tokens, and Σ_s z_s v_s over a query's logits z_s is not only noise:
        E[z_s z_s' v_s·v_s'] holds E[(x_s·x_s'/n)²] of two tokens, which is 1/n where they are independent.
        """
        return np.maximum(1 - 1 / np.maximum(self.reach.keys * collision, 1.0), 0.0) * (1 - 1 / self.reach.keys)

    def to_values(self, g: Moments, positions: tuple[int, ...], batch: Batch) -> Moments:
        """Return the gradient of the values: each gets from a query its weight's share.

        That is Σ_t p_ts g_t at key s. E[p_ts²] is E[Σ p²] π_ts, of two queries E[p_ts p_t's] as π_ts π_t's; and as the
        weights of a query sum to one, of all pairs of keys is left what it was of queries.
        """
        pairs = self._handed_in_pairs(g, positions)
        if pairs is not None:
            return _gradient_in_pairs(g, pairs, batch)
        reach, collision, share = self.reach, self.weighted().collision, _by_query(g, self.reach.queries)
        laid, each_pair = _in_pairs(g, share)
        alike = (1 - apart(g)[0]) * each_pair * self.of_two_queries() / reach.met
        each = reach.handed(share * collision) / self.kept + alike * reach.handed_by_pairs(laid)
        ratio, level = reach.queries / reach.all_keys, float(each.mean())
        within, across = (1 - (1 - gap) * ratio**2 / level for gap in _means(g))
        m = _gradient(g, each, (positions, within, across), batch)
        if m.field is None or not reach.causal or positions != (reach.all_keys,):
            return m
        later = reach.handed(share * (1 - collision) / np.maximum(reach.keys - 1, 1) - alike * laid / reach.keys)
        return replace(m, field=_on_a_line(m.field, later / level, reach.handed(np.sqrt(laid)), alike / level))

    def _handed_in_pairs(self, g: Moments, positions: tuple[int, ...]) -> Array | None:
        """Return the products of what every two keys get under a causal mask, of an example and of two, relative to q.

        None where those of what queries have are not known.
        """
        reach = self.reach
        known = reach.causal and g.field is not None and g.field.sizes == positions == (reach.queries,)
        products = each_pair.known(g.field) if known and g.field is not None else None
        if products is None:
            return None
        sharp, collision = self.of_two_queries() / reach.met, self.weighted().collision
        own = each_pair.handed(products[0], collision, sharp, collision / self.kept)
        return np.stack([own, each_pair.handed(products[1], self.of_two_examples(), 1.0)])

    def back_along_the_mean(self, g: Moments, handed: Moments) -> tuple[float, float | None]:
        """Return d log q'/d log M of what keys get, q', and the mean M of what queries have, as these are alike by c.

        Of q' pairs of queries have a part that goes as c, of M all but one query's own. And, where a mask lets them
        get it of some, n/2 of what q' varies by beside, of gradients of n features (handed_back.py); what queries have
        in common is taken to be of what values were `handed`, as these are alike.
        """
        if g.field is None or g.field.of_mean is None or g.field.count < 2:
            return 0.0, None
        share, products = _by_query(g, self.reach.queries), each_pair.known(g.field)
        if self.reach.causal and products is not None and self.reach.queries == self.reach.all_keys == len(share):
            weights = np.tri(len(share)) / self.reach.keys[:, None]
            common, alike = g.field.common, max(1 - apart(handed)[0], 1e-300)
            came = np.zeros(share.shape) if common is None else common * min((1 - apart(g)[0]) / alike, 1.0)
            return along_and_left(products[0], weights, np.broadcast_to(self.weighted().collision, share.shape), came)
        laid, each = _in_pairs(g, share)
        own = float(self.reach.handed(share * self.weighted().collision).mean()) / self.kept
        pairs = each * self.of_two_queries() / self.reach.met * float(self.reach.handed_by_pairs(laid).mean())
        whole = own + (1 - apart(g)[0]) * pairs
        return pairs / (1 - 1 / g.field.count) * of_mean.share(g.field) / max(whole, 1e-300), None

    def steep_together(self) -> float:
        """Return what `Weights.steep` is for two queries that share their keys."""
        two = self.of_two_queries()
        return max(two * (1 - two), 0.0)

    def to_queries(self, g: Moments, value: Moments, factor: float, batch: Batch) -> Moments:
        """Return the gradient of the queries: of the values' and keys' differences alone, as the weights sum to one.

        Σ_s p_s (g·v_s) k_s is a sum of tokens that are alike twice, in v and in k: E[(x_s·x_s'/n)²] of two is left.
        A query with one key gets nothing.
        """
        own, two = self.weighted(), self.steep_together()
        share = _by_query(g, self.reach.queries)
        steep, c = float(own.steep.mean()), np.minimum(own.collision, 1.0)
        each = factor**2 * share * own.of_keys * self.width * _size(value) * self._apart_of_keys(value)
        each *= _size(self.key) * self._apart_of_keys(self.key) * (1 + _of_tokens(value, batch) * (1 - c) / c)
        within = 1 - (1 - apart(g)[0]) * two / steep if steep > 0 else 1.0
        positions = self.query.field.sizes if self.query.field else (self.reach.queries,)
        across = 1 - (1 - _here(g)) * _alike(value) * _alike(self.key)
        return _gradient(g, each, (positions, within, 1.0), batch, across)

    def to_keys(self, g: Moments, value: Moments, factor: float, batch: Batch) -> Moments:
        """Return the gradient of the keys, Σ_t (J_t v g_t)_s q_t: of two queries as E[p_ts p_t's] of the values'.

        Less what the weights' sum of one takes, 1 - Σ p² of each.
        """
        reach, sharp = self.reach, self.of_two_queries() / self.reach.met
        share = _by_query(g, reach.queries)
        laid, each_pair = _in_pairs(g, share)
        alike = (1 - apart(g)[0]) * each_pair * sharp * (1 - apart(self.query)[0])
        unlike = self._apart_of_keys(value)
        each = reach.handed(share * unlike * self.weighted().of_queries)
        each += alike * reach.handed_by_pairs(laid * unlike * np.maximum(1 - sharp / reach.keys, 0.0))
        each *= factor**2 * self.width * _size(value) * _size(self.query)
        positions = self.key.field.sizes if self.key.field else (reach.all_keys,)
        across = 1 - (1 - _here(g)) * _alike(value) * (1 - _here(self.query))
        return _gradient(g, each, (positions, 1.0, 1.0), batch, across)


def raised_to(field: Field, overlap: float, examples: int) -> Field:
    """Return the field with products that vary so much more that the overlap is no less than this."""
    missing = overlap - field.overlap(examples)
    room = tuple(1 - square for square in field.squares)
    left = float((field.pairs * field.averaged((room[0], room[1]), examples)).sum())
    if missing <= 0 or left <= 0:
        return field
    whole = float(field.averaged(field.squares, examples).flat[0])
    return replace(field, beyond=np.minimum(field.beyond + min(missing * whole / left, 1.0), 1.0))


def _by_query(g: Moments, queries: int) -> Array:
    """Return how much of a gradient each query got, [queries]."""
    known = g.field is not None and g.field.count == queries
    return g.field.share.ravel() if g.field is not None and known else np.ones(queries)


def _in_pairs(g: Moments, share: Array) -> tuple[Array, float]:
    """Return how products of what two queries got are laid out, a by query, and their mean over that of √(a a')."""
    laid, pairs, field = share, len(share) * (len(share) - 1), g.field
    if field is not None and field.common is not None and field.count == len(share):
        laid = field.common.ravel()
    together = float(np.sqrt(laid).sum()) ** 2 - float(laid.sum())
    return laid, pairs / together if together > 0 else 0.0


def _gradient_in_pairs(g: Moments, pairs: Array, batch: Batch) -> Moments:
    """Return moments with g's second moment times a number for each position, of these products relative to it.

    As of products m m' the sums over all other places go as m, so what they have in common is laid out so.
    """
    each, (level, two) = np.diagonal(pairs[0]), np.diagonal(pairs, axis1=1, axis2=2).mean(1)
    m = _gradient(g, each, ((len(each),), 1.0, 1.0), batch, 1 - two / max(level, 1e-300))
    if m.field is None or not level > 0:
        return m
    roots = np.maximum(pairs[0].sum(0) - each, 0.0)
    common = roots**2 / max(float((roots**2).mean()), 1e-300)
    return replace(m, field=replace(each_pair.told(m.field, pairs / level), common=common))


def _on_a_line(field: Field, later: Array, sums: Array, alike: float) -> Field:
    """Return the field of keys under a causal mask, of which products are k(later of two places) + alike h h'.

    One query reaches two keys if it reaches the later, k; and of two queries each may reach one of them, h = Σ_t √a π.
    As of products m m' the sums over all other places go as m, so they are laid out as these sums.
    """
    places = np.arange(len(later))
    behind = later[::-1].cumsum()[::-1]
    by_lag = behind / (len(later) - places) + alike * autocorrelation(sums[None, :, None], sums.shape)[0]
    by_lag[0] = 1.0
    roots = np.maximum(places * later + behind - later + alike * sums * (sums.sum() - sums), 0.0)
    common = roots**2 / max(float((roots**2).mean()), 1e-300)
    return replace(field, within=1 - by_lag, common=common, in_all=None)


def _gradient(
    g: Moments, each: Array, field: tuple[tuple[int, ...], float, float], batch: Batch, here: float | None = None
) -> Moments:
    """Return moments with g's second moment times a number for each position; two examples differ by `here`, or as
    g's means do.
    """
    (positions, within, across), level = field, float(each.mean())
    q = g.q * level
    here = min(max(across if here is None else here, 0.0), 1.0)
    d = here * (q[:, None] + q) / 2
    np.fill_diagonal(d, 0.0)
    found = white(positions, min(max(within, 0.0), 1.0), across, here, _varied(g))
    if each.size == found.count and level > 0:
        found = replace(found, share=(each / level).reshape(positions))
    return Moments(g.mean * 0, q, d, g.spread, excess=g.excess, field=found)


def _of_tokens(value: Moments, batch: Batch) -> float:
    """Return by how much products of two tokens vary, by what one unit of their values varies by beyond their means."""
    if value.field is None:
        return 0.0
    return max(value.unit_variance / 2 - replace(value.field, beyond=0.0).overlap_of_all(batch.size), 0.0)


def tokens(m: Moments, batch: Batch, by_matrix: float = 0.0) -> Tokens:
    """Return tokens as heads are drawn for; `by_matrix` is what their lengths vary by after one, whatever came in."""
    vary = _of_tokens(m, batch)
    own, other = (min(max(1 - gap, 0.0), 1.0) for gap in apart(m))
    lengths = float(m.field.by_lag.flat[0]) - by_matrix if m.field is not None else 0.0
    if not vary > 0:
        return Tokens(math.inf, own, other)
    return Tokens(1 / vary, own, other, min(max(lengths / (2 * vary), 0.0), 1.0))


def _varied(m: Moments) -> float:
    """Return by how much products of two places vary: of means over positions as of what they are means of."""
    return m.field.varied if m.field is not None else 0.0


def _size(m: Moments) -> float:
    return float(m.q.mean())


def _means(m: Moments) -> tuple[float, float]:
    return m.field.mean() if m.field is not None else (0.0, _here(m))


def apart(m: Moments) -> tuple[float, float]:
    """Return by how much distinct positions differ, within an example and across two, relative to q."""
    return m.field.apart() if m.field is not None else (0.0, _here(m))


def _here(m: Moments) -> float:
    r = len(m.q)
    return float(m.d.sum()) / max(r * (r - 1), 1) / max(float(m.q.mean()), 1e-300)


def _alike(m: Moments) -> float:
    """Return how alike what tells positions apart is in two examples."""
    own, other = apart(m)
    return min(max((other - _here(m)) / own, 0.0), 1.0) if own > 0 else 0.0

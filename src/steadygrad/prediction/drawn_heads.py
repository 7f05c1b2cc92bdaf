"""Means over tokens by heads of attention that are drawn: how much their squares vary, which no mean of theirs tells.

Queries differ in length, and a long one has few keys that matter to it, so of what comes out a few positions have most.
How sharp a head's weights are is a matter of its two matrices, and what tokens have in common one of a few of them. So
heads are drawn, seeded, over tokens of as many features as products of two tokens say that there are; what a head makes
of them is held against what went in. What means vary by with the tokens themselves follows from their products. Of
weights P and the tokens' products G, a unit of P G P^T = K varies by 2 mean K²/(mean K_tt)², over pairs of examples and
positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .field import Array

GROUPS, HEADS = 128, 4  # of tokens, and of heads over each
SOME = 16  # groups whose products are looked at
LONGEST, WIDEST = 32, 64  # tokens, and features or entries of a head, that are drawn at most
EXAMPLES, PLACES = 8, 128  # of a group, at most, and how many tokens these have, if two have no more
QUERIES, KEYS, VALUES, GRADIENTS, TOKENS, COMING = 1, 2, 3, 4, 5, 6  # seeds, of matrices and of what goes through them
STEP, KINDS = 0.1, 4  # of correlations within an example that are drawn, and of those across two beside them


class Tokens(NamedTuple):
    """How many features tokens have, by how much products of two vary, and the correlation of two of an example, and of
    two examples; `lengths` is how much of what those of Gaussian ones do they vary by, none behind a norm.
    """

    features: float
    own: float
    other: float
    lengths: float = 1.0

    def drawn(self, seed: int, count: int) -> Array:
        """Return tokens of some examples, [groups, examples, tokens, features], of unit second moment."""
        own, other = max(self.own, self.other, 0.0), max(self.other, 0.0)
        shared, ours, each = _normals(seed, self.dimensions, count)
        return np.asarray(other**0.5 * shared + (own - other) ** 0.5 * ours + max(1 - own, 0.0) ** 0.5 * each)

    @property
    def dimensions(self) -> int:
        """How many features are drawn."""
        return max(round(min(self.features, WIDEST)), 1)

    @property
    def of_any_lengths(self) -> Tokens:
        """As they are drawn, whatever their lengths do."""
        return self._replace(lengths=1.0)

    @property
    def near(self) -> tuple[tuple[float, Tokens], ...]:
        """The tokens that are drawn for these, with their weights: a correlation below this one, and one above.

        Features are taken to half an octave, no more than are drawn; what correlations across two examples are of those
        within, to a quarter.
        """
        below, above = math.floor(self.own / STEP) * STEP, math.ceil(self.own / STEP) * STEP
        share = round(KINDS * min(max(self.other / self.own, 0.0), 1.0)) / KINDS if self.own > 0 else 0.0
        features = min(2 ** (round(2 * math.log2(max(min(self.features, WIDEST), 1.0))) / 2), WIDEST)
        weight = (self.own - below) / STEP
        both = ((1 - weight, below), (weight, above))
        free = float(self.lengths > 0.5)
        return tuple((w, Tokens(features, own, own * share, free)) for w, own in both if w > 0)


@lru_cache(maxsize=8)
def _normals(seed: int, n: int, count: int) -> tuple[Any, Any, Any]:
    """Return normal numbers of groups, of their examples and of the tokens of these."""
    rng, size = np.random.default_rng(seed), (GROUPS, examples(count))
    sizes = ((GROUPS, 1, 1), (*size, 1), (*size, count))
    shared, ours, each = (rng.standard_normal((*at, n), np.float32) for at in sizes)
    return shared, ours, each


def examples(count: int) -> int:
    """Return how many examples of so many tokens a group has."""
    return max(min(EXAMPLES, PLACES // count), 2)


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads of one layer: how many tokens and entries they have, and what multiplies products of unit entries."""

    tokens: int
    width: int
    scale: float
    causal: bool


@dataclass(frozen=True, slots=True)
class Varied:
    """By how much a mean square varies beside that of what went in: from head to head, and with the tokens; for one
    example, and in common to two.
    """

    heads: tuple[float, float]
    tokens: tuple[float, float]

    def variance(self, examples: int, heads: float, drawn: float = 1.0) -> float:
        """Return the relative variance over so many examples and heads, where tokens are drawn to this share."""
        of_tokens = max(averaged(self.tokens, examples), 0.0)
        return max(averaged(self.heads, examples), 0.0) / max(heads, 1.0) + drawn * of_tokens


def averaged(pair: tuple[float, float], examples: int) -> float:
    """Return the mean over pairs of examples of what is known of one and of two."""
    return pair[0] / examples + pair[1] * (1 - 1 / examples)


def forward(heads: Heads, tokens: Tokens, along: float = 0.0) -> tuple[Varied, tuple[float, float]]:
    """Return how means of values vary, and a unit's relative variance for one example and for two.

    `along` is how much of what they vary by is known as that of the mean of all values (of_mean.py).
    """
    along = _rounded(along)
    found = [(w, *_forward(heads, near, along)) for w, near in tokens.near]
    pair = _between([(w, pair) for w, _, pair in found])
    return _weighed([(w, varied) for w, varied, _ in found], (tokens,)), pair


def backward(heads: Heads, tokens: Tokens, gradient: Tokens, along: float = 0.0) -> tuple[Varied, Varied, Varied]:
    """Return how gradients of queries, keys and values vary beside the one that comes in.

    `along` is how much of what those of values vary by is known as that of the mean of all that come in.
    """
    along = _rounded(along)
    pairs = [(v * w, x.of_any_lengths, g.of_any_lengths) for v, x in tokens.near for w, g in gradient.near]
    both = [(w, _backward(heads, x, g, along)) for w, x, g in pairs]
    to_queries, to_keys, to_values = (
        _weighed([(w, varied[i]) for w, varied in both], (tokens, gradient)) for i in range(3)
    )
    return to_queries, to_keys, to_values


def _rounded(along: float) -> float:
    return round(min(max(along, 0.0), 1.0) / STEP) * STEP


def _between(found: list[tuple[float, tuple[float, float]]]) -> tuple[float, float]:
    return sum(w * pair[0] for w, pair in found), sum(w * pair[1] for w, pair in found)


def _weighed(found: list[tuple[float, Varied]], met: tuple[Tokens, ...]) -> Varied:
    """Return the mean; products of more features than are drawn vary as much less."""
    beyond = max(t.dimensions / t.features for t in met)
    of_tokens = _between([(w, varied.tokens) for w, varied in found])
    return Varied(_between([(w, varied.heads) for w, varied in found]), (beyond * of_tokens[0], beyond * of_tokens[1]))


@lru_cache(maxsize=256)
def _forward(heads: Heads, tokens: Tokens, along: float) -> tuple[Varied, tuple[float, float]]:
    x, (weights, _, _, values) = _attending(heads, tokens.of_any_lengths)
    means = weights @ x
    varied = _varied(_sizes(weights @ values), _beside(*_of_all(values), along), heads)
    alone = means[:SOME].reshape(-1, 1, *means.shape[2:])
    pair = _own_and_other(2 * _products(alone, alone))
    return replace(varied, tokens=_of_tokens(x[:SOME], weights[:SOME], along, tokens.lengths)), pair


def _of_tokens(x: Array, weights: Array, along: float, free: float) -> tuple[float, float]:
    """Return how the size of means of tokens varies with their draw, beside what is known of it, to first order.

    With A = P^T P/mean |P x|² - (1 - s)/mean |x|² - s J^T J/mean |J x|², P the weights of all heads, J the mean of all
    and s `along`, the ratio of both varies by tr(A x x^T): over Gaussian tokens of n features by 2/n tr((A x x^T)²).
    Where all tokens are of one length what A has on its diagonal, but for a share `free`, lets nothing vary.
    """
    x, count = x[:, 0], x.shape[-2]
    products = np.einsum("gisn,gjtn->gijst", x, x, optimize=True) / x.shape[-1]
    own = np.einsum("giist->gist", products)
    means = (_transposed(weights) @ weights).mean(1)
    parts = ((1.0, means), (along - 1, np.eye(count)), (-along, np.full((count, count), 1 / count)))
    a = sum(factor / max(float((part * own).sum(-1).mean()), 1e-300) * part for factor, part in parts)
    a = np.array(np.broadcast_to(a, own.shape))
    a[..., range(count), range(count)] *= free**0.5
    left = (a[:, :, None] @ products * (products @ a[:, None])).sum((-1, -2)).mean(0) / count**2
    return _own_and_other(2 / x.shape[-1] * np.asarray(left))


def _products(x: Array, y: Array) -> Array:
    """Return mean squared products of entries of examples, [examples, examples], relative to the size of each."""
    groups, n = len(x), x.shape[-1]
    a, b = (np.moveaxis(each, 2, 1).reshape(groups, each.shape[2], -1, n) for each in (x, y))
    k = a.reshape(groups, -1, n) @ _transposed(b.reshape(groups, -1, n)) / n
    k = k.reshape(groups, a.shape[1], a.shape[2], b.shape[1], b.shape[2])
    squares = np.einsum("gisjt,gisjt->ij", k, k) / (groups * a.shape[2] * b.shape[2])
    return np.asarray(squares / (float((x**2).mean()) * float((y**2).mean())))


@lru_cache(maxsize=256)
def _backward(heads: Heads, tokens: Tokens, gradient: Tokens, along: float) -> tuple[Varied, Varied, Varied]:
    coming, (queries, keys, values) = _sizes_back(heads, tokens, gradient)
    before, known = (_beside(*coming, share) for share in (0.0, along))
    return _varied(queries, before, heads), _varied(keys, before, heads), _varied(values, known, heads)


@lru_cache(maxsize=256)
def _sizes_back(
    heads: Heads, tokens: Tokens, gradient: Tokens
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    """Return the sizes of what comes in, of all of it and of its mean, and of gradients of queries, keys and values."""
    _, (weights, queries, keys, values) = _attending(heads, tokens)
    g = _times(gradient.drawn(COMING, min(heads.tokens, LONGEST))[:, None], GRADIENTS, heads)
    inner = g @ _transposed(values)
    inner -= np.vecdot(weights, inner)[..., None]
    scores = np.multiply(inner, weights, out=inner)
    into = scores @ keys, _transposed(scores) @ queries, _transposed(weights) @ g
    to_queries, to_keys, to_values = (_sizes(x) for x in into)
    return _of_all(g), (to_queries, to_keys, to_values)


@lru_cache(maxsize=1)  # of 60 MB at most: the same tokens are met by gradients of two correlations, one after the other
def _attending(heads: Heads, tokens: Tokens) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """Return the tokens, and the heads' weights, queries, keys and values."""
    x = tokens.drawn(TOKENS, min(heads.tokens, LONGEST))[:, None]
    queries, keys = _times(x, QUERIES, heads), _times(x, KEYS, heads)
    logits = heads.scale * queries @ _transposed(keys)
    if heads.causal:
        logits = np.where(np.tri(logits.shape[-1], dtype=bool), logits, -np.inf)
    logits -= logits.max(-1, keepdims=True)
    weights = np.exp(logits, out=logits)
    weights /= weights.sum(-1, keepdims=True)
    return x, (weights, queries, keys, _times(x, VALUES, heads))


def _transposed(x: Array) -> Array:
    return np.asarray(np.swapaxes(x, -1, -2))


def _times(x: Array, which: int, heads: Heads) -> Array:
    """Return the product with a matrix for each head over each group, the same for its examples."""
    groups, n, width = len(x), x.shape[-1], min(heads.width, WIDEST)
    found = x.reshape(groups, 1, -1, n) @ _matrices(which, n, width)
    return found.reshape(groups, HEADS, *x.shape[2:-1], width)


@lru_cache(maxsize=8)  # of 8 MB at most; to draw one takes as long as to use it ten times
def _matrices(which: int, n: int, width: int) -> Array:
    rng = np.random.default_rng(which)
    return np.asarray(rng.standard_normal((GROUPS, HEADS, n, width), np.float32) / n**0.5)


def _sizes(x: Array) -> Array:
    return np.asarray(np.vecdot(x, x).mean(-1) / x.shape[-1])


def _of_all(x: Array) -> tuple[Array, Array]:
    """Return sizes of all tokens and of their mean, [groups, heads, examples]."""
    return _sizes(x), _sizes(x.mean(-2, keepdims=True))


def _beside(whole: Array, mean: Array, along: float) -> Array:
    """Return what is known of sizes, each to its mean: of all tokens, to this share of their mean."""
    if not along:
        return np.asarray(whole / whole.mean())
    return np.asarray((1 - along) * whole / whole.mean() + along * mean / mean.mean())


def _varied(after: Array, before: Array, heads: Heads) -> Varied:
    """Return how sizes [groups, heads, examples] vary: what came out, to its mean, beside what is known of it."""
    apart = after / after.mean() - before
    mean = apart.mean(1)
    off = apart - mean[:, None]
    within = np.einsum("ghi,ghj->ij", off, off) / (GROUPS * (HEADS - 1))
    between = np.cov(mean.T) - within / HEADS
    less = min(WIDEST / heads.width, 1.0)  # of more entries as much less
    return Varied(_own_and_other(within * less), _own_and_other(between))


def _own_and_other(covariance: Array) -> tuple[float, float]:
    return float(np.trace(covariance)) / len(covariance), _off(covariance)


def _off(matrix: Array) -> float:
    """Return the mean beside the diagonal."""
    n = len(matrix)
    return float(matrix.sum() - np.trace(matrix)) / (n * (n - 1))

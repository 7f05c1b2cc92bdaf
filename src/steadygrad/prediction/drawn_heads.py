"""Means over tokens by heads of attention that are drawn: how much their squares vary, which no mean of theirs tells.

Queries differ in length, and a long one has few keys that matter to it, so of what comes out a few positions have most.
How sharp a head's weights are is a matter of its two matrices, and what tokens have in common one of a few of them. So
heads are drawn, seeded, over tokens of as many features as products of two tokens say that there are; what a head makes
of them is held against what went in. Of weights P and the tokens' products G, a unit of P G P^T = K varies by
2 mean K²/(mean K_tt)², over pairs of examples and positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .field import Array

GROUPS, HEADS = 64, 4  # of tokens, and of heads over each
LONGEST, WIDEST = 32, 64  # tokens, and features or entries of a head, that are drawn at most


class Tokens(NamedTuple):
    """How many features tokens have, by how much products of two vary, and the correlation of two of an example, and of
    two examples.
    """

    features: float
    own: float
    other: float

    @property
    def beyond(self) -> float:
        """What products of two vary by, relative to those that are drawn: of more features, as much less."""
        return min(WIDEST / self.features, 1.0)

    def drawn(self, rng: np.random.Generator, count: int) -> Array:
        """Return tokens of two examples, [2, tokens, features], of unit second moment."""
        n, own, other = round(min(self.features, WIDEST)), max(self.own, self.other, 0.0), max(self.other, 0.0)
        shared, ours, each = (rng.standard_normal((*at, n)) for at in ((1, 1), (2, 1), (2, count)))
        return np.asarray(other**0.5 * shared + (own - other) ** 0.5 * ours + max(1 - own, 0.0) ** 0.5 * each)


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

    def variance(self, examples: int, heads: float) -> float:
        """Return the relative variance over so many examples and heads."""
        return max(averaged(self.heads, examples) / max(heads, 1.0) + averaged(self.tokens, examples), 0.0)


def averaged(pair: tuple[float, float], examples: int) -> float:
    """Return the mean over pairs of examples of what is known of one and of two."""
    return pair[0] / examples + pair[1] * (1 - 1 / examples)


@lru_cache(maxsize=256)
def forward(heads: Heads, tokens: Tokens) -> tuple[Varied, tuple[float, float]]:
    """Return how means of values vary, and a unit's relative variance for one example and for two."""
    rng, found, products = np.random.default_rng(0), [], []
    for _ in range(GROUPS):
        x = tokens.drawn(rng, min(heads.tokens, LONGEST))
        for _ in range(HEADS):
            weights, _, _ = _attending(rng, heads, x)
            values = x @ _matrix(rng, x, heads)
            found.append([_sizes(weights @ values), _sizes(values)])
            means = weights @ x
            products.append([means[i] @ means[j].T / x.shape[-1] for i, j in ((0, 0), (1, 1), (0, 1))])
    k = np.array(products)
    size = float(np.trace(k[:, :2], axis1=2, axis2=3).mean()) / k.shape[-1]
    squares = 2 * (k**2).mean((0, 2, 3)) / size**2
    return _varied(np.array(found), heads, (tokens,)), (float(squares[:2].mean()), float(squares[2]))


@lru_cache(maxsize=256)
def backward(heads: Heads, tokens: Tokens, gradient: Tokens) -> tuple[Varied, Varied, Varied]:
    """Return how gradients of queries, keys and values vary beside the one that comes in."""
    rng, found = np.random.default_rng(0), []
    for _ in range(GROUPS):
        t = min(heads.tokens, LONGEST)
        x, coming = tokens.drawn(rng, t), gradient.drawn(rng, t)
        for _ in range(HEADS):
            weights, queries, keys = _attending(rng, heads, x)
            g, values = coming @ _matrix(rng, coming, heads), x @ _matrix(rng, x, heads)
            inner = g @ values.transpose(0, 2, 1)
            scores = weights * (inner - (weights * inner).sum(-1, keepdims=True))
            into = (scores @ keys, scores.transpose(0, 2, 1) @ queries, weights.transpose(0, 2, 1) @ g)
            found.append([*(_sizes(one) for one in into), _sizes(g)])
    sizes = np.array(found)
    to_queries, to_keys, to_values = (_varied(sizes[:, [i, 3]], heads, (tokens, gradient)) for i in range(3))
    return to_queries, to_keys, to_values


def _attending(rng: np.random.Generator, heads: Heads, x: Array) -> tuple[Array, Array, Array]:
    """Return one head's weights, queries and keys."""
    queries, keys = (x @ _matrix(rng, x, heads) for _ in range(2))
    logits = heads.scale * queries @ keys.transpose(0, 2, 1)
    if heads.causal:
        logits = np.where(np.tri(x.shape[1], dtype=bool), logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True), queries, keys


def _matrix(rng: np.random.Generator, x: Array, heads: Heads) -> Array:
    return np.asarray(rng.standard_normal((x.shape[-1], min(heads.width, WIDEST))) / x.shape[-1] ** 0.5)


def _sizes(x: Array) -> Array:
    return np.asarray((x**2).mean((1, 2)))


def _varied(sizes: Array, heads: Heads, met: tuple[Tokens, ...]) -> Varied:
    """Return how [draws, after and before, examples] vary: what came out beside what went in, each to its mean.

    Squares of Gaussians vary together as the square of their correlation: of two examples so few groups do not tell.
    """
    other, beyond = max(max(t.other, 0.0) for t in met), max(t.beyond for t in met)
    made = sizes / sizes.mean((0, 2))[:, None]
    apart = (made[:, 0] - made[:, 1]).reshape(GROUPS, HEADS, 2)
    within = np.mean([np.cov(group.T) for group in apart], axis=0)
    own = beyond * max(float(apart.mean(1).var(0, ddof=1).mean() - np.trace(within) / 2 / HEADS), 0.0)
    within *= min(WIDEST / heads.width, 1.0)  # of more entries as much less
    return Varied((float(np.trace(within)) / 2, float(within[0, 1])), (own, own * other**2))

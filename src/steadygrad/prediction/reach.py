"""Which keys the queries of attention reach, and how what comes back to the queries falls to the keys.

A query's weights where all of its logits are alike are π, 1/n for each of n keys that a mask leaves it. Under a causal
mask the early keys are reached by nearly all queries, and by those with few keys: the first gets Σ_t 1/t of what the
queries have, the last 1/T.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch

from .values import Array

MOST = 256  # queries of which a mask is looked at


@dataclass(frozen=True, slots=True)
class Reach:
    """`keys`: how many each query reaches, [queries] or [1]; `met`: the mean over two queries of |A ∩ B|/(|A| |B|).

    `causal`: whether a query reaches the keys up to its own place and no others; `weights`, [masks, queries, keys], are
    the π of other masks, None without one or where it is too large to be looked at whole: keys are then taken as alike.
    """

    keys: Array
    met: float
    queries: int
    all_keys: int
    causal: bool = field(default=False, kw_only=True)
    weights: Array | None = field(default=None, kw_only=True)

    def handed(self, of_query: Array) -> Array:
        """Return Σ_t a_t π_ts of a number a of each query, [queries], for each key, [keys].

        >>> unmasked(3, 3, True).handed(np.ones(3)).round(2).tolist()
        [1.83, 0.83, 0.33]
        """
        if self.causal:
            return self._of_later(of_query / self.keys)
        if self.weights is None:
            return np.full(self.all_keys, float(of_query.sum()) / self.all_keys)
        return np.asarray(np.einsum("q,bqk->k", of_query, self.weights) / len(self.weights))

    def handed_by_pairs(self, of_query: Array) -> Array:
        """Return Σ_t≠t' √(a_t a_t') π_ts π_t's over pairs of queries, for each key, [keys]: (Σ √a π)² - Σ a π².

        >>> unmasked(3, 3, True).handed_by_pairs(np.ones(3)).round(2).tolist()
        [2.0, 0.33, 0.0]
        """
        roots = np.sqrt(of_query)
        if self.causal:
            left = self._of_later(roots / self.keys) ** 2 - self._of_later(of_query / self.keys**2)
        elif self.weights is None:
            both = float(roots.sum()) ** 2 - float(of_query.sum())
            left = np.full(self.all_keys, self.met * both / self.all_keys)
        else:
            sums = np.einsum("q,bqk->bk", roots, self.weights) ** 2
            left = (sums - np.einsum("q,bqk->bk", of_query, self.weights**2)).mean(0)
        return np.maximum(left, 0.0)

    def _of_later(self, of_query: Array) -> Array:
        """Return for each key the sum over the queries at its place and behind it."""
        sums = np.zeros(max(self.all_keys, self.queries))
        sums[: self.queries] = of_query[::-1].cumsum()[::-1]
        return sums[: self.all_keys]


@lru_cache(maxsize=256)
def unmasked(queries: int, keys: int, causal: bool) -> Reach:
    """Return the reach without a mask, or with the causal one, of which the later query's keys hold the earlier's."""
    if not causal:
        return Reach(np.full(1, float(keys)), 1 / keys, queries, keys)
    n = np.minimum(np.arange(queries) + 1.0, keys)
    later = np.arange(1, queries)
    met = float((later / n[1:]).sum() / max(queries * (queries - 1) / 2, 1)) if queries > 1 else 1.0
    return Reach(n, met, queries, keys, causal=True)


def masked(allowed: torch.Tensor, queries: int, keys: int) -> Reach:
    """Return the reach under a mask, [..., queries or 1, keys]: True where a query sees a key, or what is added to it.

    Numbers that are added make weights p of their own, as of 1/Σp² keys that are all alike; `met` is then Σ p p'.
    """
    if _is_causal(allowed, queries, keys):
        return unmasked(queries, keys, True)
    whole = allowed.reshape(-1, *allowed.shape[-2:]) if allowed.dim() > 1 else allowed[None, None]
    whole = whole[np.linspace(0, len(whole) - 1, min(len(whole), 8)).astype(int)]
    rows = np.linspace(0, whole.shape[1] - 1, min(whole.shape[1], MOST)).astype(int)
    seen = whole[:, rows].expand(-1, -1, keys).double()
    prior = (seen.log() if allowed.dtype == torch.bool else seen).softmax(2).nan_to_num().numpy()
    shared = np.einsum("bqk,brk->bqr", prior, prior)
    own, r = np.einsum("bqq->bq", shared), len(rows)
    met = float((shared.sum((1, 2)) - own.sum(1)).mean() / max(r * (r - 1), 1)) if r > 1 else 1 / keys
    # What a query's weights come to goes as 1 over its keys: that is averaged over windows, heads and examples.
    reached = (1 / np.maximum(own.mean(0), 1 / keys**2)).clip(1, keys)
    return Reach(reached, met, queries, keys, weights=prior if r == queries else None)


def _is_causal(allowed: torch.Tensor, queries: int, keys: int) -> bool:
    if allowed.dtype != torch.bool or allowed.shape[-2:] != (queries, keys) or queries < 2:
        return False
    return bool((allowed == torch.ones(queries, keys, dtype=torch.bool).tril()).all())

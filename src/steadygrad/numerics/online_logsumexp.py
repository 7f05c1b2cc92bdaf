"""Log-sum-exp of a stream, in one pass, mergeable."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from steadygrad.errors import not_allowed

from .arguments import Axis, cast, floating, last_rows, namespace

_INF = float("inf")


@dataclass(frozen=True, eq=False)
class RunningLogSumExp:
    """What has to be kept of a stream to know its log-sum-exp: the maximum m and s, the sum of exp(x - m) over the
    rest.

    Args:
        maximum: m, an array or a number; -inf before anything has come.
        others: s >= 0, of the same shape; the largest entry, exp(0) = 1, is not in it.

    Two of them merge in any order and grouping: with m = max(m_1, m_2), say m_1,

        s = s_1 + exp(m_2 - m_1) (1 + s_2).

    >>> left = RunningLogSumExp.of(np.array([0.0, 1.0]))
    >>> right = RunningLogSumExp.of(np.array([1000.0]))
    >>> float(left.merge(right).value)
    1000.0
    """

    maximum: Any
    others: Any

    @staticmethod
    def of(x: Any, axis: Axis = -1) -> RunningLogSumExp:
        """Return the state of one chunk, reduced over `axis`; half precision is kept in single.

        >>> float(RunningLogSumExp.of(np.array([0.0, -50.0])).value)
        1.9287498479639178e-22
        """
        rows, _, _ = last_rows(floating(x), axis, None)
        xp = namespace(rows)
        if rows.shape[-1] == 0:
            nothing = rows.sum(-1)
            return RunningLogSumExp(nothing - _INF, nothing)
        top = xp.amax(rows, -1)
        with np.errstate(all="ignore"):
            e = xp.exp(rows - _shift(top)[..., None])
            whole = e >= 1  # the entries that reach the maximum: 1 each, and one of them is left out
            others = xp.where(whole, xp.zeros_like(e), e).sum(-1) + (whole.sum(-1) - 1)
        return RunningLogSumExp(top, xp.where(xp.isinf(top), xp.zeros_like(top), cast(others, top.dtype)))

    def merge(self, other: RunningLogSumExp) -> RunningLogSumExp:
        """Return the state of both streams together.

        >>> nothing = RunningLogSumExp.of(np.zeros(0))
        >>> round(float(nothing.merge(RunningLogSumExp.of(np.zeros(2))).value), 8)
        0.69314718
        """
        xp = namespace(self.maximum)
        top = xp.maximum(self.maximum, other.maximum)
        low = xp.minimum(self.maximum, other.maximum)
        first = self.maximum >= other.maximum
        mine, theirs = xp.where(first, self.others, other.others), xp.where(first, other.others, self.others)
        with np.errstate(all="ignore"):
            gap = xp.where(xp.isinf(top), xp.full_like(top, -_INF), low - _shift(top))
            others = mine + xp.exp(gap) * (1 + theirs)
        return RunningLogSumExp(top, xp.where(xp.isinf(top), xp.zeros_like(top), others))

    @property
    def value(self) -> Any:
        """The log-sum-exp so far, m + log1p(s)."""
        xp = namespace(self.maximum)
        with np.errstate(all="ignore"):
            return xp.where(xp.isinf(self.maximum), self.maximum, self.maximum + xp.log1p(self.others))


def online_logsumexp(chunks: Iterable[Any], *, axis: Axis = -1) -> Any:
    """Return the log-sum-exp of a stream of chunks, each reduced over `axis` and then forgotten.

    Args:
        chunks: NumPy arrays or torch tensors whose shapes agree but for `axis`.
        axis: The axis or axes to reduce; None is all of them.

    Returns:
        The log-sum-exp of all chunks, in single precision at least. `RunningLogSumExp` keeps the state, to go on or to
        merge what several processes have seen.

    Error bound: with n entries in k chunks, u and R as in `logsumexp`, to first order

        |ŷ - y| <= u (|y| + 2 log1p(s) + (s / (1 + s)) (n + 2R + 5k)):

    a term is shifted once in its chunk, by at most R in total over all merges since maxima only rise (a relative error
    u of each difference), and each of at most k merges adds 2 for exp, 1 for a product and 2 for two sums.

    Raises:
        ValueError: If there is no chunk.
        TypeError: If a chunk is complex or not of numbers.

    >>> stream = (np.full(1000, 1000.0) for _ in range(10))
    >>> float(online_logsumexp(stream)), 1000 + float(np.log(10_000))
    (1009.21034037..., 1009.21034037...)

    Reference: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", algorithm 3 and equation 4.
    """
    states = (RunningLogSumExp.of(chunk, axis) for chunk in chunks)
    try:
        return functools.reduce(RunningLogSumExp.merge, states).value
    except TypeError as error:
        if "empty iterable" not in str(error):
            raise
        raise ValueError(not_allowed("chunks", "must hold a chunk", [])) from None


def _shift(top: Any) -> Any:
    xp = namespace(top)
    return xp.where(xp.isinf(top), xp.zeros_like(top), top)

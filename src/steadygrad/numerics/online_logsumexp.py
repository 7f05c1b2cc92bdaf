"""Log-sum-exp of a stream, in one pass, mergeable."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from steadygrad.errors import not_allowed

from .arguments import Axis, cast, floating, is_tensor, last_rows, namespace

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
        zeros = xp.zeros_like(rows)
        first = _positions(rows) == xp.argmax(rows, -1)[..., None]  # one entry that reaches the maximum is left out
        top = xp.where(first, rows, zeros).sum(-1)
        with np.errstate(all="ignore"):
            e = xp.exp(xp.where(first, zeros, rows - _shift(top)[..., None]))
            others = xp.where(first, zeros, e).sum(-1)
        return RunningLogSumExp(top, xp.where(xp.isinf(top), xp.zeros_like(top), cast(others, top.dtype)))

    def merge(self, other: RunningLogSumExp) -> RunningLogSumExp:
        """Return the state of both streams together.

        Raises:
            TypeError: If one is of arrays, the other of tensors.
            ValueError: If their shapes differ.

        >>> nothing = RunningLogSumExp.of(np.zeros(0))
        >>> round(float(nothing.merge(RunningLogSumExp.of(np.zeros(2))).value), 8)
        0.69314718
        """
        xp = namespace(self.maximum)
        _check_alike(self.maximum, other.maximum)
        first = (self.maximum >= other.maximum) | xp.isnan(self.maximum)
        top, low = xp.where(first, self.maximum, other.maximum), xp.where(first, other.maximum, self.maximum)
        mine, theirs = xp.where(first, self.others, other.others), xp.where(first, other.others, self.others)
        with np.errstate(all="ignore"):
            gap = xp.where(xp.isinf(top), xp.full_like(top, -_INF), low - _shift(top))
            others = mine + xp.exp(gap) * (1 + theirs)
        return RunningLogSumExp(top, xp.where(xp.isinf(top), xp.zeros_like(top), others))

    @property
    def value(self) -> Any:
        """The log-sum-exp so far, m + log1p(s)."""
        xp = namespace(self.maximum)
        infinite = xp.isinf(self.maximum)
        limit = xp.where(infinite, self.maximum.detach() if is_tensor(self.maximum) else self.maximum, 0.0)
        finite = xp.where(infinite, xp.zeros_like(self.maximum), self.maximum)
        with np.errstate(all="ignore"):
            return limit + (finite + xp.log1p(self.others))


def online_logsumexp(chunks: Iterable[Any], *, axis: Axis = -1) -> Any:
    """Return the log-sum-exp of a stream of chunks, each reduced over `axis` and then forgotten.

    Args:
        chunks: NumPy arrays or torch tensors whose shapes agree but for `axis`.
        axis: The axis or axes to reduce; None is all of them.

    Returns:
        The log-sum-exp of all chunks, in single precision at least. `RunningLogSumExp` keeps the state, to go on or to
        merge what several processes have seen. Its gradient is the softmax over the stream; where it is infinite, 0.

    Error bound: with n entries in k chunks, u and R as in `logsumexp`, to first order

        |ŷ - y| <= u (|y| + 2 log1p(s) + (s / (1 + s)) (n + 2R + 5k)):

    a term is shifted once in its chunk, by at most R in total over all merges since maxima only rise (a relative error
    u of each difference), and each of at most k merges adds 2 for exp, 1 for a product and 2 for two sums.

    Raises:
        ValueError: If there is no chunk, or shapes differ beyond the axis.
        TypeError: If a chunk is complex or not of numbers, or some are arrays and some tensors.

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


def _positions(rows: Any) -> Any:
    device = {"device": rows.device} if is_tensor(rows) else {}
    return namespace(rows).arange(rows.shape[-1], **device)


def _check_alike(first: Any, second: Any) -> None:
    if is_tensor(first) != is_tensor(second):
        raise TypeError(not_allowed("chunks", "must be arrays alone or tensors alone", type(second).__name__))
    if first.shape != second.shape:
        rule = f"must agree in shape but for the axis, {tuple(first.shape)}"
        raise ValueError(not_allowed("chunks", rule, tuple(second.shape)))


def _shift(top: Any) -> Any:
    xp = namespace(top)
    return xp.where(xp.isinf(top), xp.zeros_like(top), top)

"""Kullback-Leibler divergence of two distributions given by logits, of NumPy arrays and torch tensors."""

from __future__ import annotations

from typing import Any

from steadygrad.errors import not_allowed

from .arguments import A, Axis, Empty, cast, check_options, floating, is_tensor, last_rows, namespace, reduced_shape
from .softmax import log_softmax

_INF = float("inf")


def kl_divergence(
    p: A,
    q: A,
    *,
    axis: Axis = -1,
    where: Any = None,
    temperature: float = 1.0,
    empty: Empty = "zero",
    keepdims: bool = False,
) -> A:
    """Return KL(p || q), in nats, of the softmaxes of two arrays of logits.

    KL = sum_i p_i (exp(t_i) - 1 - t_i),  t = log q - log p: the same as -sum_i p_i t_i, since both sum to one.

    Args:
        p: Logits of the first distribution, any shape, a NumPy array or a torch tensor; types as in `softmax`.
        q: Logits of the second, of the same kind, shape and type.
        axis: The axis or axes that a row spans; None is all of them.
        where: Bools that broadcast to the logits; what is False has probability 0 in both.
        temperature: T > 0, of both.
        empty: What a row with nothing in it stands for: "zero" a distribution without mass, so 0 where p is empty and
            inf where q alone is; "nan"; "uniform"; "error" raises.
        keepdims: Whether the reduced axes stay, with length 1.

    A term with p_i = 0 is 0 by its limit; p_i > 0 where q_i = 0 gives inf, and that row passes no gradient. Every term
    is >= 0, so the result is, and for near distributions the error falls with their distance. With B the sum of the
    bounds of both log-softmaxes, u and n as there, to first order

        |error| <= 3 (B + (n + 9) u) sum_i (|q_i - p_i| + p_i |t_i|) + n (smallest normal number):

    d/dt of a term is q - p; p and q carry B + 2u; expm1, subtraction, product and sum the rest; the factor 3 covers
    |t| > 1, where q - p - p t is summed and q + p < 2.2 |q - p|.

    Raises:
        TypeError: If `p` and `q` are not of one type; and as `softmax`.
        ValueError: If their shapes differ; and as `softmax`.

    >>> import numpy as np
    >>> kl_divergence(np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[0.0, -np.inf], [0.0, 1e-4]]))
    array([   inf, 1.25e-09])
    """
    check_options(temperature, empty)
    logits_p, logits_q = floating(p, "p"), floating(q, "q")
    _check_alike(logits_p, logits_q)
    rows_p, allowed, axes = last_rows(logits_p, axis, where)
    rows_q, _, _ = last_rows(logits_q, axis, where)
    log_p = log_softmax(rows_p, where=allowed, temperature=temperature, empty=empty)
    log_q = log_softmax(rows_q, where=allowed, temperature=temperature, empty=empty)
    total = _divergence(log_p, log_q).reshape(reduced_shape(logits_p.shape, axes, keepdims))
    result: A = cast(total, logits_p.dtype)
    return result


def _check_alike(p: Any, q: Any) -> None:
    if is_tensor(p) != is_tensor(q) or p.dtype != q.dtype:
        raise TypeError(not_allowed("q", f"must be of the same kind and type as `p`, {p.dtype}", q.dtype))
    if p.shape != q.shape:
        raise ValueError(not_allowed("q", f"must have the shape of `p`, {tuple(p.shape)}", tuple(q.shape)))


def _divergence(log_p: Any, log_q: Any) -> Any:
    """Return the sum of p (exp(t) - 1 - t); whatever is infinite is set apart, so that no NaN comes back from it."""
    xp = namespace(log_p)
    zero = xp.zeros_like(log_p)
    has_p, has_q = log_p != -_INF, log_q != -_INF
    nothing, infinite = ~has_p.any(-1), (has_p & ~has_q).any(-1)
    both = has_p & has_q
    t = xp.where(both, log_q, zero) - xp.where(both, log_p, zero)
    p, q = xp.exp(log_p), xp.exp(log_q)
    near = abs(t) <= 1
    t_near = xp.where(near, t, zero)
    terms = xp.where(near, p * (xp.expm1(t_near) - t_near), q - p - p * t)
    terms = xp.where(both, terms, xp.where(has_p, zero, q))
    total = xp.where((nothing | infinite)[..., None], zero, terms).sum(-1)
    return xp.where(infinite, xp.full_like(total, _INF), total)

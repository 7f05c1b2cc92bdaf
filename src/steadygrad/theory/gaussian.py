"""Expectations under one Gaussian: Gauss-Legendre panels split at kinks and graded towards them.

E[f(u)], u ~ N(mean, q), is a sum over panels of z = (u - mean)/sqrt(q). A panel is at most 3 wide in z, which 16
nodes integrate against the Gaussian to 1e-17, and next to a kink or the origin not wider than the activation's own
scale; away from there panels grow geometrically, so that sqrt(q) = 100 costs a few panels more, not a hundred times
the nodes. Davis and Rabinowitz, "Methods of Numerical Integration", 1984, section 2.12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise

import numpy as np

from steadygrad.errors import not_allowed

from .activations import Activation
from .activations.activation import Array, Pointwise

REACH = 12.0  # standard deviations; beyond, the density is below 1e-32
_WIDEST = 3.0
_GROWTH = 2.5
_ORDER = 16
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_ORDER)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


def check_variance(q: float, *, name: str = "q") -> float:
    """Return q as a float, or raise: a variance is a finite number >= 0.

    >>> check_variance(-1)
    Traceback (most recent call last):
    ValueError: `q` is a variance and must be >= 0, got -1.
    """
    if not 0 <= q < math.inf:
        raise ValueError(not_allowed(name, "is a variance and must be >= 0", q))
    return float(q)


def edges(centres: Iterable[float], *, first: float, widest: float, reach: float) -> list[float]:
    """Return panel edges on [-reach, reach], graded towards each centre.

    >>> edges([0.0], first=1.0, widest=3.0, reach=4.0)
    [-4.0, -2.5, -1.0, 0.0, 1.0, 2.5, 4.0]
    """
    inner = sorted({c for c in centres if -reach < c < reach})
    if not inner:
        return _evenly(-reach, reach, widest)
    out = _graded(inner[0], -reach, first, widest)[::-1]
    for low, high in pairwise(inner):
        middle = (low + high) / 2
        out += _graded(low, middle, first, widest)[1:] + _graded(high, middle, first, widest)[-2::-1]
    return out + _graded(inner[-1], reach, first, widest)[1:]


def _evenly(low: float, high: float, widest: float) -> list[float]:
    count = math.ceil((high - low) / widest)
    return [low + (high - low) * i / count for i in range(count + 1)]


def _graded(start: float, end: float, first: float, widest: float) -> list[float]:
    sign, length = math.copysign(1.0, end - start), abs(end - start)
    at, step, out = 0.0, min(first, widest), [start]
    while at + 1.3 * step < length:
        at += step
        out.append(start + sign * at)
        step = min(widest, (_GROWTH - 1) * at)
    return [*out, end]


def panel_nodes(panel_edges: Array) -> tuple[Array, Array]:
    """Return the Gauss-Legendre nodes of all panels and their weights times the standard normal density."""
    half = np.diff(panel_edges) / 2
    z = ((panel_edges[:-1] + half)[:, None] + half[:, None] * _NODES).ravel()
    return z, (half[:, None] * _WEIGHTS).ravel() * (_INV_SQRT_2PI * np.exp(-0.5 * z * z))


@lru_cache(maxsize=4096)
def standard_rule(
    kinks: tuple[float, ...], *, scale: float, longest: float = math.inf, reach: float = REACH
) -> tuple[Array, Array]:
    """Return nodes z and weights of E[f(z)], z ~ N(0, 1), for f with these kinks, all in units of z.

    >>> z, w = standard_rule((0.0,), scale=1.0)
    >>> float(np.sum(w * np.abs(z))) - (2 / np.pi) ** 0.5 < 1e-15
    True
    """
    cut = edges(kinks or (0.0,), first=1.25 * scale, widest=min(_WIDEST, longest), reach=reach)
    z, w = panel_nodes(np.array(cut))
    z.flags.writeable = w.flags.writeable = False
    return z, w


@lru_cache(maxsize=1024)
def nodes(phi: Activation, q: float, mean: float = 0.0) -> tuple[Array, Array]:
    """Return nodes z and weights that integrate phi, phi' and their powers under u = mean + sqrt(q) z.

    Args:
        phi: the activation.
        q: variance of u, > 0.
        mean: of u.
    """
    sd = math.sqrt(q)
    if not phi.resolved:
        return refined_rule(phi.phi, phi.kinks, sd, mean)
    reach = REACH + min(4 * phi.growth * sd, 26.0)
    if mean == 0 and not any(phi.kinks):
        # One rule serves an octave of standard deviations: nothing is built for the next layer's q.
        sd = 2.0 ** max(math.ceil(math.log2(sd)), -3)
        return standard_rule(phi.kinks, scale=phi.scale / sd, longest=phi.longest / sd, reach=reach)
    points = tuple((k - mean) / sd for k in {*phi.kinks, 0.0})
    return standard_rule(points, scale=phi.scale / sd, longest=phi.longest / sd, reach=reach)


def refined_rule(f: Pointwise, kinks: tuple[float, ...], sd: float, mean: float) -> tuple[Array, Array]:
    """Return a rule for an unknown function: panels are halved until f and f^2 no longer change."""
    points = [(k - mean) / sd for k in {*kinks, 0.0}]
    cut = np.array(edges(points, first=0.6 / sd, widest=_WIDEST, reach=REACH))
    for _ in range(24):
        whole, halves = _panel_sums(f, cut, sd, mean), _panel_sums(f, _halved(cut), sd, mean)
        error = np.abs(whole - halves.reshape(-1, 2, halves.shape[1]).sum(axis=1))
        total = np.abs(halves).sum(axis=0) + 1e-300
        rough = (error > 1e-13 * total).any(axis=1)
        if not rough.any() or cut.size > 4096:
            break
        cut = np.sort(np.concatenate([cut, ((cut[:-1] + cut[1:]) / 2)[rough]]))
    return panel_nodes(cut)


def _halved(cut: Array) -> Array:
    out = np.empty(2 * cut.size - 1)
    out[::2], out[1::2] = cut, (cut[:-1] + cut[1:]) / 2
    return out


def _panel_sums(f: Pointwise, cut: Array, sd: float, mean: float) -> Array:
    z, w = panel_nodes(cut)
    values = f(mean + sd * z)
    return np.stack([(w * values**k).reshape(-1, _ORDER).sum(axis=1) for k in (1, 2, 4)], axis=1)


def gaussian_mean(
    f: Callable[[Array], Array], q: float = 1.0, mean: float = 0.0, *, kinks: tuple[float, ...] = ()
) -> float:
    """Return E[f(u)] for u ~ N(mean, q), by panels that are halved until they agree.

    Args:
        f: vectorised function of a float64 array.
        q: variance, >= 0.
        mean: of u.
        kinks: points where f or a derivative of it jumps.

    Raises:
        ValueError: where q is no variance, or f is not finite where the Gaussian lives.

    >>> round(gaussian_mean(np.cos, 2.0), 12) == round(float(np.exp(-1)), 12)
    True
    """
    sd = math.sqrt(check_variance(q))
    if sd == 0:
        return float(f(np.array([float(mean)]))[0])
    z, w = refined_rule(f, tuple(kinks), sd, mean)
    return finite(float(w @ f(mean + sd * z)), q)


def finite(value: float, q: float) -> float:
    """Return the value, or raise where it is not a number."""
    if math.isnan(value):
        raise ValueError(not_allowed("activation", f"must be finite where the Gaussian of variance {q:g} lives", value))
    return value

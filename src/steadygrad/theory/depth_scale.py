"""How far signals reach: convergence of correlations with depth, off and on the edge of chaos."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from steadygrad.errors import not_allowed

from .activations import Activation, activation
from .activations.activation import Array
from .correlation_map import derivative_gap_map, gap_map
from .moments import Spec, moments
from .roots import crossings
from .variance_map import check_scales, fixed_points


@dataclass(frozen=True, kw_only=True)
class CorrelationFixedPoint:
    """A fixed point c* of the correlation map at a given q*.

    Attributes:
        gap: t* = 1 - c*, with its own relative digits.
        slope: dC/dc there, sigma_w^2 E[phi'(u)phi'(v)].
        stable: whether two inputs end there, |slope| < 1, or slope 1 at c* = 1 (reached by a power law).
        xi_c: -1/ln slope, the layers over which a deviation falls by e; inf at slope 1, NaN where not stable.
    """

    gap: float
    slope: float
    stable: bool
    xi_c: float

    @property
    def c(self) -> float:
        """c* = 1 - t*."""
        return 1 - self.gap


def correlation_fixed_points(
    phi: Spec, *, q: float, sigma_w: float, sigma_b: float = 0.0
) -> tuple[CorrelationFixedPoint, ...]:
    """Return the fixed points of c -> (sigma_w^2 E[phi(u)phi(v)] + sigma_b^2) / q at a fixed q, c* = 1 first.

    Args:
        phi: a name, an `Activation` or a callable.
        q: the variance, a fixed point of the variance map for these scales, to 1e-6.
        sigma_w: the weight's standard deviation times sqrt(fan_in).
        sigma_b: the bias's standard deviation.

    Raises:
        ValueError: where q is no fixed point of the variance map.

    References: Poole et al., 2016, eq. 5 to 8.

    >>> found = correlation_fixed_points("tanh", q=12.604149, sigma_w=4.0, sigma_b=0.3)
    >>> [p.stable for p in found]
    [False, True]
    """
    entry = activation(phi)
    share, chi_1 = _shares(entry, q, sigma_w, sigma_b)

    def excess(gap: float) -> float:
        return share * float(gap_map(entry, q, gap)) - gap

    grid = np.concatenate([np.geomspace(1e-9, 0.5, 40), np.linspace(0.55, 2.0, 30)])
    values = share * gap_map(entry, q, grid) - grid
    values = np.where(np.abs(values) < 1e-13, 0.0, values)
    if not values.any():
        return ()
    gaps = [0.0, *crossings(excess, grid, values)]
    return tuple(_at(entry, q, chi_1, gap) for gap in gaps)


def _shares(entry: Activation, q: float, sigma_w: float, sigma_b: float) -> tuple[float, float]:
    check_scales(sigma_w, sigma_b)
    m = moments(entry, q)
    kept = sigma_w**2 * m.second + sigma_b**2
    if not math.isclose(kept, q, rel_tol=1e-5):
        raise ValueError(
            not_allowed("q", f"must be a fixed point of the variance map, which takes it to {kept:.6g}", q)
        )
    return sigma_w**2 * m.second / q, sigma_w**2 * m.derivative_second


def _at(entry: Activation, q: float, chi_1: float, gap: float) -> CorrelationFixedPoint:
    slope = chi_1 * (1 - float(derivative_gap_map(entry, q, gap)))
    marginal = abs(slope - 1) < 1e-9
    stable = abs(slope) < 1 or (marginal and gap == 0)
    xi = math.inf if marginal else -1 / math.log(abs(slope)) if 0 < abs(slope) < 1 else 0.0 if slope == 0 else math.nan
    return CorrelationFixedPoint(gap=gap, slope=slope, stable=stable, xi_c=xi)


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """How 1 - c tends to 0 over layers at chi_1 <= 1, or grows from 0 at chi_1 > 1.

    Attributes:
        law: "exponential": t_l ~ factor^l; "power": t_l ~ coefficient l^-exponent.
        factor: chi_1.
        exponent: 2 for a phi with corners, 1 for one without; NaN for an exponential.
        coefficient: NaN for an exponential.
    """

    law: Literal["exponential", "power"]
    factor: float
    exponent: float = math.nan
    coefficient: float = math.nan


def convergence(phi: Spec, *, q: float, sigma_w: float) -> Convergence:
    """Return the rate at which two inputs' correlation tends to 1.

    Off the edge of chaos t_l ~ chi_1^l. On it, chi_1 = 1: t' = t - (beta/2) t^2 for a phi without corners, so
    t_l ~ 2/(beta l), with beta = sigma_w^2 q E[phi''^2]; t' = t - A t^(3/2) for one with corners, so
    t_l ~ 4/(A^2 l^2). ReLU: A = 2 sqrt(2)/(3 pi), t_l ~ 9 pi^2/(2 l^2).

    Args:
        phi: a name, an `Activation` or a callable.
        q: the variance, > 0.
        sigma_w: the weight's standard deviation times sqrt(fan_in).

    References: Hayou, Doucet and Rousseau, 2019, propositions 1 and 2.

    >>> rate = convergence("relu", q=1.0, sigma_w=2**0.5)
    >>> rate.exponent, round(rate.coefficient, 4)
    (2.0, 44.4132)
    """
    check_scales(sigma_w, 0.0)
    entry = activation(phi)
    chi_1 = sigma_w**2 * moments(entry, q).derivative_second
    if abs(chi_1 - 1) > 1e-9:
        return Convergence(law="exponential", factor=chi_1)
    tiny = 1e-20
    lost = float(derivative_gap_map(entry, q, tiny))
    if lost == 0:
        return Convergence(law="power", factor=chi_1, exponent=0.0, coefficient=1.0)  # linear: nothing converges
    if entry.corners:
        bend = 2 / 3 * lost / math.sqrt(tiny)
        return Convergence(law="power", factor=chi_1, exponent=2.0, coefficient=4 / bend**2)
    return Convergence(law="power", factor=chi_1, exponent=1.0, coefficient=2 / (lost / tiny))


def variance_convergence(phi: Spec, *, sigma_w: float, sigma_b: float = 0.0) -> Convergence:
    """Return the rate at which the variance tends to the fixed point that a unit variance reaches.

    Off criticality q_l - q* ~ V'(q*)^l. At q* = 0 with V'(0) = 1 the next order decides: V(q) = q - a q^2 gives
    q_l ~ 1/(a l) (tanh: a = 2). Where every variance is fixed nothing converges: exponent 0.

    Args:
        phi: a name, an `Activation` or a callable.
        sigma_w: the weight's standard deviation times sqrt(fan_in).
        sigma_b: the bias's standard deviation.

    Raises:
        ValueError: where no stable fixed point is there to tend to.

    References: Schoenholz et al., 2017, eq. 8; Hayou, Doucet and Rousseau, 2019, lemma 3.

    >>> rate = variance_convergence("tanh", sigma_w=1.0)
    >>> rate.law, rate.exponent, round(rate.coefficient, 4)
    ('power', 1.0, 0.5)
    """
    entry = activation(phi)
    found = fixed_points(entry, sigma_w=sigma_w, sigma_b=sigma_b)
    if found.everywhere:
        return Convergence(law="power", factor=1.0, exponent=0.0, coefficient=1.0)
    ends = [p for p in found.points if (p.stable or (p.q == 0 and p.slope <= 1 + 1e-9)) and p.basin[0] <= 1]
    if not ends:
        raise ValueError(not_allowed("sigma_w", f"has no variance to tend to: {found.message}", sigma_w))
    end = ends[-1]
    if abs(end.slope - 1) > 1e-6:
        return Convergence(law="exponential", factor=abs(end.slope))
    near, far = (_bend(entry, sigma_w, q) for q in (1e-5, 2e-5))
    return Convergence(law="power", factor=1.0, exponent=1.0, coefficient=1 / (2 * near - far))


def _bend(entry: Activation, sigma_w: float, q: float) -> float:
    """(q - V(q)) / q^2 near q = 0; the caller extrapolates its next order away."""
    return (q - sigma_w**2 * moments(entry, q).second) / q**2


def iterate_gap(phi: Spec, gap: float, layers: int, *, q: float = 1.0, share: float = 1.0) -> Array:
    """Return t_0 ... t_layers of t -> share gap_map(t) at a fixed q; share = sigma_w^2 E[phi^2] / q.

    >>> [round(1 - t, 6) for t in iterate_gap("relu", 1.0, 3).tolist()]
    [0.0, 0.31831, 0.493731, 0.604826]
    """
    entry = activation(phi)
    out = [gap]
    for _ in range(layers):
        out.append(min(2.0, share * float(gap_map(entry, q, out[-1]))))
    return np.array(out)


TRAINABLE = 6.0


def trainable_depth(phi: Spec, *, q: float, sigma_w: float) -> float:
    """Return the depth beyond which a plain network is not expected to train, 6 xi with xi = 1/|ln chi_1|.

    In the ordered phase correlations, in the chaotic phase gradients lose e^-6 of themselves there; inf on the edge.
    The factor 6 is an observation: networks on MNIST and CIFAR-10 trained up to it.

    References: Schoenholz et al., 2017, section 5 and figure 5.

    >>> round(trainable_depth("tanh", q=0.607047, sigma_w=1.3), 1)
    96.6
    """
    chi_1 = convergence(phi, q=q, sigma_w=sigma_w).factor
    return TRAINABLE / abs(math.log(chi_1)) if chi_1 > 0 and abs(chi_1 - 1) > 1e-9 else 0.0 if chi_1 <= 0 else math.inf

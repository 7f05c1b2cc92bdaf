"""Activations transformed for depth: Deep Kernel Shaping and Tailored Activation Transformations, derived.

Both replace phi by gamma (phi(alpha u + beta) + delta) and choose the four numbers so that the network's maps at
q = 1 have given values; here the equations are solved, not looked up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steadygrad.errors import not_allowed

from .activations import Activation, activation
from .activations.activation import Array
from .correlation_map import gap_map
from .curvature import curvature
from .gain import stability
from .moments import Spec, moments
from .roots import bracketed


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """gamma (phi(alpha u + beta) + delta).

    Attributes:
        input_scale: alpha.
        input_shift: beta.
        output_scale: gamma.
        output_shift: delta.
        activation: the transformed function, for every function of this package.
        residual: the largest deviation of the conditions from what was asked for.
    """

    input_scale: float
    input_shift: float
    output_scale: float
    output_shift: float
    activation: Activation
    residual: float


def _transformed(base: Activation, alpha: float, beta: float, gamma: float, delta: float) -> Activation:
    def moved(points: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted((k - beta) / alpha for k in points))

    def phi(u: Array) -> Array:
        return gamma * (base.phi(alpha * u + beta) + delta)

    def slope(u: Array) -> Array:
        return gamma * alpha * base.derivative(alpha * u + beta)

    return Activation(
        name=f"{base.name}-transformed",
        parameters=(("alpha", alpha), ("beta", beta), ("delta", delta), ("gamma", gamma)),
        phi=phi,
        derivative=slope,
        kinks=moved(base.kinks),
        jumps=moved(base.jumps),
        corners=moved(base.corners),
        # A shift moves the bend away from the origin, where panels are graded to.
        scale=base.scale / abs(alpha) if beta == 0 else min(base.scale / abs(alpha), 1.0),
        longest=min(base.longest, 2.0 * base.scale) / abs(alpha) if beta else base.longest / abs(alpha),
        resolved=base.resolved,
        growth=base.growth * abs(alpha),
    )


def _normalised(base: Activation, alpha: float, beta: float, *, centred: bool, share: float = 0.0) -> Activation:
    """With E[phi^2] = 1; the mean is 0 where centred, else its square is `share`."""
    m = moments(_transformed(base, alpha, beta, 1.0, 0.0), 1.0)
    deviation = math.sqrt(m.variance)
    if centred:
        return _transformed(base, alpha, beta, 1 / deviation, -m.mean)
    gamma = math.sqrt(1 - share) / deviation
    return _transformed(base, alpha, beta, gamma, math.sqrt(share) / gamma - m.mean)


def _slope_of_variance(entry: Activation) -> float:
    """Q'(1) = dE[phi^2]/dq at q = 1, where E[phi^2] = 1."""
    return stability(entry, 1.0)


def deep_kernel_shaping(phi: Spec, *, depth: int, zeta: float = 1.5) -> Transformed:
    """Return phi transformed by Deep Kernel Shaping for a plain network of L nonlinear layers.

    The conditions are Q(1) = 1, Q'(1) = 1, C(0) = 0 and C'(1) = zeta^(1/L), so that the whole network's C_f'(1) is
    zeta. delta = -E[phi(alpha u + beta)] makes C(0) = 0 and gamma makes Q(1) = 1; Newton's method finds alpha and
    beta for the other two.

    Args:
        phi: a smooth activation.
        depth: L, >= 1.
        zeta: the network's slope at c = 1, > 1.

    Raises:
        ValueError: where no solution is found, as for activations with a kink at 0 that scaling leaves as it is.

    References: Martens et al., "Rapid training of deep neural networks without skip connections or normalization
        layers using Deep Kernel Shaping", 2021, section 8 and eq. 17.

    >>> dks = deep_kernel_shaping("tanh", depth=50)
    >>> round(moments(dks.activation, 1.0).derivative_second ** 50, 6)
    1.5
    """
    if depth < 1 or not zeta > 1:
        raise ValueError(not_allowed("depth, zeta", "must be >= 1 and > 1", (depth, zeta)))
    base, target = activation(phi), zeta ** (1 / depth)

    def conditions(x: Array) -> Array:
        made = _normalised(base, math.exp(x[0]), x[1], centred=True)
        return np.array([_slope_of_variance(made) - 1, moments(made, 1.0).derivative_second - target])

    x, residual = _solve(conditions, [(-0.7, 0.3), (-1.5, 0.5), (-0.7, -0.5), (-1.5, -0.8), (-2.5, 0.6), (-2.5, -0.6)])
    if residual > 1e-8:
        raise ValueError(not_allowed("activation", "has no Deep Kernel Shaping transform that was found", str(base)))
    return _result(_normalised(base, math.exp(x[0]), x[1], centred=True), residual)


def tailored_smooth(phi: Spec, *, depth: int, tau: float = 0.3) -> Transformed:
    """Return a smooth phi transformed by TAT for a plain network of L nonlinear layers.

    The conditions are Q(1) = 1, Q'(1) = 1, C'(1) = 1 and C''(1) = tau/L, so that the whole network's C_f''(1) is tau.

    Args:
        phi: a smooth activation.
        depth: L, >= 1.
        tau: the network's second derivative at c = 1, > 0.

    Raises:
        ValueError: where no solution is found.

    References: Zhang, Botev and Martens, "Deep learning without shortcuts: shaping the kernel with tailored
        rectifiers", 2022, section 4.3, eq. 10.

    >>> tat = tailored_smooth("tanh", depth=50)
    >>> round(moments(tat.activation, 1.0).derivative_second, 9)
    1.0
    """
    if depth < 1 or not tau > 0:
        raise ValueError(not_allowed("depth, tau", "must be >= 1 and > 0", (depth, tau)))
    base = activation(phi)
    if base.corners or base.jumps:
        raise ValueError(not_allowed("activation", "must have no corners for C''(1) to exist", str(base)))

    def made(x: Array) -> Activation:
        share = 1 / (1 + math.exp(-x[2]))
        return _normalised(base, math.exp(x[0]), x[1], centred=False, share=share)

    def conditions(x: Array) -> Array:
        entry = made(x)
        slope = moments(entry, 1.0).derivative_second
        return np.array([_slope_of_variance(entry) - 1, slope - 1, curvature(entry, 1.0) * depth / tau - 1])

    starts = [(a, b, s) for a in (-0.7, -1.5, -2.5) for b in (0.4, -0.4, 0.9, -0.9) for s in (-2.0, -5.0)]
    x, residual = _solve(conditions, starts)
    if residual > 1e-7:
        raise ValueError(not_allowed("activation", "has no smooth TAT transform that was found", str(base)))
    return _result(made(x), residual)


def _result(entry: Activation, residual: float) -> Transformed:
    p = dict(entry.parameters)
    alpha, beta, gamma, delta = (float(p[key]) for key in ("alpha", "beta", "gamma", "delta"))
    return Transformed(
        input_scale=alpha,
        input_shift=beta,
        output_scale=gamma,
        output_shift=delta,
        activation=entry,
        residual=residual,
    )


Equations = Callable[[Array], Array]


def _solve(f: Equations, starts: Sequence[tuple[float, ...]]) -> tuple[Array, float]:
    """Newton's method with halved steps from several starts; returns the best point and its largest residual."""
    best, least = np.array(starts[0]), math.inf
    for start in starts:
        x, value = _newton(f, np.array(start, dtype=np.float64))
        if value < least:
            best, least = x, value
        if least < 1e-10:
            break
    return best, least


def _newton(f: Equations, x: Array) -> tuple[Array, float]:
    value = f(x)
    for _ in range(60):
        size = float(np.abs(value).max())
        if size < 1e-12:
            break
        full = np.linalg.lstsq(_jacobian(f, x), -value, rcond=1e-12)[0]
        step: Array = np.asarray(full * min(1.0, 1.0 / float(np.abs(full).max())), dtype=np.float64)
        x, value, better = _shortened(f, x, step, size)
        if not better:
            break
    return x, float(np.abs(value).max())


def _jacobian(f: Equations, x: Array) -> Array:
    h = 1e-5
    return np.stack([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(x.size)], axis=1)


def _shortened(f: Equations, x: Array, step: Array, size: float) -> tuple[Array, Array, bool]:
    for _ in range(12):
        value = f(x + step)
        if np.abs(value).max() < size:
            return x + step, value, True
        step = step / 2
    return x, f(x), False


def tailored_relu_slope(*, depth: int, target: float = 0.9) -> float:
    """Return the negative slope of leaky ReLU that TAT gives a plain network of L layers: C_f(0) = target.

    C_f is the correlation map of leaky ReLU iterated L times from c = 0; it rises with L and falls with the slope.

    Args:
        depth: L, >= 1.
        target: C_f(0), in (0, 1).

    Raises:
        ValueError: where even ReLU (slope 0) does not reach the target: the network is too shallow to need it.

    References: Zhang, Botev and Martens, 2022, section 4.1, eq. 8.

    >>> round(tailored_relu_slope(depth=50), 6)
    0.430523
    """
    if depth < 1 or not 0 < target < 1:
        raise ValueError(not_allowed("depth, target", "must be >= 1 and within (0, 1)", (depth, target)))

    def excess(slope: float) -> float:
        return target - _iterated(slope, depth)

    if excess(0.0) > 0:
        reached = target - excess(0.0)
        raise ValueError(
            not_allowed("target", f"must be at most {reached:.4f}, what ReLU reaches at this depth", target)
        )
    return bracketed(excess, 0.0, 1.0)


def _iterated(slope: float, depth: int) -> float:
    entry, gap = activation("leaky_relu", negative_slope=slope), 1.0
    for _ in range(depth):
        gap = float(gap_map(entry, 1.0, gap))
    return 1 - gap

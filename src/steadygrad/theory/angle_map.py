"""The gap map as a function of the angle between two inputs, for any activation and variance.

With c = cos(theta), u = m + d and v = m - d, where m ~ N(0, q cos^2(theta/2)) and d ~ N(0, q sin^2(theta/2)) are
independent, so that

    1 - C = E[(f(u) - f(v))^2] / (2 E[f^2]),

a mean of squares: nothing cancels. For fixed d the integrand over m has kinks at k - d and k + d only, and panels are
split there. Where f is a piecewise polynomial the integrals over the angle of `plackett` give the same for a
hundredth of the time. The ratio of 1 - C to theta^2 (to theta where f itself jumps) is smooth in theta up to
theta = 0, kinks or not; it is interpolated by Chebyshev polynomials on the panels of `AngleGrid`, each made when it is
first asked for. Its value at theta = 1e-15 costs no digit.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from steadygrad.errors import not_allowed

from .activations import Activation
from .activations.activation import Array, Pointwise
from .angle_grid import POINTS, TO_COEFFICIENTS, AngleGrid
from .gaussian import edges
from .piecewise import piecewise
from .plackett import normalised_gap, suits

_ORDERS = np.arange(POINTS)
_SHARPER = {"phi": 0.8, "derivative": 0.6, "square": 0.6, "derivative_square": 0.45}
_FINER = 0.6  # panels of angles: interpolation converges half as fast as integration
_REACH = 10.0
_ORDER = 16
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_ORDER)
_CHUNK = 1 << 20


class AngleMap:
    """1 - C over theta^power for one function f and variance q, interpolated panel by panel.

    Args:
        entry: the activation: its kinks, scale and longest panel hold for what is derived of it.
        kind: "phi", "derivative", "square" or "derivative_square".
        q: variance.
    """

    def __init__(self, entry: Activation, kind: str, q: float) -> None:
        self.f, self.kinks, jumps = function_of(entry, kind)
        self.entry, self.q, self.sd = entry, q, math.sqrt(q)
        pieces = piecewise(entry, kind)
        # phi', phi^2 and phi'^2 bend more sharply than phi itself.
        self.scale = entry.scale * (_SHARPER[kind] if pieces is None else 1.0)
        grid_scale = entry.scale if pieces is not None else _FINER * self.scale
        self.grid = AngleGrid(sd=self.sd, scale=grid_scale, kinks=self.kinks, power=1 if jumps else 2)
        self.norm = self._second_moment()
        self.panels: dict[int, Array] = {}
        if pieces is not None and over_the_angle(entry, q, kind):
            found = normalised_gap(pieces, q, self.grid)
            self.panels = dict(enumerate(found @ TO_COEFFICIENTS.T))

    def __call__(self, gap: Array) -> Array:
        """Return 1 - C at these gaps."""
        theta, panel, position = self.grid.locate(gap)
        needed = sorted(set(panel.tolist()))
        rows = np.stack([self._panel(i) for i in needed])[np.searchsorted(needed, panel)]
        angles = np.arccos(np.clip(position, -1.0, 1.0))
        total = np.einsum("tn,tn->t", rows, np.cos(angles[:, None] * _ORDERS))
        return np.asarray(total * theta**self.grid.power)

    def _panel(self, i: int) -> Array:
        if i not in self.panels:
            theta = self.grid.nodes[i]
            values = np.array([self.direct(t) for t in theta.tolist()]) / theta**self.grid.power
            self.panels[i] = TO_COEFFICIENTS @ values
        return self.panels[i]

    def direct(self, theta: float) -> float:
        """Return 1 - C at one angle by the double integral."""
        sd_d, sd_m = self.sd * math.sin(theta / 2), self.sd * math.cos(theta / 2)
        y, w_y = self._outer(sd_d, sd_m)
        return float(w_y @ self._inner(sd_d * y, sd_m)) / self.norm

    def _outer(self, sd_d: float, sd_m: float) -> tuple[Array, Array]:
        """Nodes over d > 0, split where two kinks' lines u = k and v = k' cross, and where a line passes m = 0."""
        crossings = {abs(a - b) / 2 / sd_d for a in self.kinks for b in self.kinks}
        crossings |= {abs(k) / sd_d for k in self.kinks}
        # Around these the inner integral changes over the width of m.
        first = 1.25 * min(self.scale, sd_m) / sd_d
        widest = min(2.5, self.entry.longest / sd_d)
        cut = edges({0.0, *crossings}, first=first, widest=widest, reach=_REACH)
        y, w = _rule(np.array([e for e in cut if e >= 0]))
        return y, 2 * w

    def _inner(self, d: Array, sd_m: float) -> Array:
        """E over m of (f(m + d) - f(m - d))^2 / 2 for each d."""
        widest = min(2.5, self.entry.longest / sd_m)
        offsets = _offsets(self.scale / sd_m, widest)
        centres = np.stack([k + s * d for k in {*self.kinks, 0.0} for s in (-1, 1)], axis=1) / sd_m
        even = np.linspace(-_REACH, _REACH, math.ceil(2 * _REACH / widest) + 1)
        near = (centres[:, :, None] + offsets).reshape(d.size, -1)
        cut = np.concatenate([near, np.broadcast_to(even, (d.size, even.size))], axis=1)
        cut = np.sort(np.clip(cut, -_REACH, _REACH), axis=1)
        rows = max(1, _CHUNK // (cut.shape[1] * _ORDER))
        parts = [self._rows(cut[i : i + rows], d[i : i + rows], sd_m) for i in range(0, d.size, rows)]
        return np.concatenate(parts)

    def _rows(self, cut: Array, d: Array, sd_m: float) -> Array:
        row, column = np.nonzero(np.diff(cut, axis=1) > 1e-14)
        low, high = cut[row, column], cut[row, column + 1]
        half = (high - low)[:, None] / 2
        x = (low + high)[:, None] / 2 + half * _NODES
        m, shift = sd_m * x, d[row][:, None]
        change = self.f(m + shift) - self.f(m - shift)
        sums = (np.exp(-0.5 * x * x) * change**2) @ _WEIGHTS * half[:, 0]
        return np.bincount(row, sums, minlength=d.size) / (2 * math.sqrt(2 * math.pi))

    def _second_moment(self) -> float:
        points = {k / self.sd for k in {*self.kinks, 0.0}}
        widest = min(2.5, self.entry.longest / self.sd)
        z, w = _rule(np.array(edges(points, first=1.25 * self.scale / self.sd, widest=widest, reach=_REACH + 2)))
        norm = float(w @ self.f(self.sd * z) ** 2)
        if not 0 < norm < math.inf:
            rule = f"must have a finite second moment > 0 at q = {self.sd**2:g}"
            raise ValueError(not_allowed(self.entry.name, rule, norm))
        return norm


def _rule(cut: Array) -> tuple[Array, Array]:
    half = np.diff(cut)[:, None] / 2
    z = cut[:-1, None] + half + half * _NODES
    return z.ravel(), (half * _WEIGHTS * np.exp(-0.5 * z * z)).ravel() / math.sqrt(2 * math.pi)


@lru_cache(maxsize=256)
def _offsets(scale: float, widest: float) -> Array:
    """Panel edges around a kink: 0, then +-1.25 scale, growing until they are as wide as the even panels."""
    out, at = [0.0], 1.25 * scale
    while at < 1.5 * widest:
        out += [at, -at]
        at *= 2.5
    return np.array(out)


@lru_cache(maxsize=512)
def angle_map(entry: Activation, q: float, kind: str) -> AngleMap:
    """Return the map of phi ("phi"), its derivative, or the square of either, made once for each q."""
    return AngleMap(entry, kind, q)


def over_the_angle(entry: Activation, q: float, kind: str) -> bool:
    """Whether the integrals of `plackett` give the map: quick, for piecewise polynomials and moderate tilts."""
    pieces = piecewise(entry, kind)
    return pieces is not None and suits(pieces, q, squared=kind.endswith("square"))


def function_of(entry: Activation, kind: str) -> tuple[Pointwise, tuple[float, ...], tuple[float, ...]]:
    """Return the function that a kind of map is of, its kinks and its jumps."""
    phi, slope = entry.phi, entry.derivative
    match kind:
        case "phi":
            return phi, entry.kinks, entry.jumps
        case "derivative":
            return slope, entry.kinks, entry.corners
        case "square":
            return lambda u: phi(u) ** 2, entry.kinks, entry.jumps
        case "derivative_square":
            return lambda u: slope(u) ** 2, entry.kinks, entry.corners
        case _:
            raise ValueError(f"`kind` must be 'phi', 'derivative', 'square' or 'derivative_square', got {kind!r}.")

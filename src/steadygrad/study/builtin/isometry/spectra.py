"""Singular values of drawn networks: how they spread with depth, and how far they reach."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.builtin.marks import Row, below, beside, panel, point
from steadygrad.study.builtin.seeds import SIGMAS, mean_and_error, within_errors
from steadygrad.theory.jacobian import Weights

from .effort import WEIGHTS, Effort, Setting, settings
from .jacobians import squared_singular_values

Values = NDArray[np.float64]
Key = tuple[Setting, Weights, int]
# Mean over standard deviation of the Tracy-Widom law of real matrices: where the largest value of one draw lies.
TRACY_WIDOM = 1.2065336 / 1.2680340
EDGE_DEPTHS = (2, 4)


def section(effort: Effort) -> Section:
    """Take the Jacobians of networks of several depths, of Gaussian and of orthogonal weights."""
    values = {
        (setting, weights, depth): squared_singular_values(setting, weights, depth=depth, draws=effort.draws)
        for setting in settings()
        for weights in WEIGHTS
        for depth in effort.depths
    }
    checks = [_second(key, found) for key, found in values.items()]
    checks += [_edge(key[2], found) for key, found in values.items() if _has_edge(key)]
    deepest = effort.depths[-1]
    spread = {key[:2]: float(_over_mean(key, found).mean() - 1) for key, found in values.items() if key[2] == deepest}
    said = ", ".join(f"{s.activation} {w} {spread[s, w]:.2g}" for s in settings()[1:] for w in WEIGHTS)
    return Section(
        name="spectra",
        title="Singular values of the Jacobian",
        claim="Orthogonal weights keep all singular values of the input-output Jacobian near 1, at any depth.",
        prediction="At chi_1 = 1 the variance of the squared singular values is L (mu_2/mu_1² - 1 - s_1), s_1 = -1 for "
        "Gaussian, 0 for orthogonal weights, and more at a finite width: 0 for linear, near 0 for tanh at small q*, at "
        "least L for ReLU.",
        chart=below(
            beside(*(_panel(setting, values, effort) for setting in settings())),
            beside(*(_histogram(setting, values, deepest) for setting in settings())),
        ),
        checks=tuple(checks),
        verdict=f"it holds for linear networks and, with a small bias, for tanh; for ReLU it cannot. Relative variance "
        f"at depth {deepest}: {said}.",
    )


def _spectrum(key: Key, width: int | None) -> theory.Spectrum:
    setting, weights, depth = key
    return theory.jacobian_spectrum(
        setting.activation, q=setting.q, sigma_w=setting.sigma_w, depth=depth, weights=weights, width=width
    )


def _over_mean(key: Key, values: Values) -> Values:
    """The second moment of each draw over the squared mean of all draws, which theory knows."""
    return np.asarray((values**2).mean(1) / _spectrum(key, values.shape[1]).mean ** 2)


def _second(key: Key, values: Values) -> Check:
    """The second moment over draws; that of orthogonal linear networks is 1, to the single precision of the draw."""
    setting, weights, depth = key
    known = _spectrum(key, values.shape[1])
    what = f"mean of squared singular values squared, {setting.activation}, {weights}, depth {depth}"
    made = within_errors(what, known.mean**2 * (1 + known.relative_variance), (values**2).mean(1))
    rounding = float(np.finfo(np.float32).eps) * depth * values.shape[1]
    return Check(**{**vars(made), "allowed": made.allowed + rounding})


def _has_edge(key: Key) -> bool:
    return key[0].activation == "identity" and key[1] == "gaussian" and key[2] in EDGE_DEPTHS


def _edge(depth: int, values: Values) -> Check:
    """The largest value lies one Tracy-Widom mean, counted in standard deviations, below the edge."""
    largest = values[:, 0]
    mean, error = mean_and_error(largest)
    sd = float(largest.std(ddof=1))
    return Check(
        what=f"edge of the squared singular values, linear, gaussian, depth {depth}",
        predicted=(depth + 1) ** (depth + 1) / depth**depth,
        measured=mean + TRACY_WIDOM * sd,
        error=error * math.sqrt(1 + TRACY_WIDOM**2 / 2),
        allowed=SIGMAS * error * math.sqrt(1 + TRACY_WIDOM**2 / 2),
    )


def _panel(setting: Setting, values: dict[Key, Values], effort: Effort) -> Any:
    lines: list[Row] = []
    points: list[Row] = []
    for weights in WEIGHTS:
        for depth in effort.depths:
            key = (setting, weights, depth)
            known = _spectrum(key, values[key].shape[1])
            mean, error = mean_and_error(_over_mean(key, values[key]))
            lines.append({"x": depth, "y": 1 + known.relative_variance, "of": weights})
            points.append(point(depth, mean, error, weights))
    title = f"{setting.activation}: spread"
    return panel(title, x="depth", y="second moment / mean²", lines=lines, points=points, x_log=True, y_log=True,
                 width=230)  # fmt: skip


def _histogram(setting: Setting, values: dict[Key, Values], depth: int) -> Any:
    """Shares of ln s², of what is not 0: measured as points; the density where theory has it as a line."""
    lines: list[Row] = []
    points: list[Row] = []
    for weights in WEIGHTS:
        logs = np.log(np.maximum(values[setting, weights, depth], 1e-12))
        edges = np.linspace(-8.0, 4.0, 25)
        shares = np.array([np.histogram(one, edges)[0] for one in logs]) / logs.shape[1] / np.diff(edges)
        for middle, share in zip((edges[:-1] + edges[1:]) / 2, shares.T, strict=True):
            points.append(point(float(middle), *mean_and_error(share), weights))
        lines += _density(setting, weights, depth)
    return panel(f"{setting.activation}: depth {depth}", x="ln s²", y="density", lines=lines, points=points, width=230)


def _density(setting: Setting, weights: Weights, depth: int) -> list[Row]:
    if setting.activation == "tanh" or (setting.activation, weights) == ("identity", "orthogonal"):
        return []
    known = theory.jacobian_density(setting.activation, q=1.0, sigma_w=setting.sigma_w, depth=depth, weights=weights)
    kept = np.log(known.value) > -8.0
    pairs = zip(known.value[kept].tolist(), known.density[kept].tolist(), strict=True)
    return [{"x": math.log(value), "y": value * density, "of": weights} for value, density in pairs]

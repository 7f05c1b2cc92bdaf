"""An MLP described by depth, width, activation and initializer, and its profile: no framework, no weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from steadygrad.errors import not_allowed
from steadygrad.profile import LayerSignal, Mark, Profile

from .activations import Activation
from .activations import activation as resolve
from .correlation_map import gap_map
from .extremes import moments_anywhere
from .finite_width import ZERO, LogLaw, log_mean_square, relu_log_law
from .gain import stability
from .initializers import Initializer, initializer
from .moments import Moments, Spec

KINDS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "prelu": "PReLU",
    "rrelu": "RReLU",
    "elu": "ELU",
    "celu": "CELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "relu6": "ReLU6",
    "logsigmoid": "LogSigmoid",
}


LARGEST_KAPPA = 1e6
UNKNOWN = Moments(*[math.nan] * 8)


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One Linear and the activation after it (None after the last)."""

    index: int
    fan_in: int
    fan_out: int
    weight_variance: float
    q: float
    gap: float
    law: LogLaw
    moments: Moments | None = None
    shape: Moments | None = None
    out_gap: float = math.nan
    out_law: LogLaw = ZERO


_OF_ORTHOGONAL = (
    "how little orthogonal weights vary over draws; medians and bands are those of independent weights of this variance"
)


def mlp(
    *,
    depth: int,
    width: int | Sequence[int],
    activation: Spec,
    init: str | tuple[float, float] | Initializer = "torch-default",
    gain: float = 1.0,
    q: float = 1.0,
    c: float = 0.0,
    inputs: int | None = None,
    outputs: int | None = None,
) -> Profile:
    """Return the profile of a plain MLP at initialization, from theory alone.

    `depth` blocks of Linear and activation, then one Linear where `outputs` is given. Forward, in the wide limit,
    q_{l+1} = sigma_w^2 E[phi^2](q_l) + sigma_b^2 and t_{l+1} q_{l+1} = sigma_w^2 E[phi^2] gap_map(t_l), t = 1 - c.
    Backward, from unit independent gradients at the last row, g_l = E[phi'^2](q_l) fan_out Var(w) g_{l+1}. `q` is the
    median over draws, `q_low` and `q_high` hold 95% of them for one example: ln q drifts and spreads by a layer's log
    law (`finite_width`), carried on with the factor s r, s = d ln E[phi^2]/d ln q and r the weights' share of q.
    `c` and with it `signal` are those of infinite width: a single draw's 1 - c spreads about as the gradient does.

    Rows are named as nn.Sequential names its modules: "0" Linear, "1" activation, "2" Linear, ...

    Args:
        depth: hidden layers, >= 1.
        width: units of each hidden layer, or one number a layer.
        activation: a name, an `Activation` or a callable.
        init: a name in `INITIALIZERS`, or (sigma_w, sigma_b).
        gain: multiplies the weights.
        q: second moment of the input's entries, > 0.
        c: correlation of two inputs, in [-1, 1].
        inputs: fan_in of the first layer; the first width by default.
        outputs: units of a last Linear; none by default.

    Raises:
        ValueError: for a depth or width below 1, a q that is not above 0, |c| > 1, or an unknown name.

    References: Schoenholz et al., 2017; Hanin and Nica, "Products of many large random matrices", 2019, theorem 1.

    >>> profile = mlp(depth=20, width=128, activation="relu", init="torch-default")
    >>> 1e-18 < profile["38"].signal < 1e-15  # what differs between examples is gone
    True
    """
    entry = resolve(activation)
    made = initializer(init, gain=gain, activation=entry)
    widths = _widths(depth, width)
    _check_inputs(q, c)
    sizes = [inputs or widths[0], *widths, *([outputs] if outputs else [])]
    layers = _forward(entry, made, sizes, len(widths), q, 1 - c)
    mark: Mark = "exact" if entry.name in ("relu", "identity") and made.gaussian else "approximate"
    unknown = (_OF_ORTHOGONAL,) if made.name.startswith("orthogonal") else ()
    return Profile(layers=tuple(_rows(entry, layers, mark)), source="theory", unknown=unknown)


def _widths(depth: int, width: int | Sequence[int]) -> list[int]:
    if depth < 1:
        raise ValueError(not_allowed("depth", "is a number of hidden layers and must be >= 1", depth))
    widths = [width] * depth if isinstance(width, int) else [int(n) for n in width]
    if len(widths) != depth:
        raise ValueError(not_allowed("width", f"must be one number or {depth}", width))
    if min(widths) < 1:
        raise ValueError(not_allowed("width", "must be >= 1", width))
    return widths


def _check_inputs(q: float, c: float) -> None:
    if not 0 < q < math.inf:
        raise ValueError(not_allowed("q", "is the input's second moment and must be > 0", q))
    if not -1 <= c <= 1:
        raise ValueError(not_allowed("c", "is a correlation and must be within [-1, 1]", c))


def _forward(
    entry: Activation, made: Initializer, sizes: list[int], hidden: int, second: float, gap: float
) -> list[_Layer]:
    """Go through the layers; `second`, `gap` and `law` are those of the layer's input."""
    layers, law = [], ZERO
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        variance = made.weight_variance(fan_in, fan_out)
        from_weights = fan_in * variance * second
        q = from_weights + made.bias_variance(fan_in)
        share = from_weights / q if 0 < q < math.inf else math.nan
        gap, law = share * gap, _times(law, share) if share > 0 else ZERO
        layer = _Layer(index=index, fan_in=fan_in, fan_out=fan_out, weight_variance=variance, q=q, gap=gap, law=law)
        if index < hidden:
            layer = _activated(entry, layer)
            second = layer.moments.second if layer.moments else math.nan
            gap, law = layer.out_gap, layer.out_law
        layers.append(layer)
    return layers


def _activated(entry: Activation, layer: _Layer) -> _Layer:
    if not layer.q < math.inf:
        return replace(layer, moments=UNKNOWN)
    m, shape, inside = moments_anywhere(entry, layer.q)
    if not 0 < m.second < math.inf or math.isnan(layer.gap):
        return replace(layer, moments=m, shape=shape)
    noise = _noise(entry, shape.kappa, layer.fan_out) if math.isfinite(shape.kappa) else ZERO
    law = _times(layer.law, stability(entry, inside, shape)) + noise
    return replace(layer, moments=m, shape=shape, out_gap=float(gap_map(entry, inside, layer.gap)), out_law=law)


def _times(law: LogLaw, factor: float) -> LogLaw:
    return LogLaw(factor * law.mean, factor**2 * law.variance, factor**3 * law.third)


def _noise(entry: Activation, kappa: float, n: int) -> LogLaw:
    if kappa > LARGEST_KAPPA:
        return ZERO  # nearly every unit is silent: no law of the mean square is claimed
    return relu_log_law(n) if entry.name == "relu" and n <= 4096 else log_mean_square(kappa, n)


def _rows(entry: Activation, layers: list[_Layer], mark: Mark) -> list[LayerSignal]:
    """Go back through the layers with the gradient, from 1 at the last output.

    `law` is that of the gradient before the last product with a transposed weight: given it, that product's entries
    are independent normals, whose mean square over n units is a chi square (kappa = 2); phi' thins it out.
    """
    rows: list[LayerSignal] = []
    gradient, law = 1.0, ZERO
    for layer in reversed(layers):
        if layer.moments:
            spread = law + log_mean_square(2.0, layer.fan_out) if rows else ZERO
            rows.append(_activation_row(entry, layer, gradient, spread, mark))
            gradient *= layer.moments.derivative_second
            law = law + _gradient_noise(entry, layer.shape or layer.moments, layer.fan_out)
        rows.append(_linear_row(layer, gradient, law, mark))
        gradient *= layer.fan_out * layer.weight_variance
    return rows[::-1]


def _gradient_noise(entry: Activation, m: Moments, n: int) -> LogLaw:
    """The law of the mean of phi'^2 g^2 over n units, g normal: kappa = 3 E[phi'^4]/E[phi'^2]^2 - 1."""
    if not 0 < m.derivative_second < math.inf:
        return ZERO
    return _noise(entry, 3 * (m.derivative_kappa + 1) - 1, n)


def _linear_row(layer: _Layer, gradient: float, law: LogLaw, mark: Mark) -> LayerSignal:
    row = LayerSignal(
        path=str(2 * layer.index),
        kind="Linear",
        fan_in=layer.fan_in,
        fan_out=layer.fan_out,
        mean=0.0,
        c=1 - layer.gap,
        grad_c=0.0,
        mark=mark,
    )
    spread = layer.law + log_mean_square(2.0, layer.fan_out)
    return _with_bands(row, layer.gap, (layer.q, spread), (gradient, law))


def _activation_row(entry: Activation, layer: _Layer, gradient: float, law: LogLaw, mark: Mark) -> LayerSignal:
    assert layer.moments is not None
    row = LayerSignal(
        path=str(2 * layer.index + 1),
        kind=KINDS.get(entry.name, entry.name.capitalize()),
        mean=layer.moments.mean,
        c=1 - layer.out_gap,
        grad_c=0.0,
        mark=mark,
    )
    return _with_bands(row, layer.out_gap, (layer.moments.second, layer.out_law), (gradient, law))


def _with_bands(
    row: LayerSignal, gap: float, forward: tuple[float, LogLaw], backward: tuple[float, LogLaw]
) -> LayerSignal:
    low, q, high = _quantiles(*forward)
    grad_low, grad_q, grad_high = _quantiles(*backward)
    return replace(
        row,
        q=q,
        q_low=low,
        q_high=high,
        signal=q * gap,
        grad_q=grad_q,
        grad_q_low=grad_low,
        grad_q_high=grad_high,
    )


def _quantiles(value: float, law: LogLaw) -> tuple[float, float, float]:
    low, high = law.band()
    return value * _exp(low), value * _exp(law.quantile(0.5)), value * _exp(high)


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf

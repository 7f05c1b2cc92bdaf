"""How examples of different lengths part at a function, against quadrature over their lengths."""

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from steadygrad.prediction.hermite import decay, expand, tables
from steadygrad.prediction.parting import unlike

VARIANCE = 0.02  # of log lengths: what is left is of second order in it
SIZE = 0.8  # deviation of the units
FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "cubic": lambda z: z + 0.3 * z**2 - 0.1 * z**3,
    "softplus": lambda z: np.logaddexp(0.0, z),
}


def in_common(f, gap, mean):
    """E[f f']/E[f²] of a pair, their log lengths independent normal ones with this mean, relative to the variance."""
    t, w_t = hermegauss(7)
    x = np.linspace(-8.0, 8.0, 801)  # the trapezoid rule, right to the square of a step even at a kink
    w_t, w = w_t / w_t.sum(), np.exp(-x * x / 2)
    w /= w.sum()
    other = (1 - gap) * x[:, None] + (1 - (1 - gap) ** 2) ** 0.5 * x
    lengths = SIZE * np.exp((VARIANCE**0.5 * t + mean * VARIANCE) / 2)
    first = sum(a * f(s * x) for a, s in zip(w_t, lengths, strict=True))
    second = sum(a * f(s * other) for a, s in zip(w_t, lengths, strict=True))
    square = sum(a * f(s * x) ** 2 for a, s in zip(w_t, lengths, strict=True))
    return (w @ (first[:, None] * second) @ w) / (w @ square)


@pytest.mark.parametrize("mean", [0.0, -0.5])
@pytest.mark.parametrize("gap", [0.01, 0.3, 0.8])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_lengths_make_of_angles_is_of_first_order_in_their_variance(name, gap, mean):
    f = FUNCTIONS[name]
    expansion = expand(f(SIZE * tables()[0])[None])
    a, s = expansion.plain[0], float(expansion.stein[0] / expansion.q[0]) / 2
    common = float((1 - decay(np.array([gap]))[0]) @ a**2 / (a @ a))
    # of lengths that differ a part stays: s² v/4 are those behind the function
    lost = unlike(a, gap, s, mean) + s * s / 4
    assert in_common(f, gap, mean) == pytest.approx(common * (1 - VARIANCE * lost), abs=4 * VARIANCE**2)
    assert name != "relu" or abs(unlike(a, gap, s, mean)) < 1e-9

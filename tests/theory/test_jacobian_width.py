"""Second moments of the Jacobian's spectrum at a finite width, against real networks."""

import math

import numpy as np
import pytest

from steadygrad import theory

N, DEPTH, DRAWS = 6, 4, 20_000


def weights_of(kind, rng):
    normal = rng.standard_normal((DRAWS, N, N))
    if kind == "gaussian":
        return normal / math.sqrt(N)
    q, r = np.linalg.qr(normal)
    return q * np.sign(np.einsum("dii->di", r))[:, None, :]


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(("phi", "sigma_w"), [("identity", 1.0), ("relu", math.sqrt(2))])
def test_second_moments_at_a_finite_width_are_those_of_real_networks(phi, sigma_w, kind):
    rng = np.random.default_rng(0)
    h = rng.standard_normal((DRAWS, N))
    jacobian = np.broadcast_to(np.eye(N), (DRAWS, N, N))
    for _ in range(DEPTH):
        w = sigma_w * weights_of(kind, rng)
        z = np.einsum("dij,dj->di", w, h)
        slope = (z > 0).astype(float) if phi == "relu" else np.ones_like(z)
        h, jacobian = slope * z, slope[:, :, None] * (w @ jacobian)
    gram = jacobian @ jacobian.mT
    second = (gram**2).sum((1, 2)) / N
    known = theory.jacobian_spectrum(phi, q=1.0, sigma_w=sigma_w, depth=DEPTH, weights=kind, width=N)
    error = second.std() / math.sqrt(DRAWS)
    assert second.mean() == pytest.approx(1 + known.variance, abs=5 * error + 1e-9)


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("phi", ["identity", "relu", "tanh"])
def test_wide_networks_tend_to_the_wide_limit(phi, kind):
    wide, finite = (
        theory.jacobian_spectrum(phi, q=0.3, sigma_w=1.0, depth=10, weights=kind, width=width)
        for width in (None, 10**9)
    )
    assert finite.relative_variance == pytest.approx(wide.relative_variance, abs=1e-5)


def test_a_width_below_one_is_said():
    with pytest.raises(ValueError, match="`width` is a number of units and must be >= 1, got 0"):
        theory.jacobian_spectrum("relu", q=1.0, sigma_w=1.0, depth=1, width=0)

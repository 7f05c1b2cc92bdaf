"""Oracle row 21: BatchNorm's gradient explosion, by formula and in a network."""

import math
import statistics

import numpy as np
import pytest
import torch

from steadygrad import theory


def test_row_21_relu():
    """Row 21: pi/(pi - 1) = 1.466942206924 a layer, squared."""
    factor = theory.batch_norm_gradient_factor("relu")
    assert factor == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)
    assert factor == pytest.approx(1.466942206924, rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(theory.NAMES) - {"hardshrink"}))
def test_gradients_never_vanish_under_batch_norm(name):
    """Var(phi) <= E[phi'^2], equal for a linear phi alone (Chernoff 1981)."""
    factor = theory.batch_norm_gradient_factor(name)
    assert factor == pytest.approx(1, rel=1e-12) if name == "identity" else factor > 1


@pytest.mark.parametrize("name", ["hardshrink", lambda u: np.full_like(u, 0.3)])
def test_what_batch_norm_cannot_divide_is_refused(name):
    with pytest.raises(ValueError, match=r"must (vary|have no jumps)"):
        theory.batch_norm_gradient_factor(name)


@pytest.mark.parametrize(("phi", "name"), [(torch.relu, "relu"), (torch.nn.functional.elu, "elu")])
def test_row_21_in_a_network(phi, name):
    ratios = np.log(_layer_ratios(phi, width=256, depth=12))
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    expected = math.log(theory.batch_norm_gradient_factor(name))
    # Five standard errors, and what a batch of 256 leaves of the limit.
    assert abs(ratios.mean() - expected) < 5 * error + 2 / 256


def _layer_ratios(phi, *, width, depth):
    generator = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    h, inputs = normal(width, width), []
    for _ in range(depth + 1):
        u = (h - h.mean(0)) / h.std(0, unbiased=False)
        if not inputs:
            u.requires_grad_(True)
        u.retain_grad()
        inputs.append(u)
        h = phi(u) @ normal(width, width)
    (u * normal(width, width)).sum().backward()
    squares = np.array([float(x.grad.square().mean()) for x in inputs])
    return squares[:-1] / squares[1:]

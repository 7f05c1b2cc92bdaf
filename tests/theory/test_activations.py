"""Laws of every registered activation: torch's own function, its derivative, its kinks, and how it resolves."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad import theory
from steadygrad.theory.activations import find_kinks

MODULES = {
    "identity": nn.Identity(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "softplus": nn.Softplus(),
    "logsigmoid": nn.LogSigmoid(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "mish": nn.Mish(),
    "tanhshrink": nn.Tanhshrink(),
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "prelu": nn.PReLU(dtype=torch.float64),
    "rrelu": nn.RReLU().eval(),
    "elu": nn.ELU(),
    "celu": nn.CELU(),
    "selu": nn.SELU(),
    "softsign": nn.Softsign(),
    "hardtanh": nn.Hardtanh(),
    "relu6": nn.ReLU6(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "softshrink": nn.Softshrink(),
    "hardshrink": nn.Hardshrink(),
    "threshold": nn.Threshold(0.0, 0.0),
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "exp": torch.exp,
    "abs": torch.abs,
    "square": torch.square,
}
WITH_PARAMETERS = [
    ("leaky_relu", {"negative_slope": 0.3}, nn.LeakyReLU(0.3)),
    ("prelu", {"init": 0.7}, nn.PReLU(init=0.7, dtype=torch.float64)),
    ("rrelu", {"lower": 0.2, "upper": 0.6}, nn.RReLU(0.2, 0.6).eval()),
    ("elu", {"alpha": 0.5}, nn.ELU(0.5)),
    ("celu", {"alpha": 2.0}, nn.CELU(2.0)),
    ("gelu", {"approximate": "tanh"}, nn.GELU(approximate="tanh")),
    ("softplus", {"beta": 3.0}, nn.Softplus(beta=3.0)),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}, nn.Hardtanh(-0.5, 2.0)),
    ("softshrink", {"lambd": 0.2}, nn.Softshrink(0.2)),
    ("hardshrink", {"lambd": 0.9}, nn.Hardshrink(0.9)),
    ("threshold", {"threshold": 0.5, "value": -2.0}, nn.Threshold(0.5, -2.0)),
]
ALL = [(name, {}, module) for name, module in MODULES.items()] + WITH_PARAMETERS
IDS = [f"{name}-{'-'.join(map(str, p.values()))}" for name, p, _ in ALL]
U = np.concatenate([np.linspace(-9, 9, 181), [-30.0, 30.0, 1e-9, -1e-9]]) + 1e-4


def test_every_name_is_tested():
    assert set(MODULES) == set(theory.NAMES)


@pytest.mark.parametrize(("name", "parameters", "module"), ALL, ids=IDS)
def test_the_function_and_its_derivative_are_torchs(name, parameters, module):
    entry = theory.activation(name, **parameters)
    u = torch.tensor(U, dtype=torch.float64, requires_grad=True)
    out = module(u)
    (slope,) = torch.autograd.grad(out.sum(), u)
    # torch turns softplus linear above 20 (2e-9) and rounds 1/6 to single precision (5e-9).
    np.testing.assert_allclose(entry.phi(U), out.detach().numpy(), rtol=1e-9, atol=6e-9)
    np.testing.assert_allclose(entry.derivative(U), slope.numpy(), rtol=1e-9, atol=6e-9)


@pytest.mark.parametrize("name", theory.NAMES)
def test_the_declared_kinks_are_those_that_are_found(name):
    entry = theory.activation(name)
    assert find_kinks(entry.phi) == pytest.approx(entry.kinks, abs=1e-7)


@pytest.mark.parametrize("name", [n for n in theory.NAMES if n != "exp"])
def test_a_callable_gives_the_moments_of_the_name(name):
    """The callable's kinks are searched and its derivative is numerical: 1e-9."""
    entry = theory.activation(name)
    for q, mean in ((0.3, 0.0), (4.0, 0.7)):
        known, found = theory.moments(name, q, mean), theory.moments(entry.phi, q, mean)
        assert found.second == pytest.approx(known.second, rel=1e-11)
        assert found.derivative_second == pytest.approx(known.derivative_second, rel=1e-9)


def test_the_same_arguments_give_the_same_object():
    assert theory.activation("elu", alpha=0.5) is theory.activation("elu", alpha=0.5)
    assert theory.activation(np.tanh) is theory.activation(np.tanh)
    assert len({theory.activation("relu"), theory.activation("relu"), theory.activation("tanh")}) == 2


@pytest.mark.parametrize(
    ("spec", "parameters", "message"),
    [
        ("rellu", {}, "Did you mean 'relu'"),
        ("elu", {"alfa": 1.0}, "Did you mean 'alpha'"),
        ("elu", {"alpha": -1.0}, "`alpha` is a rate and must be > 0, got -1.0"),
        ("relu", {"slope": 1.0}, "`parameter` must be one of"),
        ("gelu", {"approximate": "erf"}, "`approximate` must be one of 'none', 'tanh'"),
        ("leaky_relu", {"negative_slope": float("nan")}, "must be a finite number"),
        (3, {}, "is a name, an Activation"),
        (lambda u: np.sum(u), {}, "must return an array of the shape"),
        (lambda u: 1 / np.maximum(u, 0), {}, "must be finite on"),
        (nn.LeakyReLU(0.2), {}, "must be a name or a function of NumPy arrays, got LeakyReLU"),
    ],
)
def test_bad_activations_are_refused(spec, parameters, message):
    with pytest.raises(ValueError, match=message):
        theory.activation(spec, **parameters)

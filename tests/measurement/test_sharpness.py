"""The largest eigenvalue against the whole Hessian, and what a rate above 2/λ does."""

import math

import pytest
import torch
from torch import nn

from steadygrad.measurement.constant_guess import constant_guess
from steadygrad.measurement.foreach_norm import foreach_norm
from steadygrad.measurement.sharpness import sharpness
from steadygrad.measurement.trial import train


class NoSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def problem(dtype: torch.dtype = torch.float64):
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)
    x, y = torch.randn(20, 3, dtype=dtype), torch.randint(2, (20,))
    return model, lambda: nn.functional.cross_entropy(model(x), y)


def whole_hessian(loss, parameters) -> torch.Tensor:
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss(), parameters, create_graph=True)])
    rows = [torch.autograd.grad(g, parameters, retain_graph=True) for g in gradient]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def test_lanczos_finds_the_largest_eigenvalue_of_the_whole_hessian():
    model, loss = problem()
    parameters = list(model.parameters())
    expected = torch.linalg.eigvalsh(whole_hessian(loss, parameters))[-1].item()
    found = sharpness(loss, parameters, products=40)
    assert found.exact
    # It stops where a product changes the estimate by less than a fiftieth.
    assert found.largest == pytest.approx(expected, rel=0.05)
    assert found.largest <= expected * (1 + 1e-9)


def test_a_preconditioner_scales_both_sides():
    model, loss = problem()
    parameters = list(model.parameters())
    scale = [torch.rand_like(p) + 0.5 for p in parameters]
    flat = torch.cat([s.flatten() for s in scale])
    expected = torch.linalg.eigvalsh(flat[:, None] * whole_hessian(loss, parameters) * flat)[-1].item()
    assert sharpness(loss, parameters, root_scale=scale).largest == pytest.approx(expected, rel=0.05)


def test_without_a_second_derivative_gradients_are_subtracted_and_parameters_put_back():
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    factors = torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64)
    before = w.detach().clone()
    found = sharpness(lambda: (factors * NoSecondDerivative.apply(w)).sum(), [w])
    assert not found.exact
    assert found.largest == pytest.approx(6.0, rel=1e-4)
    assert torch.equal(w, before)


def test_a_loss_that_is_not_finite_has_no_sharpness():
    w = torch.tensor([0.0], requires_grad=True)
    assert sharpness(lambda: w.log().sum(), [w]) is None


@pytest.mark.parametrize(("share", "falls"), [(0.95, True), (1.05, False)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_descent_on_a_quadratic_is_stable_up_to_the_limit(share, falls, momentum):
    """ηλ < 2(1 + β): Polyak's heavy ball, from the roots of r² - (1 + β - ηλ) r + β."""
    curvature = torch.tensor([[4.0], [1.0]])
    layer = nn.Linear(2, 1, bias=False)
    nn.init.ones_(layer.weight)

    def loss_fn(outputs, targets):
        return (curvature.flatten() * layer.weight.flatten() ** 2).sum() / 2 + 0 * outputs.sum()

    data = [(torch.ones(1, 2), torch.ones(1, 1))]
    found = sharpness(lambda: loss_fn(layer(data[0][0]), None), [layer.weight])
    assert found.largest == pytest.approx(4.0, rel=1e-5)
    rate = share * 2 * (1 + momentum) / found.largest
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=momentum)
    trial = train(layer, data, loss_fn, optimizer, steps=200)
    assert (trial.losses[-1] < trial.losses[0]) == falls


def test_the_norm_of_many_tensors_is_that_of_one():
    tensors = [torch.randn(3, 4), torch.randn(7).double(), torch.randn(2, 2).half()]
    whole = torch.cat([t.double().flatten() for t in tensors])
    assert foreach_norm([*tensors, None]).item() == pytest.approx(whole.norm().item(), rel=1e-6)


def test_the_best_constant_of_cross_entropy_has_the_entropy_of_the_labels():
    y = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    expected = -sum(p * math.log(p) for p in (0.7, 0.2, 0.1))
    found = constant_guess(nn.Linear(5, 3), [(torch.randn(100, 5), y)], nn.CrossEntropyLoss())
    assert found == (pytest.approx(expected, rel=1e-4),)


def test_the_best_constant_of_squared_error_has_the_variance_of_the_targets():
    y = torch.randn(400, 1) * 3 + 5
    found = constant_guess(nn.Linear(5, 1), [(torch.randn(400, 5), y)], nn.MSELoss())
    assert found == (pytest.approx(y.var(correction=0).item(), rel=1e-4),)


def test_too_few_examples_choose_no_constant():
    assert constant_guess(nn.Linear(5, 3), [(torch.randn(9, 5), torch.randint(3, (9,)))], nn.CrossEntropyLoss()) == ()

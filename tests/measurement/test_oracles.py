"""What measure says of real networks, against closed forms and against brute force."""

import math

import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.measurement.batch_moments import batch_moments


def deep(layers: int, width: int, dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*parts).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_oracle_16_the_signal_vanishes_beside_a_q_that_stays(dtype):
    """At layer 20 of width 128 q = .0031 and q(1-c) = 4e-17: medians over draws, from 2/(5n) and 6^-20 / 6."""
    q, signal = [], []
    for seed in range(8):
        torch.manual_seed(seed)
        model = nn.Sequential(*[p for _ in range(20) for p in (nn.Linear(128, 128), nn.ReLU())]).to(dtype)
        layer = measure(model, torch.randn(64, 128, dtype=dtype))["38"]
        q.append(layer.q)
        signal.append(layer.signal)
        assert layer.c == 1 - layer.signal / layer.q
    logs = torch.tensor([math.log(s) for s in signal])
    # 20 layers at width 128 spread ln by sqrt(20 * 5/128) a draw; the median of 8 draws lies within 5 of its errors.
    error = 5 * 1.25 * math.sqrt(20 * 5 / 128 / 8)
    assert abs(logs.median() - math.log(4e-17)) < error
    assert torch.tensor(q).median() == pytest.approx(0.0031, rel=0.25)


def test_moments_equal_sums_over_pairs_of_distinct_examples():
    torch.manual_seed(0)
    x = torch.randn(7, 5, 3, dtype=torch.float64) + 2
    found = batch_moments(x, 7)
    flat = x.flatten(1)
    gram = flat @ flat.T / 15
    apart = gram[~torch.eye(7, dtype=torch.bool)].mean()
    assert found.mean == pytest.approx(x.mean())
    assert found.q == pytest.approx(gram.diag().mean())
    assert found.signal == pytest.approx(found.q - apart)
    assert found.q_error == pytest.approx(gram.diag().std() / 7**0.5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_neither_underflow_nor_overflow_single_precision(scale):
    x = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    found = batch_moments(x * scale, 2)
    assert float(found.q) == pytest.approx(4.5 * scale**2, rel=1e-5)
    assert float(found.signal) == pytest.approx(scale**2, rel=1e-5)


def test_a_large_common_part_does_not_cancel_the_signal():
    torch.manual_seed(0)
    small = torch.randn(32, 64) * 2**-10
    exact = (1024 + small).double()
    expected = exact.var(0).mean().item()
    assert float(batch_moments((1024 + small), 32).signal) == pytest.approx(expected, rel=1e-6)


def test_several_rows_an_example_count_as_one_example():
    x = torch.randn(6, 4)
    assert batch_moments(x, 3).signal == pytest.approx(batch_moments(x.view(3, 8), 3).signal)


def test_one_example_has_no_signal_to_speak_of():
    found = batch_moments(torch.ones(1, 4), 1)
    assert found.q == 1
    assert math.isnan(found.signal)


def test_gradients_are_those_of_the_mean_loss():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(8, 6, dtype=torch.float64), torch.randint(3, (8,))
    profile = measure(model, x, y, nn.CrossEntropyLoss())
    hidden = model[0](x)
    hidden.retain_grad()
    loss = nn.functional.cross_entropy(model[2](torch.tanh(hidden)), y)
    loss.backward()
    assert profile.loss == pytest.approx(loss.item())
    assert profile["0"].grad_q == pytest.approx(hidden.grad.square().mean().item())
    assert profile["0"].weight_grad_norm == pytest.approx(model[0].weight.grad.norm().item())
    gram = hidden.grad @ hidden.grad.T / 5
    apart = gram[~torch.eye(8, dtype=torch.bool)].mean() / gram.diag().mean()
    assert profile["0"].grad_c == pytest.approx(apart.item())


def test_without_a_loss_output_gradients_are_independent_and_of_unit_variance():
    layer = measure(nn.Linear(16, 64), torch.randn(256, 16)).layers[-1]
    n = 64 * 256
    assert abs(layer.grad_q - 1) < 5 * math.sqrt(2 / n)
    assert abs(layer.grad_c) < 5 / math.sqrt(64 * 256 * 255 / 2)


@pytest.mark.parametrize("width", [8, 6000])
def test_a_gradient_is_that_of_the_output_as_the_module_returned_it(width):
    """Small outputs' gradients are asked of the backward pass, large ones come by a hook; writing changes neither."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, width), nn.Linear(width, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.first(x)
            hidden.register_hook(seen.append)
            return self.head(hidden.mul_(3))

    torch.manual_seed(0)
    seen: list[torch.Tensor] = []
    model, x, y = Written(), torch.randn(16, 6), torch.randint(3, (16,))
    profile = measure(model, x, y, nn.CrossEntropyLoss())
    assert profile["first"].grad_q == pytest.approx(seen[0].double().square().mean().item(), rel=1e-5)
    assert profile["first"].q == pytest.approx(model.first(x).double().square().mean().item(), rel=1e-5)


def test_a_module_that_is_called_twice_gets_the_gradient_of_each_call():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs.extend([first := self.layer(x), second := self.layer(first)])
            for output in outputs:
                output.retain_grad()
            return second

    torch.manual_seed(0)
    outputs: list[torch.Tensor] = []
    model, x, y = Twice(), torch.randn(16, 6), torch.randn(16, 6)
    rows = measure(model, x, y, nn.MSELoss()).layers
    outputs.clear()
    nn.functional.mse_loss(model(x), y).backward()
    expected = [output.grad.double().square().mean().item() for output in outputs]
    assert [row.grad_q for row in rows] == pytest.approx(expected, rel=1e-5)

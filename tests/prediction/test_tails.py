"""Weights that are not Gaussian: over many examples and positions their fourth moment decides how far q varies."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict

DRAWS = 1000
# Four standard errors of a deviation over so many draws, of a log whose excess kurtosis is below 1.
ERROR = 4 * (3 / (4 * DRAWS)) ** 0.5


class Uniform(nn.Linear):
    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -1, 1)


class Normal(nn.Linear):
    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)


class Heavy(nn.Linear):
    """Kurtosis E z¹² / (E z⁶)² = 10395/225 = 46.2."""

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape) ** 3)


@torch.no_grad()
def logs(model, y, rows):
    found = []
    for i, layer in enumerate(model):
        y = layer(y)
        found += [float(y.double().square().mean().log())] if i in rows else []
    return found


def deviations(make, x, rows):
    """Of the log second moment of calls, predicted and drawn."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        found.append(logs(make(), x, rows))
    profile = predict(make, x)
    predicted = [float(np.log(profile[str(i)].q_high / profile[str(i)].q_low)) / (2 * 1.959964) for i in rows]
    return np.array(predicted), np.array(found).std(0)


@pytest.mark.parametrize("layer", [Uniform, Normal, Heavy])
def test_the_tails_of_weights_count_where_many_vectors_are_taken_together(layer):
    """Var(mean z²)/(mean z²)² = 2 Σ_ij M_ij² + κ Σ_i M_ii² over (tr M)², with M = X^T X/128, exactly."""
    x = torch.randn(8, 16, 32, generator=torch.Generator().manual_seed(0))
    made = lambda: nn.Sequential(layer(32, 32, bias=False))  # noqa: E731
    predicted, drawn = deviations(made, x, [0])
    m = (x.reshape(-1, 32).T.double() @ x.reshape(-1, 32).double()) / 128
    kurtosis = {Uniform: 9 / 5, Normal: 3.0, Heavy: 10395 / 225}[layer]
    exact = (2 * (m**2).sum() + (kurtosis - 3) * (m.diag() ** 2).sum()) / m.trace() ** 2 / 32
    assert drawn[0] == pytest.approx(float(exact) ** 0.5, rel=ERROR + 0.02)
    # An input's own mean square over 128 vectors is known to 2/128 only.
    assert predicted[0] == pytest.approx(float(exact) ** 0.5, rel=0.05)


@pytest.mark.parametrize("layer", [Uniform, Normal, Heavy])
def test_so_they_do_in_what_goes_back_through_them(layer):
    """The same with M = G^T G/128 of the gradients, a Wishart matrix: E tr M² = n + n (n + 1)/128, E M_ii² = 1 + 2/128.

    And the mean square of all 8 n gradients at the output varies itself, by 2 of its entries.
    """
    n, vectors = 12, 128
    x = torch.randn(8, 16, 32, generator=torch.Generator().manual_seed(0))

    def made():
        return nn.Sequential(nn.Linear(32, 48), layer(48, n, bias=False))

    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = made()
        h = model[0](x)
        y = model[1](h)
        (g,) = torch.autograd.grad(y, h, torch.randn_like(y))
        found.append(float(g.double().square().mean().log()))
    kurtosis = {Uniform: 9 / 5, Normal: 3.0, Heavy: 10395 / 225}[layer]
    squares, own = n + n * (n + 1) / vectors, n * (1 + 2 / vectors)
    exact = ((2 * squares + (kurtosis - 3) * own) / n**2 / 48 + 2 / (n * vectors)) ** 0.5
    row = predict(made, x)["0"]
    # The deviation of a log is that of the mean square to first order only.
    assert np.std(found) == pytest.approx(exact, rel=ERROR + 0.05)
    assert np.log(row.grad_q_high / row.grad_q_low) / (2 * 1.959964) == pytest.approx(exact, rel=0.1)


def test_convolutions_as_torch_fills_them_vary_as_predicted_until_their_biases_are_all():
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))

    def made():
        convolutions = [part for i in range(4) for part in (nn.Conv2d(32 if i else 3, 32, 3, padding=1), nn.GELU())]
        return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1))

    predicted, drawn = deviations(made, x, range(9))
    # Beside the draws' own error what the first order in the fourth cumulant leaves: a tenth.
    assert np.log(predicted / drawn) == pytest.approx(np.zeros(9), abs=ERROR + 0.1)

"""What independent signals have in common by chance, and what a network makes of it going back."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict
from steadygrad.prediction.data_field import of_data
from steadygrad.prediction.field import Field

from .test_positions import draw, he_, seeded


def smooth(seed, width, size=8):
    """Draws of `width` units over a row of positions that are alike where they are near."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((400, size, width)).cumsum(1) / math.sqrt(size)


def test_independent_fields_meet_by_their_correlations():
    """E[(x·y)²]/(E|x|² E|y|²) over positions and units, of 400 draws: within five standard errors."""
    x, y = smooth(0, 16), smooth(1, 16)
    fields = [of_data(values) for values in (x, y)]
    cosines = (x * y).sum((1, 2)) ** 2 / ((x**2).sum((1, 2)).mean() * (y**2).sum((1, 2)).mean())
    error = 5 * cosines.std() / math.sqrt(len(cosines))
    assert abs(fields[0].by_chance(fields[1], 16) - cosines.mean()) < error


def test_white_fields_meet_as_one_of_all_entries():
    white = Field(np.ones(9), np.where(np.arange(9) == 0, 0.0, 1.0), np.ones(9))
    assert white.by_chance(white, 4) == pytest.approx(1 / 36)
    assert white.by_chance(None, 4) == pytest.approx(1 / 36)


def pooled():
    layers = [m for i in range(6) for m in (nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1), nn.ReLU())]
    return he_(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)))


def test_a_gradient_that_all_positions_have_in_common_is_no_more_along_the_signal_than_by_chance():
    """The median over 300 draws, at width 16: within five standard errors and 0.06; counted as along it is 0.4 off."""
    images, count = seeded(4, 3, 6, 6), 300
    profile = predict(pooled, images)
    real = np.log([draw(pooled, images, seed) for seed in range(count)])[:, :, 1]
    for i in (0, 4, 8):
        error = 5 * math.sqrt(math.pi / 2 / count) * real[:, i].std() + 0.06
        assert abs(math.log(profile.layers[i].grad_q) - np.median(real[:, i])) < error, i


class Averaged(nn.Module):
    """Attention, and the mean of its positions' logits."""

    def __init__(self):
        super().__init__()
        self.stem, self.qkv, self.out = nn.Linear(32, 32), nn.Linear(32, 96), nn.Linear(32, 10)

    def forward(self, x):
        q, k, v = self.qkv(self.stem(x)).unflatten(2, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        met = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(met.transpose(1, 2).flatten(2))


def of_mean(output, targets):
    return nn.functional.cross_entropy(output.mean(1), targets)


def test_a_loss_on_a_mean_gives_all_positions_one_gradient():
    """The median of 100 draws, within five standard errors and 0.1; as independent positions it is 0.9 off."""
    x, y, real, count = seeded(8, 12, 32), torch.arange(8), [], 100
    for seed in range(count):
        torch.manual_seed(seed)
        model, outs = Averaged(), []
        model.qkv.register_forward_hook(lambda m, a, out, outs=outs: outs.append(out))
        (grad,) = torch.autograd.grad(of_mean(model(x), y), outs)
        real.append(float(grad.double().square().mean().log()))
    error = 5 * math.sqrt(math.pi / 2 / count) * np.std(real) + 0.1
    found = predict(Averaged, x, y, loss_fn=of_mean)["qkv"].grad_q
    assert abs(math.log(found) - np.median(real)) < error

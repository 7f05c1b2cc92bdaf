"""Gradients that add up to zero over the batch, as a norm of each unit sends them back, and those that do not."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, APPROXIMATE = 32, 0.2  # of the log
IMAGES = torch.randn(12, 3, 12, 12, generator=torch.Generator().manual_seed(0))
STEPS = torch.randn(12, 8, 12, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(12) % 5


class Beside(nn.Module):
    """Two branches of the same input, their channels side by side."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Attended(nn.Module):
    """Attention over the steps, and then a recurrent layer, of which one step is read."""

    def __init__(self, step):
        super().__init__()
        self.step, self.queries, self.out = step, nn.Linear(12, 36), nn.Linear(12, 12)
        self.steps, self.head = nn.GRU(12, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x):
        q, k, v = self.queries(x).chunk(3, -1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v))
        return self.head(self.steps(x)[0][:, self.step])


def conv(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def headed(*layers):
    return nn.Sequential(*layers, nn.GELU(), conv(8, 8), nn.Flatten(), nn.Linear(8 * 144, 5))


def drawn_norms(factory, x):
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        found.append(measure(factory(), x, LABELS, F.cross_entropy).parameter_grad_norms)
    return {name: np.array([norms[name] for norms in found]) for name in found[0]}


def agree(profile, drawn, names):
    for name in names:
        logs = np.log(drawn[name])
        error = abs(np.log(profile.parameter_grad_norms[name]) - np.median(logs))
        assert error < APPROXIMATE + 5 * 1.25 * logs.std() / DRAWS**0.5, name


BALANCED = {
    "batch norm": (lambda: headed(conv(3, 8), nn.BatchNorm2d(8)), ["0.bias"]),
    "half of its channels": (
        lambda: headed(Beside(conv(3, 4), conv(3, 4)), nn.BatchNorm2d(8)),
        ["0.branches.0.bias", "0.branches.1.bias"],
    ),
    "instance norm": (lambda: headed(conv(3, 8), nn.InstanceNorm2d(8)), ["0.bias"]),
    "pooled in front": (
        lambda: nn.Sequential(
            conv(3, 8), nn.MaxPool2d(2), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(288, 5)
        ),
        ["0.bias"],
    ),
    "behind another layer": (lambda: headed(conv(3, 4), conv(4, 8), nn.BatchNorm2d(8)), ["1.bias"]),
}


@pytest.mark.parametrize("case", BALANCED)
def test_a_bias_in_front_of_a_norm_of_its_unit_has_no_gradient(case):
    """The norm takes it off again: what comes back adds up to zero, whatever came in."""
    factory, names = BALANCED[case]
    profile, drawn = predict(factory, IMAGES, LABELS, loss_fn=F.cross_entropy), drawn_norms(factory, IMAGES)
    largest = max(profile.parameter_grad_norms.values())
    for name in names:
        assert profile.parameter_grad_norms[name] == 0
        assert drawn[name].max() < 1e-5 * largest


class SomeRows(nn.Module):
    """A convolution, and a shift of some rows of what it gives, in front of a norm of all of them."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.shift = rows, nn.Parameter(torch.zeros(8, 1, 1))
        self.first, self.norm, self.last = conv(3, 8), nn.BatchNorm2d(8), nn.Linear(8 * 144, 5)

    def forward(self, x):
        x = self.first(x)
        x = torch.cat([x[:, :, : self.rows] + self.shift, x[:, :, self.rows :]], 2)
        return self.last(F.gelu(self.norm(x)).flatten(1))


@pytest.mark.parametrize("rows", [2, 6])
def test_some_positions_of_what_adds_up_to_zero_need_not(rows):
    """The shift of some rows is not what the norm takes off; how rows hang together is followed approximately."""

    def factory():
        return SomeRows(rows)

    profile, drawn = predict(factory, IMAGES, LABELS, loss_fn=F.cross_entropy), drawn_norms(factory, IMAGES)
    found, size = profile.parameter_grad_norms["shift"], np.median(drawn["shift"])
    assert size / 3 < found < 3 * size


@pytest.mark.parametrize("between", [nn.ReLU, nn.Tanh, lambda: nn.Dropout(0.3), lambda: nn.Dropout2d(0.3)])
def test_it_has_one_where_something_stands_between(between):
    """What is multiplied by numbers that differ no longer adds up to zero."""

    def factory():
        return headed(conv(3, 8), between(), nn.BatchNorm2d(8))

    profile, drawn = predict(factory, IMAGES, LABELS, loss_fn=F.cross_entropy), drawn_norms(factory, IMAGES)
    found, size = profile.parameter_grad_norms["0.bias"], np.median(drawn["0.bias"])
    assert size / 2 < found < 2 * size  # approximate, behind a function as the norm takes it for Gaussian


def test_a_group_norm_takes_out_the_mean_of_a_group_and_of_one_example():
    """Of a group of two channels a channel's bias is left half its squared gradient; what examples share stays."""

    def factory():
        return nn.Sequential(conv(3, 8), nn.GroupNorm(4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 144, 5))

    profile, drawn = predict(factory, IMAGES, LABELS, loss_fn=F.cross_entropy), drawn_norms(factory, IMAGES)
    agree(profile, drawn, ["0.bias", "1.bias", "4.bias"])


@pytest.mark.parametrize("norm", [lambda: nn.GroupNorm(4, 8), lambda: nn.BatchNorm2d(8)])
def test_a_shift_is_met_at_every_position_of_an_image_that_is_flattened_behind_it(norm):
    def factory():
        return nn.Sequential(conv(3, 8), norm(), nn.Flatten(), nn.Linear(8 * 144, 5))

    profile, drawn = predict(factory, IMAGES, LABELS, loss_fn=F.cross_entropy), drawn_norms(factory, IMAGES)
    agree(profile, drawn, ["1.bias", "3.bias"])


@pytest.mark.parametrize("step", [0, -1])
def test_gradients_of_steps_of_unequal_size_have_in_common_what_the_large_ones_have(step):
    """Of a recurrent layer that is read at its first step the gradients at all others are zero, not alike."""

    def factory():
        return Attended(step)

    profile, drawn = predict(factory, STEPS, LABELS, loss_fn=F.cross_entropy), drawn_norms(factory, STEPS)
    assert not profile.unknown
    assert abs(profile["queries"].grad_c) < 0.1
    agree(profile, drawn, ["queries.weight", "queries.bias", "out.weight", "out.bias", "steps.bias_ih_l0"])

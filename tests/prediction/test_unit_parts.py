"""Parts side by side that are not alike: what a norm of each unit, and slices of the gradient, make of each."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.unit_parts import UnitPart, multiplied, pieces, relative, within

DRAWS = 60
# Of logs: 5% for each norm that a gradient goes back through, whose variances are inverted to first order.
OF_A_NORM = 0.05


class Joined(nn.Module):
    """Two layers of one input, the second times a number, side by side; a norm, an activation, and one more layer."""

    def __init__(self, layer, norm, scale):
        super().__init__()
        self.first, self.second, self.norm = layer(32), layer(16), norm(48)
        self.scale, self.head = scale, nn.LazyLinear(8)

    def forward(self, x):
        joined = torch.cat([self.first(x), self.scale * self.second(x)], 1)
        return self.head(torch.tanh(self.norm(joined)).flatten(2).mean(2) if x.dim() > 2 else self.norm(joined))


class Through(Joined):
    """The same with something between the join and the norm, that takes unit by unit, and all places read."""

    def __init__(self, layer, norm, scale, between):
        super().__init__(layer, norm, scale)
        self.between = between

    def forward(self, x):
        joined = torch.cat([self.first(x), self.scale * self.second(x)], 1)
        return self.head(self.norm(self.between(joined)).flatten(1))


class Dense(nn.Module):
    """Each layer is given all that came before, side by side: joined at once, or one by one."""

    def __init__(self, *, one_by_one):
        super().__init__()
        self.one_by_one, self.stem = one_by_one, nn.Conv2d(3, 24, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 12, 3, padding=1)) for c in (24, 36, 48)
        )
        self.norm, self.head = nn.BatchNorm2d(60), nn.Linear(60, 8)

    def forward(self, x):
        parts = [self.stem(x)]
        for layer in self.layers:
            parts.append(layer(torch.cat(parts, 1)))
            if self.one_by_one:
                parts = [torch.cat(parts, 1)]
        return self.head(torch.relu(self.norm(torch.cat(parts, 1))).mean((2, 3)))


def linear(units):
    return nn.Linear(24, units)


def conv(units):
    return nn.Conv2d(3, units, 3, padding=1)


CASES = {
    "linear, alike": (lambda: Joined(linear, nn.BatchNorm1d, 1.0), (32, 24), 1),
    "linear, unlike": (lambda: Joined(linear, nn.BatchNorm1d, 0.1), (32, 24), 1),
    "images, alike": (lambda: Joined(conv, nn.BatchNorm2d, 1.0), (8, 3, 8, 8), 1),
    "images, unlike": (lambda: Joined(conv, nn.BatchNorm2d, 0.1), (8, 3, 8, 8), 1),
    "groups": (lambda: Joined(conv, lambda units: nn.GroupNorm(3, units), 0.1), (8, 3, 8, 8), 1),
    "groups that share": (lambda: Joined(conv, lambda units: nn.GroupNorm(8, units), 0.1), (8, 3, 8, 8), 1),
    "groups of vectors": (lambda: Joined(linear, lambda units: nn.GroupNorm(6, units), 0.1), (32, 24), 1),
    "instances": (lambda: Joined(conv, nn.InstanceNorm2d, 0.1), (8, 3, 8, 8), 1),
    "a function": (lambda: Through(linear, nn.BatchNorm1d, 0.1, F.gelu), (32, 24), 1),
    "a product of functions": (lambda: Through(linear, nn.BatchNorm1d, 0.1, lambda h: h * h.sigmoid()), (32, 24), 1),
    "dropout": (lambda: Through(linear, nn.BatchNorm1d, 0.1, nn.Dropout(0.2)), (32, 24), 1),
    "a function, images": (lambda: Through(conv, nn.BatchNorm2d, 0.1, torch.tanh), (8, 3, 8, 8), 1),
    "a function, instances": (lambda: Through(conv, nn.InstanceNorm2d, 0.1, F.gelu), (8, 3, 8, 8), 1),
    "dense": (lambda: Dense(one_by_one=False), (8, 3, 8, 8), 4),
    "dense, joined again": (lambda: Dense(one_by_one=True), (8, 3, 8, 8), 4),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_parts_are_those_of_draws(case):
    make, shape, norms = CASES[case]
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    rows = predict(make, x)
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = make()
        drawn.append([[math.log(row.q), math.log(row.grad_q)] for row in measure(model, x)])
    logs = np.array(drawn)
    logs[..., 1] -= logs[:, -1:, 1]  # the gradient that the measurement starts with is one draw
    error = 1.2533 * logs.std(0) / DRAWS**0.5  # of a median
    found = np.array([[math.log(row.q), math.log(row.grad_q / rows["head"].grad_q)] for row in rows])
    assert (np.abs(found - np.median(logs, 0)) < OF_A_NORM * norms + 5 * error).all()


class Cut(nn.Module):
    """A norm of two layers side by side, the second ten times as large."""

    def __init__(self, between):
        super().__init__()
        self.first, self.second, self.norm = linear(24), linear(24), nn.BatchNorm1d(48, eps=1e-30)
        self.between = between

    def forward(self, x):
        return self.norm(self.between(torch.cat([self.first(x), 10 * self.second(x)], 1)))


HOMOGENEOUS = {
    "nothing": lambda h: h,
    "a rectifier": torch.relu,
    "a factor": lambda h: 3 * h,
    "dropout": lambda h: F.dropout(h, 0.3),
    "a sum": lambda h: h + torch.relu(h),
}


@pytest.mark.parametrize("between", HOMOGENEOUS)
def test_what_a_part_is_multiplied_by_before_a_norm_does_not_reach_its_gradient(between):
    """Nor behind what grows as its argument does."""
    first, second, _ = predict(lambda: Cut(HOMOGENEOUS[between]), (32, 24))
    assert second.grad_q == pytest.approx(first.grad_q, rel=0.01)  # the differences are those of a typical draw in one


def test_levels_are_relative_to_the_mean_of_all_units():
    parts = relative([(3, 1.0, None), (1, 5.0, None)])
    assert sum(p.units * p.level for p in parts) == pytest.approx(4.0)
    assert relative([(3, 0.0, None)]) is None
    assert within(parts, 2, 2) == (1.5, relative([(1, 0.5, None), (1, 2.5, None)]))
    level, factors = multiplied(parts, parts)
    assert level == pytest.approx((3 * 0.25 + 6.25) / 4)
    assert [p.level * level for p in factors] == pytest.approx([0.25, 6.25])


def test_pieces_end_where_a_part_of_any_does():
    x, y = (UnitPart(1, 0.5), UnitPart(3, 7 / 6)), (UnitPart(2, 1.5), UnitPart(2, 0.5))
    assert list(pieces(x, None, y)) == [
        (0, 1, (x[0], None, y[0])),
        (1, 1, (x[1], None, y[0])),
        (2, 2, (x[1], None, y[1])),
    ]

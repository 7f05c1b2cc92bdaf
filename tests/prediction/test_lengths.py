"""Behind a norm over all positions a second moment is fixed, that of a function is not: long places lie on one side."""

import math

import numpy as np
import torch
from torch import nn

from steadygrad.prediction import predict

DRAWS = 300
IMAGES = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def conv(inputs=64):
    return nn.Conv2d(inputs, 64, 3, padding=1, bias=False)


def normed():
    return nn.Sequential(conv(3), nn.BatchNorm2d(64), nn.ReLU(), conv(), nn.BatchNorm2d(64), nn.ReLU())


class Joined(nn.Module):
    """A rectified stream that normed branches join."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3), nn.BatchNorm2d(64), nn.ReLU())
        self.branches = nn.ModuleList(
            nn.Sequential(conv(), nn.BatchNorm2d(64), nn.ReLU(), conv(), nn.BatchNorm2d(64)) for _ in range(3)
        )
        self.sums = nn.ModuleList(nn.ReLU() for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        for branch, rectified in zip(self.branches, self.sums, strict=True):
            x = rectified(x + branch(x) / 2)
        return x


def deviations(factory, kept):
    """Return for each of these rows the predicted deviation of the log of q, and that over draws."""
    predicted = {row.path: row for row in predict(factory, IMAGES)}
    drawn = {path: [] for path in kept}
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = factory()
        for path in kept:
            model.get_submodule(path).register_forward_hook(
                lambda m, a, y, path=path: drawn[path].append(math.log(float(y.double().square().mean())))
            )
        with torch.no_grad():
            model(IMAGES)
    return [
        (math.log(predicted[path].q_high / predicted[path].q_low) / (2 * 1.959964), np.std(drawn[path]))
        for path in kept
    ]


def test_what_is_rectified_behind_a_norm_varies_with_the_side_on_which_long_places_lie():
    """Five standard errors of a deviation over so many draws: the log of it has 1/sqrt(2 DRAWS).

    Of white images places are long by chance and by padding, and have no mean: the third order of what distinct places
    have in common is 0 beside its sign. Rectified ones have a mean, along which the long ones lie.
    """
    for predicted, real in deviations(normed, ["2", "5"]):
        assert abs(math.log(predicted / real)) < 5 / math.sqrt(2 * DRAWS)


def test_rectified_sums_with_normed_branches_vary_by_what_the_branch_keeps_of_the_stream():
    """A branch keeps the angles of what it is given, so its products with the stream add up, block after block.

    Within five standard errors and a tenth, by how much more places have in common than their distance says.
    """
    for predicted, real in deviations(Joined, ["sums.0", "sums.1", "sums.2"]):
        assert abs(math.log(predicted / real)) < 5 / math.sqrt(2 * DRAWS) + 0.1

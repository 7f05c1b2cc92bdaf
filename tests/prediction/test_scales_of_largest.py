"""Norms behind which the largest of all places is read: their scales meet it where it is."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, APPROXIMATE = 24, 0.2  # of the log
IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 5


class Largest(nn.Module):
    def forward(self, x):
        return x.amax((2, 3))


def conv(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def normed():
    return nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.Tanh(), Largest(), nn.Linear(16, 5))


def test_a_scale_meets_the_largest_where_they_are():
    """A gradient that comes from the largest places meets what a norm made of these: large numbers of one sign."""
    found = predict(normed, IMAGES, LABELS, loss_fn=F.cross_entropy).parameter_grad_norms
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        norms = measure(normed(), IMAGES, LABELS, F.cross_entropy).parameter_grad_norms
        drawn.append([np.log(norms[name]) for name in ("1.weight", "1.bias")])
    logs = np.array(drawn)
    error = np.abs(np.log([found["1.weight"], found["1.bias"]]) - np.median(logs, 0))
    assert (error < APPROXIMATE + 5 * 1.2533 * logs.std(0) / DRAWS**0.5).all()

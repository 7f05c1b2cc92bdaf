"""The largest over places: one rule however it is asked for, and gradients that meet functions where they are large."""

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.field import Field
from steadygrad.prediction.hermite import tables
from steadygrad.prediction.largest import drawn_largest
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.steps import at_step
from steadygrad.prediction.values import Moments
from steadygrad.prediction.windows import Window

from .test_positions import seeded

DRAWS, APPROXIMATE = 48, 0.2  # of the log
TOKENS = torch.randint(100, (16, 12), generator=torch.Generator().manual_seed(0))
LABELS, WHITE = torch.arange(16) % 5, seeded(16, 64)
LARGEST = {
    "amax": lambda h: h.amax(1),
    "max": lambda h: h.max(1).values,
    "kept": lambda h: h.amax(1, keepdim=True).squeeze(1),
    "pool": lambda h: F.adaptive_max_pool1d(h.transpose(1, 2), 1).flatten(1),
}


class Read(nn.Module):
    """A table, states over time, and a head that reads the largest of them."""

    def __init__(self, states=nn.RNN, largest="amax"):
        super().__init__()
        self.table, self.states, self.head = nn.Embedding(100, 32), states(32, 32, batch_first=True), nn.Linear(32, 5)
        self.largest = LARGEST[largest]

    def forward(self, x):
        return self.head(self.largest(self.states(self.table(x))[0]))


def norms(profile):
    return {name: np.log(norm) for name, norm in profile.parameter_grad_norms.items()}


@pytest.mark.parametrize("states", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("largest", ["max", "kept", "pool"])
def test_the_largest_is_one_however_it_is_asked_for(states, largest):
    """A pool squares its gradient's examples in another order, which rounds otherwise."""
    one, other = (
        norms(predict(lambda way=way: Read(states, way), TOKENS, LABELS, loss_fn=F.cross_entropy))
        for way in ("amax", largest)
    )
    assert one.keys() == other.keys()
    assert [other[name] for name in one] == pytest.approx(list(one.values()), abs=0.1 if largest == "pool" else 1e-9)


@pytest.mark.parametrize("largest", ["amax", "pool"])
def test_a_step_has_the_gradient_where_its_state_is_large(largest):
    """States near their end send little back, and the largest of twelve are: weights have .6 of what they had else."""
    found = norms(predict(lambda: Read(nn.RNN, largest), TOKENS, LABELS, loss_fn=F.cross_entropy))
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(list(norms(measure(Read(nn.RNN, largest), TOKENS, LABELS, F.cross_entropy)).values()))
    error = np.abs(np.array([found[name] for name in found]) - np.median(drawn, 0))
    assert (error < APPROXIMATE + 5 * 1.2533 * np.std(drawn, 0) / DRAWS**0.5).all()


class Parted(nn.Module):
    """A function of which one head reads the largest entries, and another all."""

    def __init__(self):
        super().__init__()
        self.first, self.head, self.other = nn.Linear(64, 64), nn.Linear(64, 5), nn.Linear(64, 5)
        nn.init.normal_(self.first.weight, std=0.25)
        nn.init.normal_(self.other.weight, std=0.03)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.head(F.relu(h - 0.8)) + self.other(h)


def test_what_a_gradient_met_is_known_beside_another_branch():
    """The head's gradient is there where the function is flat: it goes on as (1 - .9²)² of it, and not as the mean."""
    found, drawn = norms(predict(Parted, WHITE, LABELS, loss_fn=F.cross_entropy)), []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(norms(measure(Parted(), WHITE, LABELS, F.cross_entropy))["first.weight"])
    assert abs(found["first.weight"] - np.median(drawn)) < APPROXIMATE + 5 * 1.2533 * np.std(drawn) / DRAWS**0.5


def source_of(count, units=32):
    return Source(np.zeros(count), np.ones(count), 1 - np.eye(count), units, CERTAIN, CERTAIN, 2.0)


def test_a_step_that_is_distributed_as_all_are_meets_what_all_meet():
    whole, own = source_of(4), source_of(4)
    tanh = np.tanh(tables()[0])
    whole.steps = (Wave(own, tanh[None]),), tanh
    gate = np.exp(tables()[0] / 2)
    moments = Moments(np.zeros(4), np.ones(4), 1 - np.eye(4), CERTAIN)
    met, before = at_step(Wave(whole, gate[None]), moments, 0)
    assert met.source is own
    assert float(met.values[0] ** 2 @ tables()[1]) == pytest.approx(1)
    assert met.values[0, 20:-20] == pytest.approx((gate / (gate**2 @ tables()[1]) ** 0.5)[20:-20], rel=1e-2)
    assert before.q == pytest.approx(moments.q)


def test_the_largest_of_many_independent_places_is_that_of_all_of_them():
    """Of n normal numbers the median of the largest is Φ⁻¹(2^(-1/n)): some of them say less."""
    count = 400
    source = source_of(2)
    source.field = Field(np.ones(count), np.append(0.0, np.ones(count - 1)), np.ones(count))
    found = drawn_largest(Wave(source, tables()[0][None]), [Window(count, count, 0, count, 1)], (count,))
    assert np.interp(0.0, tables()[0], found.values) == pytest.approx(ndtri(0.5 ** (1 / count)), abs=0.05)

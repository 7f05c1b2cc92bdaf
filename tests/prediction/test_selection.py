"""A position that is selected, such as a class token or the last step: its gradient stands there and nowhere else."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import steadygrad as sg
from steadygrad.prediction.data_field import of_data
from steadygrad.prediction.field import Field

DRAWS = 8
WITHIN = 0.3  # of log grad_q, beside the error of the draws: what is said of attention and norms is approximate


class Block(nn.Module):
    def __init__(self, width, heads=4):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.packed, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, n = x.shape
        q, k, v = self.packed(self.first(x)).view(b, t, 3, self.heads, n // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, n)
        x = x + self.out(attended)
        return x + self.narrow(F.gelu(self.wide(self.second(x))))


class VisionTransformer(nn.Module):
    """Four pre-norm blocks over patches and a class token, whose output is the first position's."""

    def __init__(self, width=64):
        super().__init__()
        self.patch, self.token = nn.Linear(32, width), nn.Parameter(torch.empty(1, 1, width))
        self.position = nn.Parameter(torch.empty(1, 17, width))
        nn.init.trunc_normal_(self.token, std=0.02)
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 64)

    def forward(self, x):
        whole = torch.cat([self.token.expand(len(x), -1, -1), self.patch(x)], 1) + self.position
        return self.head(self.norm(self.blocks(whole))[:, 0])


class Normed(nn.Module):
    """A small class token beside patches, normed; its gradient, divided by the least, is not that of the patches."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.token = nn.Linear(32, 64), nn.LayerNorm(64), nn.Parameter(torch.empty(1, 1, 64))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, x):
        return self.norm(torch.cat([self.token.expand(len(x), -1, -1), self.patch(x)], 1))


class Recurrent(nn.Module):
    """Read at the last step."""

    def __init__(self, kind):
        super().__init__()
        self.enter, self.cell, self.head = nn.Linear(32, 32), kind(32, 64, batch_first=True), nn.Linear(64, 64)

    def forward(self, x):
        return self.head(self.cell(self.enter(x))[0][:, -1])


class Encoder(nn.Module):
    """Copies of one layer, with the mean over positions, or the first of them by a slice, as its output."""

    def __init__(self, pooled):
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True)
        self.enter, self.layers = nn.Linear(32, 64), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.pooled = nn.Linear(64, 64), pooled

    def forward(self, x):
        h = self.layers(self.enter(x))
        return self.head(h.mean(1) if self.pooled else h[:, :1].squeeze(1))


MODELS = {
    "class token": VisionTransformer,
    "gru": lambda: Recurrent(nn.GRU),
    "lstm": lambda: Recurrent(nn.LSTM),
    "mean": lambda: Encoder(pooled=True),
    "slice": lambda: Encoder(pooled=False),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_a_selected_position(name):
    steps = 6 if name in ("gru", "lstm") else 16
    x = torch.randn(8, steps, 32, generator=torch.Generator().manual_seed(0))
    profile = sg.predict(MODELS[name], x)
    assert not profile.unknown
    draws = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        draws.append([row.grad_q for row in sg.measure(MODELS[name](), x)])
    logs = np.log(np.array(draws))
    errors = 5 * 1.2533 * logs.std(0) / math.sqrt(DRAWS)
    for row, middle, error in zip(profile, np.median(logs, 0), errors, strict=True):
        assert abs(math.log(row.grad_q) - middle) < WITHIN + error, (name, row)
        assert row.mark == "approximate"


@pytest.mark.parametrize("place", [0, 1])
def test_a_class_token_is_the_same_in_all_examples(place):
    """And patches are not: 1 - c behind a head is that of the place that is read."""

    class Read(Normed):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 64, bias=False)

        def forward(self, x):
            return self.head(super().forward(x)[:, place])

    x = torch.randn(8, 16, 32, generator=torch.Generator().manual_seed(0))
    found, draws = sg.predict(Read, x)["head"].c, []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        draws.append(sg.measure(Read(), x)["head"].c)
    assert abs(found - np.median(draws)) < 5 * 1.2533 * np.std(draws) / math.sqrt(DRAWS) + 0.01


def test_a_norm_divides_the_gradient_of_each_position_by_its_own_deviation():
    """Of patches of one length beside a small token, a gradient that is alike; within five errors and .02."""
    x = F.rms_norm(torch.randn(8, 16, 32, generator=torch.Generator().manual_seed(0)), (32,))
    expected, draws = sg.predict(Normed, x)["patch"].grad_q, []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        draws.append(math.log(sg.measure(Normed(), x)["patch"].grad_q))
    assert abs(math.log(expected) - np.median(draws)) < 5 * 1.2533 * np.std(draws) / math.sqrt(DRAWS) + 0.02


def test_a_field_among_zeros_is_that_of_the_data_among_zeros():
    values = torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(0)).double().numpy()
    values = values + values.mean(1, keepdims=True) * 3
    whole = np.zeros((4, 17, 32))
    whole[:, 3:15:2] = values
    one, other = of_data(values).among(0, slice(3, 15, 2), 17), of_data(whole)
    assert np.allclose(one.share, other.share)
    assert np.allclose(one.within, other.within)
    assert np.allclose(one.across, other.across)


def test_places_that_grow_keep_their_products():
    """A number times each place: of places that are one signal the products grow as the numbers do."""
    field = Field(np.ones(5), np.zeros(5), np.zeros(5))
    squares = np.array([0.0, 1.0, 4.0, 9.0, 16.0])
    grown, level = field.times(squares)
    assert level == squares.mean()
    products = [np.mean(np.sqrt(squares[lag:] * squares[: 5 - lag])) / level for lag in range(5)]
    assert np.allclose(1 - grown.within, products, atol=1e-6)


def test_copies_of_a_module_are_known_by_what_filled_it():
    layer = lambda: nn.Sequential(copy.deepcopy(nn.Linear(64, 64)))  # noqa: E731
    profile = sg.predict(layer, (8, 64))
    assert not profile.unknown
    assert profile["0"].q == pytest.approx(sg.predict(lambda: nn.Sequential(nn.Linear(64, 64)), (8, 64))["0"].q)

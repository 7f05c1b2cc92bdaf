"""Numbers that differ from draw to draw: computed on one draw of the weights, consistently, and said to be so."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import steadygrad as sg
from steadygrad.prediction.demands import Drawn
from steadygrad.prediction.law import NORMAL, distributed
from steadygrad.prediction.values import Fill

DRAWS = 12


def test_a_transpose_is_drawn_as_the_transpose_of_the_same_numbers():
    drawn, w = Drawn(), torch.empty(5, 7)
    fill = Fill(0.0, 1.0, source=0)
    assert torch.equal(drawn.numbers(fill, w.t()), drawn.numbers(fill, w).t())


def test_numbers_of_a_law_of_many_values_have_its_variance():
    """A product of two normal draws is held by more values than 2¹⁵; of 2¹⁶ numbers, E[x⁴] = 9: five errors."""
    law = distributed(
        np.sort(np.outer(NORMAL.quantiles(400), NORMAL.quantiles(400)).ravel()), np.full(400**2, 400.0**-2), 0
    )
    numbers = Drawn().numbers(law, torch.empty(1 << 16, dtype=torch.float64))
    assert float(numbers.square().mean()) == pytest.approx(law.variance, abs=5 * math.sqrt(8 / (1 << 16)))


def normalized(kind):
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), kind(nn.Linear(64, 64)), nn.Tanh(), nn.Linear(64, 64))


@pytest.mark.parametrize("kind", [parametrizations.spectral_norm, nn.utils.spectral_norm], ids=["new", "old"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_spectral_norm_divides_by_the_largest_singular_value_of_the_weight_itself(kind):
    """What is behind it is approximate: the singular value is that of one draw."""
    x = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    profile = sg.predict(lambda: normalized(kind), x)
    draws = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        draws.append([[row.q, row.grad_q] for row in sg.measure(normalized(kind), x)])
    logs = np.log(np.array(draws))
    # one draw is the prediction's own
    errors = 5 * logs.std(0) * math.sqrt(1 + 1.57 / DRAWS)
    for row, middle, error in zip(profile, np.median(logs, 0), errors, strict=True):
        off = [abs(math.log(v) - m) for v, m in zip((row.q, row.grad_q), middle, strict=True)]
        assert all(o < 0.1 + e for o, e in zip(off, error, strict=True)), row
    assert profile["4"].mark == "approximate"


class Gathered(nn.Module):
    """Sums over neighbours, written into zeros: here each node has three, known, different ones."""

    def __init__(self):
        super().__init__()
        self.enter, self.mark = nn.Linear(32, 32), nn.Identity()

    def forward(self, x):
        h, n = self.enter(x), len(x)
        at = torch.arange(n).repeat(3)
        among = torch.cat([(torch.arange(n) + step) % n for step in (1, 2, 5)])
        return self.mark(torch.zeros_like(h).scatter_add_(0, at[:, None].expand(-1, 32), h[among]))


def test_what_is_written_into_is_new_for_each_draw():
    """E of the square of a sum of three rows of W x + b: Var(w) |x + x' + x''|² + 9 Var(b), both 1/(3·32)."""
    x = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    summed = sum(x.roll(-step, 0) for step in (1, 2, 5))
    expected = (float(summed.double().square().sum(1).mean()) + 9) / 96
    assert sg.predict(Gathered, x)["mark"].q == pytest.approx(expected, rel=0.1)


class Skipped(nn.Module):
    """Stochastic depth: a branch that is taken by chance."""

    def __init__(self):
        super().__init__()
        self.enter, self.branch, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 8)

    def forward(self, x):
        h = self.enter(x)
        return self.head(h + self.branch(h) if torch.rand(()) < 0.5 else h)


def test_a_branch_that_is_taken_by_chance_is_named():
    profile = sg.predict(Skipped, (8, 64))
    assert "differs from call to call" in profile.unknown[0]
    assert "test_drawn_numbers.py" in profile.unknown[0]
    assert {row.mark for row in profile} == {"approximate"}


class Thinned(nn.Module):
    """Stochastic depth by numbers that are no operator's."""

    def __init__(self, chance):
        super().__init__()
        self.enter, self.branches, self.chance = nn.Linear(16, 16), nn.ModuleList([nn.Linear(16, 16)]), chance

    def forward(self, x):
        return self.branches[0](self.enter(x)) if self.chance() < 2 else x


CHANCES = {"Python's `random`": random.random, "NumPy's global generator": np.random.rand}


@pytest.mark.parametrize("name", CHANCES)
def test_what_other_generators_decide_is_said_and_their_states_come_back(name):
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    profile = sg.predict(lambda: nn.Sequential(Thinned(CHANCES[name]), nn.Linear(16, 4)), (8, 16))
    assert profile.unknown == (f"module '0' draws from {name}: what that decides is predicted as one run went",)
    assert {row.mark for row in profile} == {"approximate"}
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def of_python_weights(std):
    layer = nn.Linear(16, 16)
    nn.init.normal_(layer.weight, std=std)
    return layer


def of_numpy_weights():
    layer = nn.Linear(16, 16)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.random.randn(16, 16)))  # noqa: NPY002
    return layer


def test_what_a_factory_draws_is_said_unless_it_is_the_weights_themselves():
    """A deviation that is drawn is one of many; weights that are drawn are there to be measured."""
    drawn = sg.predict(lambda: of_python_weights(random.uniform(0.1, 1)), (8, 16))
    assert drawn.unknown == (
        "the factory draws from Python's `random`: what that decides is predicted as one call went",
    )
    assert drawn[""].mark == "approximate"
    assert not sg.predict(of_numpy_weights, (8, 16)).unknown


class Paired(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = nn.Bilinear(64, 64, 64)

    def forward(self, x):
        return self.pair(x, x.flip(0))


def test_a_bilinear_layer_is_a_product_of_both_with_each_weight():
    """E[y²] = Var(w) |x|² |x'|² + Var(b), both of variance 1/(3·64)."""
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    row = sg.predict(Paired, x)["pair"]
    squares = x.double().square().sum(1)
    expected = (float((squares * squares.flip(0)).mean()) + 1) / 192
    assert row.q == pytest.approx(expected, rel=0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_are_measured_and_predicted_with_the_rest():
    model = nn.Sequential(nn.Linear(16, 16), torch.jit.script(nn.Tanh()), nn.Linear(16, 4))
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    assert [row.path for row in sg.measure(model, x)] == ["0", "2"]
    assert len(sg.measure(torch.jit.trace(model, x), x).layers) == 0
    assert not sg.predict(model, x).unknown


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_layers_have_no_rows_and_that_is_said():
    """What comes behind them is predicted through them, as behind the same layers unscripted."""
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))

    def model(scripted):
        inner = nn.Sequential(nn.Linear(16, 64), nn.ReLU())
        return nn.Sequential(torch.jit.script(inner) if scripted else inner, nn.Linear(64, 4))

    profile, plain = (sg.predict(lambda s=s: model(s), x) for s in (True, False))
    assert [row.path for row in profile] == ["1"]
    assert profile["1"].q == plain["1"].q
    assert profile.unknown == (
        "module '0' is scripted: what runs in it is followed, but its layers are not seen and have no rows",
    )
    whole = sg.predict(torch.jit.script(nn.Sequential(nn.Linear(16, 4))), x)
    assert len(whole.layers) == 0
    assert whole.unknown[0].startswith("the model is scripted")


class Mixed(nn.Module):
    """Each example beside another, in shares that are drawn at each call."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x):
        share = torch.distributions.Beta(1.0, 1.0).sample()
        return self.layer(share * x + (1 - share) * x.roll(1, 0))


def test_a_few_numbers_that_are_drawn_at_each_call_are_said_to_be_those_of_one():
    profile = sg.predict(Mixed, torch.randn(16, 64))
    assert any("a few numbers that differ from call to call" in words for words in profile.unknown)
    assert all(row.mark == "approximate" for row in profile)

"""A recurrent layer whose gradient dies or takes off in time."""

import math

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.diagnosis.evidence import Collector, Memories
from steadygrad.setup import Setup

STEPS = 24


class Last(nn.Module):
    """What the last step of a plain recurrent layer says."""

    def __init__(self, gain: float, *, every: bool = False) -> None:
        super().__init__()
        self.rnn, self.head, self.every = nn.RNN(4, 16, batch_first=True), nn.Linear(16, 4), every
        with torch.no_grad():
            nn.init.orthogonal_(self.rnn.weight_hh_l0).mul_(gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read a sequence."""
        h = self.rnn(x)[0]
        return self.head(h.mean(1) if self.every else h[:, -1])


def setup(model: nn.Module) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4096, STEPS, 4, generator=generator)
    data = [(a, a[:, 0].argmax(1)) for a in x.split(32)]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


@pytest.mark.parametrize("gain", [0.3, 0.5])
def test_memory_is_as_long_as_the_gain_allows(gain: float) -> None:
    """Each step multiplies the squared gradient by at most gain², so e^-12 of it is left after 6/ln(1/gain) steps."""
    torch.manual_seed(0)
    (found,) = sg.check(setup(Last(gain)), select=["BWD001"]).findings
    reached = int(found.message.split(" reaches ")[1].split()[0])
    assert 1 < reached <= 6 / math.log(1 / gain) + 1
    assert found.level == "info"


@pytest.mark.parametrize(("step", "asked"), [(0, True), (STEPS - 1, False)])
def test_memory_is_missed_where_the_targets_ask_for_it(step: int, asked: bool) -> None:
    torch.manual_seed(0)
    parts = setup(Last(0.3))
    parts["data"] = [(x, x[:, step].argmax(1)) for x, _ in parts["data"]]
    (found,) = sg.check(parts, select=["BWD001"]).findings
    assert ("ask for it" in found.message) == asked


class Loop(nn.Module):
    """The same layer by hand."""

    def __init__(self, layer: Last) -> None:
        super().__init__()
        self.i, self.h, self.head = nn.Linear(4, 16), nn.Linear(16, 16), layer.head
        self.i.weight, self.h.weight = layer.rnn.weight_ih_l0, layer.rnn.weight_hh_l0
        self.i.bias, self.h.bias = layer.rnn.bias_ih_l0, layer.rnn.bias_hh_l0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read a sequence."""
        h = x.new_zeros(len(x), 16)
        for t in range(x.shape[1]):
            h = torch.tanh(self.i(x[:, t]) + self.h(h))
        return self.head(h)


@pytest.mark.parametrize("gain", [0.3, 0.98])
def test_a_loop_by_hand_forgets_as_a_layer_does(gain: float) -> None:
    torch.manual_seed(0)
    layer = Last(gain)
    by_layer, by_hand = (sg.check(setup(model), select=["BWD001"]).findings for model in (layer, Loop(layer)))
    found = [f.message.replace("'h'", "'rnn'") for f in by_hand if "steps back" in f.message]
    assert [m.split(":")[0] for m in found] == [f.message.split(":")[0] for f in by_layer]
    assert len(found) == (gain < 0.9)


def test_memory_that_suffices_is_not_told() -> None:
    torch.manual_seed(0)
    for model in (Last(0.3, every=True), Last(0.98)):
        assert sg.check(setup(model), select=["BWD001"]).findings == ()


def test_short_memory_explains_a_trial_that_comes_to_nothing() -> None:
    torch.manual_seed(0)
    (found,) = sg.check(setup(Last(0.2)), select=["BWD001", "RUN004"]).findings
    assert (found.code, str(found.level), [f.code for f in found.consequences]) == ("BWD001", "warn", ["RUN004"])


KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


class Read(nn.Module):
    """What a recurrent layer says at its last step."""

    def __init__(self, kind, gain, hidden=64):
        super().__init__()
        self.body, self.head = kind(2, hidden, batch_first=True), nn.Linear(hidden, 2)
        if gain:
            nn.init.normal_(self.body.weight_hh_l0, std=gain / hidden**0.5)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("gain", "told"), [(None, []), (1.0, []), (8.0, ["BWD002"])])
def test_gradients_that_take_off_over_the_steps_of_a_sequence_are_told(kind, gain, told):
    torch.manual_seed(0)
    x = torch.randn(64, 32, 2)
    model = Read(KINDS[kind], gain)
    setup = {"model": model, "data": [(x, torch.randint(2, (64,)))], "loss_fn": nn.CrossEntropyLoss()}
    assert [f.code for f in sg.check(setup, select=["BWD002"]).findings] == told


class Ends(nn.Module):
    """A sequence's end under a layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0][:, -1]


def test_the_growth_over_a_linear_recurrence_is_its_power():
    torch.manual_seed(0)
    steps, factor = 17, 1.7
    layer = nn.RNN(1, 1, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), (1.0, factor, 0.0, 0.0), strict=True):
            parameter.fill_(value)
    setup = Setup(
        model=Ends(layer), data=[(torch.rand(8, steps, 1) + 1, torch.zeros(8, 1))], loss_fn=lambda out, y: out.mean()
    )
    (memory,) = Collector(setup).get(Memories).wild
    assert memory.growth == pytest.approx(2 * (steps - 1) * math.log(factor), rel=1e-5)

"""A check keeps its time whatever the model's pace, and says what it left out; time is a clock that the model moves."""

import math
import re
from contextlib import suppress

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence import Collector, Predicted, Probe, Scanned, Unavailable, predicted
from steadygrad.diagnosis.evidence.collector import LONGEST, SECONDS
from steadygrad.diagnosis.evidence.pace import LEAST, PASS, Pace
from steadygrad.measurement import budget
from steadygrad.profile import Profile
from steadygrad.setup import Batch, Setup

EXAMPLES = 64


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(budget.time, "thread_time", lambda: made.now)
    monkeypatch.setattr(budget.time, "perf_counter", lambda: made.now)
    torch.manual_seed(0)
    return made


class Waits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, clock, seconds):
        clock.now += seconds
        ctx.waiting = clock, (PASS - 1) * seconds
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        clock, seconds = ctx.waiting
        clock.now += seconds
        return gradient, None, None


class Slow(nn.Module):
    """A forward pass takes so many seconds a batch of 64, in proportion to its examples; a backward pass twice that."""

    def __init__(self, clock, seconds, whole=False):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 4)
        self.clock, self.seconds, self.whole = [clock], seconds, whole

    def forward(self, x):
        if self.whole and len(x) % EXAMPLES:
            raise ValueError("a part of a batch is no batch")
        return self.head(Waits.apply(torch.relu(self.body(x)), self.clock[0], self.seconds * len(x) / EXAMPLES))


def healthy(model):
    x = torch.randn(16 * EXAMPLES, 8)
    y = (x @ torch.randn(8, 4)).argmax(1)
    return {
        "model": model,
        "data": list(zip(x.split(EXAMPLES), y.split(EXAMPLES), strict=True)),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-2),
    }


def sick(model):
    """Out of scale everywhere, so that all is tried: inputs, a summed loss, a rate that learns nothing."""
    made = healthy(model)
    made["data"] = [(1e3 * x, y) for x, y in made["data"]]
    made["loss_fn"] = nn.CrossEntropyLoss(reduction="sum")
    made["optimizer"] = torch.optim.SGD(model.parameters(), lr=1e-9)
    return made


@pytest.mark.parametrize("setup", [healthy, sick])
@pytest.mark.parametrize("seconds", [0.003, 0.03, 0.2, 0.7, 3.0])
def test_a_check_takes_no_longer_than_it_may(clock, seconds, setup):
    report = check(setup(Slow(clock, seconds)))
    assert clock.now <= LONGEST
    assert report.measured is not None
    assert any("Left out for want of time, " in note for note in report.notes) == (seconds >= 0.2)


@pytest.mark.parametrize("setup", [healthy, sick])
@pytest.mark.parametrize("longest", [0.5, 4.0, 150.0, math.inf])
def test_a_check_takes_as_long_as_it_is_given(clock, longest, setup):
    """A pass of 0.9 s, and one more where time is over already: data, a pass and what puts back come in any case."""
    report = check(setup(Slow(clock, 0.3)), seconds=longest)
    assert clock.now <= longest + 3 * PASS * 0.3
    assert any(f"Left out for want of time, {longest:g} s" in note for note in report.notes) == (longest < 150)


def test_a_longer_check_looks_at_more(clock):
    """Of a setup that goes wrong only after a while, by its trial, which takes 20 passes of 1.5 s or more."""

    def found(**given):
        model = Slow(clock, 0.5)
        made = healthy(model)
        made["optimizer"] = torch.optim.SGD(model.parameters(), lr=1e-9)
        report = check(made, **given)
        return [f.code for f in report.findings], len(report.checked)

    (short, few), (long, many) = found(), found(seconds=600)
    assert short == []
    assert long == ["OPT002"]
    assert many > few


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan])
def test_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match=r"`seconds` must be > 0, got "):
        check(healthy(nn.Linear(8, 4)), seconds=seconds)


@pytest.mark.parametrize("setup", [healthy, sick])
@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.0])
def test_a_model_that_takes_whole_batches_alone_keeps_the_time_too(clock, seconds, setup):
    report = check(setup(Slow(clock, seconds, whole=True)))
    assert clock.now <= LONGEST
    assert any("Left out for want of time, " in note for note in report.notes)


def test_what_is_found_does_not_depend_on_the_pace(clock):
    def codes(seconds):
        model = Slow(clock, seconds)
        nn.init.constant_(model.body.bias, -50.0)
        return [f.code for f in check(healthy(model)).findings]

    assert codes(0.0) == codes(2.0) == ["FWD005"]


def test_as_many_examples_are_looked_at_as_there_is_time_for(clock):
    batch = Batch(inputs=torch.randn(EXAMPLES, 8), targets=torch.zeros(EXAMPLES, dtype=torch.long))
    paces = [Pace.of(Setup(model=Slow(clock, s)), batch, SECONDS) for s in (0.0, 0.1, 0.5, 50.0)]
    assert [pace.examples for pace in paces] == [None, None, pytest.approx(EXAMPLES * 13 / 72 / 0.5, abs=1), LEAST]
    assert [pace.whole for pace in paces] == pytest.approx([PASS * s for s in (0.0, 0.1, 0.5, 50.0)])


def test_targets_of_examples_that_are_not_looked_at_still_meet_the_loss(clock):
    made = healthy(Slow(clock, 3.0))
    made["data"][-1][1][-1] = 7
    assert [f.code for f in check(made).findings] == ["DAT005"]


def test_data_that_take_long_are_drawn_as_long_as_there_is_time(clock):
    class Data:
        def __iter__(self):
            for _ in range(1000):
                clock.now += 0.5
                yield made["data"][0]

    made = healthy(Slow(clock, 0.0))
    report = check(made | {"data": Data()})
    assert clock.now <= LONGEST
    assert any(re.match(r"Only the first [2-6] batches of the data were looked at", note) for note in report.notes)


@pytest.mark.parametrize("spent", [4.0, SECONDS - 1.9, SECONDS - 2.1])
def test_a_prediction_gets_what_is_left_of_the_time(clock, monkeypatch, spent):
    given = []
    monkeypatch.setattr(
        predicted, "predict", lambda *_, seconds, **__: given.append(seconds) or Profile(layers=(), source="predicted")
    )
    collector = Collector(Setup.of(healthy(Slow(clock, 0.0))))
    clock.now += spent
    with suppress(Unavailable):
        collector.get(Predicted)
    assert given == ([pytest.approx(SECONDS - spent)] if SECONDS - spent >= predicted.LEAST else [])
    assert collector.left_out == ([] if given else ["the prediction"])


def test_fewer_batches_are_compared_where_a_pass_is_slow(clock):
    def compared(seconds):
        collector = Collector(Setup.of(healthy(Slow(clock, seconds))))
        collector.get(Scanned)
        return collector.get(Probe).compared

    assert [compared(s) for s in (0.0, 0.05, 1.0)] == [32, 13, 10]

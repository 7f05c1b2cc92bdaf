"""Setups that are no page's example: some broken in how they step, sound ones that look a little so."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence.retrials import Retrial, _with_more_steps
from steadygrad.diagnosis.runs.outcome import Course, diverges, oscillates, spike, stands_still
from steadygrad.diagnosis.runs.trend import trend
from steadygrad.measurement.trial import Trial


def regression(examples: int = 480, features: int = 10, size: int = 24, noise: float = 0.1) -> list:
    x = torch.randn(examples, features)
    y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] / 2 + noise * torch.randn(examples, 1)
    return list(zip(x.split(size), (y / y.std()).split(size), strict=True))


def classes(examples: int = 480, features: int = 12, size: int = 32) -> list:
    x = torch.randn(examples, features)
    y = x[:, :3].argmax(1)
    return list(zip(x.split(size), y.split(size), strict=True))


def network(inputs: int, outputs: int, act: type[nn.Module] = nn.ReLU, width: int = 40) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), act(), nn.Linear(width, width), act(), nn.Linear(width, outputs))


def setup(model: nn.Module, data, loss_fn, make: Callable, **options) -> dict:
    return {"model": model, "data": data, "loss_fn": loss_fn, "optimizer": make(model.parameters(), **options)}


SGD, ADAM, CE, MSE = torch.optim.SGD, torch.optim.AdamW, nn.CrossEntropyLoss, nn.MSELoss


class ClippedToNothing(SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            nn.utils.clip_grad_value_(group["params"], 1e-7)
        return super().step(closure)


class Clipped(SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 0.5)
        return super().step(closure)


def with_wild_rows(data: list, size: float = 3000.0) -> list:
    found = [(x.clone(), y.clone()) for x, y in data]
    for i in range(3, len(found), 7):
        found[i][1][0] = size
    return found


def hooked() -> dict:
    model = network(12, 3)
    for parameter in model.parameters():
        parameter.register_hook(lambda g: g / (g.norm() / 1e-6).clamp(min=1))
    return setup(model, classes(), CE(), SGD, lr=0.1)


def on_a_plateau(make: Callable, rate: float) -> dict:
    """The parity of twelve signs: no rate gets anywhere within a trial."""
    x = torch.randn(512, 12, generator=torch.Generator().manual_seed(0)).sign()
    y = (x.prod(1) > 0).long()
    return setup(network(12, 2, nn.Tanh), list(zip(x.split(32), y.split(32), strict=True)), CE(), make, lr=rate)


class Recurrent(nn.Module):
    """The class of a sequence of numbers, from the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.head = nn.LSTM(1, 12, batch_first=True), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.states(x)[0][:, -1])


def recurrent_on_a_plateau() -> dict:
    """The parity of four signs, which is learned after a while."""
    x = torch.randn(512, 4, 1, generator=torch.Generator().manual_seed(0)).sign()
    y = (x.prod(1)[:, 0] > 0).long()
    data = list(zip(x.split(32), y.split(32), strict=True))
    return setup(Recurrent(), data, CE(), torch.optim.Adam, lr=0.02)


def rmsprop_at_one_half() -> dict:
    return setup(network(12, 3), classes(), CE(), torch.optim.RMSprop, lr=0.5)


BROKEN = {
    "momentum far too fast": (lambda: setup(network(10, 1), regression(), MSE(), SGD, lr=3.0, momentum=0.9), "OPT001"),
    "rmsprop at one half": (rmsprop_at_one_half, "OPT001"),
    "adam at a million": (lambda: setup(network(12, 3), classes(), CE(), torch.optim.Adam, lr=1e6), "OPT001"),
    "plain descent at a million": (lambda: setup(network(10, 1), regression(), MSE(), SGD, lr=1e6), "OPT001"),
    "adam at one on a plateau": (lambda: on_a_plateau(torch.optim.Adam, 1.0), "OPT001"),
    "adamw at a billionth": (lambda: setup(network(12, 3), classes(), CE(), ADAM, lr=1e-9), "OPT002"),
    "plain descent at 3e-6": (lambda: setup(network(10, 1, nn.Tanh), regression(), MSE(), SGD, lr=3e-6), "OPT002"),
    "plain descent at 3e-6 on a plateau": (lambda: on_a_plateau(SGD, 3e-6), "OPT002"),
    "wild rows": (lambda: setup(network(10, 1), with_wild_rows(regression()), MSE(), SGD, lr=0.05), "OPT003"),
    "clipped to nothing": (lambda: setup(network(12, 3), classes(), CE(), ClippedToNothing, lr=0.1), "OPT007"),
    "clipped by hooks": (hooked, "OPT007"),
    "shuffled labels": (
        lambda: setup(nn.Linear(4, 2), shuffled(), CE(), SGD, lr=0.05),
        "RUN004",
    ),
}


def shuffled() -> list:
    """Inputs that say nothing of the labels, too many to be learned by heart."""
    x, y = torch.randn(4000, 4), torch.randint(2, (4000,))
    return list(zip(x.split(100), y.split(100), strict=True))


def loader() -> DataLoader:
    data = classes(size=480)[0]
    return DataLoader(TensorDataset(*data), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(1))


def with_dropout() -> dict:
    model = nn.Sequential(nn.Linear(12, 64), nn.GELU(), nn.Dropout(0.6), nn.Linear(64, 3))
    return setup(model, loader(), CE(), ADAM, lr=5e-3)


def at_the_edge() -> dict:
    """A rate at half of 2/λ that the sharpness soon comes up to."""
    return setup(network(12, 3, nn.Tanh), classes(), CE(), SGD, lr=1.0)


def negative_likelihood(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A density's: it goes below zero."""
    return (outputs[:, 1] + (outputs[:, :1] - targets).square()[:, 0] / 2 * torch.exp(-2 * outputs[:, 1])).mean()


SOUND = {
    "dropout and shuffling": with_dropout,
    "at the edge of stability": at_the_edge,
    "slow but steady": lambda: setup(network(10, 1, nn.Tanh), regression(), MSE(), SGD, lr=3e-3),
    "wild rows, clipped": lambda: setup(network(10, 1), with_wild_rows(regression()), MSE(), Clipped, lr=0.02),
    "wild rows, Adam": lambda: setup(network(10, 1), with_wild_rows(regression(), 50.0), MSE(), ADAM, lr=1e-3),
    "mostly noise": lambda: setup(network(10, 1), regression(noise=1.5), MSE(), ADAM, lr=1e-3),
    "a likelihood below zero": lambda: setup(network(10, 2), regression(), negative_likelihood, ADAM, lr=2e-3),
    "a recurrent layer on a plateau": recurrent_on_a_plateau,
    "one batch": lambda: setup(network(12, 3), classes(size=480), CE(), ADAM, lr=3e-3),
}


def loud(report) -> list[str]:
    return [f.code for f in report.findings if f.level != "info"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_setup_is_told_by_its_cause(name):
    make, code = BROKEN[name]
    assert loud(check(make()))[:1] == [code]


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "shuffled labels"])
def test_most_are_told_without_the_trial_too(name):
    make, code = BROKEN[name]
    assert loud(check(make(), trial=False))[:1] == [code]


class Turns:
    """Trials of which those at a tenth of the rate fall a little at every step, and the others not at all."""

    def take(self, factor: float, *, steps: int) -> Retrial:
        losses = tuple(1 - (factor == 0.1) * 1e-3 * i for i in range(steps))
        kept = {f: () for f in ("gradient_norms", "clipped", "update_ratios", "before", "after")}
        trial = Trial(losses=losses, batches_per_pass=None, nonfinite="", ended="", **kept)
        return Retrial(factor=factor, trial=trial)


@pytest.mark.parametrize(("factors", "steps"), [([0.1, 0.01], [200, 100]), ([0.01, 0.001], [100, 100])])
def test_a_smaller_rate_whose_loss_still_falls_is_given_as_many_steps_as_the_trial(factors, steps):
    tried = tuple(Turns().take(factor, steps=100) for factor in factors)
    assert [r.trial.steps for r in _with_more_steps(Turns(), tried, 200)] == steps


@pytest.mark.parametrize("trial", [True, False])
@pytest.mark.parametrize("name", SOUND)
def test_a_sound_setup_is_left_in_peace(name, trial):
    assert loud(check(SOUND[name](), trial=trial)) == []


def noise(steps: int = 300) -> torch.Tensor:
    return torch.randn(steps, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_trend_is_found_under_heavy_noise_and_none_where_there_is_none():
    cauchy = torch.tan(math.pi * (torch.rand(300, generator=torch.Generator().manual_seed(0)) - 0.5)).double()
    assert abs(trend(cauchy.tolist())) < 3
    assert trend((cauchy - torch.linspace(0, 5, 300)).tolist()) < -3


def test_a_batch_is_compared_with_itself():
    levels = torch.arange(10).repeat(30).double() * 100
    falling = (levels - torch.linspace(0, 1, 300)).tolist()
    assert trend(falling) > -3
    assert trend(falling, period=10) < -10


def test_detectors_are_silent_on_a_noisy_fall_and_each_speaks_of_its_own():
    fall = (2 * torch.exp(-torch.arange(300) / 80) + 0.2 * noise().abs()).tolist()
    start = [2.0, 2.1, 1.9, 2.05]
    sound = Course(losses=fall, start=start, constant=[2.0])
    assert not any(found(sound) for found in (diverges, oscillates, stands_still, spike))
    assert diverges(Course(losses=[2.0 * 1.05**i for i in range(100)], start=start))
    assert diverges(Course(losses=[2.0, 3.0], start=start, nonfinite="loss"))
    assert oscillates(Course(losses=(20 + 15 * noise()).abs().tolist(), start=start))
    assert stands_still(Course(losses=(2 + 0.1 * noise()).tolist(), start=start, constant=[2.0]))
    assert spike(Course(losses=[*fall[:100], *[30.0] * 8, *fall[100:]], start=start)) == 100
    assert spike(Course(losses=[*fall[:100], 300.0, *fall[100:]], start=start)) is None


def test_targets_far_off_are_the_cause_where_a_trial_comes_to_nothing():
    """Targets at 500 ± 100 under a rate that moves the outputs by thousandths: their scale is told, not the symptom."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 48), nn.SiLU(), nn.Linear(48, 1))
    inputs = [torch.randn(64, 10) for _ in range(20)]
    data = [(x, 100 * torch.sin(x[:, :1]) + 500) for x in inputs]
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3)
    report = check({"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer})
    assert report.findings[0].code == "DAT002"
    assert report.findings[0].level != "info"


def decayed(optimizer, rate, decay):
    """A small network on a task that it learns, but for what its optimizer takes off the weights."""
    torch.manual_seed(0)
    x = torch.randn(512, 20)
    model = nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 5))
    return {
        "model": model,
        "data": list(zip(x.split(32), x[:, :5].argmax(1).split(32), strict=True)),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": optimizer(model.parameters(), rate, weight_decay=decay),
    }


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [
        (torch.optim.Adam, 1e-3, 1.0),
        (torch.optim.SGD, 0.1, 0.3),
        (torch.optim.AdamW, 1e-2, 50.0),
        (torch.optim.AdamW, 3e-3, 20.0),
    ],
)
def test_weight_decay_that_takes_away_what_is_learned_is_named(optimizer, rate, decay):
    (found,) = check(decayed(optimizer, rate, decay)).findings
    assert found.code == "OPT010"
    assert "Without weight decay it ends at" in found.message


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [(torch.optim.Adam, 1e-3, 1e-4), (torch.optim.SGD, 0.1, 1e-3), (torch.optim.AdamW, 1e-3, 0.1)],
)
def test_usual_weight_decay_is_left_alone(optimizer, rate, decay):
    assert check(decayed(optimizer, rate, decay)).findings == ()

"""A rate that a smaller and a larger one both better is neither too high nor too low."""

import pytest

from steadygrad.diagnosis.evidence import Rates, RateTrials, Retrial, Retrials, Schedule, ScheduledRates, Trained
from steadygrad.diagnosis.rules import learning_rate_too_high, learning_rate_too_low
from steadygrad.measurement.trial import Trial


def too_low(rates, trials):
    """What is said without a schedule."""
    return learning_rate_too_low.check(ScheduledRates(schedule=Schedule(), rates=rates), trials)


RULES = {"OPT001": learning_rate_too_high.check, "OPT002": too_low}


def trial(end):
    """A hundred steps that go evenly from 1 to an end."""
    losses = tuple(1 + (end - 1) * i / 99 for i in range(100))
    return Trial(
        losses=losses,
        gradient_norms=(1.0,) * 100,
        clipped=(1.0,) * 100,
        update_ratios=(1e-4,) * 100,
        before=(1.0,) * 10,
        after=(end,) * 10,
        batches_per_pass=None,
        nonfinite="",
        ended="",
    )


def said(was, slower, faster):
    trained = Trained(trial=trial(was), constant=(), deaths=(), examples=64)
    retrials = Retrials(
        trained=trained,
        slower=() if slower is None else (Retrial(factor=0.1, trial=trial(slower)),),
        faster=() if faster is None else (Retrial(factor=10.0, trial=trial(faster)),),
        clipped=None,
    )
    rates = Rates(rate=0.1, momentum=0.0, plain=False, sharpness=None, steps=trial(was))
    return [code for code, look in RULES.items() if list(look(rates, RateTrials(retrials=retrials)))]


@pytest.mark.parametrize(
    ("slower", "faster", "codes"),
    [
        (0.5, None, ["OPT001"]),
        (0.5, 1.2, ["OPT001"]),
        (None, 0.3, ["OPT002"]),
        (1.0, 0.3, ["OPT002"]),
        (0.5, 0.3, []),
        (None, None, []),
    ],
)
def test_a_rate_is_blamed_one_way_at_most(slower, faster, codes):
    assert said(1.05, slower, faster) == codes

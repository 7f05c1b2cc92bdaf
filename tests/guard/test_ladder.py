"""The rungs: skip, roll back with a smaller learning rate, stop; and what each tells the sink."""

import math
import random

import pytest
import torch
from guarded_runs import ALL, batches, bits, everything, loss_of, network, poisoned, train

from steadygrad.errors import TrainingStopped
from steadygrad.finding import Finding
from steadygrad.guard import Guard, Ladder, Spike, Verdict, clip

CLOSURE_FREE = [name for name in ALL if name != "lbfgs"]


def set_up(name="sgd-momentum", **settings):
    model, events = network(name), []
    optimizer = ALL[name](model.parameters())
    return model, optimizer, Guard(model, optimizer, sink=events.append, **settings), events


def test_too_many_refusals_in_a_row_stop_the_run_with_the_cause():
    model, optimizer, guard, events = set_up(ladder=Ladder(skips=3))
    bad = [poisoned(x) for x in batches(4)]
    train(guard, model, optimizer, [*bad[:3], *batches(1), *bad[:3]])
    with pytest.raises(TrainingStopped, match=r"4 steps in a row were refused, and no snapshot is kept.*not finite"):
        train(guard, model, optimizer, bad[:1])
    assert [e.code for e in events[-2:]] == ["GRD002", "GRD004"]


@pytest.mark.parametrize("name", CLOSURE_FREE)
def test_a_rollback_restores_everything_bitwise_and_halves_the_rate(name):
    model, optimizer, guard, events = set_up(
        name, on_nonfinite="rollback", ladder=Ladder(snapshot_every=2), clip=clip.ZScore(3, warmup=2)
    )
    good = batches(5)
    train(guard, model, optimizer, good[:2])
    before, window = everything(model, optimizer), bits(guard.state_dict()["clip"])
    numbers = (torch.get_rng_state(), random.getstate())
    train(guard, model, optimizer, good[2:3])
    torch.rand(3), random.random()
    train(guard, model, optimizer, [poisoned(good[3])])
    (parameters, state), (expected_parameters, expected_state) = everything(model, optimizer), before
    for group in expected_state["param_groups"]:
        group["lr"] *= 0.5
    assert parameters == expected_parameters
    assert state == expected_state
    assert bits(guard.state_dict()["clip"]) == window
    assert torch.equal(torch.get_rng_state(), numbers[0])
    assert random.getstate() == numbers[1]
    assert events[-1].code == "GRD003"


def test_rolled_back_before_any_step_the_state_is_absent_again():
    model, optimizer, guard, _ = set_up("adam", on_nonfinite="rollback")
    before = bits(model.state_dict())
    train(guard, model, optimizer, [*batches(2), poisoned(batches(1)[0])])
    assert bits(model.state_dict()) == before
    assert not optimizer.state


def test_the_same_snapshot_is_tried_a_bounded_number_of_times():
    model, optimizer, guard, events = set_up(on_nonfinite="rollback", ladder=Ladder(rollbacks=3, snapshot_every=5))
    bad, good = poisoned(batches(1)[0]), batches(1)[0]
    train(guard, model, optimizer, [bad, good, bad, good, bad])
    assert optimizer.param_groups[0]["lr"] == 0.05 * 0.5**3
    with pytest.raises(TrainingStopped, match="3 rollbacks to the same snapshot did not help"):
        train(guard, model, optimizer, [good, bad])
    assert [e.code for e in events].count("GRD003") == 3


def test_progress_beyond_the_snapshot_gives_new_tries():
    model, optimizer, guard, _ = set_up(on_nonfinite="rollback", ladder=Ladder(rollbacks=1, snapshot_every=2))
    bad, good = poisoned(batches(1)[0]), batches(2)
    train(guard, model, optimizer, [bad, *good, bad, *good, bad])
    assert optimizer.param_groups[0]["lr"] == 0.05 * 0.5**3


SCHEDULERS = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.1),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: 1 / (k + 1)),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.05, total_steps=20, cycle_momentum=False),
    "sequential": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o, [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_under_a_scheduler_every_later_rate_is_half_of_what_it_was(make):
    rates = []
    for bad in (False, True):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        guard = Guard(
            model, optimizer, scheduler=make(optimizer), on_nonfinite="rollback", ladder=Ladder(snapshot_every=2)
        )
        x_BD = batches(1)[0]
        train(guard, model, optimizer, [x_BD, x_BD])
        if bad:
            train(guard, model, optimizer, [poisoned(x_BD)])
        rates.append([])
        for _ in range(6):
            train(guard, model, optimizer, [x_BD])
            rates[-1].append(optimizer.param_groups[0]["lr"])
    assert rates[1] == pytest.approx([r / 2 for r in rates[0]], rel=1e-12)


def test_told_to_stop_it_stops_at_once():
    model, optimizer, guard, _ = set_up(on_nonfinite="stop")
    before = everything(model, optimizer)
    with pytest.raises(TrainingStopped, match="it was told to stop"):
        train(guard, model, optimizer, [poisoned(batches(1)[0])])
    assert everything(model, optimizer) == before


@pytest.mark.parametrize(
    ("name", "decide"), [("sgd-momentum", "host"), ("adam-fused", "host"), ("adam-fused", "device")]
)
def test_a_spike_is_skipped_and_does_not_move_the_window(name, decide):
    good, results = batches(30), []
    spike = good[0] * 100
    for data in (good, [*good[:20], spike, spike, *good[20:]]):
        model, optimizer, guard, events = set_up(name, on_spike="skip", spike=Spike(6, warmup=10), decide=decide)
        train(guard, model, optimizer, data)
        guard.settle()
        results.append((everything(model, optimizer), bits(guard.state_dict()["spike"])))
    assert [(e.code, e.step) for e in events] == [("GRD002", 21), ("GRD002", 22)]
    assert "outlier" in events[0].message
    assert results[0] == results[1]


def test_an_exception_in_the_middle_of_a_step_is_undone_by_a_snapshot_a_step():
    model, optimizer, guard, events = set_up("adam", ladder=Ladder(snapshot_every=1))
    good = batches(3)
    train(guard, model, optimizer, good[:2])
    before = everything(model, optimizer)
    inner, optimizer.step = optimizer.step, raising_midway(model)
    with pytest.raises(OSError, match="midway"):
        train(guard, model, optimizer, good[2:])
    optimizer.step = inner
    assert everything(model, optimizer) == before
    assert events[-1].code == "GRD006"
    train(guard, model, optimizer, good[2:])


def test_without_a_snapshot_no_step_follows_a_half_done_one():
    model, optimizer, guard, _ = set_up("adam")
    inner, optimizer.step = optimizer.step, raising_midway(model)
    with pytest.raises(OSError, match="midway"):
        train(guard, model, optimizer, batches(1))
    optimizer.step = inner
    with pytest.raises(TrainingStopped, match="may be half done"):
        train(guard, model, optimizer, batches(1))
    guard.load_state_dict(guard.state_dict())
    train(guard, model, optimizer, batches(1))


def raising_midway(model):
    def step():
        with torch.no_grad():
            next(model.parameters()).add_(1.0)
        raise OSError("midway")

    return step


def test_an_exception_in_backward_leaves_no_gradient_behind():
    model, _, guard, _ = set_up()
    x_BD = batches(1)[0]
    hook = model[0].weight.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        guard.step(loss_of(model, x_BD))
    hook.remove()
    assert all(p.grad is None for p in model.parameters())


def test_each_event_is_a_finding_with_step_parameter_and_numbers():
    model, optimizer, guard, events = set_up(clip=clip.ByNorm(1e-3))
    train(guard, model, optimizer, [*batches(1), poisoned(batches(1)[0])])
    assert all(isinstance(e, Finding) for e in events)
    clipped, skipped = events
    assert (clipped.code, clipped.name, clipped.step, skipped.code, skipped.step) == (
        "GRD001", "clipped-gradient", 1, "GRD002", 2,
    )  # fmt: skip
    assert clipped.expected == pytest.approx(1e-3)
    assert clipped.measured > clipped.expected
    assert clipped.module in {"0", "2"}
    assert math.isnan(skipped.measured)


def test_the_outcome_is_that_of_the_last_step():
    model, _, guard, _ = set_up(clip=clip.ByNorm(0.5))
    assert guard.outcome is None
    x_BD = batches(1)[0]
    loss = loss_of(model, x_BD)
    guard.step(loss)
    assert guard.outcome.verdict is Verdict.ACCEPTED
    assert guard.outcome.loss == pytest.approx(loss.item())
    assert guard.outcome.norm * guard.outcome.factor == pytest.approx(min(guard.outcome.norm, 0.5))


@pytest.mark.parametrize(
    "settings", [{"skips": -1}, {"snapshot_every": 0}, {"rollbacks": -1}, {"lr_factor": 0.0}, {"lr_factor": 1.5}]
)
def test_a_rung_out_of_range_is_refused(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        Ladder(**settings)

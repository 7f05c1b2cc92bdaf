"""A refused step is a step that never was, for every optimizer of torch.optim."""

import inspect

import pytest
import torch
from guarded_runs import ALL, FUSED, batches, bits, evaluated, everything, loss_of, network, poisoned, train

from steadygrad.guard import Guard, Verdict, clip

BAD = {"nan": float("nan"), "inf": float("inf"), "squares-to-inf": 1e30}


def set_up(name, *, decide="auto", max_norm=0.5):
    model = network(name)
    optimizer = ALL[name](model.parameters())
    return model, optimizer, Guard(model, optimizer, clip=clip.ByNorm(max_norm), decide=decide)


def test_every_optimizer_of_torch_is_among_them():
    kinds = {type(make(network(name).parameters())) for name, make in ALL.items()}
    of_torch = {c for _, c in inspect.getmembers(torch.optim, inspect.isclass) if issubclass(c, torch.optim.Optimizer)}
    assert of_torch - kinds == {torch.optim.Optimizer}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_run_with_bad_batches_is_bitwise_the_run_without_them(name, bad):
    """Oracles, clipping: NaN at step k, clean after: from then on identical to a run that never saw step k."""
    good, results = batches(4), []
    wrong = poisoned(good[0], bad)
    for data in (good, [wrong, good[0], wrong, wrong, *good[1:3], wrong, good[3]]):
        model, optimizer, guard = set_up(name)
        train(guard, model, optimizer, data)
        results.append(everything(model, optimizer))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", ALL)
def test_refused_at_the_very_first_step_absent_state_stays_absent(name):
    model, optimizer, guard = set_up(name)
    before = everything(model, optimizer)
    train(guard, model, optimizer, [poisoned(batches(1)[0])])
    assert everything(model, optimizer) == before
    assert guard.outcome.verdict is Verdict.NONFINITE


@pytest.mark.parametrize("name", FUSED)
def test_decided_in_the_kernel_the_run_is_bitwise_the_same(name):
    good, results = batches(4), []
    wrong = poisoned(good[0])
    for data in (good, [wrong, good[0], wrong, *good[1:3], wrong, good[3]]):
        model, optimizer, guard = set_up(name, decide="device")
        train(guard, model, optimizer, data)
        results.append(everything(model, optimizer))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", FUSED)
def test_refused_in_the_kernel_at_the_first_step_what_follows_is_a_clean_start(name):
    good, results = batches(1), []
    for data in (good, [poisoned(good[0]), *good]):
        model, optimizer, guard = set_up(name, decide="device")
        train(guard, model, optimizer, data)
        results.append(everything(model, optimizer))
    assert results[0] == results[1]


def test_torch_alone_leaves_garbage_in_the_momentum_of_fused_sgd():
    """The defect that the guard mends: without it a buffer exists after a refused first step that nothing filled."""
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.full((3,), torch.nan)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert optimizer.state[weight]["momentum_buffer"] is not None


@pytest.mark.parametrize("name", [n for n in ALL if n != "lbfgs"])
def test_a_loss_that_is_not_finite_refuses_the_step_though_gradients_are(name):
    model, optimizer, guard = set_up(name)
    before = everything(model, optimizer)
    guard.step(loss_of(model, batches(1)[0]) + torch.inf)
    assert everything(model, optimizer) == before


def test_the_poisoned_running_statistics_of_a_refused_batch_are_undone():
    results, good = [], batches(3)
    for data in (good, [poisoned(good[0]), good[0], poisoned(good[1]), *good[1:]]):
        model = network(batch_norm=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        train(Guard(model, optimizer), model, optimizer, data)
        results.append(everything(model, optimizer))
    assert results[0] == results[1]


def test_running_statistics_loaded_between_steps_are_kept():
    model = network(batch_norm=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    guard = Guard(model, optimizer)
    model[1].running_mean.fill_(3.0)
    guard.step(loss_of(model, poisoned(batches(1)[0])))
    assert torch.equal(model[1].running_mean, torch.full((8,), 3.0))


def test_the_scheduler_advances_with_accepted_steps_alone():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    guard = Guard(model, optimizer, scheduler=scheduler)
    good = batches(2)
    train(guard, model, optimizer, [good[0], poisoned(good[0]), poisoned(good[1]), good[1]])
    assert scheduler.last_epoch == 2


@pytest.mark.parametrize("name", [n for n in ALL if n != "lbfgs"])
def test_without_clipping_a_guarded_step_is_the_optimizers_own_step(name):
    results = []
    for guarded in (False, True):
        model = network(name)
        optimizer = ALL[name](model.parameters())
        guard = Guard(model, optimizer)
        for x_BD in batches(3):
            if guarded:
                guard.step(loss_of(model, x_BD))
            else:
                evaluated(model, optimizer, x_BD)
                optimizer.step()
        results.append(everything(model, optimizer))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("decide", ["host", "device"])
def test_the_scale_in_the_kernel_is_clipping_before_the_step(name, decide):
    """To rounding: g / (1/f) in the kernel against g·f before it, each within 3 units of 2^-24, through three steps."""
    results = []
    for guarded in (False, True):
        model = network(name)
        optimizer = ALL[name](model.parameters())
        guard = Guard(model, optimizer, clip=clip.ByNorm(0.01), decide=decide)
        for x_BD in batches(3):
            if guarded:
                guard.step(loss_of(model, x_BD))
            else:
                evaluated(model, optimizer, x_BD)
                clip.norm_(model.parameters(), 0.01)
                optimizer.step()
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*results, rtol=1e-5, atol=1e-6)


def test_gradients_are_released_after_each_step():
    model, optimizer, guard = set_up("sgd")
    train(guard, model, optimizer, [poisoned(batches(1)[0])])
    assert all(p.grad is None for p in model.parameters())


def test_lbfgs_undoes_a_bad_evaluation_in_the_middle_of_its_step():
    model, optimizer, guard = set_up("lbfgs")
    good = batches(2)
    train(guard, model, optimizer, good[:1])
    before, calls = everything(model, optimizer), []

    def closure():
        calls.append(None)
        return evaluated(model, optimizer, good[1] if len(calls) < 3 else poisoned(good[1]))

    guard.step(closure=closure)
    assert len(calls) == 3
    assert everything(model, optimizer) == before
    assert bits(guard.outcome.loss) != bits(0.0)

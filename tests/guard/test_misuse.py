"""What is given wrongly is refused in one line, before anything is half done."""

import pytest
import torch
from guarded_runs import bits, loss_of, network
from torch import nn

from steadygrad.guard import Guard, Ladder, Spike, clip


def guarded(name="sgd", **settings):
    model = network()
    optimizer = {"sgd": torch.optim.SGD, "lbfgs": torch.optim.LBFGS}[name](model.parameters(), lr=0.1)
    return model, optimizer, Guard(model, optimizer, **settings)


def other_scheduler():
    return torch.optim.lr_scheduler.StepLR(torch.optim.SGD(network().parameters(), lr=0.1), 1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"clip": 1.0}, TypeError, "`clip` must be a clipping policy"),
        ({"clip": clip.ByNorm}, TypeError, "`clip` must be a clipping policy"),
        ({"ladder": 3}, TypeError, "`ladder` must be a Ladder"),
        ({"scheduler": other_scheduler()}, ValueError, "`scheduler` must schedule the optimizer of the guard"),
        ({"scheduler": "cosine"}, TypeError, "`scheduler` must have a method `step`"),
        ({"scaler": 1}, TypeError, r"`scaler` must be a torch\.amp\.GradScaler"),
        ({"sink": "log.txt"}, TypeError, "`sink` must be called with a Finding"),
        ({"name": "lbfgs", "on_spike": "skip"}, ValueError, "`on_spike` must be 'ignore' for LBFGS"),
    ],
)
def test_a_part_of_another_kind_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        guarded(**settings)


def test_model_and_optimizer_in_the_wrong_order_are_named():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module"):
        Guard(optimizer, model)
    with pytest.raises(TypeError, match=r"`optimizer` must be a torch\.optim\.Optimizer"):
        Guard(model, model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skips": 1.5}, "`skips` must be an integer >= 0"),
        ({"rollbacks": None}, "`rollbacks` must be an integer >= 0"),
        ({"snapshot_every": 0}, "`snapshot_every` must be an integer >= 1"),
    ],
)
def test_a_rung_is_a_whole_number(settings, message):
    with pytest.raises(ValueError, match=message):
        Ladder(**settings)


@pytest.mark.parametrize("make", [clip.Percentile, clip.ZScore, Spike])
@pytest.mark.parametrize("settings", [{"window": 0.5}, {"window": 2.5}, {"warmup": -1}, {"warmup": 1.5}], ids=str)
def test_a_window_is_a_whole_number(make, settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be an integer"):
        make(50, **settings)


@pytest.mark.parametrize("bad", [None, "1", torch.ones(2)])
@pytest.mark.parametrize("make", [clip.ByNorm, clip.ByValue, clip.PerParameter, clip.Adaptive, clip.ZScore])
def test_a_threshold_is_a_number(make, bad):
    with pytest.raises(TypeError, match="must be a number"):
        make(bad)


@pytest.mark.parametrize("bad", [nn.Linear(1, 1), list(nn.Linear(1, 1).named_parameters()), [1.0], None])
@pytest.mark.parametrize("act", [clip.norm_, clip.value_, clip.adaptive_])
def test_parameters_are_tensors(act, bad):
    with pytest.raises(TypeError, match="`parameters` must be a tensor or an iterable of tensors"):
        act(bad, 1.0)


def test_a_chain_is_of_policies():
    with pytest.raises(TypeError, match="`policies` must be a clipping policy"):
        clip.Chain(clip.ByNorm(1.0), 2.0)


def test_a_model_that_does_not_train_has_no_threshold():
    with pytest.raises(ValueError, match="`model` must have parameters that train"):
        clip.recommend(nn.ReLU(), [], nn.functional.mse_loss)


def test_batches_that_are_no_pairs_are_named():
    with pytest.raises(ValueError, match=r"`data` must give pairs \(inputs, targets\), got 'Tensor'"):
        clip.recommend(nn.Linear(2, 2), [torch.ones(2, 2)], nn.functional.mse_loss)


@pytest.mark.parametrize(
    ("closure", "message"),
    [
        (lambda loss: loss, "`closure` must call the loss's backward"),
        (lambda loss: [loss.backward(), loss.item()][1], "`closure` must return the loss"),
    ],
)
def test_a_closure_without_backward_or_loss_is_refused_and_nothing_moves(closure, message):
    model, optimizer, guard = guarded("lbfgs")
    before = bits(model.state_dict())
    with pytest.raises(ValueError, match=message):
        guard.step(closure=lambda: closure(loss_of(model, torch.ones(16, 4))))
    assert bits(model.state_dict()) == before
    assert not optimizer.state


@pytest.mark.parametrize("saved", [None, clip.ByNorm(2.0), clip.Chain(clip.ByNorm(1.0)), clip.ZScore(3)])
def test_a_state_of_other_policies_changes_nothing(saved):
    _, _, giver = guarded(clip=saved)
    model, _, guard = guarded(clip=clip.Chain(clip.Percentile(50), clip.ByNorm(1.0)))
    guard.step(loss_of(model, torch.ones(16, 4)))
    before = guard.state_dict()
    with pytest.raises(ValueError, match="same policies"):
        guard.load_state_dict(giver.state_dict())
    with pytest.raises(ValueError, match="same policies"):
        guard.load_state_dict({})
    assert bits(guard.state_dict()) == bits(before)

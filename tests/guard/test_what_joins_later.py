"""What happens beside the steps: parameters that join, buffers that were meant, gradients beyond what squares hold."""

import copy
import math

import pytest
import torch
from guarded_runs import ALL, FUSED, batches, bits, loss_of, network, poisoned, train

from steadygrad.guard import Guard, Ladder, Verdict, clip


@pytest.mark.parametrize("snapshots", [None, 1])
def test_parameters_that_join_the_optimizer_are_guarded_from_then_on(snapshots):
    model = network()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    guard = Guard(model, optimizer, clip=clip.ByNorm(1.0), ladder=Ladder(snapshot_every=snapshots))
    guard.step(loss_of(model, batches(1)[0]))
    optimizer.add_param_group({"params": list(model[0].parameters())})
    before = bits(model.state_dict())
    guard.backward(loss_of(model, batches(1)[0]))
    model[0].weight.grad.fill_(math.nan)
    guard.step()
    assert guard.outcome.verdict is Verdict.NONFINITE
    assert guard.names[guard.outcome.culprit] == "0.weight"
    assert bits(model.state_dict()) == before


def test_a_rollback_after_parameters_joined_knows_their_group():
    model = network()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1, momentum=0.9)
    guard = Guard(model, optimizer, on_nonfinite="rollback")
    train(guard, model, optimizer, batches(2))
    optimizer.add_param_group({"params": list(model[0].parameters())})
    before = bits(model.state_dict())
    train(guard, model, optimizer, [batches(1)[0], poisoned(batches(1)[0])])
    assert bits(model.state_dict()) == before


def validated(model):
    model.eval()
    model(batches(1)[0])
    model.train()


def evaluated_without_gradients(model):
    with torch.no_grad():
        model(batches(1)[0])


@pytest.mark.parametrize("between", [validated, evaluated_without_gradients])
def test_buffers_loaded_after_a_forward_pass_that_began_no_step_are_kept(between):
    model = network(batch_norm=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard = Guard(model, optimizer)
    train(guard, model, optimizer, batches(2))
    best = copy.deepcopy(model.state_dict())
    train(guard, model, optimizer, [3 * x_BD for x_BD in batches(3)])
    between(model)
    model.load_state_dict(best)
    train(guard, model, optimizer, [poisoned(batches(1)[0])])
    assert bits(model.state_dict()) == bits(best)


def test_statistics_averaged_anew_without_gradients_are_kept():
    model = network(batch_norm=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard = Guard(model, optimizer)
    train(guard, model, optimizer, batches(2))
    with torch.no_grad():
        for x_BD in batches(3, seed=2):
            model(x_BD)
    before = bits(model.state_dict())
    train(guard, model, optimizer, [poisoned(batches(1)[0])])
    assert bits(model.state_dict()) == before


def filled(guard, model, value):
    guard.backward(loss_of(model, batches(1)[0]))
    for p in model.parameters():
        p.grad.fill_(value)
    guard.step()


@pytest.mark.parametrize("decide", ["host", "device"])
@pytest.mark.parametrize("name", ["adam-fused", "adamw-fused", "sgd-fused"])
def test_a_gradient_whose_square_overflows_is_refused_without_clipping(name, decide):
    model, events = network(), []
    optimizer = ALL[name](model.parameters())
    guard = Guard(model, optimizer, decide=decide, sink=events.append)
    filled(guard, model, 1e30)
    assert guard.outcome.verdict is Verdict.NONFINITE
    assert "the square of the norm" in events[0].message
    train(guard, model, optimizer, batches(2))
    values = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    assert all(v.isfinite().all() for v in values)


def test_torch_alone_never_moves_again_after_it():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    loss_of(model, batches(1)[0]).backward()
    for p in model.parameters():
        p.grad.fill_(1e30)
    optimizer.step()
    assert all(optimizer.state[p]["exp_avg_sq"].isinf().all() for p in model.parameters())


@pytest.mark.parametrize("name", [n for n in FUSED if n.startswith("adam")])
def test_clipped_it_is_accepted_and_moves_by_the_clipped_gradient(name):
    model = network()
    guard = Guard(model, ALL[name](model.parameters()), clip=clip.ByNorm(1.0))
    filled(guard, model, 1e30)
    count = sum(p.numel() for p in model.parameters())
    assert guard.outcome.verdict is Verdict.ACCEPTED
    found = guard._optimizer.state[model[0].weight]["exp_avg"]
    torch.testing.assert_close(found, torch.full_like(found, 0.1 / math.sqrt(count)))


@pytest.mark.parametrize("name", FUSED)
def test_a_factor_that_the_kernel_cannot_hold_refuses_the_step_and_makes_no_zero_of_it(name):
    model = network()
    optimizer = ALL[name](model.parameters())
    guard = Guard(model, optimizer, clip=clip.ByNorm(1e-3), decide="device")
    train(guard, model, optimizer, batches(1))
    before = bits(model.state_dict()), bits(optimizer.state_dict())
    filled(guard, model, 1e37)
    assert guard.outcome.verdict is not Verdict.ACCEPTED
    assert (bits(model.state_dict()), bits(optimizer.state_dict())) == before


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_loss_of_one_number_has_any_shape(shape):
    ends = []
    for change in (lambda loss: loss, lambda loss: loss.reshape(shape)):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        guard = Guard(model, optimizer, on_spike="skip")
        for x_BD in batches(2):
            guard.backward(change(loss_of(model, x_BD)))
            guard.step(loss_of(model, x_BD))
        ends.append(bits(model.state_dict()))
    assert ends[0] == ends[1]


def test_adaptive_clipping_takes_one_transposed_weight():
    layer = torch.nn.ConvTranspose1d(3, 5, 2)
    layer.weight.grad = torch.ones_like(layer.weight)
    layer.weight.data[:, 0] = 100.0
    clip.adaptive_(layer.weight, 0.01, transposed=layer.weight)
    assert (layer.weight.grad[:, 0] == layer.weight.grad[0, 0, 0]).all()
    assert (layer.weight.grad[:, 0] > layer.weight.grad[:, 1].amax()).all()

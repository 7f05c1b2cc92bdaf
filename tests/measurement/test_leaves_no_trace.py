"""After a measurement everything is as it was, also after an error."""

from collections import OrderedDict, deque

import pytest
import torch
from torch import nn

from steadygrad.errors import SetupError, UserCodeError
from steadygrad.measurement import measure
from steadygrad.measurement.kept import attributes_kept


class Touchy(nn.Module):
    """Has buffers, draws numbers, and breaks on demand."""

    def __init__(self, *, breaks: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.register_buffer("count", torch.zeros(()))
        self.head, self.breaks = nn.Linear(4, 2), breaks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count = self.count + 1
        return self.head(self.body(x)[:, : 3 if self.breaks else 4])


def state(model):
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    flags = [m.training for m in model.modules()]
    values = {n: v.clone() for n, v in model.state_dict().items()}
    return values, grads, hooks, flags, torch.get_rng_state()


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_parameters_buffers_gradients_modes_hooks_and_generators(breaks, training):
    model = Touchy(breaks=breaks).train(training)
    model.head.weight.grad = torch.ones(2, 4)
    buffer, before = model.count, state(model)
    if breaks:
        with pytest.raises(UserCodeError, match=r"module 'head' \(Linear\) raised RuntimeError"):
            measure(model, torch.randn(8, 4))
    else:
        # The inputs' own draw comes after the state was taken.
        x = torch.ones(8, 4)
        measure(model, x)
    assert same(state(model)[:4], before[:4])
    assert breaks or torch.equal(state(model)[4], before[4])
    assert model.count is buffer


def test_an_error_of_the_loss_and_of_the_backward_pass_is_said_in_one_line():
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise ZeroDivisionError("no")

    model, x = nn.Linear(2, 2), torch.ones(3, 2)
    with pytest.raises(UserCodeError, match="the loss raised KeyError"):
        measure(model, x, None, lambda out, y: {}["x"])
    with pytest.raises(UserCodeError, match="the backward pass raised ZeroDivisionError: no"):
        measure(model, x, None, lambda out, y: Broken.apply(out).sum())


BAD_LOSSES = {
    "vector": (lambda out, y: out.sum(1), r"must return a scalar tensor, got shape \(3,\)"),
    "number": (lambda out, y: 1.0, "must return a scalar tensor, got float"),
    "detached": (lambda out, y: out.detach().sum(), "must return a tensor with a gradient"),
}


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_a_loss_that_cannot_train_is_said(name):
    loss_fn, words = BAD_LOSSES[name]
    with pytest.raises(SetupError, match=words):
        measure(nn.Linear(2, 2), torch.ones(3, 2), None, loss_fn)


@pytest.mark.parametrize("inputs", [torch.ones(()), torch.ones(0, 2), "text", []])
def test_inputs_need_an_example(inputs):
    with pytest.raises(ValueError, match="`inputs` must hold a tensor"):
        measure(nn.Linear(2, 2), inputs)


def test_several_inputs_and_named_inputs_are_unpacked():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.fc(a - b)

    a, b = torch.ones(3, 2), torch.zeros(3, 2)
    model = Two()
    by_place, by_name = measure(model, (a, b)), measure(model, {"b": b, "a": a})
    assert by_place["fc"].q == by_name["fc"].q
    assert by_place["fc"].q == pytest.approx(model.fc(a).detach().square().mean().item())


@pytest.mark.parametrize("entries", [4, 70_000])
def test_no_hook_stays_on_a_parameter_that_a_module_returns(entries):
    class Bias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(entries))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bias

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = Bias()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.shift(x)

    model, x = Shifted(), torch.ones(2, entries)
    profile = measure(model, x, torch.zeros(2, entries), nn.MSELoss())
    assert not model.shift.bias._backward_hooks
    # The mean over all entries of (x + b)² has the gradient 2 (x + b) / entries at each b.
    assert profile["shift"].grad_q == pytest.approx((4 / entries) ** 2)


CHANGES = {
    "a list grows": ([1, 2], lambda x: x.append(3)),
    "an entry is exchanged for its equal": ([1, 2], lambda x: x.__setitem__(0, 1.0)),
    "a list is turned": ([1, 2], list.reverse),
    "an empty list is filled": ([], lambda x: x.append(3)),
    "a key goes": ({"a": 1, "b": 2}, lambda x: x.pop("a")),
    "a value changes": ({"a": 1, "b": 2}, lambda x: x.update(a=3)),
    "keys change places": (OrderedDict(a=1, b=2), lambda x: x.move_to_end("a")),
    "an empty dictionary is filled": ({}, lambda x: x.update(a=3)),
    "a set grows": ({1}, lambda x: x.add(2)),
    "a queue turns": (deque([1, 2], maxlen=2), lambda x: x.append(3)),
    "nothing happens": ([1, 2], lambda x: None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_containers_hold_what_they_held_and_stay_the_objects_that_they_are(name):
    class Holder:
        pass

    contents, change = CHANGES[name]
    holder, beside, before = Holder(), Holder(), list(getattr(contents, "items", contents.__iter__)())
    holder.first, holder.changed, holder.last = [7], contents, {"last": 7}
    beside.counts = {"calls": 0}
    with attributes_kept(holder, beside):
        change(holder.changed)
        beside.counts["calls"] += 1
        holder.new = True
    assert vars(holder) == {"first": [7], "changed": contents, "last": {"last": 7}}
    assert holder.changed is contents
    after = list(getattr(contents, "items", contents.__iter__)())
    assert [type(x) for x in after] == [type(x) for x in before]
    assert after == before
    assert beside.counts == {"calls": 0}

"""Numbers that a forward asks for: known where all draws agree, else an honest unknown, with module and line."""

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.prediction import predict


class Guarded(nn.Module):
    """What all draws agree on decides."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)

    def forward(self, x):
        h = self.first(x)
        if h.isnan().any() or not torch.isfinite(h).all():
            raise ValueError("not finite")
        if bool((h.abs() > 1e6).any()):
            h = h / 1e6
        if x.shape[0] > 2 and float(torch.arange(3.0).sum()) == 3.0:
            h = self.act(h)
        return self.last(h)


def test_a_branch_that_all_draws_take_is_taken():
    profile = predict(Guarded, (8, 16))
    assert not profile.unknown
    assert [row.path for row in profile] == ["first", "act", "last"]
    assert all(row.mark in ("exact", "approximate") for row in profile)


class Gate(nn.Module):
    """Its branch depends on the draw."""

    def forward(self, h):
        return 2 * h if h.sum() > 0 else 3 * h


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.gate, self.act, self.last = nn.Linear(16, 32), Gate(), nn.Tanh(), nn.Linear(32, 4)

    def forward(self, x):
        return self.last(self.act(self.gate(self.first(x))))


def test_a_branch_on_the_signal_is_unknown_and_says_where():
    profile = predict(Net, (8, 16))
    assert [row.path for row in profile] == ["first", "gate", "act", "last"]
    assert [row.mark for row in profile] == ["exact", "unknown", "unknown", "unknown"]
    (said,) = profile.unknown
    assert "module 'gate'" in said
    assert "test_demands.py:" in said
    assert "`given`" in said


def test_a_measured_profile_lets_it_go_on():
    torch.manual_seed(0)
    model, x = Net(), torch.randn(64, 16)
    measured = sg.measure(model, x)
    profile = predict(model, x, given=measured)
    assert [row.mark for row in profile] == ["approximate"] * 4
    assert profile["gate"].q == pytest.approx(measured["gate"].q)
    for path in ("first", "act", "last"):
        assert profile[path].q == pytest.approx(measured[path].q, rel=0.3)
        assert profile[path].grad_q == pytest.approx(measured[path].grad_q, rel=0.5)
    assert any("as it was measured" in said for said in profile.unknown)
    assert not profile.compare(measured).beyond


class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = nn.Linear(256, 256), nn.Linear(256, 256), function

    def forward(self, x):
        return self.last(self.function(self.first(x)))


@pytest.mark.parametrize("function", [Clipped, Straight], ids=lambda f: f.__name__)
def test_a_custom_autograd_function_is_interpreted_both_ways(function):
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    profile = predict(lambda: Applied(function.apply), x)
    assert not profile.unknown
    torch.manual_seed(0)
    measured = sg.measure(Applied(function.apply), x)
    for path in ("first", "last"):
        assert profile[path].q == pytest.approx(measured[path].q, rel=0.1)
        assert profile[path].grad_q == pytest.approx(measured[path].grad_q, rel=0.15)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_submodule_is_run_as_it_was_written():
    def factory():
        return nn.Sequential(nn.Linear(16, 16), torch.compile(nn.Sequential(nn.ReLU(), nn.Linear(16, 4))))

    profile = predict(factory, (8, 16))
    plain = predict(lambda: nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)), (8, 16))
    assert [row.kind for row in profile] == ["Linear", "ReLU", "Linear"]
    assert [row.q for row in profile] == [row.q for row in plain]


class Squashed(nn.Module):
    def forward(self, x):
        return torch.tanh(x) * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_submodule_is_run_as_it_was_written():
    scripted = predict(
        lambda: nn.Sequential(nn.Linear(16, 16), torch.jit.script(Squashed()), nn.Linear(16, 4)), (8, 16)
    )
    plain = predict(lambda: nn.Sequential(nn.Linear(16, 16), Squashed(), nn.Linear(16, 4)), (8, 16))
    assert scripted["2"].q == plain["2"].q


class Picked(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x):
        h = self.first(x)
        return self.last(h[h[:, 0] > 0])


def test_boolean_indexing_by_the_signal_is_unknown_and_by_data_is_followed():
    profile = predict(Picked, (8, 16))
    assert [row.mark for row in profile] == ["exact", "unknown"]
    assert "index" in profile.unknown[0]


def test_weights_that_are_normalised_on_the_way():
    def factory():
        return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(64, 64)), nn.Tanh())

    row = predict(factory, (8, 64))
    assert not any(r.kind == "Linear" and r.mark == "unknown" for r in row)


def test_data_are_left_as_they_were():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.layer = nn.BatchNorm1d(8), nn.Linear(8, 4)

        def forward(self, x):
            x.mul_(2.0)
            x[x < 0] = 0.0
            return self.layer(self.norm(x))

    model, x = InPlace(), torch.randn(16, 8)
    kept, buffers = x.clone(), {name: b.clone() for name, b in model.named_buffers()}
    predict(model, x)
    assert torch.equal(x, kept)
    assert all(torch.equal(b, buffers[name]) for name, b in model.named_buffers())

"""The audit finds every form it knows, in its own line and module, and nothing in stable code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from steadygrad import numerics

X = torch.linspace(-2, 2, 12).reshape(3, 4)

UNSTABLE = {
    "exp over its sum": [
        lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True),
        lambda x: (e := x.exp()) / (e.sum(-1, keepdim=True) + 1e-9),
        lambda x: x.exp().div(x.exp().sum(1).unsqueeze(1)),
    ],
    "log of softmax": [
        lambda x: torch.log(torch.softmax(x, -1)),
        lambda x: nn.Softmax(-1)(x).log(),
        lambda x: torch.log(torch.softmax(x, -1) + 1e-8),
        lambda x: torch.log(torch.softmax(x, -1).clamp(min=1e-8)),
        lambda x: torch.log(torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)),
        lambda x: torch.log(torch.softmax(x, -1)[torch.arange(3), torch.tensor([0, 1, 2])]),
        lambda x: torch.log(torch.softmax(x, -1).gather(1, torch.tensor([[0], [1], [2]])) + 1e-9),
        lambda x: torch.log((torch.softmax(x, -1) * torch.eye(3, 4)).sum(-1)),
    ],
    "log of sigmoid": [
        lambda x: torch.log(torch.sigmoid(x)),
        lambda x: x.sigmoid().add(1e-7).log_(),
        lambda x: torch.log(torch.where(torch.eye(3, 4) > 0, p := torch.sigmoid(x), 1 - p)),
        lambda x: torch.log((p := torch.sigmoid(x)) * torch.eye(3, 4) + (1 - p) * (1 - torch.eye(3, 4))),
    ],
    "log(1 - sigmoid)": [
        lambda x: torch.log(1 - torch.sigmoid(x)),
        lambda x: torch.log(1 - x.sigmoid() + 1e-7),
        lambda x: torch.log(1 + -torch.sigmoid(x)),
    ],
    "sigmoid by hand": [
        lambda x: 1 / (1 + torch.exp(-x)),
        lambda x: (1 + torch.exp(-x)).reciprocal(),
        lambda x: torch.exp(x) / (1 + torch.exp(x)),
        lambda x: x / (torch.exp(-x) + 1),
    ],
    "log of a sum of exp": [lambda x: torch.log(torch.exp(x).sum(-1)), lambda x: x.exp().sum(0).log()],
    "log(1 + exp)": [
        lambda x: torch.log(1 + torch.exp(x)),
        lambda x: torch.log(torch.exp(x) + 1),
        lambda x: torch.log1p(torch.exp(x)),
    ],
    "log(1 - exp)": [lambda x: torch.log(1 - torch.exp(-x.abs() - 1))],
    "1 - exp": [
        lambda x: 1 - torch.exp(-x),
        lambda x: torch.exp(x) - 1,
        lambda x: 1 + -torch.exp(x),
        lambda x: torch.exp(x).sub(1.0),
    ],
    "sqrt at zero": [
        lambda x: torch.sqrt((x**2).sum(-1)),
        lambda x: (x * x).sum(-1) ** 0.5,
        lambda x: torch.sqrt(x.relu()),
        lambda x: x.var(-1).rsqrt(),
        lambda x: torch.sqrt(torch.zeros(3) * x[:, 0].detach().abs()),
    ],
    "division by a norm": [
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
    ],
    "where with a NaN branch": [
        lambda x: torch.where(x > 0, torch.log(x), torch.zeros_like(x)),
        lambda x: torch.where(x > 0, torch.sqrt(x * 1.5), 0.0),
        lambda x: torch.where(x.abs() < 1, x, torch.exp(x * 1e3)),
        lambda x: torch.where(x == 0, 1.0, torch.sin(x) / x),
    ],
    "E[x^2] - E[x]^2": [
        lambda x: (x**2).mean(-1) - x.mean(-1) ** 2,
        lambda x: (x * x).mean() - x.mean().square(),
        lambda x: x.pow(2).sum(-1) / 4 - (x.sum(-1) / 4) ** 2,
    ],
}

STABLE = {
    "softmax": lambda x: torch.softmax(x, -1),
    "shifted by hand": lambda x: (e := torch.exp(x - x.max(-1, keepdim=True).values)) / e.sum(-1, keepdim=True),
    "shifted by amax": lambda x: (e := torch.exp(x - x.amax(-1, keepdim=True).detach())) / e.sum(-1, keepdim=True),
    "log-sum-exp by hand": lambda x: torch.log(torch.exp(x - x.amax(-1, keepdim=True)).sum(-1)) + x.amax(-1),
    "log_softmax": lambda x: torch.log_softmax(x, -1).exp(),
    "expm1": lambda x: torch.expm1(x),
    "softplus by hand": lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())),
    "sqrt with epsilon": lambda x: torch.sqrt((x**2).sum(-1) + 1e-12),
    "rms norm": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
    "normalize": lambda x: nn.functional.normalize(x, dim=-1),
    "norm": lambda x: x.norm(dim=-1),
    "causal mask": lambda x: torch.softmax(torch.where(x > 0, x, -torch.inf), -1),
    "masked fill": lambda x: torch.softmax(x.masked_fill(x > 1, -torch.inf), -1),
    "where twice": lambda x: torch.where(x > 0, torch.log(torch.where(x > 0, x, 1.0)), 0.0),
    "a dropped NaN input": lambda x: torch.where(x.isnan(), 0.0, x),
    "variance": lambda x: x.var(-1, correction=0),
    "layers": lambda x: nn.functional.gelu(nn.functional.layer_norm(x, (4,))),
    "loss": lambda x: nn.functional.cross_entropy(x, torch.tensor([0, 1, 2])),
    "difference of means": lambda x: (x**2).mean(-1) - x.mean(-1),
    "a bump": lambda x: 1 / (1 + torch.exp(-x.abs())) + torch.exp(x.clamp(max=0)) / (1 + torch.exp(-(x**2))),
    "a quotient": lambda x: x / (1 + x**2),
    "log of a mean": lambda x: torch.log((x.abs() + torch.sigmoid(x)).mean(-1)),
    "exp over another sum": lambda x: torch.exp(-(x**2)) / (x**2 + 1).sum(-1, keepdim=True),
}


@pytest.mark.parametrize(("form", "fn"), [(form, fn) for form, fns in UNSTABLE.items() for fn in fns])
def test_it_finds_the_form_once_in_its_line(form, fn):
    found = numerics.audit(fn, X)
    assert [f.form for f in found] == [form]
    assert found[0].source.file == __file__
    assert found[0].source.line == fn.__code__.co_firstlineno
    assert found[0].source.text in Path(__file__).read_text()
    assert str(found[0]).startswith(f"test_audit.py:{fn.__code__.co_firstlineno}: {form}: ")


@pytest.mark.parametrize("name", STABLE)
def test_it_leaves_stable_code_alone(name):
    assert numerics.audit(STABLE[name], X) == ()


def test_it_leaves_this_package_alone():
    positive, targets = X.abs() + 0.1, torch.tensor([0, 1, 2])
    for fn in (numerics.softmax, numerics.log_softmax, numerics.logsumexp, numerics.entropy, numerics.sigmoid):
        assert numerics.audit(fn, X) == ()
        assert numerics.audit(fn, torch.full((2, 3), -torch.inf)) == ()
    for fn in (numerics.log_sigmoid, numerics.softplus, numerics.log1mexp):
        assert numerics.audit(fn, positive) == ()
    assert numerics.audit(numerics.kl_divergence, (X, X.flip(0))) == ()
    options = {"z_loss": 0.1, "soft_cap": 5.0}
    assert numerics.audit(lambda x: numerics.cross_entropy(x, targets, **options), X) == ()
    assert numerics.audit(lambda x: numerics.linear_cross_entropy(x, X, targets % 3, **options), X) == ()


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x, scale=1.0):
        x = self.drop(self.norm(x)) * scale
        return torch.log(torch.softmax(x, -1))


def test_a_module_is_named_and_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), Head()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    (found,) = numerics.audit(model, X)
    assert (found.form, found.module, found.source.function) == ("log of softmax", "1", "Head.forward")
    assert found.use == "steadygrad.numerics.log_softmax(x)"
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training


def test_examples_are_one_argument_several_or_named():
    head = Head()
    for example in (X, (X, 2.0), {"x": X, "scale": 2.0}):
        assert [f.form for f in numerics.audit(head, example)] == ["log of softmax"]


def test_forms_come_in_the_order_of_execution():
    def several(x):
        a = torch.log1p(torch.exp(x))
        b = torch.exp(a) - 1
        return b / b.norm()

    found = numerics.audit(several, X)
    assert [f.form for f in found] == ["log(1 + exp)", "1 - exp", "division by a norm"]
    assert [f.source.line - found[0].source.line for f in found] == [0, 1, 2]


def test_a_loop_reports_its_line_once():
    def loop(x):
        for _ in range(3):
            x = torch.exp(x) - 1
        return x

    assert len(numerics.audit(loop, X)) == 1


def test_every_form_named_stable_really_is_and_the_others_are_not():
    """The forms that the audit points at fail on the input that its reason names; the ones it names do not."""
    wide = torch.tensor([[1000.0, 0.0], [-1000.0, -1001.0]])
    for naive, stable in (
        (lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True), numerics.softmax),
        (lambda x: torch.log(torch.softmax(x, -1)), numerics.log_softmax),
        (lambda x: torch.log(torch.exp(x).sum(-1)), numerics.logsumexp),
        (lambda x: torch.log(1 + torch.exp(x)), numerics.softplus),
        (lambda x: torch.log(torch.sigmoid(x)), numerics.log_sigmoid),
    ):
        assert not naive(wide).isfinite().all()
        assert stable(wide).isfinite().all()

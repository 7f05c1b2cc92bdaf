"""How the interpreter treats the user's code: traces, aliases, unknown operators, bad input."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.errors import SetupError, UserCodeError
from steadygrad.prediction import predict
from steadygrad.prediction.batch import MOST_DRAWN


def small():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


class Sorted(nn.Module):
    """Sorts more entries than samples of them could be held."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 1 << 16), nn.Linear(1 << 16, 4)

    def forward(self, x):
        return self.last(torch.sort(self.first(x)).values)


def test_an_operator_without_a_rule_is_named_with_its_line_and_poisons_what_follows():
    profile = predict(Sorted, (4, 8))
    assert len(profile.unknown) == 1
    assert "aten.sort" in profile.unknown[0]
    assert "test_interpreter.py:" in profile.unknown[0]
    assert profile["first"].mark == "exact"
    assert profile["last"].mark == "unknown"
    assert profile["last"].q != profile["last"].q


def test_memory_that_nothing_filled_is_unknown():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 8))
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(F.linear(x, self.weight))

    profile = predict(Empty, (4, 8))
    assert profile["relu"].mark == "unknown"


def test_nothing_is_left_behind():
    model, x, y = small(), torch.randn(6, 8), torch.randint(4, (6,))
    before = [p.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    predict(model, x, y, loss_fn=nn.CrossEntropyLoss())
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not torch.nn.modules.module._global_forward_hooks
    assert type(torch.randn(2)) is torch.Tensor


def test_a_model_too_large_for_memory_is_predicted():
    n = 1 << 17
    profile = predict(lambda: nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n)), (4, n))
    assert profile["0"].q == pytest.approx(1 / 3, rel=1e-3)


def test_the_rows_are_the_calls_of_modules_without_children():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.act = nn.Linear(8, 8), nn.Tanh()

        def forward(self, x):
            return self.act(self.shared(self.act(self.shared(x))))

    rows = [(row.path, row.kind) for row in predict(Twice, (4, 8))]
    assert rows == [("shared", "Linear"), ("act", "Tanh")] * 2


def test_a_weight_met_twice_is_marked():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            return self.layer(torch.tanh(self.layer(x)))

    first, second = predict(Tied, (4, 8))
    assert (first.mark, second.mark) == ("exact", "approximate")


LOSSES = {
    "cross entropy": (nn.CrossEntropyLoss(), lambda: torch.arange(16) % 4),
    "mse": (nn.MSELoss(), lambda: torch.zeros(16, 4)),
    "smooth l1": (nn.SmoothL1Loss(), lambda: torch.ones(16, 4)),
    "huber": (nn.HuberLoss(), lambda: torch.ones(16, 4)),
    "l1": (nn.L1Loss(), lambda: torch.ones(16, 4)),
    "bce": (nn.BCEWithLogitsLoss(), lambda: (torch.arange(64) % 2).float().view(16, 4)),
    "hand-written": (lambda out, y: ((out - y) ** 2).mean(), lambda: torch.ones(16, 4)),
    "hand-written cross entropy": (
        lambda out, y: -torch.log_softmax(out, 1).gather(1, y[:, None]).mean(), lambda: torch.arange(16) % 4),
}  # fmt: skip


@pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES.keys())
def test_the_loss_and_its_gradient_are_those_of_the_draws(case):
    """Loss and gradient lie within five standard errors of 200 draws, and of the 512 samples that predict takes."""
    loss_fn, targets = case
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
    profile = predict(small, x, targets(), loss_fn=loss_fn)
    assert not profile.unknown
    losses, grads = [], []
    for seed in range(200):
        torch.manual_seed(seed)
        model = small()
        out = model(x)
        out.retain_grad()
        loss = loss_fn(out, targets())
        loss.backward()
        losses.append(loss.item())
        grads.append(out.grad.double().square().mean().log().item())
    losses, grads = torch.tensor(losses), torch.tensor(grads)
    both = (1 / 200 + 1 / 512) ** 0.5
    assert abs(profile.loss - losses.mean()) < 5 * losses.std() * both
    # the median of a draw: its standard error is sqrt(pi/2) that of the mean; the sum of 16 terms is not Gaussian
    assert abs(torch.tensor(profile["2"].grad_q).log() - grads.median()) < 5 * 1.2533 * grads.std() * both


def test_a_model_that_raises_is_named_by_its_module():
    with pytest.raises(UserCodeError, match=r"module '2' raised RuntimeError"):
        predict(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(8, 4)), (4, 8))


def test_bad_input_gets_one_clear_line():
    with pytest.raises(ValueError, match="must be a tensor, the shape of one"):
        predict(small, "batch")
    with pytest.raises(ValueError, match="no empty axis"):
        predict(small, (0, 8))
    with pytest.raises(ValueError, match=r"must make a torch.nn.Module, got 'int'"):
        predict(lambda: 3, (4, 8))
    with pytest.raises(ValueError, match="must be a module or a callable"):
        predict(3, (4, 8))
    with pytest.raises(SetupError, match="without arguments, got one that needs `width`"):
        predict(lambda width: small(), (4, 8))
    with pytest.raises(SetupError, match=r"must return a scalar tensor, got \(4, 4\)"):
        predict(small, (4, 8), torch.zeros(4, 4), loss_fn=nn.MSELoss(reduction="none"))


class Asks(nn.Module):
    """A layer, and what its forward does beside it."""

    def __init__(self, forward=None, construct=None):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.does = forward
        if construct is not None:
            construct(self)

    def forward(self, x):
        return self.does(self, x)


class Formless(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)


def refuses(self):
    raise ValueError("4 features cannot be shared by 3 heads")


BAD_MODELS = {
    "a device in the constructor": (lambda: Asks(construct=lambda m: m.cuda()), r"the factory insists on a device"),
    "a device in the forward": (lambda: Asks(lambda m, x: m.layer(x.to("cuda"))), r"the model insists on a device"),
    "two devices": (lambda: Asks(lambda m, x: x + torch.zeros(4, device="meta")), r"the model mixes tensors of two"),
    "parameters elsewhere": (nn.Linear(4, 4, device="meta"), r"the model mixes tensors of two devices, cpu and meta"),
    "no forward": (Formless, r'the model raised NotImplementedError: Module \[Formless\] is missing'),
    "a constructor that raises": (lambda: Asks(construct=refuses), r"the factory raised ValueError: 4 features cannot"),
    "an argument too many": (lambda: Asks(lambda m: m.layer), r"the model raised TypeError"),
    "an exit": (lambda: Asks(lambda m, x: exit(3)), r"the model raised SystemExit: 3"),
    "a class with arguments": (nn.Linear, r"without arguments, got one that needs `in_features`, `out_features`"),
}  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is here")
@pytest.mark.parametrize("case", BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_a_model_that_cannot_be_run_is_one_clear_line(case):
    model, said = case
    with pytest.raises((UserCodeError, SetupError), match=said) as raised:
        predict(model, torch.randn(8, 4))
    assert "\n" not in str(raised.value)


def test_a_shape_that_does_not_fit_is_named_by_the_path_of_its_module():
    inner = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(9, 4)))
    with pytest.raises(UserCodeError, match=r"module '1\.1' raised RuntimeError: .*\[8, 8\]"):
        predict(inner, (8, 4))


def test_a_loss_that_does_not_fit_is_named_as_the_loss():
    with pytest.raises(UserCodeError, match=r"^the loss, or what it asks of the model, raised"):
        predict(small, torch.randn(4, 8), torch.zeros(4, 3), loss_fn=nn.CrossEntropyLoss())


def test_a_batch_that_is_a_mapping_is_unpacked_or_handed_on_whole():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x, mask=None):
            return self.layer(x["x"] if isinstance(x, dict) else x)

    batch = {"x": torch.randn(8, 4)}
    rows = [predict(Named, inputs)["layer"] for inputs in (batch, (batch,), [batch], [(batch, None)])]
    assert all(row.mark == "exact" and row.q == rows[0].q for row in rows)
    with pytest.raises(UserCodeError, match=r"the model raised TypeError: .*unexpected keyword argument 'y'"):
        predict(Named, {"y": batch["x"]})


def test_what_nothing_follows_from_is_said():
    silent = predict(lambda: Asks(lambda m, x: [m.layer(x), None][1]), torch.randn(8, 4))
    assert "holds no tensor" in silent.unknown[0]
    broken = predict(lambda: nn.Linear(4, 4), torch.full((8, 4), float("nan")))
    assert "not finite" in broken.unknown[0]
    assert broken.layers[0].mark == "unknown"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_converted_as_a_whole_keeps_what_filled_it(dtype):
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    plain, converted = predict(small, x), predict(lambda: small().to(dtype), x.to(dtype))
    for a, b in zip(plain, converted, strict=True):
        assert b.q == pytest.approx(a.q, rel=0.02)
        assert b.grad_q == pytest.approx(a.grad_q, rel=0.02)


def test_memory_that_is_read_beside_where_it_was_written():
    """Half zeros, half the signal."""

    def halves(h):
        y = torch.zeros_like(h)
        y[:, :32] = h[:, :32]
        return y[:, 16:48]

    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    profile = predict(lambda: Through(halves), x)
    whole = predict(lambda: Through(lambda h: h[:, :32]), x)
    assert profile["last"].q == pytest.approx(whole["last"].q / 2, rel=0.02)


def test_a_matrix_that_is_added_to_its_transpose_is_two_draws():
    class Even(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.act = nn.Parameter(torch.randn(64, 64) / 8), nn.Identity()

        def forward(self, x):
            return self.act(x @ (self.weight + self.weight.T))

    (row,) = predict(Even, (16, 64))
    assert row.q == pytest.approx(2.0, rel=0.05)
    assert row.mark == "approximate"


def test_a_signal_that_is_rounded_is_not_itself():
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    profile = predict(Through(lambda h: (10 * h).to(torch.int8).float() - 10 * h), x)
    assert profile["last"].q == pytest.approx(1 / 3, rel=0.1)  # what is cut off is uniform within [0, 1)


class Through(nn.Module):
    """Two layers with a function of the user's between them."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = nn.Linear(64, 64, bias=False), None, function
        self.last = nn.Linear(function(torch.ones(64, 64)).shape[1], 64, bias=False)
        for layer in (self.first, self.last):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def halves(combine):
    return lambda h: combine(h[:, :32], h[:, 32:])


def test_two_places_of_one_tensor_are_not_the_same_units():
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    each = x.square().mean(1)  # of an example, as its units have it behind weights of variance 1/n
    sums, products = 2 * float(each.mean()), float(each.square().mean())
    for combine, q in ((torch.sub, sums), (torch.mul, products), (torch.add, sums)):
        torch.manual_seed(0)
        model = Through(halves(combine))
        profile = predict(model, x)
        assert profile["last"].q == pytest.approx(q, rel=0.15)
        assert profile["last"].mark == "approximate"


def test_one_place_of_a_tensor_is_itself():
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    profile = predict(Through(lambda h: h[:, :32] - h[:, :32]), x)
    assert profile["last"].q == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("function", [torch.log, torch.sqrt, torch.rsqrt])
def test_what_is_not_finite_on_a_gaussian_is_unknown(function):
    profile = predict(Through(function), (16, 64))
    assert "not finite" in profile.unknown[0]
    assert profile["last"].mark == "unknown"


class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        h = self.first(x)
        if h.requires_grad:
            h.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
        return self.last(torch.tanh(h))


def test_a_nonlinear_function_of_a_gradient_is_unknown():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.hooked = nn.Linear(8, 8), Hooked()

        def forward(self, x):
            return self.hooked(self.stem(x))

    profile = predict(Net, (4, 8))
    assert profile["stem"].grad_q != profile["stem"].grad_q
    assert any("clamp of a gradient" in said for said in profile.unknown)


def test_a_product_of_all_examples_with_all_is_had_of_samples():
    """Σ over 64 of (h·h')² is |h|⁴ of the example itself, 64² + 2 · 64, and 64 of each of 63 others, over 64 terms."""
    profile = predict(Through(lambda h: h @ h.T), (64, 64))
    assert profile["last"].mark == "approximate"
    assert profile["last"].q == pytest.approx((64**2 + 2 * 64 + 63 * 64) / 64, rel=0.15)


def test_a_product_of_more_examples_than_samples_have_is_unknown():
    profile = predict(Through(lambda h: (h @ h.T)[:, :64]), (MOST_DRAWN + 8, 64))
    assert profile["last"].mark == "unknown"


def test_a_matrix_of_the_users_own_on_data_is_followed_backward():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 16) * 8**-0.5)
            self.act = nn.Tanh()

        def forward(self, x):
            return self.act(x @ self.weight)

    assert not predict(Own, torch.randn(4, 8)).unknown


def test_weights_with_a_mean_are_not_called_exact():
    def factory():
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        nn.init.normal_(model[2].weight, mean=0.5)
        return model

    profile = predict(factory, (4, 8))
    assert profile["2"].mark == "approximate"
    assert any("weights with a mean" in said for said in profile.unknown)


def test_shared_modules_and_tied_weights_are_put_back():
    layer, other = nn.Linear(8, 8), nn.Linear(8, 8)
    other.weight = layer.weight
    model = nn.Sequential(layer, nn.BatchNorm1d(8), layer, other)
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert predict(model, torch.randn(16, 8))["3"].mark == "approximate"
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert all(after[name] is tensor for name, tensor in before.items())


def test_a_loss_over_the_batch_is_no_row_of_operators():
    profile = predict(small, torch.randn(6, 8), torch.randint(4, (6,)), loss_fn=nn.CrossEntropyLoss(), per="operator")
    assert [row.kind for row in profile][:3] == ["aten.addmm", "aten.relu", "aten.addmm"]
    assert "aten.nll_loss_forward" not in {row.kind for row in profile}


class Angles(nn.Module):
    """Cosines that depend on positions alone."""

    def forward(self, x):
        return torch.cos(torch.arange(x.shape[1]).float()[None, :, None] * torch.arange(1.0, 9.0))


class Rotated(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.angles = nn.Linear(8, 8), Angles()

    def forward(self, x):
        return self.layer(x) * self.angles(x)


def test_a_row_that_is_not_read_is_said():
    profile = predict(Rotated, torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0)))
    assert profile["angles"].mark == "unknown"
    assert profile.unknown == (
        "module 'angles' gives numbers that are the same for every example, of which no row is read",
    )


def test_what_is_taken_from_zeros_in_place_is_the_negative():
    class Taken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.zeros_like(x)
            out -= torch.tanh(x)
            return out

    profile = predict(lambda: nn.Sequential(nn.Linear(64, 64), Taken(), nn.Linear(64, 4)), (8, 64))
    plain = predict(lambda: nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)), (8, 64))
    assert not profile.unknown
    assert (profile["1"].q, profile["0"].grad_q) == pytest.approx((plain["1"].q, plain["0"].grad_q))


def test_a_loss_without_any_gradient_gives_one_of_zero():
    """The softmax over one logit is 1 whatever the logit is."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    x, y = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(32, dtype=torch.long)
    profile = predict(model, x, y, loss_fn=nn.CrossEntropyLoss())
    assert not profile.unknown
    assert [row.grad_q for row in profile] == [0.0, 0.0, 0.0]

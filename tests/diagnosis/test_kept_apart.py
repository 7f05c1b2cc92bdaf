"""Examples that the model or the data do not keep apart, labels that a loss cannot hear, and terms out of balance."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.measurement.mixing import mixing


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def report(model, loss_fn, data, optimizer=None, *, select=(), trial=True, **more):
    setup = {"model": model, "data": data, "loss_fn": loss_fn, **more}
    if optimizer is not None:
        setup["optimizer"] = optimizer
    return check(setup, select=select, trial=trial)


def loud(found):
    return [f.code for f in found.findings if f.level != "info"]


class Layer(nn.Module):
    """A layer of sequences over [batch, time, features], pooled over time."""

    def __init__(self, layer, of=lambda y: y):
        super().__init__()
        self.layer, self.of, self.head = layer, of, nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.of(self.layer(x)).mean(1))


class Viewed(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.order, self.inner, self.head = order, nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.relu(self.inner(self.order(x)))).mean(0)


def encoder(batch_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
    return Layer(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False))


def recurrent(kind, batch_first):
    return Layer(kind(8, 8, batch_first=batch_first), lambda y: y[0])


MIXED = {
    "softmax": (nn.Sequential(nn.Flatten(), nn.Linear(32, 4), nn.Softmax(dim=0), nn.Linear(4, 3)), "softmax"),
    "view": (Viewed(lambda x: x.reshape(len(x), 4, 8).reshape(4, len(x), 8)), "reshape"),
    "encoder": (encoder(False), "batch_first"),
    "GRU": (recurrent(nn.GRU, False), "batch_first"),
    "LSTM": (recurrent(nn.LSTM, False), "batch_first"),
    "mean": (
        nn.Sequential(nn.Flatten(), nn.Linear(32, 3), Viewed(lambda x: F.pad(x - x.mean(0), (0, 5))[None])),
        "other",
    ),
}
APART = {
    "softmax": nn.Sequential(nn.Flatten(), nn.Linear(32, 4), nn.Softmax(dim=-1), nn.Linear(4, 3)),
    "transpose": Viewed(lambda x: x.transpose(0, 1)),
    "encoder": encoder(True),
    "GRU": recurrent(nn.GRU, True),
    "batch norm": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(32), nn.Linear(32, 3)),
    "dropout": nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_joins_examples_is_named(name):
    model, kind = MIXED[name]
    found = mixing(model, torch.randn(20, 4, 8), 20)
    assert found.is_there
    assert found.join.kind == kind


@pytest.mark.parametrize("name", APART)
def test_examples_that_are_apart_differ_by_rounding_alone(name):
    model = APART[name]
    found = mixing(model, torch.randn(20, 4, 8), 20)
    assert not found.is_there
    # Sums of some hundred terms, each rounded: far below the square root of the unit that counts as a change.
    assert found.share < 1e3 * torch.finfo(torch.float32).eps
    assert model.training


@pytest.mark.parametrize("batches", [1, 4])
def test_one_batch_may_be_one_set(batches):
    data = [(torch.randn(16, 4, 8), torch.randint(3, (16,))) for _ in range(batches)]
    found = report(MIXED["softmax"][0], nn.CrossEntropyLoss(), data, select=["NET002"])
    assert [str(f.level) for f in found.findings] == ["info" if batches == 1 else "warn"]


def test_nothing_is_said_where_another_axis_may_be_the_examples():
    model = nn.GRU(8, 8)
    data = [(torch.randn(5, 6, 8), torch.randn(5, 6, 8)) for _ in range(3)]
    assert report(model, lambda y, t: F.mse_loss(y[0], t), data, select=["NET002"]).findings == ()


def test_a_model_of_one_graph_takes_no_other():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("near", torch.rand(20, 20).softmax(1))
            self.layer = nn.Linear(8, 3)

        def forward(self, x):
            return self.near @ self.layer(x)

    assert mixing(Graph(), torch.randn(20, 8), 20) is None


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_a_margin_by_hand_hears_both_signs_and_not_zero(low):
    x = torch.randn(256, 4)
    y = torch.where(x[:, 0] > 0, 1.0, low)
    found = report(nn.Linear(4, 1), lambda z, t: F.relu(1 - z[:, 0] * t).mean(), [(x, y)], select=["DAT005"])
    assert [(f.code, f.fix_code) for f in found.findings] == (
        [("DAT005", "targets = 2 * targets - 1")] if low == 0 else []
    )


def root_apart(a, b):
    return (a - b).square().sum(1).add(1e-6).sqrt()


PAIRS = {
    "cosine": (lambda o, y: F.cosine_embedding_loss(*o, y, margin=0.3), -1.0),
    "ranking": (lambda o, y: F.margin_ranking_loss(o[0][:, 0], o[1][:, 0], y, margin=1.0), -1.0),
    "distance": (lambda o, y: (y * root_apart(*o) ** 2 + (1 - y) * F.relu(0.5 - root_apart(*o)) ** 2).mean(), 0.0),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_loss_of_pairs_hears_its_own_two_labels(name):
    loss_fn, other = PAIRS[name]

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(4, 8)

        def forward(self, x):
            return self.f(x[:, 0]), self.f(x[:, 1])

    x, same = torch.randn(256, 2, 4), torch.rand(256) > 0.5
    for label in (-1.0, 0.0):
        found = report(Pair(), loss_fn, [(x, torch.where(same, 1.0, label))], select=["DAT005"])
        assert loud(found) == ([] if label == other or name == "distance" else ["DAT005"])


def test_labels_to_be_ignored_leave_the_others_to_learn():
    x, y = torch.randn(256, 4), torch.randint(3, (256,)).float()
    found = report(nn.Linear(4, 1), lambda z, t: ((z[:, 0] - t) ** 2 * (t > 0)).mean(), [(x, y)], select=["DAT005"])
    assert found.findings == ()


class Both(nn.Module):
    """Codes and what is decoded from them, side by side."""

    def __init__(self):
        super().__init__()
        self.code, self.back = nn.Linear(8, 4), nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 8))

    def forward(self, x):
        mean, log_variance = self.code(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return torch.cat([self.back(z), mean, log_variance], 1)


def codes_of(reduce):
    def loss(y, x):
        mean, log_variance = y[:, 8:10], y[:, 10:]
        return F.mse_loss(y[:, :8], x) + reduce((mean**2 + log_variance.exp() - 1 - log_variance) / 2)

    return loss


@pytest.mark.parametrize(("reduce", "level"), [(torch.sum, "warn"), (lambda k: 1e-3 * k.sum(1).mean(), None)])
def test_a_sum_beside_a_mean_is_told_by_what_it_keeps_from_being_fitted(reduce, level):
    z = torch.randn(512, 2)
    data = [(x, x) for x in (z @ torch.randn(2, 8)).split(64)]
    model = Both()
    found = report(model, codes_of(reduce), data, torch.optim.Adam(model.parameters(), 1e-2), select=["LOS008"])
    assert [(f.code, str(f.level)) for f in found.findings] == ([("LOS008", level)] if level else [])


def test_the_parts_of_a_loss_are_what_they_are_by_themselves():
    from steadygrad.diagnosis.evidence.uneven_sums import _parts

    y, t = torch.randn(32, 3), torch.randn(32, 3)
    mean, total = F.mse_loss(y, t), (y**4).sum()
    found = _parts(lambda a, b: F.mse_loss(a, b) + (a**4).sum(), y, t)
    # The parts are differences of numbers as large as three times the total, each rounded in double precision.
    assert found == (pytest.approx(float(mean), abs=1e-5), pytest.approx(float(total), rel=1e-6))
    assert _parts(lambda a, b: F.mse_loss(a, b) + a.sum() ** 2, y, t) is None  # neither a mean nor a sum


@pytest.mark.parametrize(
    ("loss_fn", "fresh", "codes"),
    [
        (lambda y, t: F.mse_loss(y, t.div_(2)), False, ["DAT006"]),
        (lambda y, t: F.mse_loss(y, t.div_(2)), True, []),
        (lambda y, t: F.mse_loss(y, t.clamp_(-1, 1)), False, []),
        (lambda y, t: F.mse_loss(y, t / 2), False, []),
    ],
)
def test_what_is_written_into_a_batch_counts_where_it_adds_up(loss_fn, fresh, codes):
    batches = [(torch.randn(32, 4), torch.randn(32, 1)) for _ in range(4)]
    before = [t.clone() for _, t in batches]

    class Fresh:
        def __iter__(self):
            return iter([(x.clone(), t.clone()) for x, t in batches])

    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    found = report(model, loss_fn, Fresh() if fresh else batches, torch.optim.Adam(model.parameters(), 1e-3))
    assert [c for c in loud(found) if c not in ("RUN004", "OPT002")] == codes
    assert all(map(torch.equal, before, (t for _, t in batches)))


@pytest.mark.parametrize(("activation", "flat"), [(nn.ReLU, True), (nn.Tanh, False)])
def test_a_second_derivative_that_is_nothing_is_told(activation, flat):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1, 16), activation(), nn.Linear(16, 1))

        def forward(self, x):
            x = x.clone().requires_grad_()
            with torch.enable_grad():
                u = self.net(x)
                (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
                (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
            return u + bend

    x = torch.rand(64, 1)
    found = report(Net(), nn.MSELoss(), [(x, x.sin())], select=["NET001"])
    assert [f.code for f in found.findings] == (["NET001"] if flat else [])
    if flat:
        assert found.findings[0].line.startswith("test_kept_apart.py:")


def contrast(d, same):
    return (same * d**2 + (1 - same) * F.relu(2 - d) ** 2).mean()


RELATIONS = {
    "distance": (lambda a, b: (a - b).square().sum(1).add(1e-6).sqrt(), contrast, []),
    "cosine of what differs": (
        F.cosine_similarity,
        lambda c, other: ((1 - other) * (1 - c) + other * F.relu(c - 0.3)).mean(),
        [],
    ),
    "logit": (lambda a, b: (a * b).sum(1), F.binary_cross_entropy_with_logits, []),
    "negated logit": (lambda a, b: (a * b).sum(1), lambda z, y: -F.binary_cross_entropy_with_logits(z, y), ["OPT006"]),
    "negated square": (lambda a, b: (a * b).sum(1), lambda z, y: -F.mse_loss(z, y), ["OPT006"]),
    "negated probability": (
        lambda a, b: torch.sigmoid((a * b).sum(1)),
        lambda p, y: -F.binary_cross_entropy(p, y),
        ["OPT006"],
    ),
}


@pytest.mark.parametrize("name", RELATIONS)
def test_a_loss_with_the_wrong_sign_falls_on_and_on_and_one_of_distances_does_not(name):
    relation, loss_fn, codes = RELATIONS[name]

    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(4, 3)

        def forward(self, x):
            return relation(self.f(x[:, 0]), self.f(x[:, 1]))

    x, same = torch.randn(64, 2, 4), torch.randint(2, (64,)).float()
    model = Twins()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    assert loud(report(model, loss_fn, [(x, same)], optimizer, select=["OPT006"])) == codes


@pytest.mark.parametrize("zero", [1, 2])
def test_of_two_factors_one_may_start_at_zero(zero):
    class Factors(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.v = nn.Embedding(9, 4), nn.Embedding(7, 4)
            for table in (self.u, self.v)[:zero]:
                nn.init.zeros_(table.weight)

        def forward(self, i):
            return (self.u(i[:, 0]) * self.v(i[:, 1])).sum(1)

    i = torch.stack([torch.randint(9, (128,)), torch.randint(7, (128,))], 1)
    model = Factors()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    found = report(model, nn.MSELoss(), [(i, torch.randn(128))], optimizer, select=["BWD003"])
    assert loud(found) == (["BWD003"] if zero == 2 else [])
    assert all("start at zero" in f.message for f in found.findings)


@pytest.mark.parametrize(("factor", "level"), [(0.07, "error"), (0.5, "info"), (14.0, None)])
def test_cosines_leave_a_loss_room_to_fall(factor, level):
    """ln(1 + (K - 1) e^(-2s)) for K cosines times s, against a tenth of ln K below that."""
    k = 32
    floor = math.log(1 + (k - 1) * math.exp(-2 * factor))
    assert (floor > 0.9 * math.log(k)) == (level == "error")

    class Cosines(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.classes = nn.Linear(8, 16), nn.Parameter(torch.randn(k, 16))

        def forward(self, x):
            return F.normalize(self.f(x)) @ F.normalize(self.classes).T * factor

    data = [(torch.randn(64, 8), torch.randint(k, (64,)))]
    found = report(Cosines(), nn.CrossEntropyLoss(), data, select=["LOS001"])
    assert [str(f.level) for f in found.findings] == ([level] if level else [])


def test_two_networks_against_each_other_stand_still_where_neither_wins():
    class Gan(nn.Module):
        def __init__(self):
            super().__init__()
            self.g = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
            self.d = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

        def forward(self, x):
            return self.d(x)

    model = Gan()
    one, other = torch.optim.Adam(model.d.parameters(), 1e-3), torch.optim.Adam(model.g.parameters(), 1e-3)

    def step(model, inputs, targets, loss_fn, optimizer):
        made = model.g(torch.randn(len(inputs), 2))
        optimizer.zero_grad()
        (loss_fn(model(inputs), targets) + loss_fn(model(made.detach()), 0 * targets)).backward()
        optimizer.step()
        other.zero_grad()
        loss_fn(model(made), targets).backward()
        other.step()

    data = [(torch.randn(64, 2), torch.ones(64, 1)) for _ in range(8)]
    assert loud(report(model, nn.BCEWithLogitsLoss(), data, one, step=step)) == []


def test_short_steps_on_a_loss_that_never_rose_are_lengthened_first():
    from steadygrad.diagnosis.evidence import Collector, Retrials
    from steadygrad.setup import Setup

    x = torch.randn(256, 16)
    data = list(zip(x.split(32), x[:, :1].split(32), strict=True))
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    setup = Setup(model=model, data=data, loss_fn=nn.MSELoss(), optimizer=optimizer)
    found = Collector(setup).get(Retrials)
    assert found.slower == ()
    assert found.faster


def test_looking_whether_data_last_draws_nothing():
    class Shuffled:
        def __init__(self):
            self.g = torch.Generator().manual_seed(0)

        def __iter__(self):
            order = torch.randperm(64, generator=self.g)
            return iter([(torch.ones(16, 2) * i[:, None], torch.ones(16, 1)) for i in order.split(16)])

    data, model = Shuffled(), nn.Linear(2, 1)
    before = data.g.get_state()
    report(model, nn.MSELoss(), data, torch.optim.SGD(model.parameters(), lr=1e-4), trial=False)
    assert torch.equal(data.g.get_state(), before)


@pytest.mark.parametrize(("axis", "named"), [(0, True), (-2, True), (1, False)])
def test_a_softmax_over_the_examples_is_named_so(axis, named):
    data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    model = nn.Sequential(nn.Linear(8, 4), nn.Softmax(dim=axis))
    (found,) = report(model, nn.CrossEntropyLoss(), data, select=["LOS001"]).findings
    assert ("over the examples (dim=0)" in found.message) == named


def test_the_bias_of_an_energy_whose_slope_is_fitted_is_no_cut():
    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))

        def forward(self, x):
            with torch.enable_grad():
                x = x.clone().requires_grad_()
                return -torch.autograd.grad(self.e(x).sum(), x, create_graph=True)[0]

    data = [(x, -x) for x in torch.randn(256, 2).split(64)]
    model = Energy()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    assert loud(report(model, nn.MSELoss(), data, optimizer, select=["BWD003"])) == []


@pytest.mark.parametrize(("end", "undone"), [(2.2, True), (1.0, False), (0.5, False)])
def test_a_run_that_loses_again_what_it_learned_is_held_against_one_as_long(end, undone):
    """A run that learned in the first half, and one that rises later: half of what went came back."""
    from steadygrad.diagnosis.evidence.retrials import _is_undone
    from steadygrad.diagnosis.runs.outcome import Course

    course = Course(losses=[2.0] * 5 + [1.0] * 95 + [end] * 100)
    assert _is_undone(course) == undone == (course.gain() < (2.0 - 1.0) / 2)


def test_saturation_behind_inputs_out_of_scale_is_theirs():
    x = torch.randn(512, 4)
    data = list(
        zip((x * torch.tensor([1.0, 3e3, 1.0, 2e3])).split(32), x.sum(1, keepdim=True).sin().split(32), strict=True)
    )
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    found = report(model, nn.MSELoss(), data, optimizer, select=["DAT001", "FWD004"])
    assert [f.code for f in found.findings] == ["DAT001"]
    assert [f.code for f in found.findings[0].consequences] == ["FWD004"]


@pytest.mark.parametrize(("zeros", "codes"), [(0.5, []), (0.7, []), (0.0, ["DAT002"])])
def test_targets_of_which_most_are_zero_are_of_the_size_of_the_others(zeros, codes):
    """Nine in ten targets that vary e^3 times less than the outputs drown; where half are zero the others do not."""
    x = torch.randn(512, 4)
    y = x[:, :1].sin() * (1e-7 if not zeros else 1.0)
    y = torch.where(torch.rand(512, 1) < zeros, 1e-8 * y, y)
    found = report(nn.Linear(4, 1), nn.MSELoss(), list(zip(x.split(64), y.split(64), strict=True)), select=["DAT002"])
    assert [f.code for f in found.findings] == codes


def test_layers_of_zeros_without_biases_are_symmetric():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(8, 8, bias=False) for _ in range(3))
            nn.init.zeros_(self.a.weight)
            nn.init.zeros_(self.b.weight)

        def forward(self, x):
            return self.c(self.a(x) * self.b(x))

    data = [(torch.randn(64, 8), torch.randint(8, (64,))) for _ in range(3)]
    assert "INI002" in loud(report(Gate(), nn.CrossEntropyLoss(), data, trial=False))


class States(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


@pytest.mark.parametrize(("stacked", "codes"), [(True, ["NET002"]), (False, [])])
def test_examples_that_a_loader_stacks_lie_along_the_first_axis(stacked, codes):
    x, y = torch.randn(64, 6, 8), torch.randn(64, 6, 8)
    made = torch.utils.data.TensorDataset(x, y)
    data = torch.utils.data.DataLoader(made, 16) if stacked else list(zip(x.split(16), y.split(16), strict=True))
    found = report(States(nn.GRU(8, 8)), F.mse_loss, data, select=["NET002"])
    assert [f.code for f in found.findings] == codes

"""Rules about data, loss and head on setups unlike their pages' examples: broken ones are told, sound ones are not."""

import functools
import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.finding import Level
from steadygrad.theory import softmax_at_init

EXAMPLES, BATCH = 256, 32


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class ForgotItsActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.activation = nn.Linear(6, 32), nn.ReLU()
        self.dropout, self.second, self.head = nn.Dropout(0.2), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x):
        return self.head(self.dropout(self.second(self.first(x))))


class ParallelHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))

    def forward(self, x):
        return torch.cat([head(x) for head in self.heads], dim=1)


class TokenModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.body, self.head = nn.Embedding(300, 16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, 300)

    def forward(self, x):
        return self.head(self.body(self.table(x))[0])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def mlp(*sizes: int, last: nn.Module | None = None) -> nn.Sequential:
    parts: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        parts += [nn.Linear(a, b)] + [nn.ReLU()] * (i < len(sizes) - 2)
    return nn.Sequential(*parts, *([last] if last is not None else []))


def features(count: int = 6) -> torch.Tensor:
    return torch.randn(EXAMPLES, count)


def curve(x: torch.Tensor) -> torch.Tensor:
    return (1.5 * x[:, :1]).sin() + 0.5 * x[:, 1:2] * x[:, 2:3]


def classes(x: torch.Tensor, count: int = 4) -> torch.Tensor:
    return (x[:, :count] + 0.3 * torch.randn(len(x), count)).argmax(1)


def setup(model, x, y, loss_fn, optimizer=torch.optim.Adam, **options) -> dict:
    data = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    return {
        "model": model,
        "data": data,
        "loss_fn": loss_fn,
        "optimizer": optimizer(model.parameters(), **{"lr": 1e-2, **options}),
    }


def images() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(EXAMPLES, 1, 8, 8)
    return x, (x.mean((1, 2, 3)) > 0.5).long()


def bytes_into_a_convolution():
    x, y = images()
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    return setup(model, (255 * x).round(), y, nn.CrossEntropyLoss(), torch.optim.SGD, lr=0.1)


def columns_far_from_zero():
    x = features()
    return setup(mlp(6, 32, 4), x + 1000, classes(x), nn.CrossEntropyLoss())


def pixels_divided_by_255_twice():
    x, y = images()
    model = nn.Sequential(nn.Flatten(), mlp(64, 32, 2))
    return setup(model, x / 255, y, nn.CrossEntropyLoss(), torch.optim.SGD, lr=0.1)


def one_column_in_thousands():
    x = features()
    y = torch.cat([curve(x), 3000 + 500 * x[:, :1]], 1)
    return setup(mlp(6, 32, 2), x, y, nn.MSELoss(), torch.optim.SGD)


def years_as_targets():
    x = features()
    return setup(mlp(6, 32, 1), x, 1990 + 10 * curve(x), nn.MSELoss(), torch.optim.SGD)


def tiny_targets():
    x = features()
    return setup(mlp(6, 32, 1), x, 1e-4 * curve(x), nn.L1Loss())


def a_constant_thousand():
    x = features()
    spoilt = torch.cat([x, torch.full((EXAMPLES, 1), 1000.0)], 1)
    return setup(mlp(7, 32, 4), spoilt, classes(x), nn.CrossEntropyLoss(), torch.optim.SGD, lr=0.05)


def masks_of_0_and_255():
    x, _ = images()
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    return setup(model, x, 255.0 * (x > 0.5), nn.BCEWithLogitsLoss())


def one_class_only():
    x = features()
    return setup(mlp(6, 32, 4), x, torch.full((EXAMPLES,), 2), nn.CrossEntropyLoss())


def zeros_for_a_loss_of_signs():
    x = features()
    return setup(mlp(6, 32, 1), x, (x[:, :1] > 0).float(), nn.SoftMarginLoss())


def a_batch_that_is_ignored_whole():
    x = features()
    y = classes(x)
    y[BATCH : 2 * BATCH] = -100
    return setup(mlp(6, 32, 4), x, y, nn.CrossEntropyLoss())


def functional_softmax_in_the_loss():
    x = features()
    return setup(mlp(6, 32, 4), x, classes(x), lambda out, y: F.cross_entropy(out.softmax(-1), y))


def probabilities_for_nll():
    x = features()
    return setup(mlp(6, 32, 4, last=nn.Softmax(1)), x, classes(x), nn.NLLLoss())


def sigmoid_before_its_own():
    x = features()
    return setup(mlp(6, 32, 1, last=nn.Sigmoid()), x, (x[:, :1] > 0).float(), nn.BCEWithLogitsLoss())


def one_column_under_cross_entropy():
    x = features()
    shares = torch.sigmoid(x[:, :1])
    return setup(mlp(6, 32, 1), x, shares, nn.CrossEntropyLoss())


def log_of_one_minus_sigmoid():
    x = features()
    model = mlp(6, 32, 1)
    nn.init.normal_(model[2].weight, std=10)

    def loss(out, y):
        p = torch.sigmoid(out)
        return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()

    return setup(model, x, (x[:, :1] > 0).float(), loss)


def a_softmax_that_fails_within_a_few_steps():
    x = features()

    def loss(out, y):
        return -(F.one_hot(y, 4) * torch.log(torch.softmax(out, 1))).sum(1).mean()

    return setup(mlp(6, 32, 4), 5 * x, classes(x), loss, torch.optim.SGD, lr=3.0)


def a_loud_binary_head():
    x = features()
    model = mlp(6, 64, 1)
    nn.init.normal_(model[2].weight, std=20)
    return setup(model, x, (torch.rand(len(x), 1) > 0.5).float(), nn.BCEWithLogitsLoss(), torch.optim.SGD, lr=0.1)


def functional_tanh_for_wide_targets():
    x = features()
    model = nn.Sequential(mlp(6, 32, 1), Apply(torch.tanh))
    return setup(model, x, 3 * curve(x), lambda out, y: (y - out).abs().mean())


def softplus_for_negative_targets():
    x = features()
    return setup(mlp(6, 32, 1, last=nn.Softplus()), x, curve(x), nn.HuberLoss())


def products_of_all_pairs():
    x = features()

    def loss(out, y):
        return -(y * F.logsigmoid(out) + (1 - y) * F.logsigmoid(-out)).mean()

    return setup(mlp(6, 32, 1), x, (x[:, 0] > 0).float(), loss)


def masks_without_their_channel():
    x, _ = images()
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    return setup(model, x, x[:, 0], lambda out, y: (out - y).square().mean())


def class_numbers_by_absolute_error():
    y = torch.randint(7, (EXAMPLES,))
    x = torch.randn(7, 6)[y] + 0.3 * features()
    return setup(mlp(6, 32, 1), x, y.float()[:, None], lambda out, y: (out - y).abs().mean())


def raw_outputs_for_nll():
    x = features()
    return setup(mlp(6, 32, 4), x, classes(x), F.nll_loss)


def a_sum_written_by_hand():
    x = features()
    return setup(mlp(6, 32, 1), x, curve(x), lambda out, y: ((out - y) ** 2).sum(), torch.optim.SGD, lr=0.1)


def a_sum_over_all_pairs():
    x = features()

    def loss(out, y):
        return (out - out.T - (y - y.T)).square().sum()

    return setup(mlp(6, 32, 1), x, curve(x), loss, torch.optim.SGD)


def a_softmax_for_labels_that_hold_together():
    x = features()
    return setup(mlp(6, 32, 5, last=nn.Softmax(1)), x, (x[:, :5] > 0.2).float(), nn.BCELoss())


def an_activation_that_forward_forgets():
    x = features()
    return setup(ForgotItsActivation(), x, curve(x), nn.MSELoss())


def convolutions_and_nothing_else():
    x, y = images()
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2))
    return setup(model, x, y, nn.CrossEntropyLoss())


BROKEN = {
    "DAT001": (bytes_into_a_convolution, columns_far_from_zero, pixels_divided_by_255_twice),
    "DAT002": (years_as_targets, tiny_targets, one_column_in_thousands),
    "DAT004": (a_constant_thousand,),
    "DAT005": (masks_of_0_and_255, one_class_only, zeros_for_a_loss_of_signs, a_batch_that_is_ignored_whole),
    "LOS001": (functional_softmax_in_the_loss, probabilities_for_nll, sigmoid_before_its_own),
    "LOS002": (one_column_under_cross_entropy,),
    "LOS003": (log_of_one_minus_sigmoid, a_softmax_that_fails_within_a_few_steps),
    "LOS004": (a_loud_binary_head,),
    "LOS005": (
        functional_tanh_for_wide_targets,
        softplus_for_negative_targets,
        a_softmax_for_labels_that_hold_together,
    ),
    "LOS006": (products_of_all_pairs, masks_without_their_channel),
    "LOS007": (class_numbers_by_absolute_error, raw_outputs_for_nll),
    "LOS008": (a_sum_written_by_hand, a_sum_over_all_pairs),
    "NET001": (an_activation_that_forward_forgets, convolutions_and_nothing_else),
}


@pytest.mark.parametrize(("code", "make"), [(code, make) for code, all_of in BROKEN.items() for make in all_of])
def test_a_broken_setup_is_told_first(code, make):
    findings = check(make()).findings
    assert findings[0].code == code
    assert findings[0].level != Level.INFO


def bytes_that_the_model_divides():
    x, y = images()
    model = nn.Sequential(Apply(lambda x: x.float() / 255), nn.Flatten(), mlp(64, 32, 2))
    return setup(model, (255 * x).to(torch.uint8), y, nn.CrossEntropyLoss(), torch.optim.SGD, lr=0.1)


def raw_columns_into_a_norm():
    x = features()
    model = nn.Sequential(nn.BatchNorm1d(6), mlp(6, 32, 4))
    return setup(model, x * torch.tensor([1e-2, 1.0, 10.0, 1e3, 1.0, 5.0]) + 3, classes(x), nn.CrossEntropyLoss())


def token_numbers():
    x = torch.randint(300, (EXAMPLES, 13))
    return setup(TokenModel(), x[:, :-1], x[:, 1:], lambda out, y: F.cross_entropy(out.transpose(1, 2), y))


def one_hot_inputs_and_targets():
    y = torch.randint(40, (EXAMPLES,))
    model = mlp(40, 32, 40)
    hot = F.one_hot(y, 40).float()
    return setup(model, hot, F.one_hot((y + 1) % 40, 40).float(), nn.MSELoss())


def targets_not_quite_standardised():
    x = features()
    return setup(mlp(6, 32, 1), x + 1, 3 + 2 * curve(x), nn.MSELoss(), torch.optim.SGD)


def several_labels():
    x = features()
    return setup(mlp(6, 32, 5), x, (x[:, :5] > 0.5).float(), nn.BCEWithLogitsLoss(pos_weight=torch.full((5,), 2.0)))


def log_softmax_twice():
    x = features()
    return setup(mlp(6, 32, 4, last=nn.LogSoftmax(1)), x, classes(x), nn.CrossEntropyLoss(label_smoothing=0.1))


def capped_logits():
    x = features()
    model = nn.Sequential(mlp(6, 32, 4), Apply(lambda z: 10 * torch.tanh(z / 10).clamp(-1, 1)))
    return setup(model, x, classes(x), nn.CrossEntropyLoss())


def clamped_logits():
    x = features()
    return setup(mlp(6, 32, 4, last=nn.Hardtanh(-10, 10)), x, classes(x), nn.CrossEntropyLoss())


def a_linear_autoencoder():
    x = features(16)
    return setup(nn.Sequential(nn.Linear(16, 3), nn.Linear(3, 16)), x, x, nn.MSELoss())


def linear_heads_in_parallel():
    x = features()
    return setup(ParallelHeads(), x, torch.cat([curve(x), x[:, :1], x[:, 1:2]], 1), nn.MSELoss())


def counts():
    x = features()
    return setup(mlp(6, 32, 1), x, torch.poisson((1 + 0.5 * x[:, :1]).exp()), nn.MSELoss())


def ratings_that_are_even():
    x = features()
    z = x[:, 0] + 0.3 * torch.randn(EXAMPLES)
    ranks = torch.bucketize(z, torch.quantile(z, torch.tensor([0.2, 0.4, 0.6, 0.8])))
    return setup(mlp(6, 32, 1), x, ranks.float()[:, None] + 1, nn.L1Loss())


def labels_of_both_signs_for_tanh():
    x = features()
    return setup(mlp(6, 32, 1, last=nn.Tanh()), x, x[:, :1].sign(), nn.MSELoss())


def a_sum_under_adam():
    x = features()
    return setup(mlp(6, 32, 1), x, curve(x), nn.MSELoss(reduction="sum"))


def a_softmax_by_hand_of_small_logits():
    x = features()

    def loss(out, y):
        p = out.exp() / out.exp().sum(1, keepdim=True)
        return -torch.log(p[torch.arange(len(y)), y]).mean()

    return setup(mlp(6, 32, 4), x, classes(x), loss)


def quantiles_of_one_target():
    x = features()
    q = torch.tensor([0.1, 0.5, 0.9])
    return setup(mlp(6, 32, 3), x, curve(x), lambda out, y: torch.maximum(q * (y - out), (q - 1) * (y - out)).mean())


def all_pairs_on_purpose():
    x = features()

    def loss(out, y):
        return ((out[:, None, 0] - out[None, :, 0]) - (y[:, None, 0] - y[None, :, 0])).square().mean()

    return setup(mlp(6, 32, 1), x, curve(x), loss)


def a_mask_with_ignored_pixels():
    x, _ = images()
    y = (x[:, 0] > 0.5).long()
    y[:, :2] = 255
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return setup(model, x, y, nn.CrossEntropyLoss(ignore_index=255, weight=torch.tensor([1.0, 3.0])))


SOUND = (
    *(bytes_that_the_model_divides, raw_columns_into_a_norm, token_numbers, one_hot_inputs_and_targets),
    *(targets_not_quite_standardised, several_labels, log_softmax_twice, capped_logits, clamped_logits),
    *(a_linear_autoencoder, linear_heads_in_parallel, counts, ratings_that_are_even, labels_of_both_signs_for_tanh),
    *(a_sum_under_adam, a_softmax_by_hand_of_small_logits, quantiles_of_one_target, all_pairs_on_purpose),
    a_mask_with_ignored_pixels,
)


@pytest.mark.parametrize("make", SOUND)
def test_a_sound_setup_is_left_in_peace(make):
    assert [f.code for f in check(make()).findings if f.level != Level.INFO] == []


def test_the_numbers_of_a_softmax_before_cross_entropy_follow_from_its_range():
    found = check(functional_softmax_in_the_loss()).findings[0]
    assert found.measured == pytest.approx(math.log(1 + 3 / math.e), rel=1e-12)


def test_four_times_the_uniform_loss_lies_above_twice_the_scale_at_which_a_softmax_freezes():
    ratios = [
        softmax_at_init(classes=k, logit_scale=2 * math.sqrt(2 * math.log(k))).loss / math.log(k)
        for k in (2, 10, 1000, 50_000)
    ]
    assert ratios == sorted(ratios)
    assert ratios[0] > 2
    assert 3.6 < ratios[-1] < 4


def test_a_comparison_of_all_pairs_is_counted():
    found = check(products_of_all_pairs()).findings[0]
    assert (found.expected, found.measured) == (BATCH, BATCH**2)


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("outputs", "targets", "codes"), [(1, 3, ["LOS006"]), (3, 1, []), (3, 3, [])])
def test_outputs_that_are_fewer_than_the_targets_are_told_and_several_for_one_target_are_not(outputs, targets, codes):
    x = features()
    found = check(setup(mlp(6, 32, outputs), x, x @ torch.randn(6, targets) / 6**0.5, nn.HuberLoss())).findings
    assert [(f.code, f.measured * 3 == f.expected) for f in found if f.level != Level.INFO] == [
        (c, True) for c in codes
    ]


def test_a_column_that_changes_in_a_later_batch_is_not_constant():
    x = features()
    spoilt = torch.cat([x, torch.full((EXAMPLES, 1), 1000.0)], 1)
    spoilt[BATCH:, 6] = torch.randn(EXAMPLES - BATCH)
    told = check(setup(mlp(7, 32, 4), spoilt, classes(x), nn.CrossEntropyLoss()), select=["DAT004"]).findings
    assert told == ()


def test_trying_leaves_model_optimizer_and_random_numbers_as_they_were():
    broken = bytes_into_a_convolution()
    before = {name: value.clone() for name, value in broken["model"].state_dict().items()}
    state = torch.get_rng_state()
    check(broken)
    assert all(torch.equal(value, before[name]) for name, value in broken["model"].state_dict().items())
    assert all(p.grad is None for p in broken["model"].parameters())
    assert broken["optimizer"].state_dict()["state"] == {}
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_looked_at_is_a_note():
    x = features()
    report = check({"model": mlp(6, 32, 4), "data": [x]}, select=["LOS"])
    assert report.findings == ()
    assert any("no loss function" in note for note in report.notes)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (lambda n: torch.randint(1, 11, (n,)), "class numbers outside of 0 to 9"),
        (lambda n: torch.randint(0, 10, (n,)).float(), "floating-point numbers, where class numbers are integers"),
        (lambda n: torch.randint(0, 10, (n, 1)), "a dimension of size 1 too many"),
    ],
)
def test_labels_that_the_loss_refuses_are_a_finding_from_the_first_batch_on(labels, said):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
    data = [(torch.randn(64, 16), labels(64)) for _ in range(3)]
    optimizer = torch.optim.Adam(model.parameters())
    report = check({"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer})
    (found,) = report.findings
    assert (found.code, found.level) == ("DAT005", "error")
    assert said in found.message
    assert any("the loss raised" in note for note in report.notes)


@pytest.mark.parametrize(
    ("loss_fn", "form"),
    [
        (
            lambda o, y: -(y * torch.sigmoid(o).log() + (1 - y) * (1 - torch.sigmoid(o)).log()).mean(),
            "log(1 - sigmoid)",
        ),
        (lambda o, y: -(1 - torch.softmax(o, 1)).log().mul(1 - y).mean(), "log(1 - softmax)"),
    ],
)
def test_logarithms_of_what_a_probability_leaves_are_unstable_too(loss_fn, form):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    nn.init.constant_(model[2].bias, 40.0)
    with torch.no_grad():
        model[2].bias[1:] = 0.0
    data = [(torch.randn(64, 6), torch.randint(2, (64, 3)).float())]
    found = [f for f in check({"model": model, "data": data, "loss_fn": loss_fn}, select=["LOS003"]).findings]
    assert any(form in f.message and f.level == Level.ERROR for f in found)


@pytest.mark.parametrize(("frozen", "level"), [(False, "error"), (True, "info")])
def test_a_head_that_is_frozen_may_begin_sure_of_other_labels(frozen, level):
    made = a_loud_binary_head()
    made["model"][2].requires_grad_(not frozen)
    (found,) = check(made, select=["LOS004"]).findings
    assert str(found.level) == level


@pytest.mark.parametrize("shape", [(8, 6, 4), (8, 3, 2, 4)])
def test_classes_that_are_reshaped_to_the_second_axis_are_told(shape):
    x, y = torch.randn(*shape[:-1], 5), torch.randint(4, shape[:-1])
    model = nn.Linear(5, 4)

    def reshaped(out, y):
        return F.cross_entropy(out.reshape(shape[0], 4, *shape[1:-1]), y)

    def moved(out, y):
        return F.cross_entropy(out.movedim(-1, 1), y)

    def flat(out, y):
        return F.cross_entropy(out.reshape(-1, 4), y.reshape(-1))

    def found(loss_fn):
        return [
            f.code for f in check({"model": model, "data": [(x, y)], "loss_fn": loss_fn}, select=["LOS007"]).findings
        ]

    assert [found(loss) for loss in (reshaped, moved, flat)] == [["LOS007"], [], []]


class Viewed(nn.Module):
    """Classes of places, and what is done to their axes."""

    def __init__(self, features, classes, view):
        super().__init__()
        self.body, self.view = nn.Linear(features, classes), view

    def forward(self, x):
        return self.view(self.body(x))


@pytest.mark.parametrize(
    ("view", "codes"),
    [
        (lambda z: z.reshape(8, 4, 6), ["LOS007"]),
        (lambda z: z.reshape(-1, 4).view(8, 4, 6), ["LOS007"]),
        (lambda z: z.transpose(1, 2), []),
        (lambda z: z.transpose(1, 2).reshape(8, 4, 6), []),
    ],
)
def test_classes_that_the_model_reshapes_to_the_second_axis_are_told(view, codes):
    data = [(torch.randn(8, 6, 5), torch.randint(4, (8, 6)))]
    setup = {"model": Viewed(5, 4, view), "data": data, "loss_fn": nn.CrossEntropyLoss()}
    assert [f.code for f in check(setup, select=["LOS007"]).findings] == codes


def test_classes_that_a_layer_makes_place_by_place_are_no_reshaped_ones():
    data = [(torch.randn(8, 5), torch.randint(4, (8, 6)))]
    setup = {"model": Viewed(5, 24, lambda z: z.view(8, 4, 6)), "data": data, "loss_fn": nn.CrossEntropyLoss()}
    assert check(setup, select=["LOS007"]).findings == ()


def test_arguments_of_a_divergence_that_are_exchanged_are_told_and_one_the_other_way_about_is_not():
    x, y = torch.randn(32, 5), torch.randn(32, 4)
    kl = functools.partial(F.kl_div, reduction="batchmean")

    def told(loss_fn):
        setup = {"model": nn.Linear(5, 4), "data": [(x, y)], "loss_fn": loss_fn}
        return [f.code for f in check(setup, select=["LOS007", "FWD006"]).findings]

    assert told(lambda out, y: kl(y.softmax(1), out.log_softmax(1))) == ["LOS007"]
    assert told(lambda out, y: kl(y.log_softmax(1), out.log_softmax(1))) == ["LOS007"]
    assert told(lambda out, y: kl(out.log_softmax(1), y.softmax(1))) == []
    assert told(lambda out, y: kl(y.log_softmax(1), out.softmax(1))) == []
    assert told(lambda out, y: kl(y.log_softmax(1), out.log_softmax(1), log_target=True)) == []

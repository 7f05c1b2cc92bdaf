"""Cross-entropies of more logits than can be sampled, held against draws, and what they are made of."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.draws import BUDGET, FEWEST_DRAWS
from steadygrad.prediction.labels import _by_transforms, _one_by_one, coincidences
from steadygrad.prediction.probabilities import CORRELATIONS, MOST_ROWS, SAMPLED, probabilities
from steadygrad.prediction.targets import Targets

DRAWS, EXAMPLES, PLACES, CLASSES = 48, 8, 32, 600


def masked_mean(rows):
    kept = torch.arange(len(rows)) % 3 > 0
    return (rows * kept).sum() / kept.sum()


class Head(nn.Module):
    """Two layers, met at each place, and logits with the classes where a loss wants them."""

    def __init__(self, laid, *, inputs=32, width=64):
        super().__init__()
        self.first, self.tanh, self.last = nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, CLASSES)
        nn.init.normal_(self.last.weight, std=1.5 / width**0.5)
        self.laid = laid

    def forward(self, x):
        return self.laid(self.last(self.tanh(self.first(x))))


class Map(nn.Module):
    """Few classes at many pixels."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.Tanh(), nn.Conv2d(32, 5, 1))

    def forward(self, x):
        return self.layers(x)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


TOKENS = torch.randn(EXAMPLES, PLACES, 32, generator=rng())
LABELS = torch.randint(CLASSES, (EXAMPLES, PLACES), generator=rng(1))
FEW = (torch.rand(EXAMPLES, PLACES, generator=rng(2)) ** 3 * 6).long()
IMAGES = torch.randn(6, 3, 80, 80, generator=rng(3))
REGIONS = F.avg_pool2d(torch.randn(6, 5, 80, 80, generator=rng(4)), 9, 1, 4).argmax(1)
WEIGHTS = torch.rand(CLASSES, generator=rng(5))
DIFFUSE, SHARP = (torch.softmax(s * torch.randn(EXAMPLES, PLACES, CLASSES, generator=rng(8)), -1) for s in (1.0, 5.0))


def flat(logits):
    return logits.flatten(0, 1)


def turned(logits):
    return logits.transpose(1, 2)


def ce(**kwargs):
    def loss(logits, y):
        return F.cross_entropy(logits, y if logits.dim() > 2 else y.flatten(), **kwargs)

    return loss


CASES = {
    "rows": (lambda: Head(flat), TOKENS, LABELS, ce()),
    "classes second": (lambda: Head(turned), TOKENS, LABELS, ce()),
    "few labels": (lambda: Head(flat), TOKENS, FEW, ce()),
    "sum": (lambda: Head(flat), TOKENS, LABELS, ce(reduction="sum")),
    "scaled": (lambda: Head(flat), TOKENS, LABELS, lambda o, y: 3 * ce()(o, y) / 7),
    "weighted": (lambda: Head(flat), TOKENS, LABELS, ce(weight=WEIGHTS)),
    "ignored": (lambda: Head(flat), TOKENS, LABELS.where(torch.arange(PLACES) < 20, -100), ce()),
    "no places": (
        lambda: Head(nn.Identity()), torch.randn(256, 32, generator=rng(6)),
        torch.randint(CLASSES, (256,), generator=rng(7)), ce(),
    ),
    "map": (Map, IMAGES, REGIONS, F.cross_entropy),
    "smoothed": (lambda: Head(flat), TOKENS, LABELS, ce(label_smoothing=0.1)),
    "smoothed, few labels, classes second": (lambda: Head(turned), TOKENS, FEW, ce(label_smoothing=0.3)),
    "smoothed, some ignored": (
        lambda: Head(flat), TOKENS, LABELS.where(torch.arange(PLACES) < 20, -100), ce(label_smoothing=0.1),
    ),
    "smoothed, weighted": (lambda: Head(flat), TOKENS, LABELS, ce(label_smoothing=0.1, weight=WEIGHTS)),
    "probabilities": (lambda: Head(flat), TOKENS, SHARP, lambda o, y: F.cross_entropy(o, y.flatten(0, 1))),
    "even probabilities": (lambda: Head(flat), TOKENS, DIFFUSE, lambda o, y: F.cross_entropy(o, y.flatten(0, 1))),
    "taught": (
        lambda: Head(flat), TOKENS, DIFFUSE,
        lambda o, y: F.kl_div(F.log_softmax(o / 2, -1), y.flatten(0, 1), reduction="batchmean"),
    ),
    "row by row": (lambda: Head(flat), TOKENS, LABELS, lambda o, y: masked_mean(ce(reduction="none")(o, y))),
    "gathered": (
        lambda: Head(nn.Identity()), TOKENS, LABELS, lambda o, y: -o.log_softmax(-1).gather(-1, y[..., None]).mean(),
    ),
}  # fmt: skip


def drawn(factory, x, y, loss_fn, draws=DRAWS):
    """Losses, and log grad_q of every row, over draws."""
    losses, rows = [], []
    for seed in range(draws):
        torch.manual_seed(seed)
        profile = measure(factory(), x, y, loss_fn)
        losses.append(profile.loss)
        rows.append([row.grad_q for row in profile])
    return np.array(losses), np.log(rows)


EVEN, WIDE = ("even probabilities", "taught"), 0.2  # where gradients lie along the logits, which hardly vary


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_agree_with_draws(case):
    """The mean loss, medians and deviations of 48 draws, within five standard errors and .03, .01 of deviations."""
    factory, x, y, loss_fn = CASES[case]
    torch.manual_seed(0)
    assert factory()(x).numel() * FEWEST_DRAWS > BUDGET
    profile = predict(factory, x, y, loss_fn=loss_fn)
    assert not profile.unknown
    losses, rows = drawn(factory, x, y, loss_fn)
    assert abs(profile.loss / losses.mean() - 1) < 5 * losses.std() / losses.mean() / math.sqrt(DRAWS) + 0.01
    error = 5 * math.sqrt(math.pi / 2 / DRAWS) * rows.std(0) + 0.03
    for row, real, allowed in zip(profile, rows.T, error, strict=True):
        assert abs(math.log(row.grad_q) - np.median(real)) < allowed, row.path
        deviation = math.log(row.grad_q_high / row.grad_q_low) / 3.92
        wide = WIDE if case in EVEN else 0.01
        assert deviation - real.std() + 5 * real.std() / math.sqrt(2 * DRAWS) > -0.01, row.path
        assert deviation - real.std() < 5 * real.std() / math.sqrt(2 * DRAWS) + wide, row.path


def test_a_loss_of_what_rows_have_beside_it_is_said_to_be_unknown():
    profile = predict(lambda: Head(flat), TOKENS, LABELS, loss_fn=lambda o, y: o.logsumexp(-1).square().mean())
    assert any("logsumexp" in words for words in profile.unknown)
    assert all(row.q > 0 for row in profile)


@pytest.mark.parametrize("soft", [False, True])
def test_products_of_targets_are_those_of_their_numbers(soft):
    """Coincidences, squares and products of examples: as of the vectors written out."""
    generator = np.random.default_rng(0)
    labels, weights, even = generator.integers(0, 7, (4, 6)), generator.random((4, 6)), generator.random((4, 6))
    targets = Targets(7, labels, weights).beside(even)
    whole = weights[..., None] * np.eye(7)[labels] + even[..., None] / 7
    targets = targets.beside(soft=0 * whole) if soft else targets
    np.testing.assert_allclose(targets.sums, whole.sum(-1))
    np.testing.assert_allclose(targets.squares, (whole**2).sum(-1))
    products = np.einsum("aic,bjc->aibj", whole, whole)
    np.testing.assert_allclose(targets.met(np.arange(4))[1], np.einsum("aibi->ab", products) / 6)
    found = targets.coincidences()
    for lag in range(6):
        pairs = [(i, j) for i in range(6) for j in range(6) if abs(i - j) == lag]
        own = [products[a, i, a, j] for a in range(4) for i, j in pairs]
        other = [products[a, i, b, j] for a in range(4) for b in range(4) if a != b for i, j in pairs]
        assert found.own[1, lag] == pytest.approx(np.mean(own))
        assert found.other[1, lag] == pytest.approx(np.mean(other))


@pytest.mark.parametrize(("classes", "variance"), [(300, 0.1), (5000, 0.5), (50_000, 1.0)])
def test_many_classes_have_the_products_of_the_first_order(classes, variance):
    """V E[Σ p p'] = e^(c s²) and E[log Σ e^z] = log V + s²/2, up to terms of e^(s²)/V and the samples' error.

    V Σ p p' is a mean over V classes of products of two log-normal factors, whose variance is at most e^(6 s²).
    """
    found = probabilities(classes, variance)
    rows = min(max(SAMPLED // classes, 16), MOST_ROWS)
    error = 5 * math.exp(3 * variance) / math.sqrt(rows * classes) + 4 * math.exp(3 * variance) / classes
    assert found.products * classes == pytest.approx(np.exp(CORRELATIONS * variance), abs=error)
    assert found.loss == pytest.approx(math.log(classes) + variance / 2, abs=error)
    assert found.size == pytest.approx(1 + (math.exp(variance) - 2) / classes, abs=error / classes)


def test_one_class_has_it_all_where_logits_are_far_apart():
    """p of the largest is one: two equal rows have Σ p² = 1, two independent ones the same class once in V."""
    found = probabilities(64, 1e6)
    at = dict(zip(CORRELATIONS, found.products, strict=True))
    assert at[1.0] == pytest.approx(1.0, abs=1e-2)
    assert at[0.0] == pytest.approx(1 / 64, abs=5 * math.sqrt(1 / 64 / MOST_ROWS))


def counted(labels, weights, lag):
    """Means over all pairs of places at a lag, one by one."""
    own, other = [], []
    for a in range(len(labels)):
        for b in range(len(labels)):
            for i in range(labels.shape[1]):
                for j in {i - lag, i + lag} & set(range(labels.shape[1])):
                    w = weights[a, i] * weights[b, j]
                    (own if a == b else other).append((w, w * (labels[a, i] == labels[b, j])))
    return np.mean(own, axis=0), np.mean(other, axis=0)


def test_coincidences_are_those_of_all_pairs():
    generator = np.random.default_rng(0)
    labels, weights = generator.integers(0, 4, (5, 9)), generator.integers(0, 3, (5, 9)) / 2
    found = coincidences(labels, weights)
    for lag in range(9):
        own, other = counted(labels, weights, lag)
        np.testing.assert_allclose(found.own[:, lag], own, atol=1e-12)
        np.testing.assert_allclose(found.other[:, lag], other, atol=1e-12)
    one = coincidences(labels[:, 0], weights[:, 0])
    own, other = counted(labels[:, :1], weights[:, :1], 0)
    np.testing.assert_allclose(one.own, own)
    np.testing.assert_allclose(one.other, other, atol=1e-12)


def test_many_labels_are_compared_one_by_one_to_the_same_end():
    generator = np.random.default_rng(0)
    labels, weights = generator.integers(0, 4, (4, 50)), np.ones((4, 50))
    whole, single = _by_transforms(labels, weights, np.arange(4)), _one_by_one(labels, weights)
    np.testing.assert_allclose(single[0], whole[0], atol=1e-12)
    # of two examples those that come after are compared, and not those before: 3 of 6 pairs' halves
    np.testing.assert_allclose(single[1][:, 0], whole[1][:, 0], atol=1e-12)
    assert abs((single[1] - whole[1])[1, :25]).max() < 5 * math.sqrt(0.25 * 0.75 / (12 * 25))


def test_more_labels_than_fit_a_transform():
    """Labels all apart: none coincides but with itself."""
    labels = np.arange(4 * 2048).reshape(4, 2048)
    own, other = coincidences(labels, np.ones(labels.shape)).chances
    assert own[0] == 1.0
    assert not own[1:].any()
    assert not other.any()

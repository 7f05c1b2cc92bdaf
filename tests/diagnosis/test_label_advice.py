"""What is said of labels that a loss is not defined for says what they are, and the code that it gives mends them."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check


def setup(labels, loss_fn, classes=10):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, classes))
    return {"model": model, "data": [(torch.randn(64, 16), labels(64)) for _ in range(2)], "loss_fn": loss_fn}


def on_labels(setup):
    return [f for f in check(setup, select=["DAT005"]).findings if f.level == "error"]


def mended(code, targets):
    scope = {"targets": targets}
    exec(code, {"torch": torch}, scope)
    return scope["targets"]


@pytest.mark.parametrize(
    ("labels", "loss_fn", "classes"),
    [
        (lambda n: 1 + torch.arange(n) % 10, nn.CrossEntropyLoss(), 10),
        (lambda n: torch.randint(0, 10, (n,)).float(), nn.CrossEntropyLoss(), 10),
        (lambda n: torch.randint(0, 10, (n, 1)), nn.CrossEntropyLoss(), 10),
        (lambda n: torch.nn.functional.one_hot(torch.arange(n) % 10), nn.CrossEntropyLoss(), 10),
        (lambda n: 255.0 * torch.randint(2, (n, 1)), nn.BCEWithLogitsLoss(), 1),
        (lambda n: 2.0 * torch.randint(2, (n, 1)) - 1, nn.BCEWithLogitsLoss(), 1),
    ],
)
def test_the_code_mends_the_labels(labels, loss_fn, classes):
    bad = setup(labels, loss_fn, classes)
    (found,) = on_labels(bad)
    good = {**bad, "data": [(x, mended(found.fix_code, y)) for x, y in bad["data"]]}
    assert on_labels(good) == []


@pytest.mark.parametrize(
    ("labels", "said", "advice"),
    [
        (lambda n: torch.arange(n) % 11 - 1, "they go from -1 to 9", "ignore_index=-1"),
        (lambda n: torch.arange(n) % 12, "they go from 0 to 11", "12 outputs"),
        (lambda n: torch.randint(1, 11, (n,)), "they go from 1 to 10", "from 0"),
    ],
)
def test_class_numbers_outside_are_said_with_what_they_are(labels, said, advice):
    (found,) = on_labels(setup(labels, nn.CrossEntropyLoss()))
    assert said in found.message
    assert advice in found.fix


def weighted(*weights):
    """What is said of labels 0 to 2 that count by so much."""
    bad = setup(lambda n: torch.arange(n) % 3, nn.CrossEntropyLoss(weight=torch.tensor(weights)), 3)
    return [f.level for f in check(bad, select=["DAT005"]).findings]


def test_a_class_without_weight_is_told_and_is_wrong_where_one_class_is_left():
    assert weighted(1.0, 0.5, 2.0) == []
    assert weighted(1.0, 0.0, 2.0) == ["info"]
    assert weighted(1.0, 0.0, 0.0) == ["warn"]


@pytest.mark.parametrize(("smoothing", "errors"), [(0.1, 0), (0.9, 0), (1.0, 1)])
def test_labels_that_are_smoothed_away_leave_nothing_to_learn(smoothing, errors):
    loss_fn = nn.CrossEntropyLoss(label_smoothing=smoothing)
    assert len(on_labels(setup(lambda n: torch.arange(n) % 10, loss_fn))) == errors

"""What a linear fit and the inputs' own columns tell of a setup, and what they cannot."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.finding import Level

EXAMPLES, BATCH, STEPS = 384, 32, 6


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class LastStep(nn.Module):
    """A recurrent layer and a head on its last step."""

    def __init__(self, features, outputs):
        super().__init__()
        self.body, self.head = nn.RNN(features, 16, batch_first=True), nn.Linear(16, outputs)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


def setup(model, x, y, loss_fn, rate=0.02):
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    data = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    return {"model": model, "data": data, "loss_fn": loss_fn, "optimizer": optimizer}


@pytest.mark.parametrize(("bend", "level"), [(0.0, Level.INFO), (1.0, Level.WARN)])
def test_a_linear_model_of_what_is_linear_lacks_nothing(bend, level):
    x = torch.randn(EXAMPLES, 5)
    y = x[:, :2] - x[:, 2:4] + bend * 3 * x[:, 4:].square()
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 2))
    (found,) = check(setup(model, x, y, nn.MSELoss()), select=["NET001"]).findings
    assert found.level == level
    assert ("best linear fit" in found.message) == (level == Level.INFO)


@pytest.mark.parametrize("classes", [4, 6])
def test_inputs_that_follow_no_numbering_cannot_tell_whether_the_order_means_anything(classes):
    x, y = torch.randn(EXAMPLES, STEPS, 1), torch.arange(EXAMPLES) % classes
    found = check(setup(LastStep(1, 1), x, y.float()[:, None], nn.MSELoss()), select=["LOS007"], trial=False).findings
    assert [(f.level, "cannot be told" in f.message) for f in found] == [(Level.INFO, True)]


def test_a_feature_of_every_step_that_never_changes_is_told():
    x = torch.randn(EXAMPLES, STEPS, 2)
    loud = torch.cat([x, torch.full((EXAMPLES, STEPS, 1), 300.0)], 2)
    y = (x.sum((1, 2)) > 0).long()
    assert check(setup(LastStep(2, 2), x, y, nn.CrossEntropyLoss()), select=["DAT"]).findings == ()
    found = check(setup(LastStep(3, 2), loud, y, nn.CrossEntropyLoss()), select=["DAT"]).findings
    assert [(f.code, "Feature 2 never" in f.message) for f in found] == [("DAT004", True)]
    loud[-1, -1, 2] = 299.0
    assert check(setup(LastStep(3, 2), loud, y, nn.CrossEntropyLoss()), select=["DAT004"]).findings == ()


def test_features_of_a_step_are_standardised_each_by_its_own():
    sizes = torch.tensor([1e-2, 1.0, 1e3])
    x = torch.randn(EXAMPLES, STEPS, 3) * sizes
    y = (x[:, -1, 1] > 0).long()
    (found,) = check(setup(LastStep(3, 2), x, y, nn.CrossEntropyLoss()), select=["DAT001"]).findings
    assert "each feature by its own" in found.fix
    assert found.level == Level.WARN


def channels_first(axes, channels):
    """A convolutional network over so many axes."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d}[axes]
    return nn.Sequential(conv(channels, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))


@pytest.mark.parametrize("axes", [1, 2])
def test_a_channel_that_never_changes_is_told(axes):
    x = torch.randn(EXAMPLES, 1, *[5] * axes)
    loud = torch.cat([x, torch.full_like(x, 300.0)], 1)
    y = (x.flatten(1).mean(1) > 0).long()
    model = channels_first(axes, 2)
    model(loud)
    (found,) = check(setup(model, loud, y, nn.CrossEntropyLoss()), select=["DAT004"]).findings
    assert (found.level == Level.INFO, "Feature 1 never" in found.message) == (False, True)
    names = {"inputs": loud}
    exec(found.fix_code, names)
    assert torch.equal(names["inputs"], x)
    loud[-1, 1].flatten()[-1] = 299.0
    assert check(setup(model, loud, y, nn.CrossEntropyLoss()), select=["DAT004"]).findings == ()


@pytest.mark.parametrize("axes", [1, 2])
def test_channels_are_standardised_each_by_its_own(axes):
    sizes = torch.tensor([1e-2, 1.0, 1e3]).view(-1, *[1] * axes)
    x = torch.randn(EXAMPLES, 3, *[5] * axes)
    y = (x[:, 1].flatten(1).mean(1) > 0).long()
    model = channels_first(axes, 3)
    model(x)
    (found,) = check(setup(model, x * sizes, y, nn.CrossEntropyLoss()), select=["DAT001"]).findings
    assert (found.level == Level.INFO, "each feature by its own" in found.fix) == (False, True)
    names = {"torch": torch, "inputs": x * sizes}
    exec(found.fix_code, names)
    of_channels = names["inputs"].movedim(1, 0).flatten(1)
    torch.testing.assert_close(of_channels.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(of_channels.std(1), torch.ones(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("classes", [4, 6])
def test_the_order_of_a_quantity_shows_in_products(classes):
    x = torch.randn(EXAMPLES, 2)
    z = x[:, 0] * x[:, 1]
    ranks = torch.bucketize(z, torch.quantile(z, torch.arange(1, classes) / classes))
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))

    def told(numbers):
        made = setup(model, x, numbers.float()[:, None], nn.MSELoss())
        return [f.level for f in check(made, select=["LOS007"], trial=False).findings]

    assert told(ranks) == []
    names = torch.tensor([2, 5, 0, 3, 1, 4] if classes == 6 else [2, 0, 3, 1])
    assert told(names[ranks]) == [Level.WARN]

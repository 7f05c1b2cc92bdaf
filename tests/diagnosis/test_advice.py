"""What to do fits the cause that is named, not another cause of the same finding."""

import math

import torch
from torch import nn

from steadygrad.diagnosis import check


def setup(model, **options):
    torch.manual_seed(0)
    data = [(torch.randn(64, 8), torch.randint(4, (64,)))]
    optimizer = torch.optim.SGD(model.parameters(), **{"lr": 0.1, **options})
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def test_a_rate_of_zero_is_to_be_raised():
    (found,) = check(setup(mlp(), lr=0.0)).findings
    assert found.code == "OPT005"
    assert "learning rate above 0" in found.fix
    assert not found.fix_code


class Own(torch.optim.Optimizer):
    """A rule of the user's own, whose groups know no rate."""

    def __init__(self, params):
        super().__init__(params, {})

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.data -= 0.1 * p.grad


def test_an_optimizer_without_a_rate_moves_what_it_holds():
    made = setup(mlp())
    assert check({**made, "optimizer": Own(made["model"].parameters())}, select=["OPT005"]).findings == ()


def test_a_note_is_one_line_however_long_an_error_is():
    made = setup(mlp())
    sparse = [(x.to_sparse(), y) for x, y in made["data"]]
    notes = check({**made, "data": sparse}, trial=False, select=["NET001", "BWD003"]).notes
    assert notes
    assert all("\n" not in note and len(note) < 500 for note in notes)


def test_weights_that_are_not_finite_are_to_be_drawn_or_loaded_and_no_empty_table_is_shown():
    model = mlp()
    model[0].weight.data[0, 0] = math.nan
    report = check(setup(model))
    (found,) = report.findings
    assert (found.code, found.module) == ("FWD006", "0")
    assert "weights" in found.fix
    assert "logarithm" not in found.fix
    assert "layer   kind" not in str(report)

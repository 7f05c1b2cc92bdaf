"""What cannot be a batch is said with what makes one of it."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from steadygrad.diagnosis import check
from steadygrad.errors import SetupError, UserCodeError

X, Y = torch.randn(6, 8), torch.randint(3, (6,))


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        ([{"x": X, "labels": Y}], "collate_fn"),
        ((X, Y), r"A single batch is \[\(inputs, targets\)\]"),
        ([X], r"\(inputs, inputs\)"),
        ([(X, X, Y)], r"\(\(a, b\), targets\)"),
        (TensorDataset(X, Y), "DataLoader"),
    ],
)
def test_how_it_becomes_one_is_told(data, advice):
    with pytest.raises(SetupError, match=advice):
        check({"model": nn.Linear(8, 3), "data": data, "loss_fn": nn.CrossEntropyLoss()})


class Files(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        raise OSError("no such file")


def test_what_a_worker_raises_is_one_line_with_its_place():
    loader = torch.utils.data.DataLoader(Files(), 4, num_workers=1)
    words = r"^`data` raised OSError: no such file, in a worker of the DataLoader \(.*test_advice_on_batches\.py:\d+\)$"
    with pytest.raises(UserCodeError, match=words):
        check({"model": nn.Linear(8, 3), "data": loader, "loss_fn": nn.CrossEntropyLoss()})


def test_weights_on_meta_are_told_what_looks_at_them():
    with torch.device("meta"):
        model = nn.Linear(8, 3)
    with pytest.raises(SetupError, match=r"meta device\. `steadygrad check --static`"):
        check({"model": model, "data": [(X, Y)], "loss_fn": nn.CrossEntropyLoss()})


class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x):
        return self.layer(x)[:, 9]


@pytest.mark.parametrize(
    ("model", "loss_fn"), [(Wrong(), nn.MSELoss()), (nn.Linear(8, 3), lambda out, y: out["logits"])]
)
def test_the_line_of_the_user_s_own_that_raises_is_named(model, loss_fn):
    with pytest.raises(UserCodeError, match=r"\(.*test_advice_on_batches\.py:\d+\)"):
        check({"model": model, "data": [(X, Y)], "loss_fn": loss_fn})

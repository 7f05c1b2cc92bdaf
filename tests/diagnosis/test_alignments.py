"""What the loss of an alignment is given: log-probabilities, and labels that are no blank."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.finding import Level

EXAMPLES, STEPS, LABELS, CLASSES, BATCH = 96, 12, 4, 6, 32


class Reader(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.body, self.head, self.end = nn.GRU(CLASSES, 16, batch_first=True), nn.Linear(16, CLASSES), end

    def forward(self, x):
        return self.end(self.head(self.body(x)[0]))


def alignment(end=lambda z: z.log_softmax(-1), lowest=1, length=LABELS, flat=False):
    torch.manual_seed(0)
    y = torch.randint(lowest, CLASSES, (EXAMPLES, LABELS))
    y[:, length:] = 0  # the blank: what is behind a sequence's end is padding, and may be anything
    x = F.one_hot(y, CLASSES).float().repeat_interleave(STEPS // LABELS, 1)
    model = Reader(end)
    loss_fn = nn.CTCLoss()

    def loss(out, y):
        targets = y[:, :length].flatten() if flat else y
        return loss_fn(out.transpose(0, 1), targets, torch.full((len(y),), STEPS), torch.full((len(y),), length))

    data = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    setup = {"model": model, "data": data, "loss_fn": loss, "optimizer": torch.optim.Adam(model.parameters(), lr=5e-3)}
    return [f for f in check(setup, trial=False).findings if f.level != Level.INFO]


def test_outputs_that_are_no_log_probabilities_are_told():
    assert [f.code for f in alignment(end=nn.Identity())][:1] == ["LOS007"]
    assert [f.code for f in alignment(end=lambda z: z.softmax(-1))][:1] == ["LOS001"]


@pytest.mark.parametrize("flat", [False, True])
def test_a_label_that_is_the_blank_is_told(flat):
    (found,) = alignment(lowest=0, flat=flat)
    assert found.code == "DAT005"
    assert "are 0, the blank" in found.message


@pytest.mark.parametrize("length", [LABELS, LABELS - 1])
def test_labels_and_padding_behind_them_are_left_in_peace(length):
    assert alignment(length=length) == []

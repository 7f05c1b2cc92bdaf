"""A loop that cuts its own state: told where the targets ask for the steps that no gradient comes back to."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check

EXAMPLES, STEPS = 640, 10


class Loop(nn.Module):
    """A recurrence by hand, its state cut from the graph before each of the last so many steps."""

    def __init__(self, cut):
        super().__init__()
        self.entry, self.state, self.head = nn.Linear(2, 16), nn.Linear(16, 16), nn.Linear(16, 1)
        self.cut = cut

    def forward(self, x):
        h = x.new_zeros(len(x), 16)
        for step in range(STEPS):
            h = h.detach() if step >= STEPS - self.cut else h
            h = torch.tanh(self.entry(x[:, step]) + self.state(h))
        return self.head(h)


@pytest.mark.parametrize(
    ("cut", "asked", "codes"), [(STEPS, 0, ["BWD003"]), (1, 0, ["BWD003"]), (STEPS, STEPS - 1, []), (0, 0, [])]
)
def test_a_state_without_history_is_told_where_it_is_asked_for(cut, asked, codes):
    torch.manual_seed(0)
    x = torch.randn(EXAMPLES, STEPS, 2)
    data = list(zip(x.split(32), x[:, asked, :1].split(32), strict=True))
    setup = {"model": Loop(cut), "data": data, "loss_fn": nn.MSELoss()}
    found = [f for f in check(setup, select=["BWD003"], trial=False).findings if f.level != "info"]
    assert [f.code for f in found] == codes
    assert all("`detach`" in f.message and "test_cut_memory.py" in f.line for f in found)

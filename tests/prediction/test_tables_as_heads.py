"""Tables that are heads too: where a token's own row makes a logit that stands out, that is said."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict

TOKENS = torch.randint(600, (8, 32), generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    """A table, a branch, a norm and the table again, or a head of its own."""

    def __init__(self, std, *, tied=True, width=64):
        super().__init__()
        self.table, self.branch, self.norm = nn.Embedding(600, width), nn.Linear(width, width), nn.LayerNorm(width)
        self.head = nn.Linear(width, 600, bias=False)
        nn.init.normal_(self.table.weight, std=std)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x):
        h = self.table(x)
        return self.head(self.norm(h + F.gelu(self.branch(h))))


def predicted(factory):
    return predict(factory, TOKENS, TOKENS, loss_fn=lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()))


def test_a_token_s_own_logit_is_said_with_its_size():
    """It is the length of a row, 8, times that of the normed signal along it: a little less than 64."""
    (said,) = predicted(lambda: Tied(1.0)).unknown
    size = float(said.split("logit of ")[1].split(",")[0])
    torch.manual_seed(0)
    model = Tied(1.0)
    own = model(TOKENS).detach().gather(-1, TOKENS[..., None]).mean()
    assert size == pytest.approx(float(own), rel=0.1)


@pytest.mark.parametrize("factory", [lambda: Tied(0.02), lambda: Tied(1.0, tied=False)], ids=["small", "apart"])
def test_nothing_is_said_where_none_stands_out(factory):
    assert not predicted(factory).unknown

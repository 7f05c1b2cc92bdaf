"""An optimizer whose steps find no gradient moves nothing, whatever moves beside it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check


def net(inputs, out):
    return nn.Sequential(nn.Linear(inputs, 16), nn.LeakyReLU(0.2), nn.Linear(16, out))


def adversaries(*, detached, optimizer=torch.optim.Adam, closure=False, every=1):
    torch.manual_seed(0)
    maker, judge = net(4, 2), net(2, 1)
    own, other = optimizer(maker.parameters(), lr=1e-3), torch.optim.Adam(judge.parameters(), lr=1e-3)
    calls = []

    def step(model, inputs, targets, optimizer):
        made = model(inputs)
        other.zero_grad()
        (F.softplus(judge(made.detach())).mean() + F.softplus(-judge(targets)).mean()).backward()
        other.step()
        calls.append(1)
        if len(calls) % every:
            return

        def loss():
            optimizer.zero_grad()
            made = model(inputs)
            found = F.softplus(-judge(made.detach() if detached else made)).mean()
            found.backward()
            return found

        if closure:
            optimizer.zero_grad()
            optimizer.step(loss)
        else:
            loss()
            optimizer.step()

    data = [(torch.randn(32, 4), torch.randn(32, 2) + 2) for _ in range(8)]
    return {
        "model": maker,
        "data": data,
        "loss_fn": lambda z, y: F.softplus(-judge(z)).mean(),
        "optimizer": own,
        "step": step,
    }


def found(**how):
    return [f for f in check(adversaries(**how), select=["OPT005"], trial=False).findings if f.level == "error"]


def test_a_loss_of_detached_outputs_leaves_the_optimizer_without_a_gradient():
    (finding,) = found(detached=True)
    assert "find no gradient" in finding.message


class Wanders(torch.optim.SGD):
    """Moves without a gradient, as a search by random steps does."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(torch.randn_like(p), alpha=group["lr"])


@pytest.mark.parametrize(
    "how",
    [
        {"detached": False},
        {"detached": False, "every": 3},
        {"detached": False, "optimizer": torch.optim.LBFGS, "closure": True},
        {"detached": True, "optimizer": Wanders},
    ],
    ids=["plain", "every third call", "by a closure", "without gradients"],
)
def test_an_optimizer_that_moves_its_weights_is_none(how):
    assert not found(**how)

"""An optimizer that hands its steps to others: its parameters are moved, and the others are left as they were."""

import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.finding import Level


class Both(torch.optim.Optimizer):
    """Matrices by one optimizer, what is left by another."""

    def __init__(self, model):
        matrices = [p for p in model.parameters() if p.dim() == 2]
        self.first = torch.optim.Muon(matrices, lr=0.02)
        self.others = [torch.optim.AdamW([p for p in model.parameters() if p.dim() < 2], lr=3e-3)]
        super().__init__(list(model.parameters()), {})

    def step(self, closure=None):
        for optimizer in (self.first, *self.others):
            optimizer.step(closure)


def test_a_group_without_a_rate_is_not_one_that_stands_still():
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = Both(model)
    data = list(zip(x.split(32), x[:, :3].argmax(1).split(32), strict=True))
    setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    nn.CrossEntropyLoss()(model(data[0][0]), data[0][1]).backward()
    optimizer.step()
    inner = (optimizer.first, *optimizer.others)
    before = [{p: {k: torch.as_tensor(v).clone() for k, v in o.state[p].items()} for p in o.state} for o in inner]
    assert [f.code for f in check(setup).findings if f.level != Level.INFO] == []
    for o, was in zip(inner, before, strict=True):
        assert set(o.state) == set(was)
        assert all(torch.equal(torch.as_tensor(o.state[p][k]), v) for p in was for k, v in was[p].items())

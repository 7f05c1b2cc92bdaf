"""Losses of a batch of networks are torch's own, network by network, and so are their gradients."""

import pytest
import torch
from torch.nn import functional as F

from steadygrad.study.population.losses import LOSSES

TORCHS = {"cross-entropy": F.cross_entropy, "mse": F.mse_loss}


# Both are sums over `classes` and `examples` of numbers of the size of the logits, in double: eps times as many.
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("classes", ["one of them", "probabilities"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_torchs(name, classes, scale):
    torch.manual_seed(0)
    networks, outputs, examples = 3, 10, 17
    logits = scale * torch.randn(networks, outputs, examples, dtype=torch.float64)
    if classes == "probabilities":
        targets = torch.rand(networks, outputs, examples, dtype=torch.float64)
        targets /= targets.sum(1, keepdim=True)
    else:
        targets = F.one_hot(torch.randint(outputs, (networks, examples)), outputs).double().mT.contiguous()
    expected, gradients = [], []
    for z, t in zip(logits, targets, strict=True):
        leaf = z.t().clone().requires_grad_()
        expected.append(TORCHS[name](leaf, t.t()))
        gradients.append(torch.autograd.grad(expected[-1], leaf)[0].t())
    loss = LOSSES[name](logits, targets)
    bound = outputs * examples * torch.finfo(torch.float64).eps
    size = scale**2 if name == "mse" else scale
    torch.testing.assert_close(loss, torch.stack(expected).detach(), rtol=bound, atol=bound * size)
    torch.testing.assert_close(logits, torch.stack(gradients), rtol=bound, atol=bound * scale)

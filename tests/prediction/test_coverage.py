"""Critical plans of each kind of network: at every layer the band holds as many draws as it says."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.init import plan

DRAWS = 200
IMAGES, SEQUENCES, FLAT = (8, 3, 8, 8), (8, 12, 64), (8, 64)


def conv(a, b):
    return nn.Conv2d(a, b, 3, padding=1)


class Residual(nn.Module):
    def __init__(self, branch, behind):
        super().__init__()
        self.branch, self.behind = branch, behind

    def forward(self, x):
        return self.behind(x + self.branch(x))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def mlp():
    return nn.Sequential(*(m for _ in range(10) for m in (nn.Linear(64, 64), nn.Tanh())), nn.Linear(64, 10))


def pooled(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def cnn():
    return pooled(*(m for i in range(5) for m in (conv(3 if i == 0 else 32, 32), nn.ReLU())))


def resnet():
    def branch():
        return nn.Sequential(conv(32, 32), nn.ReLU(), conv(32, 32))

    return pooled(conv(3, 32), nn.ReLU(), *(Residual(branch(), nn.ReLU()) for _ in range(2)))


def transformer():
    def part(layer):
        return Residual(nn.Sequential(nn.LayerNorm(64), layer), nn.Identity())

    def feed():
        return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    blocks = [m for _ in range(2) for m in (part(Attention(64, 4)), part(feed()))]
    return nn.Sequential(nn.Linear(64, 64), *blocks, nn.LayerNorm(64), nn.Linear(64, 10))


KINDS = {"mlp": (mlp, FLAT), "cnn": (cnn, IMAGES), "resnet": (resnet, IMAGES), "transformer": (transformer, SEQUENCES)}


def note(seen, module, args, out):
    seen.append(out)


def drawn(model, x, made):
    """Logs of q and of grad_q of each module's output, [draws, 2, rows]."""
    seen, logs = [], []
    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(functools.partial(note, seen))
    for seed in range(DRAWS):
        made.apply_(seed=seed)
        seen.clear()
        y = model(x)
        grads = torch.autograd.grad(y, seen, torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)))
        logs.append([[float(t.detach().double().square().mean().log()) for t in column] for column in (seen, grads)])
    return np.array(logs)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bands_of_a_critical_plan_hold_as_many_draws_as_they_say(kind):
    """Of all rows together 92 to 98%, of each at least 92 less five standard errors of 200 draws; fixed rows apart."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, shape = KINDS[kind]
    model, x = make(), torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = plan(model, x)
    rows, logs = list(made.after)[:-1], drawn(model, x, made)[:, :, :-1]
    for i, name in enumerate(("q", "grad_q")):
        low, high = (np.log([getattr(row, name + end) for row in rows]) for end in ("_low", "_high"))
        held = ((logs[:, i] >= low) & (logs[:, i] <= high)).mean(0)[logs[:, i].std(0) > 1e-3]
        assert 0.92 <= held.mean() <= 0.98, (name, held)
        assert held.min() >= 0.92 - 5 * (0.92 * 0.08 / DRAWS) ** 0.5, (name, held)

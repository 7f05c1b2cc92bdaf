"""Entries that are picked, moved, padded, mixed by known numbers or run on samples agree with draws of the network.

`slack` is how far, in the log, taking units as independent and positions by their lags may move the median.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict
from steadygrad.prediction.field import white
from steadygrad.prediction.operators.decompositions import PIECES
from steadygrad.prediction.position_maps import mapped
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Moments

DRAWS = 24


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


FLAT, STEPS, IMAGES = seeded(16, 64), seeded(8, 10, 32), seeded(8, 3, 8, 8)
STEMS = {
    "flat": (FLAT, lambda: nn.Linear(64, 64)),
    "steps": (STEPS, lambda: nn.Linear(32, 64)),
    "images": (IMAGES, lambda: nn.Conv2d(3, 16, 3, padding=1)),
}


class Through(nn.Module):
    """A layer, a function of the user's, what it gives, and a layer over the last dimension of that."""

    def __init__(self, kind, function):
        super().__init__()
        inputs, stem = STEMS[kind]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            width = function(torch.ones(STEMS[kind][1]()(torch.ones(inputs.shape)).shape)).shape[-1]
        self.stem, self.function, self.outcome, self.last = stem(), function, nn.Identity(), nn.Linear(width, 16)

    def forward(self, x):
        return self.last(self.outcome(self.function(self.stem(x))))


class Case(NamedTuple):
    kind: str
    function: object
    slack: float = 0.06


def shifted(h):
    return torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)


def in_parts(h):
    y = torch.zeros_like(h)
    y[:, :32] = h[:, :32].relu()
    y[:, 48:] = h[:, 48:].tanh()
    return y


ROWS = torch.arange(16)[:, None]
MOVED = {
    "index": Case("flat", lambda h: h[:, torch.arange(0, 64, 3)]),
    "index by pairs": Case("flat", lambda h: h[ROWS, torch.arange(32).flip(0)]),
    "index select": Case("flat", lambda h: h.index_select(1, torch.arange(0, 64, 2))),
    "gather": Case("flat", lambda h: h.gather(1, torch.arange(32).expand(16, 32))),
    "gather of steps": Case("steps", lambda h: h.gather(1, torch.arange(2, 5)[None, :, None].expand(8, 3, 64))),
    "last of each": Case(
        "steps", lambda h: h[torch.arange(8), torch.arange(8) + 2], 0.2
    ),  # eight of eighty given steps
    "roll": Case("flat", lambda h: h.roll(3, -1)),
    "roll of steps": Case("steps", lambda h: torch.tanh(h).roll(1, 1)),
    "roll of images": Case("images", lambda h: h.relu().roll((1, 2), (2, 3))),
    "flip": Case("flat", lambda h: h.flip(-1)),
    "flip of images": Case("images", lambda h: h.flip(-1).relu()),
    "pad": Case("flat", lambda h: F.pad(h, (3, 5))),
    "pad with a number": Case("flat", lambda h: F.pad(h, (8, 8), value=1.0)),
    "pad of steps": Case("steps", lambda h: F.pad(h, (0, 0, 2, 1))),
    "shift of steps": Case("steps", lambda h: F.pad(h, (0, 0, 1, -1))),
    "shift by a join": Case("steps", shifted),
    "pad of images": Case("images", lambda h: F.pad(h, (1, 2, 1, 1))),
    "pad of images with a number": Case("images", lambda h: F.pad(h, (1, 1, 1, 1), value=0.5)),
    "reflected": Case("images", lambda h: F.pad(h, (2, 1, 1, 2), mode="reflect")),
    "replicated": Case("images", lambda h: F.pad(h.relu(), (2, 1, 1, 2), mode="replicate")),
    "written in parts": Case("flat", in_parts),
    "scattered": Case("flat", lambda h: torch.zeros(16, 80).scatter(1, torch.arange(64).expand(16, 64), h)),
}
MIXED = {
    "nearest": Case("images", lambda h: F.interpolate(h.relu(), scale_factor=2)),
    "bilinear": Case("images", lambda h: F.interpolate(h, scale_factor=2, mode="bilinear")),
    "bilinear by corners": Case(
        "images", lambda h: F.interpolate(h, size=(5, 12), mode="bilinear", align_corners=True)
    ),
    "bicubic": Case("images", lambda h: F.interpolate(h, size=6, mode="bicubic")),
    "linear": Case("steps", lambda h: F.interpolate(h.transpose(1, 2), size=24, mode="linear").transpose(1, 2)),
    "running sum": Case("flat", lambda h: h.cumsum(-1), 0.1),
    "running sum of steps": Case("steps", lambda h: torch.relu(h).cumsum(1), 0.1),
}
APART = {
    "gated": Case("flat", F.glu),
    "pixel shuffle": Case("images", lambda h: F.pixel_shuffle(h.tanh(), 2)),
    "channel shuffle": Case("images", lambda h: F.channel_shuffle(h.tanh(), 4)),
    "added product": Case("flat", lambda h: torch.addcmul(h[:, :32], h[:, :32].tanh(), h[:, 32:])),
}
SAMPLED = {
    "softmax": Case("flat", lambda h: 8 * h.softmax(-1)),
    "unit length": Case("flat", lambda h: F.normalize(h, dim=-1)),
    "unit length of steps": Case("steps", lambda h: F.normalize(h, dim=-1)),
    "sorted": Case("flat", lambda h: h.sort(-1).values),
    "largest": Case("flat", lambda h: h.view(16, 32, 2).max(-1).values),
    "largest few": Case("flat", lambda h: h.topk(8, -1).values),
    "cosine": Case("flat", lambda h: F.cosine_similarity(h[:, :32], h[:, 32:])[:, None]),
    "outer product": Case("flat", lambda h: (h[:, :8, None] * h[:, None, :8]).flatten(1)),
}  # fmt: skip
CASES = MOVED | MIXED | APART | SAMPLED


def note(grads, place, grad):
    grads[place] = float(grad.double().square().mean())


def draw(case, seed):
    """Second moment of each module's output and of its gradient, rows in the order of execution."""
    torch.manual_seed(seed)
    model, rows, grads = Through(case.kind, case.function), [], {}

    def hook(module, args, out):
        rows.append(float(out.detach().double().square().mean()))
        out.register_hook(functools.partial(note, grads, len(rows) - 1))

    for module in (model.stem, model.outcome, model.last):
        module.register_forward_hook(hook)
    out = model(STEMS[case.kind][0])
    out.backward(torch.randn_like(out))
    return [[q, grads[i]] for i, q in enumerate(rows)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_signals_and_gradients_agree_with_draws(case):
    """The median of each row's log lies within five standard errors and the slack of the prediction."""
    profile = predict(lambda: Through(case.kind, case.function), STEMS[case.kind][0])
    assert not profile.unknown
    real = np.log([draw(case, seed) for seed in range(DRAWS)])
    error = 5 * math.sqrt(math.pi / 2 / DRAWS)
    for i, row in enumerate(profile):
        for column, predicted in ((0, row.q), (1, row.grad_q)):
            log = real[:, i, column]
            off = abs(math.log(predicted) - np.median(log))
            assert off < error * log.std() + case.slack, (row.path, column, off)
    assert profile["outcome"].mark == profile["last"].mark == "approximate"


@pytest.mark.parametrize("factor", [2, 3])
def test_what_is_taken_apart_is_what_torch_does(factor):
    x = seeded(2, 2 * factor**2, 6, 12)
    assert torch.equal(PIECES[torch.ops.aten.pixel_shuffle.default](x, factor), F.pixel_shuffle(x, factor))
    assert torch.equal(PIECES[torch.ops.aten.pixel_unshuffle.default](x, factor), F.pixel_unshuffle(x, factor))
    assert torch.equal(PIECES[torch.ops.aten.channel_shuffle.default](x, factor), F.channel_shuffle(x, factor))


def test_a_running_sum_of_white_steps_grows_with_the_step():
    """Of n independent terms of variance 1, E[y_t^2] = t, so the mean is (n + 1)/2."""
    ones = np.ones(2)
    m = Moments(0 * ones, ones, 1 - np.eye(2), CERTAIN, field=white((20,), 1.0, 1.0, 1.0))
    after = mapped(m, [np.tril(np.ones((20, 20)))])
    assert after.q == pytest.approx([10.5, 10.5])
    assert after.field.share * 10.5 == pytest.approx(np.arange(1, 21))
    assert after.d[0, 1] == pytest.approx(10.5)


def test_a_map_that_moves_entries_leaves_their_moments():
    """A permutation keeps q and d, and a shift the product at each lag, but for its ends."""
    gap = 1 - 0.8 ** np.arange(50.0)
    ones, field = np.ones(2), white((50,), 1.0, 1.0, 0.5)
    m = Moments(0 * ones, ones, 0.5 * (1 - np.eye(2)), CERTAIN, field=type(field)(field.share, gap, (1 + gap) / 2))
    after = mapped(m, [np.roll(np.eye(50), 1, axis=0)])
    assert after.q == pytest.approx([1, 1])
    assert after.d[0, 1] == pytest.approx(0.5)
    assert after.field.within[:10] == pytest.approx(gap[:10], abs=0.05)

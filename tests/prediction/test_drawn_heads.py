"""Heads of attention that are drawn: what they make of tokens varies as what real ones make."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from steadygrad.prediction import drawn_heads
from steadygrad.prediction.drawn_heads import Heads, Tokens

EXAMPLES, TOKENS, WIDTH, HEADS, FEATURES = 8, 16, 16, 4, 64
LAYER = Heads(TOKENS, WIDTH, WIDTH**-0.5, False)
WHITE = Tokens(FEATURES, 0.0, 0.0)


def layer(seed):
    """Mean squares of values and means, and of the gradients of queries, keys and values beside the one that came."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(EXAMPLES, TOKENS, FEATURES, generator=g)
    q, k, v = (
        (x @ torch.randn(FEATURES, HEADS * WIDTH, generator=g) / FEATURES**0.5)
        .unflatten(2, (HEADS, WIDTH)).transpose(1, 2).requires_grad_()
        for _ in range(3)
    )  # fmt: skip
    out = F.scaled_dot_product_attention(q, k, v)
    coming = torch.randn(EXAMPLES, TOKENS, FEATURES, generator=g) @ torch.randn(FEATURES, HEADS * WIDTH, generator=g)
    coming = coming.unflatten(2, (HEADS, WIDTH)).transpose(1, 2)
    grads = torch.autograd.grad(out, (q, k, v), coming)
    return [math.log(float(t.detach().double().square().mean())) for t in (v, out, *grads, coming)]


@pytest.fixture(scope="module")
def logs():
    torch.set_num_threads(1)
    return np.array([layer(seed) for seed in range(400)])


def test_means_and_gradients_vary_beside_what_came_as_real_ones_do(logs):
    """Deviations within 20%: a variance of so few heads and tokens, and of so many draws, is 15% off."""
    varied, _ = drawn_heads.forward(LAYER, WHITE)
    back = drawn_heads.backward(LAYER, WHITE, WHITE)
    after = (logs[:, 1] - logs[:, 0], *(logs[:, i] - logs[:, 5] for i in (2, 3, 4)))
    for found, real in zip((varied, *back), after, strict=True):
        assert abs(math.log(found.variance(EXAMPLES, HEADS) / real.var())) / 2 < 0.2


def test_longer_sharper_queries_leave_fewer_directions():
    """Flat weights leave the mean alone; an argmax a token each: a unit's variance is 2, and 2/tokens."""
    flat, sharp = (drawn_heads.forward(Heads(TOKENS, WIDTH, s, False), WHITE)[1][0] for s in (1e-6, 1e3))
    assert flat == pytest.approx(2.0, rel=0.15)
    assert 2 / TOKENS < sharp < flat / 2


def test_a_causal_head_varies_more_at_its_first_tokens():
    """The first token is its own mean, as large as sixteen means of sixteen: its square has most of the whole."""
    whole, causal = (drawn_heads.forward(Heads(TOKENS, WIDTH, 1e-6, c), WHITE)[0] for c in (False, True))
    assert causal.variance(EXAMPLES, HEADS) < whole.variance(EXAMPLES, HEADS)

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
WHITE, ALIKE = Tokens(FEATURES, 0.0, 0.0), Tokens(FEATURES, 0.3, 0.2)


def drawn(tokens, g):
    """Tokens with what those of an example, and those of all, have in common, [examples, tokens, features]."""
    shared, ours, each = (torch.randn(*n, FEATURES, generator=g) for n in ((1, 1), (EXAMPLES, 1), (EXAMPLES, TOKENS)))
    return tokens.other**0.5 * shared + (tokens.own - tokens.other) ** 0.5 * ours + (1 - tokens.own) ** 0.5 * each


def layer(seed, tokens):
    """Mean squares of values and means, and of the gradients of queries, keys and values beside the one that came."""
    g = torch.Generator().manual_seed(seed)
    x = drawn(tokens, g)
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


@pytest.mark.parametrize("tokens", [WHITE, ALIKE])
def test_means_and_gradients_vary_beside_what_came_as_real_ones_do(tokens):
    """Deviations within 20%: a variance of so few heads and tokens, and of so many draws, is 15% off.

    Where tokens are alike, how much they are is a matter of the draw, for all examples: it is most of what means vary.
    """
    torch.set_num_threads(1)
    logs = np.array([layer(seed, tokens) for seed in range(400)])
    varied, _ = drawn_heads.forward(LAYER, tokens)
    back = drawn_heads.backward(LAYER, tokens, WHITE)
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


def test_what_is_drawn_lies_between_what_was_drawn_on_either_side():
    """Correlations are drawn a tenth apart; between these the variance is on a line, so no step of it is seen."""
    at = [
        drawn_heads.forward(LAYER, Tokens(FEATURES, own, own))[0].variance(EXAMPLES, HEADS) for own in (0.2, 0.25, 0.3)
    ]
    assert at[1] == pytest.approx((at[0] + at[2]) / 2)


def test_tokens_that_are_given_vary_no_more():
    """Of tokens that are data only the heads are drawn: what is left is what heads vary by."""
    varied, _ = drawn_heads.forward(LAYER, ALIKE)
    given = varied.variance(EXAMPLES, HEADS, drawn=0.0)
    assert given == pytest.approx(drawn_heads.averaged(varied.heads, EXAMPLES) / HEADS)
    assert varied.variance(EXAMPLES, HEADS) > 1.5 * given

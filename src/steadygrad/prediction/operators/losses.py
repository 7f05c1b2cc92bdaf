"""Losses, and what mixes the classes of an example: run on samples of the head's output. Approximate, by sampling."""

from __future__ import annotations

from typing import Any

import torch

from steadygrad.prediction.interpreter import Rule

from .attention import softmax, softmax_backward
from .pointwise import on_draws

aten = torch.ops.aten

SAMPLED = (
    aten._softmax, aten._softmax_backward_data, aten.mse_loss, aten.mse_loss_backward, aten.smooth_l1_loss,
    aten.smooth_l1_loss_backward, aten.huber_loss, aten.huber_loss_backward, aten.binary_cross_entropy,
    aten.scatter_add, aten.index_put,
    aten.binary_cross_entropy_backward, aten.binary_cross_entropy_with_logits,
)  # fmt: skip

RULES: dict[Any, Rule] = {
    **dict.fromkeys(SAMPLED, on_draws),
    **dict.fromkeys((aten._softmax, aten._safe_softmax), softmax(on_draws)),
    aten._softmax_backward_data: softmax_backward(on_draws),
}

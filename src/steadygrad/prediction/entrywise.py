"""Operators whose outcome at an entry depends on that entry of their arguments alone."""

from __future__ import annotations

from typing import Any

import torch

aten = torch.ops.aten
LOSSES = frozenset({
    aten.mse_loss, aten.smooth_l1_loss, aten.huber_loss, aten.soft_margin_loss, aten.binary_cross_entropy,
    aten.binary_cross_entropy_with_logits,
})  # fmt: skip
GRADIENTS = frozenset({
    aten.mse_loss_backward, aten.smooth_l1_loss_backward, aten.huber_loss_backward, aten.soft_margin_loss_backward,
    aten.binary_cross_entropy_backward,
})  # fmt: skip
REDUCTIONS = frozenset({aten.mean, aten.sum})
EACH, MEAN, SUM = 0, 1, 2  # how a loss is reduced


def is_entrywise(operator: Any) -> bool:
    """Whether an operator takes entry by entry, but for a sum or a mean of the outcome, and writes into nothing."""
    packet = operator.overloadpacket
    known = torch.Tag.pointwise in operator.tags or packet in LOSSES or packet in GRADIENTS
    return known and not operator._schema.is_mutable

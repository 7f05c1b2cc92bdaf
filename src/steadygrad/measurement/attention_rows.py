"""How much of its slope a softmax has left, row by row, inside attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .unit_health import SMALL_SLOPE

# Scores of a kernel that never shows them are formed again for so many entries of the batch and the heads.
_MOST_MATRICES = 32


@dataclass(frozen=True, kw_only=True)
class AttentionRows:
    """The rows of one softmax that have more than one key to choose from.

    Attributes:
        rows: how many there are.
        keys: entries that a row chooses from, on average.
        collapsed: share of rows of slope (1 - sum p²) at most e^-3 of a uniform row's, 1 - 1/keys.
        entropy: mean entropy, in nats.
        deviation: standard deviation of the scores within a row, root mean square over rows.
    """

    rows: int
    keys: float
    collapsed: float
    entropy: float
    deviation: float


def attention_rows(name: str, arguments: Mapping[str, Any]) -> AttentionRows | None:
    """Return what the rows of a softmax or of an attention kernel show; None for other operators.

    Args:
        name: the operator.
        arguments: by the names of its schema.

    >>> found = attention_rows("_softmax", {"self": torch.tensor([[0.0, 50.0], [1.0, 1.0]]), "dim": -1})
    >>> found.rows, found.collapsed
    (2, 0.5)
    """
    if name == "_softmax":
        scores = arguments["self"].detach().movedim(arguments["dim"], -1)
    elif name.startswith("_scaled_dot_product") and "query" in arguments:
        scores = _scores(arguments)
    else:
        return None
    return _rows(scores.float().reshape(-1, scores.shape[-1])) if scores.numel() else None


def _scores(arguments: Mapping[str, Any]) -> torch.Tensor:
    query: torch.Tensor
    query, key = (arguments[part].detach().float() for part in ("query", "key"))
    few = max(_MOST_MATRICES // max(math.prod(query.shape[1:-2]), 1), 1)
    query, key = query[:few], key[:few]
    if key.shape[1] != query.shape[1]:  # grouped queries
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scale = arguments.get("scale") or 1 / math.sqrt(query.shape[-1])
    scores: torch.Tensor = query @ key.transpose(-1, -2) * scale
    mask = next((m for part in ("attn_mask", "attn_bias") if (m := arguments.get(part)) is not None), None)
    if mask is not None:
        mask = mask[:few] if mask.dim() == scores.dim() and len(mask) > 1 else mask
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    if arguments.get("is_causal"):
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    return scores


def _rows(scores: torch.Tensor) -> AttentionRows | None:
    # A mask may be a large negative number as well: what is beyond half precision's range is out of reach.
    allowed = scores > -1e4
    keys = allowed.sum(-1)
    scores, allowed, keys = (x[keys > 1] for x in (scores, allowed, keys))
    if not len(scores) or not bool(torch.isfinite(scores[allowed]).all()):
        return None
    p = scores.masked_fill(~allowed, -math.inf).softmax(-1)
    slope, uniform = 1 - p.square().sum(-1), 1 - 1 / keys
    mean = scores.where(allowed, 0).sum(-1) / keys
    variance = (scores - mean[:, None]).where(allowed, 0).square().sum(-1) / (keys - 1)
    return AttentionRows(
        rows=len(scores),
        keys=float(keys.double().mean()),
        collapsed=float((slope <= SMALL_SLOPE * uniform).double().mean()),
        entropy=float(torch.special.entr(p).sum(-1).mean()),
        deviation=float(variance.mean().sqrt()),
    )

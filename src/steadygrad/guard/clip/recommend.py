"""A clipping threshold from the distribution of gradient norms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from steadygrad.errors import not_allowed

from .by_norm import ByNorm
from .gradients import Gradients
from .history import SIGMA_PER_MAD
from .policy import Scaling
from .z_score import ZScore

_LEAST = 8  # the median absolute deviation of fewer numbers says little
_Z = 3.0  # a log-normal norm lies above median + 3σ once in 741 steps
_DRIFT = math.log(10.0)  # norms over more than a factor of ten each way fit no fixed threshold


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A proposed threshold, what it rests on, and why.

    Attributes:
        max_norm: the threshold for the global norm.
        policy: a policy that applies it, new.
        median: of the norms.
        sigma: robust standard deviation of their logarithm.
        norms: one a batch, as measured; non-finite ones included.
        clipped: share of the finite norms above the threshold.
        reasons: sentences that say how the threshold came about.
    """

    max_norm: float
    policy: Scaling
    median: float
    sigma: float
    norms: tuple[float, ...]
    clipped: float
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """Return the policy that is proposed, and why."""
        proposed = f"ByNorm({self.max_norm:.3g})" if isinstance(self.policy, ByNorm) else f"ZScore({_Z:g})"
        return "\n".join([f"Proposed: clip.{proposed}", *self.reasons])


def recommend(
    model: nn.Module,
    data: Iterable[tuple[Any, Any]],
    loss_fn: Callable[[Any, Any], Tensor],
    *,
    batches: int = 64,
) -> Recommendation:
    """Measure the norms of the gradient over batches, at the weights as they are, and propose a threshold.

    ``max_norm = exp(median + 3σ)`` of the log-norms, σ = 1.4826 MAD: what scatters as usual passes, what does not is
    shortened. Norms shrink as training goes on; measure again once the loss has settled, or take the adaptive policy.
    The model is left as it was: weights untouched, gradients, buffers, mode and random state put back.

    Args:
        model: in the mode in which it trains.
        data: pairs of inputs and targets; at most `batches` are taken.
        loss_fn: (outputs, targets) -> a scalar loss.
        batches: how many batches to measure, >= 8.

    Raises:
        ValueError: no parameter trains, or fewer than 8 batches gave a finite norm above 0.

    >>> model, loss_fn = nn.Linear(2, 1), nn.functional.mse_loss
    >>> generator = torch.Generator().manual_seed(0)
    >>> batch = lambda: (torch.randn(8, 2, generator=generator), torch.randn(8, 1, generator=generator))
    >>> advice = recommend(model, [batch() for _ in range(20)], loss_fn)
    >>> advice.max_norm > advice.median, len(advice.norms)
    (True, 20)
    """
    if batches < _LEAST:
        raise ValueError(not_allowed("batches", f"must be >= {_LEAST}", batches))
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(not_allowed("model", "must have parameters that train", model))
    norms = _norms(model, islice(data, batches), loss_fn)
    usable = [n for n in norms if 0 < n < math.inf]
    if len(usable) < _LEAST:
        raise ValueError(not_allowed("data", f"must give at least {_LEAST} finite norms above 0", norms))
    return _advice(norms, usable)


def _advice(norms: list[float], usable: list[float]) -> Recommendation:
    logs = [math.log(n) for n in usable]
    center = statistics.median(logs)
    sigma = SIGMA_PER_MAD * statistics.median([abs(x - center) for x in logs])
    limit = math.exp(center + _Z * sigma)
    clipped = sum(n > limit for n in usable) / len(usable)
    wide = _Z * sigma > _DRIFT
    return Recommendation(
        max_norm=limit,
        policy=ZScore(_Z) if wide else ByNorm(limit),
        median=math.exp(center),
        sigma=sigma,
        norms=tuple(norms),
        clipped=clipped,
        reasons=tuple(_reasons(norms, usable, limit, sigma, clipped, wide=wide)),
    )


def _reasons(
    norms: list[float], usable: list[float], limit: float, sigma: float, clipped: float, *, wide: bool
) -> Iterable[str]:
    middle, bad = statistics.median(usable), len(norms) - len(usable)
    yield f"The median norm of {len(usable)} batches is {middle:.3g}; its logarithm scatters by {sigma:.2g} (robust)."
    yield f"exp(median + 3σ) = {limit:.3g} is {limit / middle:.2g} times the median; {clipped:.1%} of them exceed it."
    expected = 0.00135  # P(z > 3) of a normal distribution
    if clipped > expected + 5 * math.sqrt(expected / len(usable)):
        yield f"A log-normal norm would exceed it in {expected:.2%} of the steps: a heavy tail; clipping is needed."
    else:
        yield "No heavy tail was seen: the threshold is a safety net that should rarely act."
    if wide:
        yield "The norms spread over more than a factor of ten each way, so a threshold that follows them is proposed."
    if bad:
        yield f"{bad} batches gave a norm of zero, inf or NaN: clipping mends none of them; find their cause first."


def _norms(model: nn.Module, data: Iterable[tuple[Any, Any]], loss_fn: Callable[[Any, Any], Tensor]) -> list[float]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [p.grad for p in parameters]
    buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            return [_norm_of(model, parameters, batch, loss_fn) for batch in data]
    finally:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def _norm_of(
    model: nn.Module, parameters: list[nn.Parameter], batch: tuple[Any, Any], loss_fn: Callable[[Any, Any], Tensor]
) -> float:
    for parameter in parameters:
        parameter.grad = None
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(not_allowed("data", "must give pairs (inputs, targets)", type(batch).__name__))
    inputs, targets = batch
    loss_fn(model(inputs), targets).backward()
    return Gradients(parameters).total().item()

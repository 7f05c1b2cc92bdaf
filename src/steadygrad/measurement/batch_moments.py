"""Moments of one tensor over its examples, left on its device."""

from __future__ import annotations

from typing import NamedTuple

import torch


class BatchMoments(NamedTuple):
    """Scalars of double precision on the tensor's device.

    Attributes:
        mean: first moment over all entries.
        q: second moment over all entries.
        q_error: standard error of `q` over examples; NaN for one example.
        signal: q(1 - c): the unbiased variance of an entry over examples, averaged over entries.
    """

    mean: torch.Tensor
    q: torch.Tensor
    q_error: torch.Tensor
    signal: torch.Tensor


@torch.no_grad()
def batch_moments(tensor: torch.Tensor, batch_size: int) -> BatchMoments:
    """Return the moments of a tensor whose first dimension runs over examples.

    With c = E[xy]/q over pairs of distinct examples, q(1 - c) = sum_d sum_b (x_bd - m_d)² / (D (B - 1)), where m_d is
    the mean of entry d. It is formed so: each example less the first one, which is exact where the two are close, and
    those differences less their mean; q less E[xy] would lose it where c is near 1. Squares are added in double
    precision, so that neither 1e-30 underflows nor 1e30 overflows.

    Args:
        tensor: [examples, ...]; a first dimension that is a multiple of `batch_size` holds several rows an example.
        batch_size: examples in the batch.

    >>> m = batch_moments(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), 2)
    >>> m.mean.item(), m.q.item(), m.signal.item()
    (2.0, 4.5, 1.0)
    """
    x = _real(tensor.detach())
    if x.numel() == 0:
        return BatchMoments(*(x.new_full((), torch.nan, dtype=torch.float64) for _ in range(4)))
    mean = x.sum(dtype=torch.float64) / x.numel()
    if x.dim() == 0 or x.shape[0] % batch_size:
        nan = torch.full_like(mean, torch.nan)
        return BatchMoments(mean, _squares(x).sum() / x.numel(), nan, nan)
    examples = x.reshape(batch_size, -1)
    each = _squares(examples) / examples.shape[1]
    if batch_size == 1:
        return BatchMoments(mean, each.mean(), torch.full_like(mean, torch.nan), torch.full_like(mean, torch.nan))
    return BatchMoments(mean, each.mean(), each.std() / batch_size**0.5, _between_examples(examples))


def _real(x: torch.Tensor) -> torch.Tensor:
    if x.is_complex():
        return torch.view_as_real(x)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _squares(x: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each row."""
    rows = x.reshape(len(x) if x.dim() else 1, -1)
    norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms.square()


def _between_examples(x: torch.Tensor) -> torch.Tensor:
    shifted = x - x[:1]
    shifted -= shifted.mean(0, keepdim=True)
    return _squares(shifted).sum() / (x.shape[1] * (len(x) - 1))

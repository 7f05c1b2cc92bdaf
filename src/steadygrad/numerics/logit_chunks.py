"""One pass over the logits of a linear layer, a chunk of examples at a time: losses, log-sum-exps and gradients."""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from .loss_options import LossOptions, example_weights
from .torch_rows import may_be_true

_BLOCK = 1 << 18  # logits: 1 MiB in single precision, within a second-level cache


class Layer(NamedTuple):
    """A linear layer and what goes in: rows (N, D), weight (K, D), bias (K,) or None.

    >>> Layer(torch.zeros(1, 2, dtype=torch.bfloat16), torch.zeros(3, 2), None).accumulator
    torch.float32
    """

    rows: Tensor
    weight: Tensor
    bias: Tensor | None

    @property
    def accumulator(self) -> torch.dtype:
        """The type that sums are made in."""
        return torch.float64 if self.rows.dtype == torch.float64 else torch.float32


class Wanted(NamedTuple):
    """Which gradients are asked for.

    >>> any(Wanted(False, False, False))
    False
    """

    rows: bool
    weight: bool
    bias: bool


class Gradients(NamedTuple):
    """The gradients with respect to a layer's rows, weight and bias, where they were asked for.

    >>> Gradients(None, None, None).bias is None
    True
    """

    rows: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def chunk_pass(
    layer: Layer, index: Tensor, options: LossOptions, size: int, scale: Tensor, wanted: Wanted
) -> tuple[Tensor, Tensor, Gradients]:
    """Return each example's loss and log-sum-exp, and the gradients of sum(scale * losses).

    >>> layer = Layer(torch.ones(2, 1), torch.zeros(2, 1), None)
    >>> losses, lse, gradients = chunk_pass(
    ...     layer, torch.tensor([0, 0]), LossOptions(), 1, torch.ones(2), Wanted(False, True, False))
    >>> losses, gradients.weight
    (tensor([0.6931, 0.6931]), tensor([[-1.],
            [ 1.]]))
    """
    device = layer.rows.device.type
    plain = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
    with torch.no_grad(), plain:
        losses, lse = (torch.empty(len(layer.rows), dtype=layer.accumulator, device=index.device) for _ in range(2))
        sums = _Sums(layer, wanted, size)
        for start in range(0, len(layer.rows), size):
            part = slice(start, start + size)
            logits = sums.logits(part)
            losses[part], lse[part] = _loss_and_gradient_(logits, index[part], options, scale[part], any(wanted))
            sums.add_(logits, part)
        return losses, lse, sums.result()


class _Sums:
    """The gradients while they are being summed, and the buffer of logits."""

    def __init__(self, layer: Layer, wanted: Wanted, size: int) -> None:
        self.layer, wide = layer, layer.accumulator
        rows, weight, bias = layer
        self.buffer = weight.new_empty(min(size, len(rows)), len(weight))
        self.rows = torch.empty_like(rows) if wanted.rows else None
        # Empty for the first part, which overwrites it: one pass over the weight's gradient less.
        self.weight = torch.empty_like(weight, dtype=wide) if wanted.weight else None
        self.keep = 0.0
        if self.weight is not None and not len(rows):
            self.weight.zero_()
        self.bias = torch.zeros_like(bias, dtype=wide) if wanted.bias and bias is not None else None

    def logits(self, part: slice) -> Tensor:
        """Return the logits of a part of the examples, in the accumulator's type."""
        rows, weight, bias = self.layer
        chunk = rows[part]
        logits = torch.mm(chunk, weight.t(), out=self.buffer[: len(chunk)]).to(self.layer.accumulator)
        return logits if bias is None else logits.add_(bias)

    def add_(self, dlogits: Tensor, part: slice) -> None:
        """Add what a part's gradient of the logits gives."""
        rows, weight, _ = self.layer
        narrow = dlogits.to(weight.dtype)
        if self.rows is not None:
            torch.mm(narrow, weight, out=self.rows[part])
        if self.weight is not None and self.weight.dtype == weight.dtype:
            self.weight.addmm_(narrow.t(), rows[part], beta=self.keep)
        elif self.weight is not None:
            torch.add(narrow.t() @ rows[part], self.weight if self.keep else 0, out=self.weight)
        self.keep = 1.0
        if self.bias is not None:
            self.bias.add_(dlogits.sum(0))

    def result(self) -> Gradients:
        """Return the sums in the types of the inputs."""
        _rows, weight, bias = self.layer
        return Gradients(
            self.rows,
            None if self.weight is None else self.weight.to(weight.dtype),
            None if self.bias is None or bias is None else self.bias.to(bias.dtype),
        )


def _loss_and_gradient_(
    logits: Tensor, index: Tensor, options: LossOptions, scale: Tensor, wants_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Return losses and log-sum-exps of a chunk; its logits become their gradient, in blocks that stay in the cache."""
    counted = index != options.ignore_index
    columns = (index * counted).unsqueeze(-1)
    weight = example_weights(index, options, logits)
    shares = weight.new_full(weight.shape, options.label_smoothing / logits.shape[-1]) * counted
    step = max(1, _BLOCK // logits.shape[-1])
    losses, lse = torch.empty_like(weight), torch.empty_like(weight)
    for start in range(0, len(logits), step):
        part = slice(start, start + step)
        block = _Block(logits[part], columns[part], weight[part], shares[part], scale[part])
        losses[part], lse[part] = _block_(block, options, wants_gradient)
    return losses.masked_fill_(~counted, 0), lse


class _Block(NamedTuple):
    logits: Tensor  # (B, K)
    columns: Tensor  # (B, 1), the targets
    weight: Tensor  # (B,), w of the target, 0 where ignored
    share: Tensor  # (B,), of the label smoothing that each class takes, 0 where ignored
    scale: Tensor  # (B,), the derivative of the whole with respect to the example's loss


def _block_(block: _Block, options: LossOptions, wants_gradient: bool) -> tuple[Tensor, Tensor]:
    x, kept = block.logits, (1 - options.label_smoothing) * block.weight
    slope = _cap_(x, options.soft_cap, wants_gradient)
    top = x.amax(-1, keepdim=True)
    x.sub_(top)
    losses, mass = -kept * x.gather(-1, block.columns).squeeze(-1), kept
    classes = _class_weights(x, options) if options.label_smoothing else None
    if classes is not None:
        losses -= block.share * (x @ classes)
        mass = kept + block.share * classes.sum()
    total = x.exp_().sum(-1)
    log_total = total.log()
    lse = top.squeeze(-1) + log_total
    losses += mass * log_total
    if options.z_loss:
        losses += options.z_loss * block.weight * lse * lse
        mass = mass + 2 * options.z_loss * block.weight * lse
    if wants_gradient:
        _gradient_(block, kept, mass / total, classes, slope)
    return losses, lse


def _gradient_(block: _Block, kept: Tensor, mass: Tensor, classes: Tensor | None, slope: Tensor | None) -> None:
    """Turn exp(x - max x) into scale (p mass - kept onehot - share classes) slope, in place."""
    x = block.logits.mul_((block.scale * mass).unsqueeze(-1))
    x.scatter_add_(-1, block.columns, (-block.scale * kept).unsqueeze(-1))
    if classes is not None:
        x.addr_(block.scale * block.share, classes, alpha=-1)
    if slope is not None:
        x.mul_(slope)
    ignored = block.scale * (block.weight + block.share) == 0
    if may_be_true(ignored.any()):  # a row that does not count passes nothing back, also where it is not finite
        x.masked_fill_(ignored.unsqueeze(-1), 0)


def _class_weights(x: Tensor, options: LossOptions) -> Tensor:
    return x.new_ones(x.shape[-1]) if options.class_weight is None else options.class_weight.to(x.dtype)


def _cap_(x: Tensor, soft_cap: float | None, wants_slope: bool) -> Tensor | None:
    """Cap logits in place, and return the derivative of the capped with respect to the given ones."""
    if soft_cap is None:
        return None
    x.div_(soft_cap).tanh_()
    slope = torch.addcmul(x.new_ones(()), x, x, value=-1) if wants_slope else None
    x.mul_(soft_cap)
    return slope

"""A signal times numbers that do not depend on it: a dropout mask, a scale for each channel, rotary positions.

Entries of a mask are drawn for each example, those of a parameter or of known numbers are the same for all, so that
what two examples have in common is as much larger as the whole. Approximate: which number meets which entry is left
open, so a product of a function of a Gaussian is one more, of that distribution.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from steadygrad.prediction.field import Field
from steadygrad.prediction.gram import forgotten
from steadygrad.prediction.interpreter import Call, Interpreter
from steadygrad.prediction.kinship import Sum
from steadygrad.prediction.law import law_of, values_of
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.side_by_side import multiplied
from steadygrad.prediction.source import Wave
from steadygrad.prediction.values import Array, Concrete, Fill, Signal

MIN_PATTERN = 3  # dimensions from which the first may be the examples


def by_factors(run: Interpreter, call: Call, x: Signal) -> Signal | None:
    """Return a signal times a mask, a parameter or known numbers; None where it meets another thing."""
    for tensor in call.tensors:
        value = run.value(tensor)
        if isinstance(value, Fill) and value.variance > 0:
            if _is_by_example(tensor, call.out):
                return masked(run, x, value, call.out, _is_for_all_places(run, call, x, tensor))
            made = _multiplied(run, call, x, values_of(value), law_of(value).weights)
            return replace(made, ancestors=x.ancestors | 1 << value.source)
        if isinstance(value, Concrete) and _is_pattern(run, value):
            if value.tensor.is_complex():
                return _rotated(x, value.tensor)
            numbers = value.tensor.double().numpy().ravel()
            return _multiplied(run, call, x, numbers, np.full(numbers.size, 1 / numbers.size))
    return None


def _is_by_example(tensor: torch.Tensor, out: torch.Tensor) -> bool:
    """Whether a draw has entries of its own for each example, which come first."""
    return tensor.dim() == out.dim() and tensor.shape[:1] == out.shape[:1]


def _is_pattern(run: Interpreter, value: Concrete) -> bool:
    """Whether known numbers are the same for all examples, as the sines and cosines of rotary positions are."""
    if value.tensor.numel() < 2 or value.leads(run.batch.size):
        return False
    return value.tensor.dim() < MIN_PATTERN or len(value.tensor) == 1


def _multiplied(run: Interpreter, call: Call, x: Signal, numbers: Array, weights: Array) -> Signal:
    """Times numbers of these probabilities, which are taken as independent of where x is large."""
    square, mean, m = float(weights @ numbers**2), float(weights @ numbers), forgotten(x.moments)
    origin = Sum(((m, mean),)) if run.remembers else None
    m = replace(m, mean=m.mean * mean, q=m.q * square, d=m.d * square, unit_variance=0.0, origin=origin)
    if x.base is not None:
        return Signal(m, None, m, x.ancestors, None, "approximate", x.axes)
    units = max(call.out.numel() // run.batch.size, 1)
    if x.wave is not None and not x.wave.gaussian:
        wave = multiplied(x.wave, numbers, weights, m, units, run.batch)
        if wave is not None and wave.source is not None:
            wave.source.root = m if run.remembers else None
            return Signal(m, wave, None, x.ancestors, x.linear, "approximate")
    source = gaussian(m, units, run.batch)
    return Signal(m, Wave(source, source.nodes, gaussian=True), None, x.ancestors, x.linear, "approximate")


def _rotated(x: Signal, numbers: torch.Tensor) -> Signal:
    """Times known complex numbers: each pair of entries is turned, and as much longer as the number's modulus."""
    square, m = float((numbers.abs().double() ** 2).mean()), forgotten(x.moments)
    m = replace(m, mean=m.mean * 0, q=m.q * square, d=m.d * square, unit_variance=0.0)
    return Signal(m, None, None if x.base is None else m, x.ancestors, x.linear, "approximate", x.axes)


def masked(run: Interpreter, x: Signal, mask: Fill, out: torch.Tensor, for_all: bool) -> Signal:
    """X times independent entries, such as a dropout mask: E[m²] q, and E[m]² of what two of them share.

    Two places of an example meet one entry where the mask has one `for_all` of them.

    A mask of 0 and one other number has E[m⁴] = E[m²]³/E[m]². So a unit's batch-averaged square gains the relative
    variance (E[m²]/E[m]² - 1) E[x⁴]/q² over the batch's size, with 3, as of a Gaussian, for E[x⁴]/q².
    """
    m, second = forgotten(x.moments), mask.mean**2 + mask.variance
    q = m.q * second
    d = (q[:, None] + q) / 2 - mask.mean**2 * m.product
    np.fill_diagonal(d, 0.0)
    field = m.field and _thinned(m.field, mask.mean**2 / second, for_all)
    gain = 3 * (second / mask.mean**2 - 1) / run.batch.size if mask.mean else 0.0
    spread = m.spread.plus(run.noises.fresh(gain * run.batch.size / out.numel()))
    moments = replace(m, mean=m.mean * mask.mean, q=q, d=d, spread=spread, field=field, origin=Sum(((m, mask.mean),)))
    base = moments if x.base is not None else None
    return Signal(moments, None, base, x.ancestors | 1 << mask.source, None, "approximate")


def _thinned(field: Field, left: float, for_all: bool) -> Field:
    """Return a field of which so much is left of what two entries of a mask have in common."""
    within = field.within if for_all else 1 - left * (1 - field.within)
    distinct, products = np.arange(field.count).reshape(field.sizes) > 0, field.products
    if products is not None:
        own = products[0] * (1.0 if for_all else np.where(np.eye(field.count) > 0, 1.0, left))
        products = np.stack([own, products[1] * left])
    across = 1 - left * (1 - field.across)
    return replace(field, within=within * distinct, across=across, products=products, in_all=None)


def _is_for_all_places(run: Interpreter, call: Call, x: Signal, mask: torch.Tensor) -> bool:
    """Whether a mask has one number for all places of an example."""
    signal = next(t for t in call.tensors if t is not mask)
    dims = run.dims(signal, x)
    held = [mask.shape[i] for i, dim in enumerate(dims) if any(axis.role >= 0 for axis in dim)]
    return len(dims) == mask.dim() and all(n == 1 for n in held)

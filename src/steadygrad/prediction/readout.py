"""From what is known at the end of a run to the rows of a profile."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from steadygrad.fans import fans
from steadygrad.profile import LayerSignal

from .batch import Batch
from .interpreter import Interpreter, Seen
from .measured_weights import as_fill, is_drawn_weight
from .operators.positions import as_signal, of_entries, parameter
from .rows import Row
from .spread import ROUNDING, Spread, band, exponential, quantile
from .trail import examples_of
from .values import Array, Concrete, Draws, Fill, Moments, ParameterGradient, Signal, Unknown, Value

SHARES = np.array([0.5, 0.025, 0.975])  # of draws: below the median, and below the ends of the band
TINY = 1e-200  # a mean below which a median may be nothing but too small for a double
LEVELS = (np.arange(400) + 0.5) / 400


def layer_signal(row: Row, run: Interpreter, weight_gradient: Value) -> LayerSignal:
    """Return a row of the profile from what is known at the end."""
    fan_in, fan_out = _fans(row.module)
    output = as_fill(run, row.output) if _is_made_of_weights(run, row.output) else row.output
    known = _same_for_all(run, output, row) if isinstance(output, Fill) else as_signal(run, output)
    if known is None and not isinstance(output, Unknown):
        run.note(f"module {row.path!r} gives {_words(output)}, of which no row is read")
    gradient = as_signal(run, row.gradient)
    moments = _typical(known, _forward, "q", row, run)
    back = _typical(gradient, _backward, "grad_q", row, run)
    return LayerSignal(
        path=row.path,
        kind=type_before_parametrizations(row.module).__name__,
        shape=row.shape,
        fan_in=fan_in,
        fan_out=fan_out,
        **moments,
        **(back if gradient else _of_parameter(row) if isinstance(output, Fill) else {}),
        weight_grad_norm=_norm(weight_gradient, row.module),
        mark=_mark(known if moments else None, gradient, run),
    )


def _typical(
    known: Signal | None, read: Callable[[Signal, Interpreter], dict[str, float]], size: str, row: Row, run: Interpreter
) -> dict[str, float]:
    """Return what is read of a signal whose typical size can be told; nothing where it varies beyond all numbers.

    Its expectation is then that of its largest draws alone, as behind powers of powers.
    """
    if known is None:
        return {}
    found, q = read(known, run), float(known.moments.q.mean())
    if found[size] > 0 or q < TINY:
        return found
    run.note(f"module {row.path!r} has a second moment that is that of its largest draws alone: none is typical")
    return {}


def _is_made_of_weights(run: Interpreter, output: Value) -> bool:
    """Whether numbers of one draw are the same for every example, as those of the batch under a mask are not."""
    return is_drawn_weight(output) and isinstance(output, Concrete) and not output.leads(run.batch.size)


def _same_for_all(run: Interpreter, fill: Fill, row: Row) -> Signal:
    """Return a parameter as a signal."""
    return of_entries(run, fill, row.entries) if row.entries else parameter(run, fill)


def _words(output: Value) -> str:
    """What an output is that has no moments by example."""
    return "numbers that are the same for every example" if isinstance(output, Concrete) else "no signal"


def _fans(module: nn.Module) -> tuple[int | None, int | None]:
    try:
        found = fans(module)
    except TypeError:
        return None, None
    return found.fan_in, found.fan_out


def _mark(output: Signal | None, gradient: Signal | None, run: Interpreter) -> Any:
    if output is None:
        return "unknown"
    return (
        "approximate"
        if run.chance or "approximate" in (output.mark, gradient.mark if gradient else "exact")
        else "exact"
    )


def _forward(known: Signal, run: Interpreter) -> dict[str, float]:
    q, low, high, c, signal = _moments(known, run)
    return {"mean": float(known.moments.mean.mean()), "q": q, "q_low": low, "q_high": high, "c": c, "signal": signal}


def _of_parameter(row: Row) -> dict[str, float]:
    """Of an output that is the same for every example, as looked-up positions are."""
    return {"grad_q": row.gradient.q} if isinstance(row.gradient, ParameterGradient) else {}


def _backward(known: Signal, run: Interpreter) -> dict[str, float]:
    q, low, high, c, _ = _moments(known, run)
    return {"grad_q": q, "grad_q_low": low, "grad_q_high": high, "grad_c": c}


def _moments(known: Signal, run: Interpreter) -> tuple[float, float, float, float, float]:
    batch: Batch = run.batch
    mean_q, parting, field = float(known.moments.q.mean()), known.moments.parting, known.moments.field
    spread, cumulants, apart = _law(known, run)
    bent = spread.trail is not None and mean_q > 0
    logs = _bent(known.moments, cumulants, batch, SHARES) if bent else None
    q, low, high = band(mean_q, cumulants) if logs is None else (mean_q * exponential(x) for x in logs)
    d = batch.distinct_mean(known.moments.d)
    share = d / mean_q if mean_q > 0 else math.nan
    apart = apart if apart > ROUNDING else 0.0
    u = batch.uneven(apart)
    share = parting.median(share, apart, batch) if parting else share * (1 - u) + u
    if field and field.parted and mean_q > 0:
        share = field.parted.median(known.moments, field, batch)
    c = 1 - share
    return q, low, high, c if abs(c) > ROUNDING else 0.0, q * share


def _law(known: Signal, run: Interpreter) -> tuple[Spread, tuple[float, float, float], float]:
    """Return how log q varies, with its cumulants, and by how much a single example's does beside."""
    spread = run.coherence.spread(known.moments) if run.tied else known.moments.spread
    mean, variance, third = run.noises.of(spread)
    apart = run.noises.covariance(spread, spread)[1]
    return spread, (mean, variance, third + run.batch.skewed(apart)), apart


def deviation(known: Signal, run: Interpreter) -> float:
    """Return the standard deviation of log q over draws, of the law whose median and band the profile has.

    Where functions bend the log its tails are long, and a band is no multiple of it.
    """
    spread, cumulants, _ = _law(known, run)
    if spread.trail is None or not known.moments.q.any():
        return math.sqrt(cumulants[1])
    return float(np.std(_bent(known.moments, cumulants, run.batch, LEVELS)))


def _bent(m: Moments, cumulants: tuple[float, float, float], batch: Batch, shares: Array) -> Array:
    """Return quantiles of a log that functions have bent, at these shares of the draws."""
    assert m.spread.trail is not None
    mean, variance, third = cumulants
    scores, without = ndtri(shares), (mean, variance, third - m.spread.third)
    form, straight = (np.array([quantile(c, float(z)) for z in scores]) for c in (cumulants, without))
    sizes = m.q[examples_of(batch)]
    return m.spread.trail.quantiles(shares, sizes / sizes.sum(), form, straight, mean)


def _norm(gradient: Value, module: nn.Module) -> float:
    weight = None if is_parametrized(module) else getattr(module, "weight", None)  # else it would be computed here
    return gradient_norm(gradient, weight.numel()) if isinstance(weight, torch.Tensor) else math.nan


def gradient_norm(gradient: Value, count: int) -> float:
    """Return the root mean square, over draws, of the norm of a parameter's gradient of `count` entries."""
    match gradient:
        case ParameterGradient(q=q):
            return math.sqrt(q * count)
        case Draws(values=values):
            return math.sqrt(float(values.double().square().mean()) * count)
        case _:
            return math.nan


def loss_of(value: Value) -> float:
    """Return the expected loss."""
    match value:
        case Draws(values=values):
            return float(values.double().mean())
        case Concrete(tensor=number) if number.numel() == 1:
            return float(number)
        case Fill(mean=number, variance=0.0):
            return number
        case _:
            return math.nan


def operator_signal(call: Seen, run: Interpreter) -> LayerSignal | None:
    """Return a row of the profile per operator; None for what is no signal, such as a parameter or the loss."""
    if isinstance(call.value, Draws) and call.value.values[0].numel() % run.batch.size:
        return None  # one number for the whole batch
    known = as_signal(run, call.value)
    if known is None and not isinstance(call.value, Unknown):
        return None
    moments = {} if known is None else (_backward if call.backward else _forward)(known, run)
    mark = _mark(known, None, run)
    return LayerSignal(path=call.path, kind=call.name, shape=call.shape, mark=mark, **moments)  # type: ignore[arg-type]

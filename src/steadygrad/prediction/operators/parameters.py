"""Functions of parameters: taken on the nodes of their law, so that a clamped normal has the moments that it has.

Entries of one draw go together, entries of two draws are independent. Exact up to the nodes' spacing; a function of
two draws is approximate.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from steadygrad.prediction.interpreter import Call, Interpreter
from steadygrad.prediction.law import Law, distributed, law_of, values_of
from steadygrad.prediction.values import Array, Concrete, Fill, Value, worst

COARSE = 400  # quantiles of each of two independent draws


def are_fills(values: list[Value]) -> bool:
    """Whether these are parameters and numbers alone."""
    return any(isinstance(v, Fill) for v in values) and all(
        isinstance(v, Fill) or (isinstance(v, Concrete) and v.tensor.numel() == 1) for v in values
    )


def of_fills(run: Interpreter, call: Call, values: dict[int, Value]) -> Value:
    """f(w), or f(w, v): of one draw on its nodes, of two on pairs of quantiles."""
    fills = [v for v in values.values() if isinstance(v, Fill)]
    moving = list({v.source: v for v in fills if v.variance > 0}.values())
    drawn = any(isinstance(v, Concrete) and v.drawn for v in values.values())
    mark = worst(*(f.mark for f in fills), "exact" if len(moving) < 2 and not drawn else "approximate")
    match moving:
        case [] | [_]:
            return replace(_of_one(run, call, values, moving[0] if moving else fills[0]), mark=mark)
        case [one, other]:
            return replace(_of_two(run, call, values, one, other), mark=mark)
        case _:
            return run.lost(f"{call.name} of more than two parameters")


def _of_one(run: Interpreter, call: Call, values: dict[int, Value], origin: Fill) -> Fill:
    law = law_of(origin)
    if any(isinstance(v, Fill) and v.variance > 0 and law_of(v).weights is not law.weights for v in values.values()):
        raise ValueError("two laws of one draw")
    nodes = values_of(origin)
    out = _ran(call, {key: _numbers(v, len(nodes)) for key, v in values.items()})
    if len(out) == 1 or origin.variance == 0:
        back = next((v.source for v in values.values() if isinstance(v, Fill) and v.source in run.sent_back), None)
        return Fill(float(out[0]), 0.0, run.new_fill() if back is None else back)
    return _affine(origin, nodes, out) or distributed(out, law.weights, origin.source)


def _affine(origin: Fill, x: Array, y: Array) -> Fill | None:
    """The map of a fill that is a straight line, its moments without the error of the nodes; None for another."""
    slope = float((y[-1] - y[0]) / (x[-1] - x[0])) if x[-1] != x[0] else 0.0
    start = float(y[0]) - slope * float(x[0])
    if not np.abs(y - start - slope * x).max() <= 1e-9 * max(abs(start), float(np.abs(y).max()), 1e-300):
        return None
    law = origin.law
    if law is not None and slope < 0:
        law = Law(-law.values, law.weights)
    mean, variance = start + slope * origin.mean, slope**2 * origin.variance
    kept = origin.form if start == 0 else "independent"
    return replace(origin, mean=mean, variance=variance, law=law, form=kept)


def _of_two(run: Interpreter, call: Call, values: dict[int, Value], one: Fill, other: Fill) -> Fill:
    axes = {one.source: (COARSE, 1), other.source: (1, COARSE)}

    def grid(v: Value) -> torch.Tensor:
        if not isinstance(v, Fill) or v.variance == 0:
            return _numbers(v, 1)
        quantiles = torch.from_numpy(v.mean + v.variance**0.5 * law_of(v).quantiles(COARSE))
        return quantiles.reshape(axes[v.source]).expand(COARSE, COARSE)

    grids = {key: grid(v) for key, v in values.items()}
    out = np.sort(_ran(call, grids))
    return distributed(out, np.full(len(out), 1 / len(out)), run.new_fill())


def _ran(call: Call, on: dict[int, torch.Tensor]) -> Array:
    out = call.substituted(lambda t: on[id(t)].bool() if t.dtype == torch.bool else on[id(t)].clone())
    values: Array = out.double().numpy().ravel()
    if not np.isfinite(values).all():
        raise ValueError("not finite on all of its law")
    return values


def _numbers(value: Value, count: int) -> torch.Tensor:
    match value:
        case Fill() if value.variance > 0:
            return torch.from_numpy(values_of(value))
        case Fill(mean=number):
            return torch.full((count,), number, dtype=torch.float64)
        case Concrete(tensor=data):
            return data.double().reshape(1)
        case _:
            raise TypeError(f"a {type(value).__name__} has no law")

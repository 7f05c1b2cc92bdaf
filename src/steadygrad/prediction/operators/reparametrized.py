"""Gradients that go on from a weight to what it was computed of: a factor of a product, a length and a direction.

Approximate: entries of the gradient are taken as independent of each other and of what they are multiplied by.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from steadygrad.prediction import uses
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.values import Concrete, Draws, Fill, ParameterGradient, Value

aten = torch.ops.aten
ADDED = (aten.add, aten.add_, aten.sub, aten.sub_)
MULTIPLIED = (aten.mul, aten.mul_, aten.neg)
DIVIDED = (aten.div, aten.div_)


def on_from_a_weight(rule: Rule) -> Rule:
    """Return the rule of a pointwise operator with gradients of parameters among its arguments provided for."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        values = [run.value(t) for t in call.tensors]
        if not any(isinstance(v, ParameterGradient) for v in values):
            return rule(run, call)
        found = _of_gradients(run, call, values)
        return found if found is not None else run.lost(f"{call.name} of the gradient of a parameter")

    return ruled


def _of_gradients(run: Interpreter, call: Call, values: list[Value]) -> ParameterGradient | None:
    """E[(g w)²] = E[g²] E[w²], and of sums the sum; None for another function."""
    operator, numbers = call.operator.overloadpacket, [x for x in call.args if isinstance(x, int | float)]
    gradients = [v.q for v in values if isinstance(v, ParameterGradient)]
    if operator in ADDED:  # one of them may be had of samples
        gradients += [float(v.values.double().square().mean()) for v in values if isinstance(v, Draws)]
        values = [v for v in values if not isinstance(v, Draws)]
    others = [squares(v) for v in values if not isinstance(v, ParameterGradient)]
    if operator in ADDED and not others and not numbers and call.kwargs.get("alpha", 1) == 1:
        added = [v for v in values if isinstance(v, ParameterGradient)]
        known = run.tied and len(added) > 1 and operator in (aten.add, aten.add_) and all(v.terms for v in added)
        return uses.summed(added, run.kinship, run.batch.size) if known else ParameterGradient(sum(gradients))
    if len(gradients) != 1 or any(square is None for square in others) or operator not in MULTIPLIED + DIVIDED:
        return None
    q = gradients[0]
    for square in [s for s in others if s is not None] + [float(x) ** 2 for x in numbers]:
        if operator in DIVIDED and not (square > 0 and _is_one_number(values)):
            return None
        q = q / square if operator in DIVIDED else q * square
    return ParameterGradient(q)


def _is_one_number(values: list[Value]) -> bool:
    """Whether all that is no gradient is one number, whose inverse has the inverse second moment."""
    return all(
        isinstance(v, ParameterGradient)
        or (isinstance(v, Fill) and v.variance == 0)
        or (isinstance(v, Concrete) and v.tensor.numel() == 1)
        for v in values
    )


def squares(value: Value) -> float | None:
    """Return the second moment of a parameter's entries, drawn or not; None for anything else."""
    match value:
        case Fill():
            return value.mean**2 + value.variance
        case Concrete(tensor=known) if known.is_floating_point() and known.numel():
            return float(known.double().square().mean())
        case _:
            return None


def product(run: Interpreter, a: torch.Tensor, b: torch.Tensor) -> ParameterGradient | None:
    """The gradient of a factor: Σ_k G_ik W_kj has E[G²] E[W²] times the terms; None where it is none."""
    left, right = run.value(a), run.value(b)
    for gradient, weight in ((left, right), (right, left)):
        if isinstance(gradient, ParameterGradient) and (square := squares(weight)) is not None:
            return ParameterGradient(gradient.q * square * a.shape[-1])
    return None


def weight_norm_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Of w = g v/|v| by rows of n entries: v gets (g/|v|) (1 - u uᵀ) grad, u = v/|v|, and g gets u · grad.

    E[grad_v²] = (g/|v|)² E[grad²] (1 - 1/n), E[grad_g²] = E[grad²] (Salimans and Kingma 2016, equation 3).
    """
    gradient, norms, square = run.value(call.args[0]), run.value(call.args[3]), squares(run.value(call.args[2]))
    if not isinstance(gradient, ParameterGradient) or not isinstance(norms, Concrete) or square is None:
        return run.lost(f"{call.name} of something else than the gradient of a parameter")
    ratio = square * float(norms.tensor.double().square().reciprocal().mean())
    entries = call.args[1].numel() / call.args[2].numel()
    return ParameterGradient(gradient.q * ratio * (1 - 1 / entries)), ParameterGradient(gradient.q)


RULES: dict[Any, Rule] = {aten._weight_norm_interface_backward: weight_norm_backward}

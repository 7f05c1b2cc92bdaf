"""Fills: what writes numbers of one distribution into memory. Exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.law import NODES, NORMAL, distributed
from steadygrad.prediction.patchwork import NOTHING
from steadygrad.prediction.values import Concrete, Fill, Unknown, Value

aten = torch.ops.aten


def _fills(rule: Rule) -> Rule:
    """Mark a rule whose outcome does not depend on what its tensors held."""
    rule.fills = True  # type: ignore[attr-defined]
    return rule


def argument(call: Call, name: str, default: Any = None) -> Any:
    """Return an argument of an operator by the name that its schema gives it."""
    if name in call.kwargs:
        return call.kwargs[name]
    for position, parameter in enumerate(call.operator._schema.arguments):
        if parameter.name == name:
            given = call.args[position] if position < len(call.args) else parameter.default_value
            return default if given is None else given
    return default


@_fills
def uniform(run: Interpreter, call: Call) -> Value:
    """U(a, b): mean (a + b)/2, variance (b - a)²/12, kurtosis 9/5."""
    low, high = argument(call, "from", 0.0), argument(call, "to", 1.0)
    return Fill((low + high) / 2, (high - low) ** 2 / 12, run.new_fill(), kurtosis=1.8)


@_fills
def normal(run: Interpreter, call: Call) -> Value:
    """N(mean, std²)."""
    mean, std = argument(call, "mean", 0.0), argument(call, "std", 1.0)
    return Fill(float(mean), float(std) ** 2, run.new_fill())


def _constant(number: float) -> Rule:
    @_fills
    def rule(run: Interpreter, call: Call) -> Value:
        return Fill(number, 0.0, run.new_fill())

    return rule


@_fills
def full(run: Interpreter, call: Call) -> Value:
    """One number everywhere."""
    number = argument(call, "fill_value", argument(call, "value", argument(call, "s")))
    match run.value(number) if isinstance(number, torch.Tensor) else number:
        case bool() | int() | float() as known:
            return Fill(float(known), 0.0, run.new_fill())
        case Concrete(tensor=known) if known.numel() == 1:
            return Fill(float(known), 0.0, run.new_fill())
        case Fill(variance=0.0, mean=mean):
            return Fill(mean, 0.0, run.new_fill())
        case _:
            return run.lost("a fill by a tensor")


@_fills
def nothing(run: Interpreter, call: Call) -> Value:
    """Memory that nothing has filled."""
    return NOTHING


@_fills
def numbers(run: Interpreter, call: Call) -> Value:
    """Numbers that the code writes out: computed."""
    return Concrete(call.operator(*call.args, **{**call.kwargs, "device": "cpu"}))


@_fills
def bernoulli(run: Interpreter, call: Call) -> Value:
    """1 with probability p, else 0: a dropout mask."""
    p = float(argument(call, "p", 0.5))
    return distributed(np.array([0.0, 1.0]), np.array([1 - p, p]), run.new_fill())


@_fills
def integers(run: Interpreter, call: Call) -> Value:
    """Integers by chance: any draw is like another."""
    blank = torch.empty_strided(call.out.shape, call.out.stride(), dtype=call.out.dtype)
    with run.drawn.seeded():
        return Concrete(call.substituted(lambda t: blank))


@_fills
def copy(run: Interpreter, call: Call) -> Value:
    """The values of another tensor, laid out as they are copied to."""
    to, value = call.args[0], run.value(call.args[1])
    if not isinstance(value, Concrete):
        return value
    blank = torch.empty_strided(to.shape, to.stride(), dtype=to.dtype)
    return Concrete(blank.copy_(value.tensor.reshape(call.args[1].shape)), drawn=value.drawn)


@_fills
def exponential(run: Interpreter, call: Call) -> Value:
    """Density λ e^(-λx)."""
    values = -np.log1p(-(np.arange(NODES) + 0.5) / NODES) / float(argument(call, "lambd", 1.0))
    return distributed(values, np.full(NODES, 1 / NODES), run.new_fill())


@_fills
def log_normal(run: Interpreter, call: Call) -> Value:
    """The exponential of N(mean, std²)."""
    mean, std = float(argument(call, "mean", 1.0)), float(argument(call, "std", 2.0))
    return distributed(np.exp(mean + std * NORMAL.values), NORMAL.weights, run.new_fill())


def repeated(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A parameter several times over is one; what is no parameter is taken apart."""
    value = run.value(call.args[0])
    return value if isinstance(value, Fill | Unknown) else run.rules["taken apart"](run, call)


RULES: dict[Any, Rule] = {
    aten.repeat: repeated,
    aten.uniform_: uniform,
    aten.rand: uniform,
    aten.rand_like: uniform,
    aten.normal_: normal,
    aten.randn: normal,
    aten.randn_like: normal,
    aten.normal: normal,
    aten.zero_: _constant(0.0),
    aten.zeros: _constant(0.0),
    aten.zeros_like: _constant(0.0),
    aten.new_zeros: _constant(0.0),
    aten.ones: _constant(1.0),
    aten.ones_like: _constant(1.0),
    aten.new_ones: _constant(1.0),
    aten.scalar_tensor: full,
    aten.fill_: full,
    aten.full: full,
    aten.full_like: full,
    aten.new_full: full,
    aten.empty: nothing,
    aten.empty_like: nothing,
    aten.empty_strided: nothing,
    aten.new_empty: nothing,
    aten.new_empty_strided: nothing,
    aten.copy_: copy,
    aten.exponential_: exponential,
    aten.random_: integers,
    aten.log_normal_: log_normal,
    aten.bernoulli_: bernoulli,
    aten.arange: numbers,
    aten.eye: numbers,
    aten.linspace: numbers,
}

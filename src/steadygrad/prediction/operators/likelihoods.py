"""Cross-entropies of many logits: more than can be sampled, as a language model or a map of labels has.

Rows of logits are taken as Gaussian, independent over classes and correlated as their signal is, labels as independent
of them; how often two rows have one label is counted. Approximate.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch

from steadygrad.prediction.axes import EXAMPLE, FEATURE, Dimension, dimensions, laid, roles, sizes
from steadygrad.prediction.draws import BUDGET, FEWEST_DRAWS, MOST_DRAWS
from steadygrad.prediction.entrywise import EACH, MEAN
from steadygrad.prediction.interpreter import Call, Interpreter, Rule, numbers
from steadygrad.prediction.label_gradients import label_gradient
from steadygrad.prediction.probabilities import probabilities
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Array, Concrete, Draws, Fill, LikelihoodGradient, Likelihoods, Signal, Value

from .pointwise import on_draws
from .positions import laid_out

aten = torch.ops.aten


def log_probabilities(otherwise: Rule) -> Rule:
    """A log-softmax of logits that are too many: kept as what their samples would come to."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        logits, dim = call.args[:2]
        value, dim = run.value(logits), dim % max(logits.dim(), 1)
        if not isinstance(value, Signal) or run.backward or logits.numel() * FEWEST_DRAWS <= BUDGET:
            return otherwise(run, call)
        found = laid_out(run, logits, tuple(i for i in range(logits.dim()) if i != dim))
        classes = logits.shape[dim]
        if found is None or classes < 2 or roles(found[1][dim]) != {FEATURE} or not _has_examples(run, found[1]):
            return otherwise(run, call)
        x, dims = found
        known = probabilities(classes, float(np.maximum(x.moments.q - x.moments.mean**2, 0.0).mean()))
        return Likelihoods(x, laid(dims, call.out.stride()), known)

    return rule


def _has_examples(run: Interpreter, dims: tuple[Dimension, ...]) -> bool:
    return math.prod(a.size for dim in dims for a in dim if a.role == EXAMPLE) == run.batch.size


def loss(otherwise: Rule) -> Rule:
    """The expected log-probability of labels, and the sum of their weights."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        known = run.value(call.args[0])
        if not isinstance(known, Likelihoods) or call.args[3] == EACH:
            return otherwise(run, call)
        found = _labelled(run, call.args)
        if found is None:
            return otherwise(run, call)
        total = float(found[1].sum())
        mean = known.found.loss if total > 0 else math.nan
        whole = mean if call.args[3] == MEAN else known.found.loss * total
        return _number(run, whole, known.logits.ancestors), Concrete(torch.tensor(total))

    return rule


def loss_backward(otherwise: Rule) -> Rule:
    """What such a loss sends back to the log-probabilities: the weights of the labels."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        come, *args = call.args
        known, factor = run.value(args[0]), _one_number(run, come)
        if not isinstance(known, Likelihoods) or args[3] == EACH or factor is None:
            return otherwise(run, call)
        found = _labelled(run, args)
        if found is None:
            return otherwise(run, call)
        labels, weights = found
        total = float(weights.sum()) if args[3] == MEAN else 1.0
        return LikelihoodGradient(known, labels, weights * factor / total if total > 0 else weights * math.nan)

    return rule


def log_probabilities_backward(otherwise: Rule) -> Rule:
    """The gradient of the logits, of every row its probabilities less its label."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        known = run.value(call.args[0])
        if not isinstance(known, LikelihoodGradient):
            return otherwise(run, call)
        held = known.likelihoods
        x = held.logits
        moments = label_gradient(x.moments, held.found, known.labels, known.weights, run.batch, run.noises)
        axes = None if moments.field is None else held.axes
        return Signal(moments, base=moments, ancestors=x.ancestors, mark="approximate", axes=axes)

    return rule


def _number(run: Interpreter, number: float, ancestors: int) -> Draws:
    """Return the expectation of what is one number for the whole batch."""
    none = torch.zeros(MOST_DRAWS, run.batch.size, 1)
    return Draws(torch.full((MOST_DRAWS,), number), np.zeros(MOST_DRAWS), CERTAIN, none, ancestors)


def _one_number(run: Interpreter, tensor: torch.Tensor) -> float | None:
    """Return the one number that comes back from what was made of a loss; None where it is another thing."""
    value = run.value(tensor)
    if isinstance(value, Draws):
        return float(value.values.double().mean())
    fixed = isinstance(value, Concrete) or (isinstance(value, Fill) and value.variance == 0)
    return float(numbers(value, tensor)) if fixed and tensor.numel() == 1 else None


def _labelled(run: Interpreter, args: Any) -> tuple[Array, Array] | None:
    """Return labels and their weights, [examples, *positions]; None where they are not known."""
    logs, target, weight, _, ignored = args[:5]
    known, labels = run.value(logs), run.value(target)
    assert isinstance(known, Likelihoods)
    if not isinstance(labels, Concrete) or (weight is not None and not isinstance(run.value(weight), Concrete)):
        return None
    y = labels.tensor
    counted = (y != ignored).double()
    if weight is not None:
        counted = counted * run.value(weight).tensor.double()[torch.where(y == ignored, 0, y)]  # type: ignore[union-attr]
    dims = dimensions(known.axes, tuple(logs.shape), logs.stride())
    rows = [dim for i, dim in enumerate(dims) if i != (1 if logs.dim() > 1 else 0)]
    return _arranged(y, rows), _arranged(counted, rows)


def _arranged(rows: torch.Tensor, dims: list[Dimension]) -> Array:
    """Return what is known of rows as [examples, *positions]."""
    pieces = [a for dim in dims for a in reversed(dim)]
    order = sorted(range(len(pieces)), key=lambda i: (pieces[i].role != EXAMPLE, pieces[i].role, i))
    arranged = rows.reshape([a.size for a in pieces]).permute(order)
    examples = math.prod(a.size for a in pieces if a.role == EXAMPLE)
    return np.asarray(arranged.reshape(examples, *sizes(tuple(dims))).numpy())


def _apart(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    return run.rules["taken apart"](run, call)


RULES: dict[Any, Rule] = {
    aten._log_softmax: log_probabilities(on_draws),
    aten._log_softmax_backward_data: log_probabilities_backward(on_draws),
    aten.nll_loss_forward: loss(on_draws),
    aten.nll_loss_backward: loss_backward(on_draws),
    aten.nll_loss2d_forward: loss(_apart),
    aten.nll_loss2d_backward: loss_backward(_apart),
}

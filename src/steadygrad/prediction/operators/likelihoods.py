"""Cross-entropies of many logits: more than can be sampled, as a language model or a map of labels has.

Rows of logits are taken as Gaussian, independent over classes and correlated as their signal is, labels as independent
of them; how often two rows have one label is counted, and what smoothed labels or probabilities have in common. What a
loss of single rows is made of is taken at what it is expected to be. Approximate.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
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
from steadygrad.prediction.targets import Targets
from steadygrad.prediction.values import Array, Concrete, Draws, Fill, LikelihoodGradient, Likelihoods, Signal, Value

from .arithmetic import RULES as ARITHMETIC
from .joins import LARGEST
from .joins import RULES as JOINS
from .pointwise import on_draws
from .positions import laid_out
from .reductions import RULES as REDUCTIONS

aten = torch.ops.aten
TERMS = 2


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
        found = _labelled(run, call.args) if isinstance(known, Likelihoods) else None
        if not isinstance(known, Likelihoods) or found is None:
            return otherwise(run, call)
        total = float(found[1].sum())
        if call.args[3] == EACH:
            each = _counted(run, call.args) * known.found.loss
            return Concrete(each.to(call.out[0].dtype)), Concrete(torch.tensor(0.0))
        mean = known.found.loss if total > 0 else math.nan
        whole = mean if call.args[3] == MEAN else known.found.loss * total
        return _number(run, whole, known.logits.ancestors), Concrete(torch.tensor(total))

    return rule


def loss_backward(otherwise: Rule) -> Rule:
    """What such a loss sends back to the log-probabilities: the weights of the labels."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        come, *args = call.args
        known = run.value(args[0])
        found = _labelled(run, args) if isinstance(known, Likelihoods) else None
        if not isinstance(known, Likelihoods) or found is None:
            return otherwise(run, call)
        labels, weights = found
        if args[3] == EACH:
            each = _numbers(run, come)
            if each is None:
                return otherwise(run, call)
            weights = weights * _rows_of(known, args[0], each.double(), 1 if args[0].dim() > 1 else 0)
        else:
            factor = _one_number(run, come)
            if factor is None:
                return otherwise(run, call)
            total = float(weights.sum()) if args[3] == MEAN else 1.0
            weights = weights * factor / total if total > 0 else weights * math.nan
        return LikelihoodGradient(known, Targets(known.found.classes, labels, weights))

    return rule


def log_probabilities_backward(otherwise: Rule) -> Rule:
    """The gradient of the logits, of every row its probabilities less its label."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        held, targets = run.value(call.args[1]), _sent_back(run, call)
        if not isinstance(held, Likelihoods) or targets is None:
            return otherwise(run, call)
        x = held.logits
        moments = label_gradient(x.moments, held.found, targets, run.batch, run.noises)
        axes = None if moments.field is None else held.axes
        return Signal(moments, base=moments, ancestors=x.ancestors, mark="approximate", axes=axes)

    return rule


def added(otherwise: Rule) -> Rule:
    """What comes back of labels, beside what all classes get alike, as of label smoothing, or numbers of their own."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        if not run.backward:
            return otherwise(run, call)
        values = [run.value(t) for t in call.tensors]
        at = next((i for i, v in enumerate(values) if isinstance(v, LikelihoodGradient)), None)
        if at is None or len(values) != TERMS or call.kwargs.get("alpha", 1) != 1:
            return otherwise(run, call)
        known, other = values[at], call.tensors[1 - at]
        assert isinstance(known, LikelihoodGradient)
        found = _even_or_numbers(run, known.likelihoods, other, _classes_at(known.likelihoods, other))
        if found is None:
            return otherwise(run, call)
        return replace(known, targets=known.targets.beside(*found))

    return rule


def expected(otherwise: Rule) -> Rule:
    """Log-probabilities times numbers, or those of some classes: what they are expected to be."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        if run.backward:
            return otherwise(run, call)
        values = [run.value(t) for t in call.tensors]
        known = next((v for v in values if isinstance(v, Likelihoods)), None)
        others = [v for v in values if not isinstance(v, Likelihoods)]
        if known is None or len(others) + 1 < len(values) or not all(_is_numbers(v) for v in others):
            return otherwise(run, call)
        if max(t.numel() for t in call.outs) > LARGEST:
            return otherwise(run, call)
        mean = torch.tensor(-known.found.loss, dtype=call.outs[0].dtype)
        out = call.substituted(lambda t: mean.expand(t.shape) if run.value(t) is known else numbers(run.value(t), t))
        return Concrete(out)

    return rule


def _is_numbers(value: Value) -> bool:
    return isinstance(value, Concrete) or (isinstance(value, Fill) and value.variance == 0)


def _numbers(run: Interpreter, tensor: torch.Tensor) -> torch.Tensor | None:
    value = run.value(tensor)
    return numbers(value, tensor) if _is_numbers(value) else None


def _sent_back(run: Interpreter, call: Call) -> Targets | None:
    """Return the targets that a gradient of log-probabilities is of; None where it is none of numbers alone."""
    come, held = run.value(call.args[0]), run.value(call.args[1])
    if isinstance(come, LikelihoodGradient):
        return come.targets
    if not isinstance(held, Likelihoods):
        return None
    found = _even_or_numbers(run, held, call.args[0], call.args[2] % call.args[0].dim())
    if found is None:
        return None
    even, soft = found
    rows = even if even is not None else soft[..., 0] if soft is not None else np.zeros(())
    return Targets(held.found.classes, np.zeros(rows.shape), np.zeros(rows.shape)).beside(even, soft)


def _even_or_numbers(
    run: Interpreter, held: Likelihoods, tensor: torch.Tensor, classes: int
) -> tuple[Array | None, Array | None] | None:
    """Return, times -1, what all classes of a row get together where each gets the same, or the numbers of each."""
    value = run.value(tensor)
    if not _is_numbers(value):
        return None
    if isinstance(value, Fill) or tensor.stride(classes) == 0:
        row = torch.full((), value.mean) if isinstance(value, Fill) else value.tensor.select(classes, 0)  # type: ignore[union-attr]
        row = row.expand([n for i, n in enumerate(tensor.shape) if i != classes])
        return -held.found.classes * _rows_of(held, tensor, row.double(), classes), None
    if tensor.numel() > LARGEST:
        return None
    each = numbers(value, tensor).double().movedim(classes, -1)
    rows = [_rows_of(held, tensor, part, classes) for part in each.unbind(-1)]
    return None, -np.stack(rows, axis=-1)


def _classes_at(held: Likelihoods, tensor: torch.Tensor) -> int:
    """Return which dimension the classes are: the one that is neither examples nor places."""
    return next(i for i, dim in enumerate(_dims(held, tensor)) if roles(dim) == {FEATURE})


def _rows_of(held: Likelihoods, logs: torch.Tensor, rows: torch.Tensor, classes: int) -> Array:
    """Return numbers, one a row of the log-probabilities, as [examples, *positions]."""
    return _arranged(rows, [dim for i, dim in enumerate(_dims(held, logs)) if i != classes])


def _dims(held: Likelihoods, logs: torch.Tensor) -> tuple[Dimension, ...]:
    """Return what the dimensions of log-probabilities run over, of one number expanded to them too."""
    steps = logs.stride() if 0 not in logs.stride() else torch.empty(logs.shape, device="meta").stride()
    return dimensions(held.axes, tuple(logs.shape), steps)


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
    logs, target, weight = args[:3]
    known, labels = run.value(logs), run.value(target)
    assert isinstance(known, Likelihoods)
    if not isinstance(labels, Concrete) or (weight is not None and not isinstance(run.value(weight), Concrete)):
        return None
    dims = dimensions(known.axes, tuple(logs.shape), logs.stride())
    rows = [dim for i, dim in enumerate(dims) if i != (1 if logs.dim() > 1 else 0)]
    return _arranged(labels.tensor, rows), _arranged(_counted(run, args), rows)


def _counted(run: Interpreter, args: Any) -> torch.Tensor:
    """Return the weights of labels, zero where they are ignored."""
    _, target, weight, _, ignored = args[:5]
    y = numbers(run.value(target), target)
    counted: torch.Tensor = (y != ignored).double()
    if weight is None:
        return counted
    of_classes: torch.Tensor = numbers(run.value(weight), weight).double()
    return counted * of_classes[torch.where(y == ignored, 0, y)]


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
    aten.add: added(ARITHMETIC[aten.add]),
    aten.mul: expected(ARITHMETIC[aten.mul]),
    aten.sum: expected(REDUCTIONS[aten.sum]),
    aten.mean: expected(REDUCTIONS[aten.mean]),
    aten.gather: expected(JOINS[aten.gather]),
}

"""Summands of the loss that were cut from the graph as the numbers that they are."""

from __future__ import annotations

from collections.abc import Sequence

from steadygrad.measurement import Operation

_SUMS = ("add", "sub", "rsub")
# They hand a number on times another, or as it is.
_PASSES = ("mul", "div", "neg", "mean", "sum", "view", "reshape", "_to_copy", "squeeze", "unsqueeze", "clone", "alias")


def cut_summands(forward: Sequence[Operation]) -> list[Operation]:
    """Return the operators that cut a number with a history which the loss then adds to one that has its own.

    A number that is taken off itself again, `x - x.detach()`, has its gradient and is none; nor is one made of what was
    cut as a tensor, as the entropy of a target that a model gives itself.

    Args:
        forward: operators of a model and its loss, in order.
    """
    last = next((o for o in reversed(forward) if o.phase == "loss" and o.needs_grad and not o.cuts), None)
    if last is None:
        return []
    trained: list[Operation] = []
    others: list[Operation] = []
    waiting = [last]
    while waiting:
        operation = waiting.pop()
        trained.append(operation)
        if operation.shape or operation.name not in (*_SUMS, *_PASSES):
            continue
        for source in (forward[i] for i in operation.sources):
            if source.needs_grad and not source.cuts:
                waiting.append(source)
            elif operation.name in _SUMS and not source.shape:
                others.append(source)
    known = {o.index for o in trained}
    found = (_cut(forward, o, known) for o in others)
    return list({o.index: o for o in found if o is not None}.values())


def _cut(forward: Sequence[Operation], summand: Operation, trained: set[int]) -> Operation | None:
    """Where a number lost its history, going back through numbers alone; None where it had none, or keeps it."""
    waiting, seen = [summand], set[int]()
    while waiting:
        operation = waiting.pop()
        if operation.index in seen or operation.shape:
            continue
        seen.add(operation.index)
        if operation.cuts and operation.differentiable:
            return None if trained & set(operation.sources) else operation
        waiting += [forward[i] for i in operation.sources]
    return None

"""Where the way from a parameter to the loss is cut."""

from __future__ import annotations

from collections.abc import Sequence

from steadygrad.measurement import Operation

# They say something about a tensor rather than hand it on.
_ASIDE = frozenset(
    (
        *("gt", "lt", "ge", "le", "eq", "ne", "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like"),
        *("full_like", "bernoulli", "isnan", "isinf", "isfinite", "new_zeros", "new_ones", "new_empty", "new_full"),
        *("sign", "any", "all"),
    )
)

_WORDS = {
    "detach": "`detach` hands on its numbers without their history",
    "argmax": "`argmax` has no derivative",
    "argmin": "`argmin` has no derivative",
    "_to_copy": "a cast to integers has no derivative",
    "bernoulli": "a draw has no derivative",
    "multinomial": "a draw has no derivative",
    "one_hot": "`one_hot` has no derivative",
    "topk": "the indices of `topk` have no derivative",
}


def graph_cut(forward: Sequence[Operation], name: str) -> Operation | None:
    """Return the operator where what came of a parameter lost its gradient; None where it was never used.

    The last one counts that still hands something on; where none does, as with `.data` or `.numpy()`, the last
    operator that the parameter reached.

    Args:
        forward: operators in order.
        name: of the parameter.
    """
    reached: set[int] = set()
    for operation in forward:
        fed = any(source in reached for source in operation.sources)
        if name in operation.parameters or fed:
            reached.add(operation.index)
            if operation.cuts:
                # What comes after a cut no longer belongs to the parameter's own way.
                reached.discard(operation.index)
    cuts = [o for o in forward if o.cuts and (name in o.parameters or any(s in reached for s in o.sources))]
    telling = [o for o in cuts if o.name not in _ASIDE]
    if telling or cuts:
        return (telling or cuts)[-1]
    return forward[max(reached)] if reached else None


def cut_words(operation: Operation) -> str:
    """Return why an operator cuts, in words.

    >>> from steadygrad.measurement import operations
    >>> import torch
    >>> run = operations(torch.nn.Linear(2, 1), torch.ones(1, 2))
    >>> cut_words(run.forward[0])
    'its numbers are handed on without their history'
    """
    if not operation.cuts:
        return "its numbers are handed on without their history"
    if operation.name in _WORDS and not (operation.name == "_to_copy" and operation.differentiable):
        return _WORDS[operation.name]
    if operation.differentiable:
        return f"`{operation.name}` runs where gradients are switched off, as under `torch.no_grad`"
    return f"`{operation.name}` has no derivative"

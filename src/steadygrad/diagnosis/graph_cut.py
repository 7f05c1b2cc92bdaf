"""Where the way from a parameter to the loss is cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
    "_local_scalar_dense": "`.item()` hands on a number without its history",
    "detach": "`detach` hands on its numbers without their history",
    "argmax": "`argmax` has no derivative",
    "argmin": "`argmin` has no derivative",
    "_to_copy": "a cast to integers has no derivative",
    "bernoulli": "a draw has no derivative",
    "multinomial": "a draw has no derivative",
    "one_hot": "`one_hot` has no derivative",
    "topk": "the indices of `topk` have no derivative",
}


# Their derivative is zero wherever they have one.
_FLAT = frozenset(("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside", "floor_divide"))


def flat_operator(forward: Sequence[Operation], names: Collection[str]) -> Operation | None:
    """Return the last operator without slope that all of the parameters go through; None where there is none.

    Args:
        forward: operators in order.
        names: of the parameters.
    """
    ways = [_reached(forward, name) for name in names]
    flat = [o for o in forward if o.name in _FLAT and ways and all(o.index in way for way in ways)]
    return flat[-1] if flat else None


def _reached(forward: Sequence[Operation], name: str) -> set[int]:
    """Operators that something of a parameter comes to."""
    reached: set[int] = set()
    for operation in forward:
        if name in operation.parameters or any(source in reached for source in operation.sources):
            reached.add(operation.index)
    return reached


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


def cuts(operation: Operation) -> bool:
    """Return whether an operator is known to cut: what was copied out of a tensor unseen, as by `.tolist()`, is not."""
    return operation.cuts or operation.name == "_local_scalar_dense"


def cut_words(operation: Operation) -> str:
    """Return why an operator cuts, in words.

    >>> from steadygrad.measurement import operations
    >>> import torch
    >>> run = operations(torch.nn.Linear(2, 1), torch.ones(1, 2))
    >>> cut_words(run.forward[0])
    'its numbers are handed on without their history'
    """
    if not cuts(operation):
        return "its numbers are handed on without their history"
    if operation.name in _WORDS and not (operation.name == "_to_copy" and operation.differentiable):
        return _WORDS[operation.name]
    if operation.differentiable:
        return f"`{operation.name.strip('_')}` runs where gradients are switched off, as under `torch.no_grad`"
    return f"`{operation.name.strip('_')}` has no derivative"

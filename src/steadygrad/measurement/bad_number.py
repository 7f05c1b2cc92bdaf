"""What an operator was given when it made the first number that is not finite, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch

from .norms import largest

# They put numbers where they are told to: an infinity that comes from them was asked for.
PLACED = frozenset(
    (
        *("masked_fill", "full", "full_like", "fill", "where", "scalar_tensor", "lift_fresh", "new_full", "copy"),
        *("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "resize", "index_put"),
        "masked_scatter",
    )
)

# They are infinite at a point, in any format and at any scale.
POLES = frozenset(
    (
        "log",
        "log2",
        "log10",
        "log1p",
        "rsqrt",
        "reciprocal",
        "div",
        "atanh",
        "logit",
        "tan",
        "log_softmax",
        "_log_softmax",
    )
)

# What to do is another thing where these are infinite than to keep small what they are given.
_NOT_BY_SIZE = POLES | {"exp", "_softmax"}

_UNDEFINED_BELOW = frozenset(("sqrt", "rsqrt", "log", "log2", "log10", "pow"))

_REMEDIES = {
    "sqrt": "`sqrt` has an infinite derivative at 0 and none below: add a small number before the root",
    "rsqrt": "`rsqrt` is infinite at 0: add a small number before the root",
    "log": "`log` is -inf at 0 and NaN below: use `log_softmax`, `logsigmoid` or `log1p`, or clamp before it",
    "log2": "`log2` is -inf at 0 and NaN below: clamp before it",
    "exp": "`exp` overflows beyond 88.7 in single precision: subtract the largest entry first, as `softmax` does",
    "div": "the divisor reaches 0: add a small number to it",
    "reciprocal": "the divisor reaches 0: add a small number to it",
    "_softmax": "a row of the softmax is masked as a whole: leave it one entry, or set its result to 0",
    "pow": "the power is infinite at 0, or undefined below: keep its base away from there",
    "norm": "a norm has no derivative at 0: add a small number under its root",
    "linalg_vector_norm": "a norm has no derivative at 0: add a small number under its root",
    "acos": "`acos` is undefined beyond 1: clamp its argument within",
    "asin": "`asin` is undefined beyond 1: clamp its argument within",
    "atanh": "`atanh` is infinite at 1: clamp its argument within",
}


@dataclass(frozen=True, kw_only=True)
class BadNumber:
    """How a number that is not finite came about.

    Attributes:
        operator: that made it: of the forward pass, or of the backward pass.
        is_nan: NaN rather than infinite.
        given: what the operator was given, in words; "" where nothing stands out.
        entries: how many entries are not finite.
        overflowed: what a forward pass gave was finite, and its size alone made the infinity.
    """

    operator: str
    is_nan: bool
    given: str
    entries: int
    overflowed: bool = False

    @classmethod
    def of(cls, operator: str, given: Sequence[torch.Tensor], made: torch.Tensor) -> Self:
        """Describe what was made of what was given.

        >>> zero = torch.zeros(3)
        >>> BadNumber.of("div", [zero, zero], zero / zero).given
        '3 of 3 entries of operand 1 are 0; 3 of 3 entries of operand 2 are 0'
        """
        bad, is_nan = ~torch.isfinite(made), bool(made.isnan().any())
        below = is_nan and operator in _UNDEFINED_BELOW  # what is negative makes NaN, no infinity
        described = [_words(x, i, len(given), below=below) for i, x in enumerate(given)]
        return cls(
            operator=operator,
            is_nan=is_nan,
            given="; ".join(words for words in described if words),
            entries=int(bad.sum()),
        )


def bad_number(operator: str, given: Sequence[torch.Tensor], made: torch.Tensor) -> BadNumber | None:
    """Return how an operator made a number that is not finite of numbers that were; None where it did not.

    NaN of operands without NaN counts too, as a softmax's over a row of -inf: an infinity that a mask put there does
    not.

    >>> bad_number("masked_fill", [torch.ones(2)], torch.tensor([1.0, -math.inf])) is None
    True
    """
    size = largest(made)
    if math.isfinite(size) or operator in PLACED:
        return None
    reals = [x for x in given if x.is_floating_point() and x.numel()]
    sizes = [largest(x) for x in reals]
    made_of_finite = all(map(math.isfinite, sizes))
    first_nan = math.isnan(size) and not any(map(math.isnan, sizes))
    if not (made_of_finite or first_nan):
        return None
    found = BadNumber.of(operator, given, made)
    at_pole = operator in _NOT_BY_SIZE or (operator == "pow" and any(bool((x == 0).any()) for x in reals[:1]))
    return replace(found, overflowed=made_of_finite and not found.is_nan and not at_pole)


def remedy(operator: str) -> str:
    """Return what to do about an operator that made a number that is not finite; "" where nothing special is known.

    >>> remedy("div")
    'the divisor reaches 0: add a small number to it'
    """
    return _REMEDIES.get(operator, "")


def _words(x: torch.Tensor, place: int, of: int, *, below: bool) -> str:
    if not x.is_floating_point() or not x.numel():
        return ""
    name = "what it is given" if of == 1 else f"operand {place + 1}"
    entries, said = x.numel(), []
    finite = x[torch.isfinite(x)]
    for count, kind in (
        (int((x == 0).sum()), "0"),
        (int((x < 0).sum()), "negative"),
        (int(x.isinf().sum()), "infinite"),
        (int(x.isnan().sum()), "NaN"),
    ):
        if count and (kind != "negative" or below):
            said.append(f"{count} of {entries} entries of {name} {'is' if count == 1 else 'are'} {kind}")
    if finite.numel() and (not said or float(finite.abs().max()) > 80):
        said.append(f"{name} lies between {float(finite.min()):.3g} and {float(finite.max()):.3g}")
    return "; ".join(said)

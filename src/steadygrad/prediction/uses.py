"""The gradient of a parameter that is met at several steps: what its uses have in common adds up."""

from __future__ import annotations

from .kinship import Kinship
from .values import Moments, ParameterGradient

MOST = 8  # uses that one more is held against, evenly among all before it


def summed(gradients: list[ParameterGradient], kinship: Kinship, examples: int) -> ParameterGradient:
    """Return the sum of gradients of one parameter, by their terms.

    Two uses g x and g' x', each summed over B examples, covary by B (c_g c_x + (B - 1) k_g k_x) times their sizes; c
    and k are what two gradients, or two signals, of one example and of two have in common.

    Args:
        gradients: of the parameter, their terms known.
        kinship: knows what signals have in common.
        examples: in the batch.
    """
    whole = gradients[0]
    for other in gradients[1:]:
        covariance = sum(_covariance(term, whole.terms, kinship, examples) for term in other.terms)
        whole = ParameterGradient(max(whole.q + other.q + 2 * covariance, 0.0), (*whole.terms, *other.terms))
    return whole


def _covariance(
    term: tuple[Moments, Moments | None],
    before: tuple[tuple[Moments, Moments | None], ...],
    kinship: Kinship,
    examples: int,
) -> float:
    held = before[:: -(-len(before) // MOST)]
    return len(before) / len(held) * sum(_of_two(term, other, kinship, examples) for other in held)


def _of_two(
    one: tuple[Moments, Moments | None], other: tuple[Moments, Moments | None], kinship: Kinship, examples: int
) -> float:
    (g, x), (h, y) = one, other
    own, two = kinship.of(g, h)
    size = float(g.q.mean() * h.q.mean()) ** 0.5
    if x is not None and y is not None:
        met = kinship.of(x, y)
        own, two = own * met[0], two * met[1]
        size *= float(x.q.mean() * y.q.mean()) ** 0.5
    return float(examples * size * (own + (examples - 1) * two))

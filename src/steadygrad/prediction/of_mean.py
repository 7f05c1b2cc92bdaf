"""The mean over all positions of an example: how its size varies over draws beside that of the positions themselves.

Attention at initialization is nearly a mean over tokens, of values going forward and of gradients going back. So how
large what comes out is in a draw is a matter of M, the mean over the batch of |x̄|², x̄ the mean of an example's
tokens. It is of fewer directions than the tokens are, so it varies by more than their mean square q does; and a stream
that has it large in one layer has it large in the next. `Field.of_mean` is the form of log M/q.

Of n units of a matrix, and r the mean over pairs of examples of E[(x̄·x̄')²]/M², log M varies by 2r/n. With a = M/q,
q = M + (q - M) of parts that meet different directions: a of the noise of M is in that of q.
Approximate: r takes products of two means to vary as those of two places do, and norms to divide all places alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .batch import Batch
from .field import Field
from .spread import ROUNDING, Noises, Spread
from .values import Moments


def share(field: Field) -> float:
    """Return a = M/q."""
    return max(1 - field.mean()[0], 1e-12)


def overlap(field: Field, examples: int) -> float:
    """Return the mean over pairs of examples of E[(x̄·x̄')²]/M²."""
    of_two = ((1 - field.mean()[1]) / share(field)) ** 2 + field.varied
    return 1 / examples + (1 - 1 / examples) * min(of_two, 1.0)


def followed(m: Moments) -> Spread | None:
    """Return the form of log M; None where it is not known."""
    form = m.field.of_mean if m.field is not None else None
    return None if form is None else m.spread.centred.plus(form)


def going_with(noise: Spread, mean: Spread, part: float, noises: Noises) -> Spread:
    """Return a noise as it is, but that a part of it is as large a part of that of the mean."""
    whole, along = noises.covariance(noise, noise)[0], part**2 * noises.covariance(mean, mean)[0]
    if not whole > 0:
        return noise
    least = min(math.sqrt(whole / along), 1.0) if along > 0 else 0.0
    rest = math.sqrt(max(1 - least**2 * along / whole, 0.0))
    both = noise.scaled(rest).plus(mean.centred.scaled(least * part))
    return replace(noise, weights=both.weights)


def through(
    x: Moments, field: Field, kept: float, noise: Spread, variance: float, noises: Noises
) -> tuple[Field, Spread]:
    """Return the field of W x, `kept` of whose size is not the bias, and the noise of its size.

    `variance` is that of the log of the new M, given what came in.
    """
    before = followed(x)
    if before is None or x.field is None:
        return replace(field, of_mean=None), noise
    mean = noises.fresh(max(variance, 0.0)).centred
    noise = going_with(noise, mean, share(field), noises)
    after = before.scaled(min(kept * share(x.field) / share(field), 1.0)).plus(mean)
    return replace(field, of_mean=beside(after, x.spread.scaled(kept).plus(noise))), noise


def drawn(m: Moments, batch: Batch, noises: Noises) -> Field | None:
    """Return the field of places of independent entries, of which it is known how their mean varies.

    Of T places M has all products, q those of a place with itself: log M/q varies by 1 - 1/T of what log M does.
    """
    field, size = m.field, float(m.q.mean())
    if field is None or field.count < 2 or not size > 0 or float(m.mean.max()) ** 2 > ROUNDING * size:
        return field
    if float(field.within.flat[-1]) < 1 or not field.varied > 0:
        return field
    variance = 2 * batch.pair_mean((m.product / size) ** 2) * field.varied * (1 - 1 / field.count)
    return replace(field, of_mean=noises.fresh(variance).centred)


def of_a_part(m: Moments, fewer: float, own: float, examples: int, noises: Noises) -> tuple[Spread, Spread | None]:
    """Return the logs of q and of M of some of a layer's units: of 1/n, `fewer` more than those of all of them.

    `own` is the relative variance of one unit's square.
    """
    noise, before = noises.fresh(own * fewer), followed(m)
    if before is None or m.field is None:
        return m.spread.plus(noise), None
    mean = noises.fresh(2 * overlap(m.field, examples) * fewer).centred
    return m.spread.plus(going_with(noise, mean, share(m.field), noises)), before.plus(mean)


def behind(field: Field, before: Field, kept: float) -> Field:
    """Return the field with the form of one before it, of whose products of distinct places it has so much: M - q/T."""
    if before.of_mean is None:
        return replace(field, of_mean=None)
    slope = kept * share(before) / share(field)
    return replace(field, of_mean=before.of_mean.scaled(min(max(slope, 0.0), 1.0)))


def kept_by(factor: Field) -> float:
    """Return how much of the products of distinct places a factor that is independent of them leaves."""
    pairs = 1 - 1 / factor.count
    return (share(factor) - 1 / factor.count) / pairs if pairs > 0 else 1.0


def summed(terms: Sequence[tuple[float, Moments]], field: Field | None, whole: Spread, mean: Spread) -> Field | None:
    """Return the field of a sum, or of parts side by side, of these shares of the size and of this log of it.

    `mean` is what log M varies by as the terms meet.
    """
    if field is None:
        return None
    forms = [(followed(m), share_ * share(m.field) / share(field)) for share_, m in terms if m.field is not None]
    if len(forms) < len(terms) or any(form is None for form, _ in forms):
        return field
    after = mean
    for form, weight in forms:
        assert form is not None
        after = after.plus(form.scaled(weight))
    return replace(field, of_mean=beside(after, whole))


def beside(one: Spread, other: Spread) -> Spread:
    """Return the difference of two forms, their means left away."""
    return one.centred.plus(other.centred.scaled(-1.0))


def with_less(spread: Spread, form: Spread, noises: Noises) -> Spread:
    """Return the log of what has the mean that it had, and varies by a form more: a log of a unit mean has -v/2."""
    after = spread.plus(form.centred)
    more = noises.covariance(after, after)[0] - noises.covariance(spread, spread)[0]
    return after.shifted(-more / 2)

"""The gradient of a cross-entropy at the logits, row by row τ p - T: how its rows and examples go together.

Expectations over the logits are those of probabilities.py; what targets T, of sum τ, have in common is counted in those
that are given, of labels how often two rows have one. What both leave to chance is said of products of two rows and of
the whole size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .batch import Batch
from .field import Field
from .labels import Coincidences
from .meeting import MET_NOTHING
from .probabilities import Probabilities
from .spread import Noises
from .targets import Targets
from .values import Array, Moments


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is known of pairs of rows: the logits' correlations by lag, and how often labels are equal.

    `own` and `other` are of one example and of two; the field is that of the logits, over one place if there are none.
    `of_targets` is by how much products of targets vary.
    """

    logits: Moments
    field: Field
    own: Array
    other: Array
    met: Coincidences
    found: Probabilities
    examples: int
    of_targets: float

    def averaged(self, name: str) -> float:
        """Return an expectation's mean over all pairs of rows."""
        pair = self.found.at(name, self.own), self.found.at(name, self.other)
        return float((self.field.weights * Field.averaged(pair, self.examples)).sum())

    @property
    def size(self) -> float:
        """E of the squared length of a row, |τ p - T|²."""
        sums, squares = (float(x.flat[0]) for x in self.met.own)
        return sums * (self.found.size - 1) + squares

    @property
    def relative(self) -> float:
        """The same, relative to the squared sum of the targets; of labels that of p - e_y."""
        return self.size / max(float(self.met.own[0].flat[0]), 1e-300)

    @property
    def products(self) -> tuple[Array, Array]:
        """E[g·g'] by lag, of one example and of two, relative to the size."""
        known, size = self.found, max(self.size, 1e-300)
        pairs = zip((self.own, self.other), (self.met.own, self.met.other), strict=True)
        own, other = ((all_ * (known.at("products", c) - 2 / known.classes) + same) / size for c, (all_, same) in pairs)
        own.flat[0] = 1.0
        return own, other

    @property
    def variance(self) -> float:
        """The variance over draws of the mean squared length of all rows, relative to its mean squared."""
        own, other = (
            p * self.found.at("same", c) + (1 - p) * self.found.at("other", c)
            for c, p in zip((self.own, self.other), self.met.chances, strict=True)
        )
        whole = float((self.field.weights * Field.averaged((own, other), self.examples)).sum())
        return max(whole, 0.0) / self.relative**2

    @property
    def varying(self) -> tuple[float, float]:
        """The variances of products of two rows, relative to the size squared: by the targets, and over draws."""
        drawn = float(self.found.at("varying", float(self.other.mean())))
        return self.of_targets / self.relative**2, drawn / self.relative**2


def label_gradient(logits: Moments, found: Probabilities, targets: Targets, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of τ p - T; targets stand at [examples, *positions], as the logits' field does."""
    rows = _rows(logits, found, targets, batch)
    if not rows.size > 0:
        r = batch.followed
        return Moments(np.zeros(r), np.zeros(r), np.zeros((r, r)), noises.fresh(0.0))
    q, d = _of_examples(rows, targets, batch)
    of_labels, drawn = rows.varying
    field = _field(rows, targets, of_labels, drawn) if logits.field is not None else None
    whole = rows.found.classes * rows.relative * max(float(logits.q.mean()), 1e-300)
    of_targets = float(rows.met.own[1].flat[0]) / float(rows.met.own[0].flat[0])
    met = (rows.averaged("along") + found.variance * of_targets / rows.field.count) / whole
    return Moments(
        np.zeros(batch.followed),
        q,
        d,
        noises.fresh(rows.variance),
        rows.variance,
        excess=batch.off_diagonal(field.varied if field else of_labels + drawn),
        alignment=met,
        crossed=met,
        along=float(found.along[-1]) / whole,
        field=field,
        meeting=MET_NOTHING.raised(met, met),
    )


def _rows(logits: Moments, found: Probabilities, targets: Targets, batch: Batch) -> _Rows:
    q = max(float(logits.q.mean()), 1e-300)
    apart = batch.distinct_mean(logits.d) / q if batch.followed > 1 else 1.0
    field = logits.field or Field(np.ones(()), np.zeros(()), np.full((), apart))
    of_variance = max(found.variance / q, 1e-300)
    own, other = (np.clip(1 - gap / of_variance, -1.0, 1.0) for gap in (field.within, field.across))
    return _Rows(logits, field, own, other, targets.coincidences(), found, batch.size, targets.varying())


def _of_examples(rows: _Rows, targets: Targets, batch: Batch) -> tuple[Array, Array]:
    """Return q and d of the followed examples, such that their means are those of the whole batch."""
    found, classes = rows.found, rows.found.classes
    sums, squares = (x.reshape(batch.size, -1)[batch.chosen] for x in (targets.sums, targets.squares))
    q = (sums**2 * (found.size - 1) + squares).mean(1) / classes
    q *= rows.size / classes / float(q.mean()) if q.any() else 1.0
    if batch.followed < 2:
        return q, np.zeros((1, 1))
    c = np.clip(1 - rows.logits.d / max(found.variance, 1e-300), -1.0, 1.0)
    both, same = targets.met(batch.chosen)
    product = (both * (found.at("products", c) - 2 / classes) + same) / classes
    d = batch.off_diagonal(np.maximum((q[:, None] + q) / 2 - product, 0.0))
    whole = rows.size / classes * (1 - float(rows.products[1].flat[0]))
    here = batch.distinct_mean(d)
    return q, d * (max(whole, 0.0) / here if here > 0 else 1.0)


def _field(rows: _Rows, targets: Targets, of_labels: float, drawn: float) -> Field:
    own, other = rows.products
    share = (targets.sums**2 * (rows.found.size - 1) + targets.squares).mean(0)
    known = Field(share / share.mean(), np.maximum(1 - own, 0.0), np.maximum(1 - other, 0.0))
    known = known.raised(of_labels + drawn)
    return replace(known, given=of_labels / max(of_labels + drawn, 1e-300))

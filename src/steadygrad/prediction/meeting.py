"""What a sum over the entries of a gradient has in common with the forward pass: which layer's noise, and how much.

W^T u of a gradient u has of u, beside fresh numbers, what lies along z = W x: (z·u)²/|x|². With u = J^T g that is
(g·J z)²: large where the layers behind W, J, made much of z in the forward pass. |W^T u|² and |J z|² have the relative
covariance 2 a/N, a the alignment (`Moments`). Each factor of J adds to a, and what it adds is shared with the noise of
that factor's own layer, not with that of W, which lies in front of it. So each layer's share is kept by its noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .spread import CERTAIN, Noises, Spread, log_mean

if TYPE_CHECKING:
    from .batch import Batch
    from .source import Source


@dataclass(frozen=True, slots=True)
class Meeting:
    """By what each layer raised the alignments of a gradient, over the noises of these layers: covariances times units.

    `aligned` and `crossed`: of an example with itself and with another, over the noises that the batch has in common;
    `alone` and `crossed_alone`: over those of single examples. `counted` and `met`: the alignments that are in them.
    `spent` and `spent_alone`: what is taken of the noises of the sums so far. `fresh` and `fresh_crossed`: what is new
    in the alignments since.
    """

    aligned: Spread = CERTAIN
    crossed: Spread = CERTAIN
    alone: Spread = CERTAIN
    crossed_alone: Spread = CERTAIN
    spent: Spread = CERTAIN
    spent_alone: Spread = CERTAIN
    counted: float = 0.0
    met: float = 0.0
    fresh: float = 0.0
    fresh_crossed: float = 0.0

    def grown(self, alignment: float, crossed: float, source: Source, batch: Batch) -> Meeting:
        """Return the meeting where alignments have become these, behind the matrix that this source came from.

        What is fresh in them is the share of the layer in front; those of the layers behind turn away for it.
        """
        fresh, met = min(self.fresh, alignment), min(self.fresh_crossed, crossed)
        kept = (alignment - fresh) / self.counted if self.counted > 0 else 1.0
        kept_crossed = (crossed - met) / self.met if self.met > 0 else 1.0
        known = source.own_variance
        own = known + source.own_apart * (1 - 1 / batch.size)
        shared = source.shared.centred.scaled(2 * source.units / known) if source.shared and known > 0 else CERTAIN
        alone = source.alone.centred.scaled(2 * source.units / own) if source.alone and own > 0 else CERTAIN
        return replace(
            self,
            aligned=self.aligned.scaled(kept).plus(shared.scaled(fresh)),
            crossed=self.crossed.scaled(kept_crossed).plus(shared.scaled(met)),
            alone=self.alone.scaled(kept).plus(alone.scaled(fresh)),
            crossed_alone=self.crossed_alone.scaled(kept_crossed).plus(alone.scaled(met)),
            spent=self.spent.scaled(kept_crossed),
            spent_alone=self.spent_alone.scaled(kept),
            counted=alignment,
            met=crossed,
            fresh=0.0,
            fresh_crossed=0.0,
        )

    def raised(self, fresh: float, crossed: float, kept: float = 1.0) -> Meeting:
        """Return the meeting with this much to come, where of what two examples have in common a share is kept."""
        found = replace(self, fresh=self.fresh + fresh, fresh_crossed=self.fresh_crossed * kept + crossed)
        if kept == 1.0:
            return found
        return replace(
            found,
            crossed=self.crossed.scaled(kept),
            crossed_alone=self.crossed_alone.scaled(kept),
            spent=self.spent.scaled(kept),
            spent_alone=self.spent_alone.scaled(kept),
            met=self.met * kept,
        )

    def forms(self, batch: Batch, left: float, source: Source) -> tuple[Spread, Spread]:
        """Return what units times log |W^T u|² has of noises: the batch's mean, and a single example beside it.

        `left` is how far it leans on what of u lies along its own signal, relative to chance. Of another example's
        signal a share c² lies along its own, c their cosine: of a gradient that avoids the one no more is left there.
        """
        across = 1 - (1 - left) * (source.parting.cosine.alike if source.parting else 0.0)
        return self._forms(batch, left, across, 1.0)

    def forms_of_function(self, batch: Batch, left: float) -> tuple[Spread, Spread]:
        """Return the same of units times log |h u|², per covariance of h² and f²: what lies along another signal.

        That is, what of it lies along its own: what is across is to second order independent of h.
        """
        return self._forms(batch, left, left, left)

    def _forms(self, batch: Batch, left: float, across: float, apart: float) -> tuple[Spread, Spread]:
        one = 1 / batch.size
        shared = self.crossed.scaled((1 - one) * across).plus(self.aligned.scaled(one * left)).plus(self.spent)
        return shared, self.alone.scaled(left).plus(self.crossed_alone.scaled(-apart)).plus(self.spent_alone)

    def noise(self, sum_: Sum, forms: tuple[Spread, Spread], noises: Noises) -> tuple[Spread, Meeting]:
        """Return the log of a sum, and the meeting with what is spent of its noise.

        Sums with independent matrices have nothing in common with each other, though each has with what went forward:
        of the noise that is new in one as much is taken from the next as they would share.
        """
        shared, alone = forms
        met, met_alone = noises.covariance(shared, shared)[0], noises.covariance(alone, alone)[1]
        form = sum_.known.plus(shared.scaled(_within(sum_.share, met, sum_.variance)))
        form = form.plus(sum_.known_alone).plus(alone.scaled(_within(sum_.share_alone, met_alone, sum_.apart)))
        known, own = noises.covariance(form, form)
        new, single = max(sum_.variance - known, 0.0), max(sum_.apart - own, 0.0)
        fresh = noises.fresh(new).centred
        new = noises.cumulants[-1][0] if new > 0 else 0.0
        apart = noises.own(single)
        spent = _spent(self.spent, (shared, sum_.share * met), form, (fresh, new), 0, noises)
        spent_alone = _spent(self.spent_alone, (alone, sum_.share_alone * met_alone), form, (apart, single), 1, noises)
        whole = Spread(form.plus(fresh).plus(apart).weights, log_mean(sum_.variance))
        return whole, replace(self, spent=spent, spent_alone=spent_alone)


MET_NOTHING = Meeting()


@dataclass(frozen=True, slots=True)
class Sum:
    """A mean square over units: its relative variance, a single example's beside it, and what of its noise is known.

    `share`, `share_alone`: of the forms of a meeting.
    """

    variance: float
    apart: float
    share: float
    share_alone: float
    known: Spread = CERTAIN
    known_alone: Spread = CERTAIN


def _spent(
    spent: Spread, shared: tuple[Spread, float], form: Spread, fresh: tuple[Spread, float], which: int, noises: Noises
) -> Spread:
    """Return what is taken of noises, with what makes the next sum independent of this one, of noise `form` + `fresh`.

    `shared`: the form of the next one, and its covariance with this one; `fresh`: with its variance. It is taken of the
    new noise, so that what is shared with the forward pass stays. Where next to nothing is new that would be more than
    there is to share: then it is taken of the whole noise, which is the least that will do.
    """
    (to_come, covariance), (new, variance) = shared, fresh
    if variance <= 0:
        return spent
    first = to_come.plus(spent.scaled(-1.0))
    if covariance <= math.sqrt(variance * max(noises.covariance(first, first)[which], 0.0)):
        return spent.plus(new.scaled(-covariance / variance))
    both = form.plus(new)
    again = noises.covariance(both, to_come)[which] / noises.covariance(both, both)[which]
    return spent.plus(both.scaled(-again))


def _within(share: float, met: float, variance: float) -> float:
    """Return the share of a form of variance `met` that is at most of this variance."""
    return share * math.sqrt(max(variance, 0.0) / (share**2 * met)) if share**2 * met > variance else share

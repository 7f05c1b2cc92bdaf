"""How a gradient's function meets the one that goes on, over the lengths that signals of examples have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .hermite import over_rows, tables
from .stretched import meetings
from .trail import everywhere_of

if TYPE_CHECKING:
    from .batch import Batch
    from .source import Source, Wave
    from .spread import Noises
    from .values import Array, Moments

NODES = np.array([-(3**0.5), 0.0, 3**0.5])  # of Gauss and Hermite
WEIGHTS = np.array([1.0, 4.0, 1.0]) / 6

Meetings = tuple["Array", "Array", "Array"]


def over_lengths(
    source: Source, wave: Wave, g: Moments, plain: bool, batch: Batch, noises: Noises
) -> tuple[Meetings, Array]:
    """Return squared cosines of h z and f, E[h² z²] and E[f² h²] at some lengths of z, and the weights of these.

    f is the function of the source that goes on, h that of `wave`, and z, f and h have unit size at each length. Where
    a function bends as far as lengths go, what it is at the typical one is not its mean: that of SiLU's slope and its
    signal is largest at about unit variance and nothing far below or above. Where lengths are not followed, or units
    have means, one is taken.
    """
    assert source.onward is not None
    row = len(wave.values) // 2
    if plain and source.std.min() > 0 and not np.any(source.mean):
        logs = _lengths(source, g, batch, noises)
        met, size, both = meetings(everywhere_of(source.onward, row), everywhere_of(wave, row), logs)
        return (met * met, size, both), WEIGHTS
    f, h, z, w = source.onward.values, wave.values, source.nodes, tables()[1]
    q, q_h, q_z = (max(float(over_rows(x * x) @ w), 1e-300) for x in (f, h, z))
    along = float((f * h * z @ w).mean()) ** 2 / (q * q_h * q_z)
    back, beside = float(((h * z) ** 2 @ w).mean()) / (q_h * q_z), float(((f * h) ** 2 @ w).mean()) / (q * q_h)
    return (np.array([along]), np.array([back]), np.array([beside])), np.ones(1)


def _lengths(source: Source, g: Moments, batch: Batch, noises: Noises) -> Array:
    """Return logs of an example's variance beside the one that the nodes are of.

    Examples count as they weigh in the mean of the gradient, which their lengths go with.
    """
    variance, apart = noises.covariance(source.spread, source.spread)
    own = noises.covariance(g.spread, g.spread)[1]
    met = noises.covariance(g.spread, source.spread)[1] * (1 - batch.concentration(own))
    mean = source.spread.mean - apart * (1 - batch.concentration(apart)) / 2 + met
    return np.asarray(mean + math.sqrt(max(variance + apart, 0.0)) * NODES)

"""What two gradients have in common because each lies along its signal: as much as the signals have.

A share a of a gradient's square lies along the signal s of its own example. Behind a loss that is one function of all
outputs, as a mean of squares or a cross-entropy is, it does so by one factor for all, g = k s + r, so that two of them
have a s·s' in common beside what r and r' have. A function h takes k f(z) to k f(z) h(z), and what W^T adds to W^T k z,
beside what fresh weights would, is along x.

Approximate: where losses differ in k from example to example, gradients have less in common than that; so no more of a
pair's is taken to be of this kind than they have.
"""

from __future__ import annotations

import numpy as np

from .source import Source
from .values import Array, Moments

LEAST = 1e-3  # of a, beside which less is no more than what c is shown to


def along_both(g: Moments, along: float, signal: Array) -> Array | None:
    """Return how much of each pair's gradients lies along both signals by one factor; None where it is next to nothing.

    Args:
        g: the gradient.
        along: a, the share of its square that lies along its own signal.
        signal: c of the signals, [examples, examples].
    """
    if len(g.q) < 2 or not along > LEAST:
        return None
    size = (g.q[:, None] + g.q) / 2
    own = np.divide(g.product, size, out=np.zeros_like(size), where=size > 0)
    most = np.divide(own, signal, out=np.ones_like(own), where=abs(signal) > LEAST)
    most = np.where((signal > 0) | (own < 0), most, 1.0)  # of signals that point apart nothing is in common
    found = np.clip(most, 0.0, min(along, 1.0))
    return found if found.max(where=~np.eye(len(own), dtype=bool), initial=0.0) > LEAST else None


def beyond_signals(g: Moments, source: Source | None) -> Array | float:
    """Return how much more two signals that went in differ than two gradients do, of what lies along both."""
    if source is None or not g.along > LEAST:
        return 0.0
    lengths, means = (x[:, None] - x for x in (source.std, source.mean))
    second = float((source.std**2 + source.mean**2).mean())
    if not second > 0:
        return 0.0
    lost = ((lengths**2 + means**2) / 2 + np.outer(source.std, source.std) * source.gap) / second
    if source.field is not None and source.field.parted is not None:
        lost = 1 - (1 - lost) * source.field.parted.unlike
    share = along_both(g, g.along, 1 - lost)
    if share is None or not source.of_signal > 0:
        return 0.0
    size = (g.q[:, None] + g.q) / 2
    found = np.minimum(share / g.along, 1.0) * (size * np.minimum(lost / source.of_signal, 2.0) - g.d)
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)

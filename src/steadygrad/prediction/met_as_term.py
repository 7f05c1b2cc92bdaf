"""A gradient that went through a function of a sum and meets a term of it: as the output of a norm that joins a stream.

Where the sum S is rectified the gradient is there where S is positive, and so, more often, is its term z: g h(S) z has
a mean over places, E[h z] times that of g, which a sum over all of them does not average away. With c the correlation
of both, E[h(S) z] = c E[h(S) S] of Gaussians (Stein 1981); of a sum that is none its terms say it.
"""

from __future__ import annotations

from .hermite import tables
from .kinship import Kinship
from .source import Source, Wave, at_both


def along_term(h: Wave, z: Source, kinship: Kinship) -> float:
    """Return E[h(S) z] for a term z of variance one, 0 where nothing is known of what S and z have in common.

    Args:
        h: a function of the source of a sum.
        z: the source of what it is held against, which may be that of the sum itself.
        kinship: what sources have in common.
    """
    nodes, w = tables()[:2]
    if h.source is None:
        return 0.0
    own = float(h.values.mean(0) @ (w * nodes))
    if h.source is z:
        return own
    terms = h.source.terms[:2] if h.source.terms else ()
    for term, other in zip(terms, terms[::-1], strict=True):
        if term.source is z:
            return float((at_both(h, term, other) @ w) @ (w * nodes))
    return own * kinship.correlation(h.source, z)[0]

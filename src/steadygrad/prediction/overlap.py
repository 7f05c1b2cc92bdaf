"""How far vectors come to lie along each other as they pass matrices of independent entries, in a typical draw.

N sums of Gaussian weights draw the products K of B vectors anew: E[K'²] = K² + (q q' + K²)/N. What the spread of a
batch depends on is K relative to the batch's mean of q in the same draw, and draws with large K have large q too: of
the growth (1 + 2c²)(1 - c²)/N of E[K²]/E[q q'] a part is that of sizes alone. To first order in 1/N, with w the share
that an example has in the mean and c the cosines of three of the vectors,

    N ΔE[K²/q̄²] = E[(1 - c²)(1 + 2c²)] - 8 w E[c²] - 8 (1 - 2w) E[c c' c''] + 8 (1 - w) E[c² c'²]

where q̄² is what its own mean over pairs is. For two vectors, w = 1/2, it is (1 - c²)(1 - 2c²), as of the square of a
sample's correlation. Third and fourth moments are those of vectors √m u + √(1 - m) v, v in any direction of as many
dimensions as give the second.
"""

from __future__ import annotations


def growth(mean: float, overlap: float, weight: float) -> float:
    """Return how much the variance of c grows, times N, in a typical draw: that of E[c²] without the drift of its mean.

    Args:
        mean: of the cosines of two distinct vectors.
        overlap: mean of their squares.
        weight: the share that one vector has in the sum of their sizes.

    >>> growth(0.0, 0.0, 0.1), growth(1.0, 1.0, 0.1)
    (1.0, 0.0)
    >>> round(growth(0.5, 0.25, 0.5), 4), (1 - 0.25) ** 2
    (0.5625, 0.5625)
    """
    m, w = mean, min(weight, 0.5)
    r = min(max(overlap, m * m), 1.0)
    varied, left = r - m * m, max(1 - m, 1e-12)
    spread = min(varied / left**2, 1.0)  # one over the dimensions of v
    fourth = m**4 + 6 * m * m * varied + 3 * varied**2 / (1 + 2 * spread)
    third = m**3 + varied * spread * left
    squares = 1 + r - 2 * fourth - 8 * w * r - 8 * (1 - 2 * w) * third + 8 * (1 - w) * r * r
    drift = -3 * w * m - w * m * r - 2 * (1 - 2 * w) * m * m + 2 * m * (w + (1 - w) * r)
    return max(squares - 2 * m * drift, 0.0)


def of_gram(overlap: float) -> float:
    """Return how much tr G²/(tr G)² grows, times N, as vectors of Gram matrix G pass N sums of independent weights.

    With p the shares that eigenvalues have in tr G, of Wishart matrices 1 + r + 6 r² - 8 Σ p³, Σ p³ as in `aligning`.

    >>> of_gram(0.0), of_gram(1.0)
    (1.0, 0.0)
    """
    r = min(overlap, 1.0)
    return max(1 + r + 6 * r * r - 32 * r * r / (3 + r * r), 0.0)


def of_differences(overlap: float, gap: float, least: float) -> float:
    """Return how much the overlap of differences of unit vectors, each kept at its length, grows, times N.

    Differences of vectors that are nearly one are vectors of their own (`of_gram`). Of vectors that are far apart they
    are kept short as the vectors are: where c is m + x, m its mean, a length |x|² that varies beside the others' takes
    4 γ² x² of what x² grows by, γ = 1 - m, and at γ = 1 what is left is the law of a correlation,
    1 - 3 E[c²] + 2 E[c⁴].

    Args:
        overlap: of the differences' Gram matrix.
        gap: γ.
        least: the overlap where all are orthogonal.
    """
    off = min(max((overlap - least) / max(1 - least, 1e-12), 0.0), 1.0)
    kept = (1 - least) * max(1 - 3 * off + 6 * off * off / (1 + 2 * off), 0.0)
    far = min(gap, 1.0) ** 2
    return far * kept + (1 - far) * of_gram(overlap)


def of_typical(mean: float, overlap: float, weight: float) -> float:
    """Return the share of the growth (1 + 2r)(1 - r) of E[K²]/E[q q'] that is left in a typical draw.

    >>> of_typical(0.0, 0.0, 0.1)
    1.0
    """
    ratio = (1 + 2 * overlap) * (1 - overlap)
    return min(growth(mean, overlap, weight) / ratio, 1.0) if ratio > 0 else 1.0


def aligning(alignment: float, crossed: float) -> float:
    """Return how much the alignment of a product J W... grows with another factor W of N columns, times N.

    Of two examples, a' = |J J'ᵀg|²/(|J|² |J'ᵀg|²), and a of one. With p the shares that singular values have in |J|²
    and y those of J'ᵀg along them, a = Σ p², a' = Σ p y, and to first order in 1/N a' grows by
    1 - a' + 2 a a' + 2 a'² - 4 Σ p² y in a typical draw. Where the shares fall off geometrically, as those of products
    do, Σ p³ = 4 a²/(3 + a²); y is part p, and part anywhere.

    Args:
        alignment: a.
        crossed: a', or a again.

    >>> aligning(0.0, 0.0), aligning(1.0, 1.0)
    (1.0, 0.0)
    """
    a, x = min(max(alignment, 0.0), 1.0), min(max(crossed, 0.0), 1.0)
    return max(1 - x + 2 * a * x + 2 * x * x - 16 * a * x / (3 + a * a), 0.0)

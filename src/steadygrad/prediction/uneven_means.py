"""What places of different variances have in common where a function has a mean: that mean, and beside it the rest.

At the border of zero padding z varies by less than elsewhere, and so does f(z) about its mean, while the mean itself is
hardly another one. So of two places i and j, of variances v and means m of f there, the product is m_i m_j +
r √(v_i v_j), with r the correlation about the mean, and not the correlation of f times the roots of both second
moments: behind a norm, which takes out the mean over places, these would leave a pattern that all examples share.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .field import Field
from .lags import autocorrelation
from .values import Array


def beside_means(field: Field, means: Array, squares: Array, uniform: tuple[float, float]) -> Field:
    """Return a field with the second moments that places have, and what two of them have in common.

    Args:
        field: of a function of places that all are alike.
        means: of the function, [*positions].
        squares: second moments, [*positions].
        uniform: mean and second moment where the variance is that of the mean place.
    """
    size, (mean, square) = float(squares.mean()), uniform
    found = field.shaped(squares / size)
    varied = square - mean * mean
    if field.products is not None or not (mean * mean > 0 and varied > 0):
        return found
    roots = np.sqrt(np.maximum(squares - means * means, 0.0))
    of_means, of_rest = (autocorrelation(x[None, ..., None], x.shape)[0] / size for x in (means, roots))
    within, across = (
        1 - of_means - (c * square - mean * mean) / varied * of_rest for c in field.correlations
    )  # the correlation about the mean, by lag
    within.flat[0] = 0.0
    return replace(found, within=within, across=across)

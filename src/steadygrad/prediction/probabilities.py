"""What a softmax makes of Gaussian logits, and a cross-entropy of labels, where classes or rows are many.

A row of logits z, independent over V classes, has probabilities p = e^z / Σ e^z; its loss, log Σ e^z - z_y, sends back
g = p - e_y. Two rows whose logits have the correlation c, labels independent of the logits (E[p_y] = 1/V), have

    E[g·g'] = E[Σ p p'] - 2/V + P(y = y'),  E[Σ p p'] = e^(c s²)/V to first order in 1/V, s the deviation of z.

Expectations over the logits are those of seeded samples at some correlations, and between them by interpolation: where
s² is not small beside 2 log V a few classes have most of p, and no expansion holds. Approximate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .values import Array

CORRELATIONS = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 0.7, 0.85, 0.95, 1.0])
SAMPLED = 1 << 19  # logits at a correlation
FEWEST_ROWS, MOST_ROWS = 16, 1 << 12


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Expectations over two rows of logits of `classes` V, [correlations]; `loss`: E[log Σ e^(z - E z)].

    `products`: Σ p p'; `along`: (Σ p z')², z' about its mean; `varying`: the variance of g·g', labels apart; `same` and
    `other`: the covariance of |g|² and |g'|² where the labels are one and the same, and where they are not.
    """

    classes: int
    variance: float
    loss: float
    products: Array
    along: Array
    varying: Array
    same: Array
    other: Array

    @property
    def size(self) -> float:
        """E[|g|²] of a row."""
        return 1 - 2 / self.classes + float(self.products[-1])

    def at(self, name: str, correlation: Array | float) -> Array:
        """Return one of the expectations at these correlations."""
        return np.asarray(np.interp(correlation, CORRELATIONS, getattr(self, name)))


def probabilities(classes: int, variance: float) -> Probabilities:
    """Return the expectations for logits of this variance over so many classes, two at least."""
    rows = int(np.clip(SAMPLED // classes, FEWEST_ROWS, MOST_ROWS))
    rng, std = np.random.default_rng(0), float(np.sqrt(variance))
    z, fresh = (std * rng.standard_normal((rows, classes), dtype=np.float32) for _ in range(2))
    p, logs = _softmax(z)
    found = [_met(p, c * z + np.float32(np.sqrt(1 - c * c)) * fresh) for c in CORRELATIONS.astype(np.float32)]
    return Probabilities(classes, variance, float(logs.mean()), *np.array(found, dtype=float).T)


def _softmax(z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the probabilities, and log Σ e^z of each row."""
    largest = z.max(1, keepdims=True)
    p = np.exp(z - largest)
    total = p.sum(1, keepdims=True)
    p /= total
    return p, (largest + np.log(total))[:, 0]


def _met(p: NDArray[np.float32], z: NDArray[np.float32]) -> tuple[float, ...]:
    """Return the expectations of probabilities p and of other logits, a row each."""
    other, _ = _softmax(z)
    overlap, along = ((p * x).sum(1) for x in (other, z))
    size, same, apart = (
        1 - 2 * p[:, 0] + (p * p).sum(1),
        *(1 - 2 * other[:, k] + (other * other).sum(1) for k in (0, 1)),
    )
    varying = (overlap - p[:, 1] - other[:, 0]).var()
    return overlap.mean(), (along**2).mean(), varying, _covariance(size, same), _covariance(size, apart)


def _covariance(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    return float(((x - x.mean()) * (y - y.mean())).mean())

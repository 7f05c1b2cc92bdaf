"""What a cross-entropy compares rows of logits with: labels, what is spread evenly over all classes, or numbers.

Each row has a vector over V classes T = w e_y + u/V, or any numbers; its gradient is τ p - T, τ = w + u the sum of T.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .labels import Coincidences, coincidences, products
from .values import Array

AT_ONCE = 1 << 20  # numbers whose lags are taken at a time
MOST_ROWS = 256  # rows of numbers that are compared with each other


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels and their weights, what is even, [examples, *positions]; or numbers, [examples, *positions, classes].

    >>> smoothed = Targets(10, np.array([3, 4]), np.array([0.9, 0.9]), even=np.array([0.1, 0.1]))
    >>> smoothed.sums.tolist(), smoothed.squares.round(3).tolist()
    ([1.0, 1.0], [0.829, 0.829])
    """

    classes: int
    labels: Array
    weights: Array
    even: Array | None = None
    soft: Array | None = None

    def beside(self, even: Array | None = None, soft: Array | None = None) -> Targets:
        """Return the targets with more that is even, or more numbers: these hold all that there is then."""
        even = even if self.even is None or even is None else self.even + even
        if soft is None:
            return replace(self, even=even if even is not None else self.even)
        return Targets(self.classes, self.labels, 0 * self.weights, None, self.dense + soft)

    @property
    def dense(self) -> Array:
        """The numbers of all classes."""
        if self.soft is not None:
            return self.soft
        even = np.zeros(self.weights.shape) if self.even is None else self.even
        whole = np.repeat(even[..., None] / self.classes, self.classes, axis=-1)
        at = np.maximum(self.labels, 0).astype(int)[..., None]
        np.put_along_axis(whole, at, np.take_along_axis(whole, at, -1) + self.weights[..., None], -1)
        return whole

    @property
    def sums(self) -> Array:
        """The sum over classes, [examples, *positions]."""
        if self.soft is not None:
            return np.asarray(self.soft.sum(-1))
        return self.weights if self.even is None else self.weights + self.even

    @property
    def squares(self) -> Array:
        """The sum of squares, [examples, *positions]."""
        if self.soft is not None:
            return np.asarray((self.soft**2).sum(-1))
        return np.asarray(self.weights**2 + (self.sums**2 - self.weights**2) / self.classes)

    def coincidences(self) -> Coincidences:
        """Return products of sums, and of the targets, by lag."""
        if self.soft is not None:
            own, other = self._of_numbers(self.soft)
            return Coincidences(own, other)
        met = coincidences(self.labels, self.weights)
        if self.even is None:
            return met
        whole = coincidences(np.zeros(self.labels.shape), self.sums)
        own, other = (
            np.stack([t[0], x[1] + (t[0] - x[0]) / self.classes])
            for x, t in ((met.own, whole.own), (met.other, whole.other))
        )
        return Coincidences(own, other)

    def _of_numbers(self, soft: Array) -> tuple[Array, Array]:
        sizes = soft.shape[1:-1]
        values = soft if sizes else soft[:, None]
        found = [np.stack(products(values.sum(-1, keepdims=True)))]
        step = max(AT_ONCE // max(values[..., 0].size, 1), 1)
        parts = [values[..., i : i + step] for i in range(0, self.classes, step)]
        found.append(sum((part.shape[-1] * np.stack(products(part)) for part in parts), np.zeros_like(found[0])))
        own, other = np.stack(found, axis=1)
        return own.reshape(2, *sizes), other.reshape(2, *sizes)

    def varying(self) -> float:
        """Return the variance over pairs of rows of T·T', relative to the mean of τ² squared."""
        if self.soft is None:
            chance = float(coincidences(self.labels, self.weights).chances[1].mean())
            size = float((self.sums**2).mean())
            return (float((self.weights**2).mean()) / size) ** 2 * chance * (1 - chance) if size > 0 else 0.0
        rows = self.soft.reshape(-1, self.classes)
        rows = rows[:: -(-len(rows) // MOST_ROWS)]
        size, products = float((rows.sum(1) ** 2).mean()), rows @ rows.T
        pairs = products[~np.eye(len(rows), dtype=bool)]
        return float(pairs.var()) / size**2 if size > 0 and len(pairs) else 0.0

    def met(self, chosen: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return the mean over places of products of sums, and of the targets, of every two of these examples."""
        sums, w, y = (x.reshape(len(x), -1)[chosen] for x in (self.sums, self.weights, self.labels))
        both = (sums[:, None] * sums).mean(2)
        if self.soft is not None:
            flat = self.soft.reshape(len(self.soft), -1)[chosen]
            return both, flat @ flat.T / sums.shape[1]
        weights = (w[:, None] * w).mean(2)
        return both, np.where(y[:, None] == y, w[:, None] * w, 0.0).mean(2) + (both - weights) / self.classes

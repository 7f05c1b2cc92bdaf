"""A profile: the signal and the gradient of a network, a row a layer, predicted or measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from steadygrad.errors import unknown_name

if TYPE_CHECKING:
    from .comparison import Comparison

Mark = Literal["exact", "approximate", "unknown", "measured"]


@dataclass(frozen=True, kw_only=True)
class LayerSignal:
    """What passes one layer, forward and backward.

    Every moment is uncentred and taken over all entries of the module's output; a gradient is that of the mean loss
    over the batch with respect to the output. What is not known is NaN.

    Attributes:
        path: the module's path, ``"blocks.3.fc"``; ``""`` is the model itself.
        kind: the module's class, ``"Linear"``; in a profile per operator its name, ``"aten.addmm"``.
        shape: of the output, examples first; None where it is not known.
        fan_in: inputs of a unit; None where the layer has no weight.
        fan_out: units that an input reaches; None where the layer has no weight.
        mean: first moment of the output.
        q: second moment of the output. For a prediction the median of a draw of the weights, and of the batch where
            moments describe it.
        q_low: lower end of the 95% band over draws; for a measurement `q` less its standard error.
        q_high: upper end.
        c: E[xy]/q over pairs of distinct examples x and y.
        signal: q(1 - c), what differs between examples.
        grad_q: second moment of the gradient.
        grad_q_low: lower end of its band.
        grad_q_high: upper end.
        grad_c: the gradient's E[xy]/grad_q over pairs of distinct examples.
        weight_grad_norm: Euclidean norm of the gradient of the layer's weight.
        dead_fraction: share of units that are zero, with zero derivative, on every example.
        saturated_fraction: share of units whose derivative is small on every example.
        mark: how the row came about.
    """

    path: str
    kind: str
    shape: tuple[int, ...] | None = None
    fan_in: int | None = None
    fan_out: int | None = None
    mean: float = math.nan
    q: float = math.nan
    q_low: float = math.nan
    q_high: float = math.nan
    c: float = math.nan
    signal: float = math.nan
    grad_q: float = math.nan
    grad_q_low: float = math.nan
    grad_q_high: float = math.nan
    grad_c: float = math.nan
    weight_grad_norm: float = math.nan
    dead_fraction: float = math.nan
    saturated_fraction: float = math.nan
    mark: Mark = "unknown"

    @classmethod
    def whole(cls, fields: dict[str, Any]) -> Self:
        """Return a row of all its fields by name, in half of the usual time: a frozen class sets one by one.

        Raises:
            TypeError: a field is missing, or a name is not that of a field.

        >>> fields = vars(LayerSignal(path="fc", kind="Linear"))
        >>> LayerSignal.whole(fields) == LayerSignal(path="fc", kind="Linear")
        True
        """
        if fields.keys() != cls.__dataclass_fields__.keys():
            known = cls.__dataclass_fields__.keys()
            missing, other = (", ".join(sorted(x)) or "none" for x in (known - fields.keys(), fields.keys() - known))
            raise TypeError(
                f"`fields` must hold every field of a row and nothing else. Missing: {missing}; other: {other}."
            )
        row = object.__new__(cls)
        vars(row).update(fields)
        return row


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Layers in the order of execution, and what could not be known.

    Attributes:
        layers: a row a layer.
        source: where the rows come from.
        loss: the loss; for a prediction its expectation, NaN without one.
        batch_size: examples in the batch; 0 where the input was described by moments.
        unknown: operators and lines that the prediction has no rule for, in words.
        parameter_grad_norms: Euclidean norm of each parameter's gradient, by its name, as far as it is known; for a
            prediction the root mean square over draws.

    >>> profile = Profile(layers=(LayerSignal(path="fc", kind="Linear", q=2.0, mark="exact"),), source="predicted")
    >>> profile["fc"].q, len(profile)
    (2.0, 1)
    """

    layers: tuple[LayerSignal, ...]
    source: Literal["theory", "predicted", "measured"]
    loss: float = math.nan
    batch_size: int = 0
    unknown: tuple[str, ...] = ()
    parameter_grad_norms: Mapping[str, float] = field(default_factory=dict)

    def compare(self, measured: Profile) -> Comparison:
        """Hold a measured profile against this prediction: by how many standard deviations each row is off.

        Args:
            measured: what `measure` returned for the model, on a batch like the one that was predicted.

        Raises:
            ValueError: `measured` is no measurement, or this is one.

        >>> row = {"path": "fc", "kind": "Linear", "mark": "exact"}
        >>> mine = Profile(layers=(LayerSignal(q=1.0, q_low=0.9, q_high=1.1, **row),), source="predicted")
        >>> real = Profile(layers=(LayerSignal(q=3.0, q_low=2.9, q_high=3.1, **row),), source="measured")
        >>> print(mine.compare(real))
        1 of 1 layer is more than 6 sigma off: 'fc' (q is 3 times too large).
        """
        from .comparison import compared

        return compared(self, measured)

    def text(self, *, width: int = 100, color: bool = False, every_row: bool = False) -> str:
        """Return the profile for a terminal: a table by layer, and what is not known.

        Args:
            width: columns, at least 40.
            color: whether to write ANSI colours.
            every_row: every row, instead of the ends of a long table.

        >>> row = LayerSignal(path="fc", kind="Linear", q=2.0, q_low=1.5, q_high=2.6, mark="exact")
        >>> print(Profile(layers=(row,), source="predicted"))
        Predicted profile: 1 row
        <BLANKLINE>
        layer  kind    q  95% band
        ──────────────────────────
        fc     Linear  2   1.5–2.6
        """
        from .table import render

        return render(self, width=width, color=color, every_row=every_row)

    def __str__(self) -> str:
        return self.text()

    def __getitem__(self, path: str) -> LayerSignal:
        """Return the first row of a module by its path."""
        found = next((layer for layer in self.layers if layer.path == path), None)
        if found is None:
            raise KeyError(unknown_name("path", path, [layer.path for layer in self.layers]))
        return found

    def __iter__(self) -> Iterator[LayerSignal]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

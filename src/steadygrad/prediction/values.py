"""What the interpreter knows of a tensor: data, a filled parameter, a signal, samples, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .meeting import MET_NOTHING, Meeting
from .spread import CERTAIN, Spread

if TYPE_CHECKING:
    from .alongside import Alongside
    from .attention import Attention
    from .axes import Axes, Dimension
    from .balance import Balance
    from .field import Field
    from .kinship import Origin
    from .law import Law
    from .operators.normalized_functions import Normalized
    from .parting import Parting
    from .probabilities import Probabilities
    from .source import Source, Wave
    from .targets import Targets
    from .unit_parts import Parts
    from .windows import Window

Array = NDArray[np.float64]
Exactness = Literal["exact", "approximate"]


@dataclass(frozen=True, slots=True)
class Concrete:
    """Numbers that are known: the batch, labels, masks, buffers. `own` numbers may be written into.

    `leading` is the first size of the memory's tensor: the examples, where it is the batch. `fixed` numbers are not:
    they were computed of numbers whose first size was another, so as many windows as examples are windows all the same.
    `drawn` numbers are computed of one draw of a parameter.
    """

    tensor: torch.Tensor
    own: bool = False
    leading: int | None = None
    drawn: bool = False
    fixed: bool = False

    def leads(self, examples: int) -> bool:
        """Whether the first dimension of the memory's tensor is that of so many examples."""
        return self.leading == examples and not self.fixed


@dataclass(frozen=True, slots=True)
class Fill:
    """Independent entries of one distribution: a parameter as something filled it.

    `kurtosis` is E[(w - mean)⁴]/variance²; `source` names the draw, so that copies and transposes are known as such.
    `law` is the whole distribution where it is neither normal nor uniform. `form` says where entries are not
    independent: the rows, or the columns, of an orthogonal matrix keep lengths, an identity keeps what it multiplies.
    """

    mean: float
    variance: float
    source: int
    kurtosis: float = 3.0
    mark: Exactness = "exact"
    law: Law | None = None
    form: Literal["independent", "orthogonal", "identity"] = "independent"

    @property
    def acting(self) -> Fill:
        """The fill as a factor: an identity takes each of its terms whole, so its mean makes no common part."""
        if self.form != "identity" or self.mean == 0:
            return self
        return replace(self, mean=0.0, variance=self.variance + self.mean**2)


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments over the entries of a tensor, for some examples of the batch and their pairs.

    mean and q: [examples], first and second moment; d: [examples, examples], half the mean squared difference of two
    examples, 0 on the diagonal, so that E[xy] = (q_x + q_y)/2 - d; spread: how log q varies over draws; unit_variance:
    variance over one unit's draw of its batch-averaged square, relative to q squared; excess: [examples, examples],
    what E[(x·y/n)²] has beyond (E[x·y/n])², relative to q squared: products of examples vary too; alignment: for a
    gradient, the squared cosine of what the network makes of it and of what it makes of the signal, weighted by both
    sizes; along: the squared cosine of the gradient and the signal of the same example, beyond that of independent ones
    (`Field.by_chance`); field: how positions differ, None where there are none, or where their entries are independent;
    origin: how it came about (kinship.py); unit_apart: by how much the unit variance of one example is beyond the
    covariance of two; parting: how d varies beside q over draws, None where it is not followed; d/q is then that of a
    typical draw; crossed: the alignment of one example's gradient with what the network makes of another's signal;
    meeting: which layers' noises the alignments are shared with; blur: what of the excess this tensor's own units,
    being few, have added; tilt: for a gradient, by which power of 1 - c of the signals a draw has more of what two of
    them have in common (kept.py); by_size: for a gradient, by how much the squared cosine of two examples is larger
    where both weigh much in the batch than it is of any two; alongside: for a free gradient, how what lies along the
    signals goes with its size; taken: for a gradient, which share of it layer norms right behind have taken its mean
    and what lies along its signal out of.
    """

    mean: Array
    q: Array
    d: Array
    spread: Spread
    unit_variance: float = 0.0
    excess: Array | float = 0.0
    alignment: float = 0.0
    along: float = 0.0
    field: Field | None = None
    origin: Origin | None = None
    unit_apart: float = 0.0
    parting: Parting | None = None
    crossed: float = 0.0
    meeting: Meeting = MET_NOTHING
    blur: float = 0.0
    tilt: float = 0.0
    by_size: float = 0.0
    alongside: Alongside | None = None
    taken: float = 0.0

    @property
    def product(self) -> Array:
        """E[xy] for every two examples."""
        return (self.q[:, None] + self.q) / 2 - self.d

    @property
    def varying(self) -> Array | float:
        """The excess; over positions, the variance of the products of any two places."""
        return self.excess if self.field is None else self.field.varied


@dataclass(frozen=True, slots=True)
class Signal:
    """A tensor with an example axis: moments, and how it came about.

    A signal is `base` times a function of Gaussian sources: base None for what goes forward, the gradient that came in
    for what goes backward; `wave` is that function. `ancestors` is a bit set of the fills that it depends on, `linear`
    the fill that it is linear in, None if there is none. `axes` says which axes of the memory are examples, positions
    and features; None where examples stand one after the other and all else is features. `parts` are the signals that
    this one is a sum of, with their mean factors, None where it is its own: what two sums have in common is counted.
    `unit_parts` are units side by side that are not alike; None where all are. `balanced` says that the entries of each
    unit add up to zero over the batch and its positions, as what a batch norm sends back does; `balance` what else the
    base is orthogonal to, whatever function it is multiplied by.
    """

    moments: Moments
    wave: Wave | None = None
    base: Moments | None = None
    ancestors: int = 0
    linear: int | None = None
    mark: Exactness = "exact"
    axes: Axes | None = None
    parts: tuple[tuple[Signal, float], ...] | None = None
    unit_parts: Parts | None = None
    balanced: bool = False
    balance: Balance | None = None

    def marked(self, mark: Exactness) -> Signal:
        """Return the signal with a mark."""
        return replace(self, mark=mark)


@dataclass(frozen=True, slots=True)
class Draws:
    """Samples of a small tensor over draws of the weights, the first axis; `scale` is the log of each draw's scale.

    `spread` is the form that `scale` was drawn from; `root` holds the samples of the Gaussian that was drawn, before a
    function of it; `factor` is the spread of a gradient that was drawn at its typical size.
    """

    values: torch.Tensor
    scale: Array
    spread: Spread
    root: torch.Tensor
    ancestors: int = 0
    factor: Spread = CERTAIN


@dataclass(frozen=True, slots=True)
class Cropped:
    """Samples of a part of a tensor of this shape; any other part is like it.

    `part`: [dims], what is taken along each dimension; `dims` and `axes` are those of the whole.
    """

    draws: Draws
    shape: tuple[int, ...]
    part: tuple[slice, ...]
    dims: tuple[Dimension, ...]
    axes: Axes | None

    @property
    def share(self) -> float:
        """The share of the tensor's entries that the part has."""
        taken = [len(range(*along.indices(n))) for along, n in zip(self.part, self.shape, strict=True)]
        return math.prod(taken) / math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ParameterGradient:
    """A gradient that is summed over the batch: its second moment over entries.

    `terms` are the gradients and signals whose products it sums, a pair for each use of the parameter, the signal None
    where it is one; none where they are not known.
    """

    q: float
    terms: tuple[tuple[Moments, Moments | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Statistic:
    """The inverse variance that a norm multiplied by, and how the log of the variance varies over draws.

    `places`: [*positions], what each position's own is of that, where they differ. `in_common`: [2, *lags], by how much
    less is left of what gradients of two places have in common than of their squares, of an example and of two.
    `each` says that every example has its own. `source` is the Gaussian that the norm's outcome is a function of, and
    `function` that function, None where it is the Gaussian itself.
    `unit_parts` are units whose inverse variances are not alike. `left` is the second moment of what was normalized,
    below one where a variance is small beside what is added to it.
    """

    inverse: float
    spread: Spread
    each: bool = False
    places: Array | None = None
    source: Source | None = None
    in_common: Array | None = None
    unit_parts: Parts | None = None
    function: Normalized | None = None
    left: float = 1.0


@dataclass(frozen=True, slots=True)
class Level:
    """One number an example, [followed], as a mean over all features is; `spread` is how its log varies over draws.

    It is a `power` of a mean over few features, whose relative variance over examples and positions is `noise`.
    `places`: [*positions], what each position's own is of the number, where they differ.
    """

    values: Array
    spread: Spread
    ancestors: int = 0
    power: float = 1.0
    noise: float = 0.0
    places: Array | None = None

    @property
    def favour(self) -> float:
        """E of its square, relative to the square of its value: of m^k, 1 + k (k - 1)/2 times the noise of m."""
        k = 2 * self.power
        return 1 + k * (k - 1) / 2 * self.noise


@dataclass(frozen=True, slots=True)
class Residue:
    """What goes back through a level over that many entries: one direction of them, small beside the gradient."""

    entries: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Products of queries and keys, or, once a softmax went over them, attention weights."""

    how: Attention
    ancestors: int
    weights: bool = False


@dataclass(frozen=True, slots=True)
class ScoreGradient:
    """The gradient of weights, of `gradient` and `value`, and, once through the softmax, of scores times `factor`."""

    gradient: Moments
    value: Moments
    width: int
    ancestors: int
    how: Attention | None = None
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Log-probabilities of more entries than can be sampled, of these logits; `axes` are those of their memory.

    The logits' positions are all dimensions but that of the classes.
    """

    logits: Signal
    axes: Axes
    found: Probabilities


@dataclass(frozen=True, slots=True)
class LikelihoodGradient:
    """What a sum of log-probabilities sends back to them: targets, times -1."""

    likelihoods: Likelihoods
    targets: Targets


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which position of each window was the largest: by what chance, on the nodes of the source that was pooled.

    `of` is what was pooled, `dims` are those of its memory and `windows` lie along the axes of its positions, where the
    largest was taken over whole axes.
    """

    chances: Array
    of: Signal | None = None
    dims: tuple[Dimension, ...] = ()
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known, and why."""

    reason: str


Value: TypeAlias = (
    Concrete
    | Fill
    | Signal
    | Draws
    | Cropped
    | ParameterGradient
    | Statistic
    | Level
    | Residue
    | Scores
    | ScoreGradient
    | Likelihoods
    | LikelihoodGradient
    | Chosen
    | Unknown
)


def worst(*marks: Exactness) -> Exactness:
    """Return the weaker of the marks.

    >>> worst("exact", "approximate")
    'approximate'
    """
    return "approximate" if "approximate" in marks else "exact"

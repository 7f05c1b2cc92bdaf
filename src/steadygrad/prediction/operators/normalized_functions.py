"""What a norm makes of a function of a Gaussian: the same function, its mean taken off, and divided by its deviation.

Behind a norm of Gaussian units all is Gaussian; behind a norm of rectified ones a rectifier, a maximum over windows or
another function meets what is as lopsided as it was. Of a unit that a norm takes alone, what its entries have in common
goes with its mean, and says by which deviation it is divided: units that are hardly ever on are divided by little. What
goes on is, on average over that, a function of what differs. Approximate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from steadygrad.prediction import gradients, hermite, weight_gradients
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.field import Field, white
from steadygrad.prediction.interpreter import Interpreter
from steadygrad.prediction.propagation import scaled
from steadygrad.prediction.side_by_side import distributed
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Array, Moments, Signal, Statistic, Value

TINY = 1e-20  # of a factor's square: what it is multiplied by is still told from it (balance.py)
NEARLY = 1e-6  # of a variance: less beside a line is a line


@dataclass(frozen=True, slots=True)
class Normalized:
    """A function of a Gaussian behind a norm.

    `values`: [nodes], what it is of what differs; `common` is the share of the Gaussian's variance that goes with a
    unit's mean; `squares`: [nodes], the variance of a unit by what its entries have in common, relative to the mean.
    """

    values: Array
    common: float
    squares: Array
    units: float


def normalized(
    x: Wave | None, like: Wave, m: Moments, units: float, common: float, batch: Batch
) -> tuple[Wave, Normalized] | None:
    """Return a function of a Gaussian, normalized, with these moments; None where it is a line, or no function.

    Args:
        x: what goes into the norm.
        like: what the norm makes of Gaussian units.
        m: moments behind the norm, of mean zero.
        units: how many there are.
        common: which share of the Gaussian's variance goes with a unit's own mean.
        batch: the examples.
    """
    if x is None or x.source is None or x.gaussian or like.source is None or batch.size < 2:
        return None
    function = _of_what_differs(x.values.mean(0), min(max(common, 0.0), 1.0), units)
    if function is None or _is_line(function.values):
        return None
    found = distributed(function.values, m, units, batch)
    if found is None or found[0].source is None:
        return None
    source, known = found[0].source, like.source
    source.before = source.noise = known.before
    source.own_variance, source.settled = 0.0, known.settled
    source.sphere, source.lopsided, source.normed = known.sphere, known.lopsided, function.values
    source.fixed = known.fixed and replace(known.fixed, values=function.values)
    return found[0], function


def in_common(x: Signal, differs: Callable[[Field], float], batch: Batch) -> float:
    """Return which share of the variance of the Gaussian behind a signal all that a unit's norm takes has in common."""
    source = x.wave.source if x.wave is not None else None
    if source is None:
        return 0.0
    return 1 - (differs(source.field) if source.field is not None else batch.pair_mean(source.gap))


def met_again(
    run: Interpreter, back: Signal, g: Signal, known: Statistic, x: Value, *, over_batch: bool, share: float
) -> Signal:
    """Return what a norm sends back as a function of the Gaussian that went into it, where a function of it came in.

    A rectifier in front lets a gradient through where one behind the norm did: both are on where units are large. Given
    the Gaussian Z of one entry, what its unit has in common is √ρ Z + √(1-ρ) η, and what differs √(1-ρ) Z - √ρ η.
    """
    f = known.function
    if f is None or g.wave is None or g.base is None or g.wave.source is None or g.wave.source is not known.source:
        return back
    if not isinstance(x, Signal) or x.wave is None or x.wave.source is None:
        return back
    z, w = hermite.tables()[:2]
    shared, differs = f.common**0.5, (1 - f.common) ** 0.5
    furthest = math.sqrt(2 * math.log(max(f.units, 2.0)))  # of so many units hardly one lies further out
    unit = np.clip(shared * z[:, None] + differs * z, -furthest, furthest)
    squares = (g.wave.values**2).mean(0)
    met = np.interp(differs * z[:, None] - shared * z, z, squares) / np.interp(unit, z, f.squares)
    factor = met @ w
    factor = np.maximum(factor, TINY * float(factor.max()))
    level = float(factor @ w) / max(float(squares @ w), 1e-300)
    m = scaled(back.moments, level**0.5)
    size = float(m.q.mean()) / max(float(g.moments.q.mean()) * level, 1e-300)
    wave = Wave(x.wave.source, np.sqrt(factor) * np.ones((len(x.wave.values), 1)))
    slope = np.gradient(x.wave.values.mean(0), z)
    base = _balanced(run, scaled(g.base, size**0.5), wave, slope, over_batch=over_batch, share=share)
    return replace(back, moments=m, wave=wave, base=base)


def _balanced(run: Interpreter, base: Moments, wave: Wave, slope: Array, *, over_batch: bool, share: float) -> Moments:
    """Return a gradient of which, times h and a slope, a unit's sum is what it is without the mean that a norm takes.

    Of n entries G h the sum of (G h - their mean) f' is that of G h (f' - E[f']), to first order in 1/n: what entries
    have in common goes with E[h (f' - E[f'])], and what each has of its own as if any two had a little less in common.
    Of a norm of G units the mean takes a `share` 1/G of a unit's.
    """
    h, w = wave.values.mean(0), hermite.tables()[1]
    n = (run.batch.size if over_batch else 1) * (base.field.count if base.field else 1)
    met, left = float((h * slope) @ w), slope - float(slope @ w)
    if n < 2 or not abs(met) > NEARLY * float(np.abs(h * slope) @ w):
        return base
    kept = (1 - share + share * float((h * left) @ w) / met) ** 2
    own = float((h * slope) ** 2 @ w)
    of_two = max(_of_two(run, base, Wave(wave.source, (h * slope)[None]), own), met**2)
    less = share * (own - float((h * left) ** 2 @ w)) / of_two / (n - 1)
    other = less if over_batch else 0.0
    q = (base.q[:, None] + base.q) / 2
    d = q - (base.product * kept - other * q)
    np.fill_diagonal(d, 0.0)
    field = base.field
    if field is not None:
        within, across = (
            np.clip(1 - (1 - gap) * kept + off, 0.0, 2.0) for gap, off in ((field.within, less), (field.across, other))
        )
        within.flat[0] = 0.0
        field = replace(field, within=within, across=across, in_all=None)
    return replace(base, mean=base.mean * 0.0, d=d, field=field)


def _of_two(run: Interpreter, base: Moments, wave: Wave, own: float) -> float:
    """Return the mean product of a function, whose mean square is `own`, at two entries of the batch."""
    r = run.batch.followed
    field = base.field and white(base.field.sizes, 0.0, 0.0, 0.0)
    ones = Moments(np.ones(r), np.ones(r), np.zeros((r, r)), CERTAIN, field=field)
    n = run.batch.size * (field.count if field else 1)
    whole = weight_gradients.of_bias(gradients.backward(ones, wave, run.batch, run.noises), run.batch)
    return (whole - n * own) / (n * (n - 1))


def _of_what_differs(values: Array, common: float, units: float) -> Normalized | None:
    """Return E over a of (f(√ρ a + √(1-ρ) e) - its mean) / its deviation, over e, at the nodes e."""
    z, w = hermite.tables()[:2]
    inner = np.interp(common**0.5 * z[:, None] + (1 - common) ** 0.5 * z, z, values)
    mean = inner @ w
    square = np.maximum(inner**2 @ w - mean**2, 0.0)
    whole = float(square @ w)
    alive = square > NEARLY * whole
    if not whole > 0:
        return None
    shares = np.where(alive, w, 0.0)
    found = shares @ ((inner - mean[:, None]) / np.sqrt(np.where(alive, square, 1.0))[:, None]) / shares.sum()
    size = float(found**2 @ w)
    if not size > 0:
        return None
    return Normalized(found / size**0.5, common, np.maximum(square / whole, NEARLY), units)


def _is_line(values: Array) -> bool:
    z, w = hermite.tables()[:2]
    return float(values**2 @ w) - float((values * z) @ w) ** 2 < NEARLY

"""What of the squared cosine of two gradients is left behind many layers, of draws that keep their 1 - c."""

import numpy as np
import pytest

from steadygrad.prediction.cosines import Cosine
from steadygrad.prediction.hermite import decay, expand, tables
from steadygrad.prediction.kept import in_front, kept

MASK = expand((tables()[0] > 0)[None] * 1.0).plain[0] ** 2
LINE = expand(tables()[0][None]).plain[0] ** 2
LAYERS = 20


def lognormal(mean, variance):
    """The cosine with this mean of 1 - c, whose log has this variance."""
    return Cosine(mean, 2 * mean - mean**2 * np.exp(variance))


def left(gaps, masses):
    return (1 - decay(gaps) @ masses / masses.sum()) ** 2


@pytest.mark.parametrize(("mean", "variance"), [(0.01, 1.5), (0.1, 0.5), (0.5, 0.1)])
def test_draws_that_are_close_in_all_layers_keep_most(mean, variance):
    """Behind 20 masks of one 1 - c: E[A^20]. Each layer on its own, E[A]^20, has less by far more than the line errs.

    log E[A^n | γ] is taken along its line in log γ, of a deviation σ: what it bends by is of the order of σ⁴, and is
    less where γ is small.
    """
    cosine, rng = lognormal(mean, variance), np.random.default_rng(0)
    gaps = np.exp(np.log(mean) - variance / 2 + variance**0.5 * rng.standard_normal(20_000))
    drawn = (left(np.minimum(gaps, 2.0), MASK) ** LAYERS).mean()
    tilt, found, apart = 0.0, 0.0, LAYERS * np.log(kept(cosine, MASK, 0.0)[0])
    for _ in range(LAYERS):
        share, tilt = kept(cosine, MASK, in_front(cosine, LINE, tilt))
        found += np.log(share)
    assert apart < found < 0
    assert abs(found - np.log(drawn)) < (np.log(drawn) - apart) / 4


def test_a_line_keeps_the_tilt_in_front_and_what_is_certain_has_its_slope():
    """Behind h(z) = z, A = c²: d log A/d log γ = -2 γ/c. γ' of a line is γ."""
    cosine = Cosine(0.25, 0.25 * 1.75)
    share, tilt = kept(cosine, LINE, 0.0)
    assert share == pytest.approx(0.75**2, rel=1e-5)
    assert tilt == pytest.approx(-2 * 0.25 / 0.75, rel=1e-5)
    assert in_front(cosine, LINE, tilt) == pytest.approx(tilt, rel=1e-9)


@pytest.mark.parametrize("gap", [1e-9, 1e-30, 1e-200, 0.0])
def test_of_examples_that_are_nearly_one_next_to_all_is_kept(gap):
    share, tilt = kept(Cosine(gap, 2 * gap), MASK, -0.5)
    assert share == pytest.approx(1.0, abs=1e-4)
    assert np.isfinite(tilt)
    assert np.isfinite(in_front(Cosine(gap, 2 * gap), MASK, -0.5))

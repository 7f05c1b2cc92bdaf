"""The studies of depth, small: signals as drawn hold at any size; what is read off trained networks is read right."""

import math

import numpy as np
import pyarrow as pa
import pytest

from steadygrad import theory
from steadygrad.report.chart_files import svg_and_png
from steadygrad.study import Bench, Results
from steadygrad.study.builtin.depths import decay, reach
from steadygrad.study.builtin.depths.effort import Effort as DepthEffort
from steadygrad.study.builtin.depths.scales import Scale, scale_at
from steadygrad.study.builtin.gains import critical, drift, edge, window
from steadygrad.study.builtin.gains.effort import Effort as GainEffort
from steadygrad.study.builtin.isometry import spectra, speed
from steadygrad.study.builtin.isometry.effort import Effort as IsometryEffort
from steadygrad.study.builtin.isometry.effort import settings

GAINS = GainEffort(draws=16, width=256, layers=8, trained_width=16, depths=(2, 4), scales=3, seeds=2, steps=4)
DEPTHS = DepthEffort(draws=6, drawn_width=96, drawn_depth=32, width=8, depths=(4, 8, 16), seeds=2, steps=16)
ISOMETRY = IsometryEffort(
    draws=12, depths=(2, 3), trained_width=16, trained_depths=(2, 4), seeds=2, steps=8, rates=(0.1,)
)


@pytest.fixture
def bench(tmp_path):
    return Bench(out=str(tmp_path))


def failed(section, but=()):
    return [check for check in section.checks if not check.holds and not check.what.startswith(but)]


@pytest.mark.parametrize("section", [drift.section, edge.section])
def test_signals_at_and_beside_a_gain_hold_at_any_size(section):
    made = section(GAINS)
    assert len(made.checks) >= 8
    assert not failed(made)


def test_decay_holds_at_any_size(bench):
    made = decay.section(bench, DEPTHS)
    assert sum("a layer" in check.what for check in made.checks) == 7
    assert not failed(made)


def test_spectra_hold_at_any_size():
    made = spectra.section(ISOMETRY)
    assert len(made.checks) == 3 * 2 * 2 + 1
    assert not failed(made)


@pytest.mark.parametrize(
    ("section", "effort"), [(window.section, GAINS), (reach.section, DEPTHS), (speed.section, ISOMETRY)]
)
def test_what_learns_nothing_in_so_few_steps_is_said_not_to_hold(section, effort, bench):
    made = section(bench, effort)
    assert not made.holds
    assert made.sentence
    assert svg_and_png(made.chart)  # of what there is


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "tanh"])
def test_the_steadiest_edge_is_a_stable_fixed_point_on_the_edge(name):
    found = critical.steadiest_edge(name)
    points = theory.fixed_points(name, sigma_w=found.sigma_w, sigma_b=found.sigma_b).points
    point = min(points, key=lambda p: abs(p.q - found.q))
    assert (point.q, point.chi_1, point.slope) == pytest.approx((found.q, 1.0, found.slope), rel=1e-6)
    assert point.stable


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "relu"])
def test_the_kept_gain_keeps_what_comes_in(name):
    sigma_w = critical.kept_gain(name)
    assert theory.variance_map(name, sigma_w**2, sigma_w=sigma_w) == pytest.approx(sigma_w**2)


@pytest.mark.parametrize("name", ["tanh", "erf"])
@pytest.mark.parametrize(("side", "sign"), [("ordered", -1), ("chaotic", 1)])
def test_a_scale_lies_on_its_side_and_reaches_as_far_as_asked(name, side, sign):
    found = scale_at(name, side, 4.0)
    assert math.log(found.chi_1) == pytest.approx(sign / 4)
    assert theory.phase(name, sigma_w=found.sigma_w, sigma_b=0.05**0.5).name == side


def test_a_power_law_is_fitted_as_it_is():
    scales = [
        Scale(activation="tanh", side="ordered", sigma_w=1.0, q=x, chi_1=math.exp(-1 / x)) for x in (2.0, 4.0, 8.0)
    ]
    lost = {(scale, 1): np.array([5 * scale.xi] * 3) for scale in scales}
    found = reach.fit(scales, lost, 1)
    assert (found.k, found.exponent) == pytest.approx((5, 1))
    assert (found.k_error, found.exponent_error) == pytest.approx((0, 0), abs=1e-9)
    assert math.isnan(reach.fit(scales[:2], lost, 1).k)


@pytest.mark.parametrize(
    ("shares", "expected"), [([0.8, 0.8, 0.0], 8 * 2**0.5), ([0.8, 0.8, 0.7], math.inf), ([0.05, 0.01, 0.0], math.nan)]
)
def test_the_lost_depth_lies_where_half_is_left(shares, expected):
    found = reach.lost_at([4, 8, 16], np.array(shares)[:, None])
    assert found[0] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([2.3, 1.5, 1.0, 0.5], 1 / 20), ([2.3, 0.5, 0.4, math.nan], 0.0), ([2.3, 2.2, 2.1, 2.0], 0.0)],
)
def test_speed_is_that_of_the_best_rate(losses, expected):
    table = pa.table({"seed": [0, 0], "curve_step": [[0, 10, 20, 30]] * 2, "curve_loss": [losses, [2.3] * 4]})
    assert speed.best_speeds(Results(table)).tolist() == [expected]


def test_the_settings_are_critical():
    for setting in settings():
        factor = setting.sigma_w**2 * theory.moments(setting.activation, setting.q).derivative_second
        assert factor == pytest.approx(1)
        kept = theory.variance_map(setting.activation, setting.q, sigma_w=setting.sigma_w, sigma_b=setting.sigma_b)
        assert kept == pytest.approx(setting.q)

"""The softmax table of the oracles, row by row, in both frameworks and every type."""

from __future__ import annotations

import doctest
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numerics_exact import FRAMEWORKS, INF, NAN, call

from steadygrad import numerics

REDUCTIONS = [numerics.logsumexp, numerics.entropy]
MAPS = [numerics.softmax, numerics.log_softmax]
every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


def make(framework, values, dtype=torch.float64):
    x = torch.tensor(values, dtype=dtype)
    return x if framework == "torch" else x.numpy()


@every_framework
def test_wide_rows(framework):
    assert call(numerics.softmax, framework, [1e4, 0.0]) == [1, 0]
    assert call(numerics.log_softmax, framework, [1e4, 0.0]) == [0, -1e4]
    assert call(numerics.softmax, framework, [0.0, -104.0], torch.float32)[1] == 0
    assert call(numerics.log_softmax, framework, [0.0, -104.0], torch.float32)[1] == -104


@every_framework
def test_a_row_of_nothing_takes_the_policy_and_the_others_do_not(framework):
    x = [[-INF] * 3, [0.0, 0.0, -INF]]
    wanted = {"zero": [0, 0, 0], "nan": [NAN] * 3, "uniform": [1 / 3] * 3}
    for empty, first in wanted.items():
        got = call(numerics.softmax, framework, x, empty=empty)
        np.testing.assert_array_equal(got, [first, [0.5, 0.5, 0]])
        with np.errstate(divide="ignore"):
            logs = np.log(np.array(first))
        np.testing.assert_allclose(call(numerics.log_softmax, framework, x, empty=empty)[0], logs, rtol=1e-15)
    assert call(numerics.logsumexp, framework, x)[0] == -INF
    assert call(numerics.entropy, framework, x) == [0, pytest.approx(math.log(2))]
    assert call(numerics.entropy, framework, x, empty="uniform")[0] == pytest.approx(math.log(3))
    assert math.isnan(call(numerics.entropy, framework, x, empty="nan")[0])
    for fn in (*MAPS, numerics.entropy):
        with pytest.raises(ValueError, match=r'`x` must have an entry above -inf in every row when empty="error"'):
            call(fn, framework, x, empty="error")
    assert call(numerics.softmax, framework, x[1], empty="error") == [0.5, 0.5, 0]


@every_framework
def test_a_masked_row_is_a_row_of_nothing(framework):
    x, where = [[1.0, NAN], [1.0, NAN], [1.0, 2.0]], np.array([[False, False], [True, False], [True, True]])
    got = call(numerics.softmax, framework, x, where=where, empty="uniform")
    assert got[:2] == [[0.5, 0.5], [1, 0]]
    lse = call(numerics.logsumexp, framework, x, where=where)
    assert lse[:2] == [-INF, 1]
    assert call(
        numerics.softmax, framework, [[-INF, 5.0, -INF]], where=np.array([True, False, True]), empty="uniform"
    ) == [[0.5, 0, 0.5]]


@every_framework
def test_infinite_and_nan_entries_stay_in_their_row(framework):
    x = [[INF, 0.0, -INF], [INF, 1.0, INF], [NAN, 0.0, INF], [0.0, 0.0, 0.0]]
    third = pytest.approx([1 / 3] * 3)
    got = call(numerics.softmax, framework, x)
    assert got[:2] + got[3:] == [[1, 0, 0], [0.5, 0, 0.5], third]
    assert np.isnan(got[2]).all()
    lse = call(numerics.logsumexp, framework, x)
    assert lse[:2] + lse[3:] == [INF, INF, pytest.approx(math.log(3))]
    assert math.isnan(lse[2])
    assert call(numerics.log_softmax, framework, x)[1] == [-math.log(2), -INF, -math.log(2)]
    assert call(numerics.entropy, framework, x)[:2] == [0, pytest.approx(math.log(2))]


@pytest.mark.parametrize("shape", [(64, 64), (4, 16, 48), (50, 33), (3, 1024), (256, 32)])
def test_every_single_row_is_looked_at(shape):
    """Whatever the shape, one row of infinite maximum among good ones becomes the policy's, and they stay good."""
    rows = torch.Size(shape[:-1]).numel()
    for row in range(rows):
        x = torch.zeros(rows, shape[-1])
        x[row] = -torch.inf
        p = numerics.softmax(x.reshape(shape)).reshape(rows, -1)
        assert (p[row] == 0).all()
        others = p[torch.arange(rows) != row]
        torch.testing.assert_close(others, torch.full_like(others, 1 / shape[-1]), rtol=1e-6, atol=0)


@every_framework
@pytest.mark.parametrize("shape", [(0,), (3, 0), (), (2, 3, 4)])
def test_shapes_are_kept(framework, shape):
    x = make(framework, np.zeros(shape).tolist()).reshape(shape)
    for fn in MAPS:
        assert tuple(fn(x).shape) == shape
    for fn in REDUCTIONS:
        assert tuple(fn(x).shape) == shape[:-1]
        assert tuple(fn(x, keepdims=True).shape) == ((*shape[:-1], 1) if shape else ())
    if 0 in shape:
        assert np.all(np.asarray(numerics.logsumexp(x)) == -INF)


@every_framework
@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (-1, 0), None, ()])
def test_axes(framework, axis):
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    x = values if framework == "numpy" else torch.from_numpy(values)
    e = np.exp(values)
    total = e.sum(axis, keepdims=True)
    np.testing.assert_allclose(np.asarray(numerics.softmax(x, axis=axis)), e / total, rtol=1e-13)
    np.testing.assert_allclose(np.asarray(numerics.log_softmax(x, axis=axis)), np.log(e / total), atol=1e-13)
    got = np.asarray(numerics.logsumexp(x, axis=axis, keepdims=True))
    np.testing.assert_allclose(got, np.log(total), rtol=1e-13, atol=1e-13)
    entropy = -(e / total * np.log(e / total)).sum(axis)
    np.testing.assert_allclose(np.asarray(numerics.entropy(x, axis=axis)), entropy, atol=1e-13)
    divergence = np.asarray(numerics.kl_divergence(x, -x, axis=axis))
    q = np.exp(-values) / np.exp(-values).sum(axis, keepdims=True)
    np.testing.assert_allclose(divergence, (e / total * np.log(e / total / q)).sum(axis), atol=1e-12)


@every_framework
def test_views_that_are_not_contiguous(framework):
    values = np.random.default_rng(0).normal(size=(6, 8))
    x = values if framework == "numpy" else torch.from_numpy(values)
    for view in (x.T, x[::2, ::3], x[:, 1:5]):
        plain = np.ascontiguousarray(np.asarray(view))
        for fn in (*MAPS, *REDUCTIONS):
            np.testing.assert_array_equal(
                np.asarray(fn(view)), np.asarray(fn(plain if framework == "numpy" else view.clone()))
            )


@every_framework
def test_integers_take_the_default_type_and_half_stays_half(framework):
    for fn in (*MAPS, *REDUCTIONS, numerics.sigmoid, numerics.softplus, numerics.log_sigmoid, numerics.log1mexp):
        got = fn(make(framework, [1, 2], torch.int64))
        assert got.dtype == (torch.float32 if framework == "torch" else np.float64)
        assert str(fn(make(framework, [1, 2], torch.float16)).dtype).endswith("float16")


def test_a_foreign_byte_order():
    assert numerics.softmax(np.array([0.0, 0.0], ">f8")).tolist() == [0.5, 0.5]


@every_framework
def test_temperatures(framework):
    x = [1.0, 3.0, 2.0, -INF]
    assert call(numerics.softmax, framework, x, temperature=1e-300) == [0, 1, 0, 0]
    assert call(numerics.softmax, framework, x, torch.float32, temperature=1e-300) == [0, 1, 0, 0]
    assert call(numerics.softmax, framework, x, temperature=INF) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert call(numerics.logsumexp, framework, x, temperature=INF) == pytest.approx(math.log(3))
    assert call(numerics.entropy, framework, x, temperature=INF) == pytest.approx(math.log(3))
    assert call(numerics.softmax, framework, [1.5e308, -1.5e308], temperature=1e-5) == [1, 0]
    assert call(numerics.softmax, framework, [2e-45, 0.0], torch.float32, temperature=1e-48) == [1, 0]


@every_framework
def test_what_is_not_allowed(framework):
    x = make(framework, [[1.0, 2.0]])
    for fn in (*MAPS, *REDUCTIONS):
        for temperature in (0, -1.0, NAN):
            with pytest.raises(ValueError, match=r"`temperature` must be a number > 0, or inf, got"):
                fn(x, temperature=temperature)
        with pytest.raises(ValueError, match=r"`axis` must lie in \[-2, 1\] for 2 dimensions, got 2\."):
            fn(x, axis=2)
        with pytest.raises(ValueError, match=r"`axis` must name each axis once"):
            fn(x, axis=(0, -2))
        with pytest.raises(ValueError, match=r"`where` must broadcast to the shape \(1, 2\), got \(3,\)\."):
            fn(x, where=np.ones(3, bool))
        with pytest.raises(TypeError, match="`where` must be a mask of bools"):
            fn(x, where=np.ones(2))
        with pytest.raises(TypeError, match="`x` must hold real numbers"):
            fn(make(framework, [1j], torch.complex128))
    with pytest.raises(
        ValueError, match=r"`empty` must be one of 'zero', 'nan', 'uniform', 'error', got 'zeros'. Did you"
    ):
        numerics.softmax(x, empty="zeros")
    with pytest.raises(TypeError, match="`x` must hold real numbers"):
        numerics.sigmoid(make(framework, [1j], torch.complex128))
    with pytest.raises(TypeError, match="`q` must be of the same kind and type as `p`"):
        numerics.kl_divergence(x, make(framework, [[1.0, 2.0]], torch.float32))
    with pytest.raises(ValueError, match="`q` must have the shape of `p`"):
        numerics.kl_divergence(x, make(framework, [1.0, 2.0]))


@every_framework
def test_divergence_at_the_edges(framework):
    one, same = make(framework, [0.0, -INF]), make(framework, [5.0, -INF])
    both, nothing = make(framework, [0.0, 0.0]), make(framework, [-INF, -INF])
    assert float(numerics.kl_divergence(one, same)) == 0
    assert float(numerics.kl_divergence(one, both)) == pytest.approx(math.log(2))
    assert float(numerics.kl_divergence(both, one)) == INF
    assert float(numerics.kl_divergence(nothing, both)) == 0
    assert float(numerics.kl_divergence(both, nothing)) == INF
    assert math.isnan(float(numerics.kl_divergence(both, nothing, empty="nan")))
    assert float(numerics.kl_divergence(both, nothing, empty="uniform")) == 0


@every_framework
def test_pointwise_at_the_ends(framework):
    ends = [-INF, INF, NAN]
    wanted = {
        "sigmoid": [0, 1, NAN],
        "log_sigmoid": [-INF, 0, NAN],
        "softplus": [0, INF, NAN],
        "log1mexp": [NAN, 0, NAN],
    }
    for name, values in wanted.items():
        np.testing.assert_array_equal(call(getattr(numerics, name), framework, ends), values)
    assert call(numerics.log1mexp, framework, [0.0]) == [-INF]


@every_framework
def test_streams_merge_in_any_grouping(framework):
    values = np.random.default_rng(0).normal(0, 50, 300)
    parts = [make(framework, part.tolist()) for part in np.array_split(values, 7)]
    whole = float(numerics.logsumexp(values))
    states = [numerics.RunningLogSumExp.of(p) for p in parts]
    left = states[0]
    for state in states[1:]:
        left = left.merge(state)
    right = states[-1]
    for state in states[-2::-1]:
        right = state.merge(right)
    assert float(left.value) == pytest.approx(whole, rel=1e-15)
    assert float(right.value) == pytest.approx(whole, rel=1e-15)
    for trouble, wanted in (([-INF], -INF), ([INF], INF), ([INF, 1.0], INF)):
        made = [make(framework, trouble), make(framework, [-INF, -INF])]
        assert float(numerics.online_logsumexp(made)) == wanted
    assert math.isnan(float(numerics.online_logsumexp([parts[0], make(framework, [NAN]), parts[1]])))
    grid = make(framework, values.reshape(3, 100).tolist())
    got = numerics.online_logsumexp([grid[:, :40], grid[:, 40:]])
    np.testing.assert_allclose(np.asarray(got), np.asarray(numerics.logsumexp(grid)), rtol=1e-14)


def test_a_stream_without_chunks_or_of_different_ones_is_an_error():
    with pytest.raises(ValueError, match="`chunks` must hold a chunk, got"):
        numerics.online_logsumexp([])
    with pytest.raises(TypeError, match="`chunks` must be arrays alone or tensors alone"):
        numerics.online_logsumexp([np.zeros(2), torch.zeros(2)])
    with pytest.raises(ValueError, match=r"`chunks` must agree in shape but for the axis, \(2,\), got \(3,\)"):
        numerics.online_logsumexp([np.zeros((2, 4)), np.zeros((3, 4))])


@every_framework
def test_a_nan_before_or_after_an_infinity_stays(framework):
    nan, inf = make(framework, [NAN, 1.0]), make(framework, [INF, 1.0])
    for chunks in ([nan, inf], [inf, nan]):
        assert math.isnan(float(numerics.online_logsumexp(chunks)))


def test_what_is_not_dense_is_refused():
    eye = torch.eye(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that both layouts are young
        layouts = (eye.to_sparse(), eye.to_sparse_csr(), torch.nested.nested_tensor([eye[0], eye[0, :2]]))
    for x in layouts:
        for fn in (*MAPS, *REDUCTIONS, numerics.sigmoid):
            with pytest.raises(TypeError, match="`x` must be dense, got"):
                fn(x)


def test_the_mask_of_a_masked_array_is_not_dropped_in_silence():
    x = np.ma.masked_array([1.0, 2.0], [False, True])
    for fn in (*MAPS, *REDUCTIONS, numerics.sigmoid, numerics.online_logsumexp):
        with pytest.raises(TypeError, match="`x` must be a plain array; pass its data, and where=~mask"):
            fn([x] if fn is numerics.online_logsumexp else x)


@every_framework
@pytest.mark.parametrize("axis", [1.0, "a", (0, 0.5)])
def test_an_axis_is_an_integer(framework, axis):
    for fn in (*MAPS, *REDUCTIONS):
        with pytest.raises(TypeError, match="`axis` must be an integer, several of them, or None"):
            fn(make(framework, [[1.0, 2.0]]), axis=axis)


def test_a_policy_that_is_no_name_is_refused():
    with pytest.raises(ValueError, match="`empty` must be one of 'zero', 'nan', 'uniform', 'error', got None"):
        numerics.softmax(np.zeros(2), empty=None)


def test_arrays_need_no_torch():
    code = """if True:
        import sys, numpy as np
        import steadygrad.numerics as n
        x = np.zeros((2, 3)); t = np.zeros(2, int)
        for f in (n.softmax, n.log_softmax, n.logsumexp, n.entropy): f(x)
        for f in (n.sigmoid, n.log_sigmoid, n.softplus, n.log1mexp): f(x)
        n.kl_divergence(x, x); n.cross_entropy(x, t); n.linear_cross_entropy(x, x, t); n.online_logsumexp([x])
        assert 'torch' not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_documents_examples_run():
    document = Path(__file__).parents[2] / "docs" / "theory" / "softmax.md"
    failed, tried = doctest.testfile(str(document), module_relative=False)
    assert tried >= 8
    assert failed == 0

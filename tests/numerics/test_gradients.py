"""Gradients are finite everywhere, right to the second order, and pass through every transform."""

from __future__ import annotations

import pytest
import torch
from numerics_exact import DTYPES, INF, NAN
from torch._subclasses.fake_tensor import FakeTensorMode

from steadygrad import numerics

FAMILY = {
    "softmax": numerics.softmax,
    "log_softmax": numerics.log_softmax,
    "logsumexp": numerics.logsumexp,
    "entropy": numerics.entropy,
    "kl_divergence": lambda x, **options: numerics.kl_divergence(x, x.cos() - x, **options),
    "kl_divergence_q": lambda x, **options: numerics.kl_divergence(x.sin(), x, **options),
}
# With logits that are as troubled in both places.
SAFE = {
    "kl_divergence": lambda x, **options: numerics.kl_divergence(x, x.detach().flip(-1), **options),
    "kl_divergence_q": lambda x, **options: numerics.kl_divergence(x.detach().flip(-1), x, **options),
}
POINTWISE = [numerics.sigmoid, numerics.log_sigmoid, numerics.softplus]
TROUBLE = [
    [-INF, -INF, -INF],
    [INF, 0.0, 1.0],
    [INF, INF, -INF],
    [0.0, -INF, 3.0],
    [6e4, -6e4, 0.0],
    [0.0, -200.0, -90.0],
    [0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0],
]
every = pytest.mark.parametrize("name", FAMILY)


@every
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.5, INF])
def test_gradients_are_finite_to_the_second_order(name, dtype, temperature):
    fn = SAFE.get(name, FAMILY[name])
    x = torch.tensor(TROUBLE, dtype=dtype, requires_grad=True)
    y = fn(x, temperature=temperature)
    weight = torch.linspace(1, 2, y.numel(), dtype=dtype).reshape(y.shape)
    (first,) = torch.autograd.grad(y, x, weight, create_graph=True)
    assert first.isfinite().all()
    (second,) = torch.autograd.grad(first, x, torch.ones_like(first))
    assert second.isfinite().all()


def test_a_row_of_nothing_has_the_gradient_zero_and_a_nan_stays_in_its_row():
    for fn in (numerics.softmax, numerics.log_softmax, numerics.logsumexp, numerics.entropy):
        x = torch.tensor([[-INF, -INF], [NAN, 0.0], [1.0, 2.0]], requires_grad=True)
        y = fn(x)
        (gradient,) = torch.autograd.grad(y, x, torch.arange(1.0, y.numel() + 1).reshape(y.shape))
        alone = torch.tensor([[1.0, 2.0]], requires_grad=True)
        tail = torch.arange(1.0, y.numel() + 1).reshape(y.shape)[2:]
        (wanted,) = torch.autograd.grad(fn(alone), alone, tail)
        assert gradient[0].tolist() == [0, 0]
        assert torch.equal(gradient[2:], wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@every
def test_gradcheck_to_the_second_order(name, temperature):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, dtype=torch.float64, generator=g).requires_grad_()
    where = torch.tensor([True, True, False, True])
    for options in ({}, {"where": where}, {"axis": 0}, {"axis": None}):
        fn = lambda v: FAMILY[name](v, temperature=temperature, **options)  # noqa: B023, E731
        masked = "log_softmax" if "where" in options else ""
        wrap = (lambda v, fn=fn: fn(v)[..., :2]) if name == masked else fn
        assert torch.autograd.gradcheck(wrap, x)
        assert torch.autograd.gradgradcheck(wrap, x)


@pytest.mark.parametrize("fn", [*POINTWISE, lambda x: numerics.log1mexp(x.abs() + 0.01)])
def test_gradcheck_pointwise(fn):
    x = torch.tensor([-60.0, -3.0, -0.6, 0.0, 0.68, 0.7, 5.0, 45.0], dtype=torch.float64)
    x = (x + 1e-3).requires_grad_()
    assert torch.autograd.gradcheck(fn, x)
    assert torch.autograd.gradgradcheck(fn, x)


@pytest.mark.parametrize("fn", POINTWISE)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pointwise_gradients_are_finite(fn, dtype):
    x = torch.tensor([-INF, -6e4, -200.0, -30.0, 0.0, 30.0, 200.0, 6e4, INF], dtype=dtype, requires_grad=True)
    (first,) = torch.autograd.grad(fn(x).sum(), x, create_graph=True)
    assert first.isfinite().all()
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.isfinite().all()


def test_log1mexp_has_no_nan_in_its_gradient_above_zero():
    x = torch.tensor([1e-30, 1e-3, 0.6931471, 0.7, 100.0, 1e4, INF], requires_grad=True)
    (gradient,) = torch.autograd.grad(numerics.log1mexp(x).sum(), x)
    assert torch.allclose(gradient, 1 / torch.expm1(x.detach()), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, on its first jvp
@every
def test_vmap_jvp_and_hessian(name):
    fn = FAMILY[name]
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 4, dtype=torch.float64, generator=g)
    x[0, 0] = -INF if "kl" not in name else 1.0
    assert torch.allclose(torch.vmap(fn)(x), fn(x))
    assert torch.allclose(torch.vmap(fn, in_dims=1, out_dims=1)(x), fn(x))
    finite = x[1:]
    forward = torch.func.jacfwd(fn)(finite[0])
    assert torch.allclose(forward, torch.func.jacrev(fn)(finite[0]))
    total = lambda v: (fn(v) * torch.arange(1.0, 5.0)[: fn(v).shape[-1]]).sum()  # noqa: E731
    per_example = torch.vmap(torch.func.grad(total))(finite)
    assert torch.allclose(per_example[0], torch.func.grad(total)(finite[0]))
    hessian = torch.func.hessian(total)(finite[0])
    assert torch.allclose(hessian, torch.autograd.functional.hessian(total, finite[0]))


@every
def test_compiles_without_a_break(name):
    fn = FAMILY[name]
    torch.compiler.reset()
    compiled = torch.compile(fn, backend="aot_eager", fullgraph=True)
    x = torch.tensor(TROUBLE if "kl" not in name else TROUBLE[3:], dtype=torch.float64)
    assert torch.allclose(compiled(x), fn(x), rtol=1e-12, atol=1e-14, equal_nan=True)
    one, two = (x.clone().requires_grad_() for _ in range(2))
    for f, leaf in ((fn, one), (compiled, two)):
        y = f(leaf)
        y.nan_to_num(0, 0, 0).sum().backward()
    assert torch.allclose(one.grad, two.grad, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("where", ["fake", "meta"])
def test_shapes_flow_where_no_number_is(where):
    with FakeTensorMode() if where == "fake" else torch.device("meta"):
        x, weight = torch.empty(4, 5, requires_grad=True), torch.empty(7, 5, requires_grad=True)
        targets = torch.zeros(4, dtype=torch.long)
        for out, shape in (
            (numerics.softmax(x), (4, 5)),
            (numerics.log_softmax(x, temperature=2.0), (4, 5)),
            (numerics.logsumexp(x), (4,)),
            (numerics.entropy(x), (4,)),
            (numerics.kl_divergence(x, x), (4,)),
            (numerics.cross_entropy(x, targets, z_loss=0.1), ()),
            (numerics.linear_cross_entropy(x, weight, targets), ()),
        ):
            assert out.shape == shape
            out.sum().backward()
        assert x.grad.shape == x.shape


def test_half_precision_is_accumulated_in_single():
    ones = torch.zeros(100_000, dtype=torch.float16)
    assert numerics.logsumexp(ones).item() == pytest.approx(11.5129, rel=2**-10)  # a half sum stops at 2048
    assert numerics.log_softmax(ones)[0].item() == pytest.approx(-11.5129, rel=2**-10)
    assert numerics.entropy(ones).item() == pytest.approx(11.5129, rel=2**-10)


@pytest.mark.parametrize(
    "values", [[0.0, -1e-9], [2.0, 2.0, 2.0], [1.0, 5.0, -3.0, 5.0], [-INF, 0.0, 1.0], [-INF, -INF], [0.0, -104.0]]
)
@pytest.mark.parametrize("sizes", [1, 2, 3])
def test_the_gradient_of_a_stream_is_the_softmax_also_among_ties(values, sizes):
    x = torch.tensor(values, requires_grad=True)
    (found,) = torch.autograd.grad(numerics.online_logsumexp(x.split(sizes)), x)
    torch.testing.assert_close(found, numerics.softmax(x.detach()))


def test_the_gradient_of_a_stream_with_an_infinity_is_finite():
    x = torch.tensor([1.0, INF, 2.0], requires_grad=True)
    (found,) = torch.autograd.grad(numerics.online_logsumexp(x.split(1)), x)
    assert found.isfinite().all()

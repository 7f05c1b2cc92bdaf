"""The cross-entropies: their formula, their gradients, chunks against the whole, and what is not allowed."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from numerics_exact import FRAMEWORKS, INF
from torch.nn import functional

from steadygrad import numerics

OPTIONS = [
    {"z_loss": z, "soft_cap": c, "label_smoothing": e, "class_weight": w, "reduction": r}
    for z, c, e, w, r in itertools.product((0.0, 0.1), (None, 2.0), (0.0, 0.3), (False, True), ("mean", "sum", "none"))
]
CLASSES, IGNORED = 5, -100


@pytest.fixture
def problem():
    g = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*s, dtype=torch.float64, generator=g) for s in ((7, 4), (CLASSES, 4), (CLASSES,))
    )
    targets = torch.tensor([0, 1, 2, 3, 4, IGNORED, 2])
    return [t.requires_grad_() for t in (hidden, weight, bias)], targets


def with_weights(options):
    weights = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    return options | {"class_weight": weights if options["class_weight"] else None}


def by_hand(x, targets, z_loss, soft_cap, label_smoothing, class_weight, reduction):
    """The formula of the docstring, an example at a time, on NumPy."""
    x = x if soft_cap is None else soft_cap * np.tanh(x / soft_cap)
    weights = np.ones(x.shape[-1]) if class_weight is None else class_weight.numpy()
    losses, used = [], 0.0
    for row, t in zip(x, targets.tolist(), strict=True):
        if t == IGNORED:
            losses.append(0.0)
            continue
        lse = math.log(np.exp(row).sum())
        smooth = label_smoothing / len(row) * (weights * (lse - row)).sum()
        plain = (1 - label_smoothing) * weights[t] * (lse - row[t]) + smooth + z_loss * weights[t] * lse**2
        losses.append(plain)
        used += weights[t]
    return {"none": np.array(losses), "sum": sum(losses), "mean": sum(losses) / used}[reduction]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_form_is_the_formula(problem, options):
    options = with_weights(options)
    (h, w, b), targets = problem
    logits = functional.linear(h, w, b)
    wanted = by_hand(logits.detach().numpy(), targets, **options)
    numpy_options = options | {
        "class_weight": None if options["class_weight"] is None else options["class_weight"].numpy()
    }
    arrays = [t.detach().numpy() for t in (h, w, b)]
    got = [
        numerics.cross_entropy(logits, targets, **options).detach().numpy(),
        numerics.linear_cross_entropy(h, w, targets, bias=b, chunk_size=3, **options).detach().numpy(),
        numerics.cross_entropy(logits.detach().numpy(), targets.numpy(), **numpy_options),
        numerics.linear_cross_entropy(*arrays[:2], targets.numpy(), bias=arrays[2], chunk_size=3, **numpy_options),
    ]
    for value in got:
        np.testing.assert_allclose(value, wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_chunks_have_the_gradients_of_the_whole(problem, options):
    options = with_weights(options)
    inputs, targets = problem
    h, w, b = inputs
    whole = numerics.cross_entropy(functional.linear(h, w, b), targets, **options)
    chunked = numerics.linear_cross_entropy(h, w, targets, bias=b, chunk_size=3, **options)
    upstream = torch.linspace(1, 2, whole.numel(), dtype=whole.dtype).reshape(whole.shape)
    wanted = torch.autograd.grad(whole, inputs, upstream)
    for retain in (True, True, False):  # the first takes what waited, the others form it again
        got = torch.autograd.grad(chunked, inputs, upstream, retain_graph=retain)
        for a, c in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, c, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("options", OPTIONS[::3], ids=str)
def test_gradcheck_to_the_second_order(problem, options):
    options = with_weights(options)
    inputs, targets = problem

    def loss(h, w, b):
        return numerics.linear_cross_entropy(h, w, targets, bias=b, chunk_size=2, **options)

    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


def test_the_gradient_of_the_z_loss(problem):
    """Oracle: softmax (1 + 2 λ lse) - one-hot."""
    x = torch.randn(6, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets, z = torch.arange(6) % CLASSES, 0.3
    (got,) = torch.autograd.grad(numerics.cross_entropy(x, targets, z_loss=z, reduction="sum"), x)
    p, lse = torch.softmax(x, -1), torch.logsumexp(x, -1, keepdim=True)
    torch.testing.assert_close(got, p * (1 + 2 * z * lse) - functional.one_hot(targets, CLASSES))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_soft_cap_takes_infinite_logits_to_its_ends(framework):
    x, t = np.array([[INF, -INF, 0.0]]), np.array([0])
    wanted = math.log(1 + math.exp(-4) + math.exp(-2))
    if framework == "torch":
        x, t = torch.from_numpy(x).requires_grad_(), torch.from_numpy(t)
    loss = numerics.cross_entropy(x, t, soft_cap=2.0)
    assert loss.item() == pytest.approx(wanted, rel=1e-14)
    if framework == "torch":
        loss.backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_target_ignored_is_zero_with_gradient_zero(problem, reduction):
    (h, w, _), targets = problem
    ignored = torch.full_like(targets, IGNORED)
    for loss in (
        numerics.cross_entropy(functional.linear(h, w), ignored, reduction=reduction, z_loss=0.1, label_smoothing=0.1),
        numerics.linear_cross_entropy(h, w, ignored, reduction=reduction, z_loss=0.1, label_smoothing=0.1),
    ):
        assert loss.abs().sum().item() == 0
        for gradient in torch.autograd.grad(loss.sum(), (h, w)):
            assert gradient.abs().max().item() == 0
    arrays = h.detach().numpy() @ w.detach().numpy().T
    assert np.all(numerics.cross_entropy(arrays, ignored.numpy(), reduction=reduction) == 0)
    assert functional.cross_entropy(functional.linear(h, w), ignored).isnan()  # what the framework says


def test_an_ignored_example_that_is_not_finite_changes_nothing(problem):
    (h, w, _), targets = problem
    for bad in (math.nan, INF, -INF):
        broken = h.detach().clone()
        broken[targets == IGNORED] = bad
        broken.requires_grad_()
        for loss in (
            numerics.cross_entropy(functional.linear(broken, w.detach()), targets, z_loss=0.1),
            numerics.linear_cross_entropy(broken, w.detach(), targets, z_loss=0.1, chunk_size=3),
        ):
            (gradient,) = torch.autograd.grad(loss, broken)
            (wanted,) = torch.autograd.grad(numerics.linear_cross_entropy(h, w.detach(), targets, z_loss=0.1), h)
            torch.testing.assert_close(gradient, wanted)


def test_vmap_over_a_batch_of_losses():
    x = torch.randn(4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(24).reshape(4, 6) % 5
    got = torch.vmap(lambda a, t: numerics.cross_entropy(a, t, z_loss=0.1, soft_cap=3.0))(x, targets)
    wanted = [numerics.cross_entropy(a, t, z_loss=0.1, soft_cap=3.0) for a, t in zip(x, targets, strict=True)]
    torch.testing.assert_close(got, torch.stack(wanted))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, None])
def test_chunks_that_do_not_divide(problem, size):
    (h, w, _), targets = problem
    loss, lse = numerics.linear_cross_entropy(h, w, targets, chunk_size=size, return_logsumexp=True)
    whole, wanted = numerics.cross_entropy(functional.linear(h, w), targets, return_logsumexp=True)
    torch.testing.assert_close(loss, whole, rtol=1e-14, atol=0)
    torch.testing.assert_close(lse, wanted, rtol=1e-14, atol=0)
    assert not lse.requires_grad
    assert not wanted.requires_grad


def test_shapes_and_axes():
    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, 2], [3, 4, IGNORED]])
    wanted = functional.cross_entropy(x, targets)
    torch.testing.assert_close(numerics.cross_entropy(x, targets, axis=1), wanted)
    np.testing.assert_allclose(numerics.cross_entropy(x.numpy(), targets.numpy(), axis=1), wanted)
    h, w = x.movedim(1, -1), torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(numerics.linear_cross_entropy(h, w, targets), wanted)
    loss, lse = numerics.linear_cross_entropy(h, w, targets, reduction="none", return_logsumexp=True)
    assert loss.shape == lse.shape == targets.shape
    empty = torch.zeros(0, 5, dtype=torch.float64, requires_grad=True)
    loss = numerics.linear_cross_entropy(empty, w.requires_grad_(), torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert w.grad.abs().sum().item() == 0
    assert numerics.cross_entropy(empty.detach().numpy(), np.zeros(0, int)) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_summed_in_single(dtype):
    g = torch.Generator().manual_seed(0)
    h = torch.randn(600, 8, generator=g).to(dtype).requires_grad_()
    w = torch.randn(50, 8, generator=g).to(dtype).requires_grad_()
    targets = torch.randint(50, (600,), generator=g)
    loss = numerics.linear_cross_entropy(h, w, targets, chunk_size=64)
    got = torch.autograd.grad(loss, (h, w))
    wide = [t.detach().double().requires_grad_() for t in (h, w)]
    wanted = torch.autograd.grad(numerics.linear_cross_entropy(*wide, targets), wide)
    u = torch.finfo(dtype).eps / 2
    for a, b in zip(got, wanted, strict=True):
        # logits and their gradients are rounded to half once each, products are summed over at most 600 terms in single
        assert a.dtype == dtype
        assert (a.double() - b).norm() <= 8 * u * b.norm()
    plain = numerics.cross_entropy(functional.linear(h, w), targets)
    assert plain.dtype == loss.dtype == dtype


def test_autocast_casts_as_a_linear_layer_would():
    h, w = torch.randn(4, 3), torch.randn(5, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = numerics.linear_cross_entropy(h, w, torch.tensor([0, 1, 2, 3]))
    loss.backward()
    assert loss.dtype == torch.bfloat16
    assert w.grad.dtype == torch.float32


def test_frozen_parts_and_no_grad(problem):
    (h, w, b), targets = problem
    loss = numerics.linear_cross_entropy(h, w.detach(), targets, bias=b.detach())
    (gradient,) = torch.autograd.grad(loss, h)
    (wanted,) = torch.autograd.grad(numerics.cross_entropy(functional.linear(h, w, b), targets), h)
    torch.testing.assert_close(gradient, wanted)
    with torch.no_grad():
        assert not numerics.linear_cross_entropy(h, w, targets).requires_grad


def test_compiles(problem):
    (h, w, _), targets = problem
    torch.compiler.reset()
    for fn, args in (
        (numerics.linear_cross_entropy, (h, w, targets)),
        (lambda a, b, t: numerics.cross_entropy(a @ b.T, t, z_loss=0.1, soft_cap=3.0), (h, w, targets)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = torch.compile(fn, backend="aot_eager")(*args)
        torch.testing.assert_close(got, fn(*args))
        for a, c in zip(torch.autograd.grad(got, (h, w)), torch.autograd.grad(fn(*args), (h, w)), strict=True):
            torch.testing.assert_close(a, c)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_targets_and_class_weights_come_in_any_kind(framework, kind):
    make = torch.tensor if framework == "torch" else np.array
    x, w, t = make([[0.0, 1.0], [0.5, 2.0]]), make([[1.0, 2.0], [1.0, 0.0]]), kind([0, 1])
    weights = kind([1.0, 3.0])
    wanted = float(numerics.cross_entropy(x, make([0, 1]), class_weight=make([1.0, 3.0])))
    assert float(numerics.cross_entropy(x, t, class_weight=weights)) == pytest.approx(wanted)
    wanted = float(numerics.linear_cross_entropy(x, w, make([0, 1]), class_weight=make([1.0, 3.0])))
    assert float(numerics.linear_cross_entropy(x, w, t, class_weight=weights)) == pytest.approx(wanted)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("row", [[math.inf, 0.0], [-math.inf, -math.inf], [math.inf, math.inf]])
def test_an_infinite_maximum_makes_the_loss_nan_in_both_frameworks(row, target):
    assert math.isnan(float(numerics.cross_entropy(torch.tensor([row]), torch.tensor([target]))))
    assert math.isnan(float(numerics.cross_entropy(np.array([row]), np.array([target]))))
    one = np.array([[1.0]])
    assert math.isnan(float(numerics.linear_cross_entropy(one, 0 * one.repeat(2, 0), [target], bias=np.array(row))))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_of_another_kind_is_refused(framework):
    make = torch.tensor if framework == "torch" else np.array
    x, t, w = make([[0.0, 1.0], [0.0, 1.0]]), make([0, 1]), make([[1.0, 2.0], [1.0, 2.0]])
    for bad, message in (
        ({"z_loss": "a"}, "`z_loss` must be a number"),
        ({"label_smoothing": None}, "`label_smoothing` must be a number"),
        ({"soft_cap": "a"}, "`soft_cap` must be a number"),
        ({"ignore_index": None}, "`ignore_index` must be an integer"),
        ({"class_weight": make([1j, 1j])}, "`class_weight` must hold real numbers"),
    ):
        with pytest.raises(TypeError, match=message):
            numerics.cross_entropy(x, t, **bad)
        with pytest.raises(TypeError, match=message):
            numerics.linear_cross_entropy(x, w, t, **bad)
    for axis in (None, (0, 1)):
        with pytest.raises(TypeError, match="`axis` must be the one axis of the classes"):
            numerics.cross_entropy(x, t, axis=axis)
    with pytest.raises(ValueError, match="`logits` must have at least one class, got 0"):
        numerics.cross_entropy(x[:, :0], t)
    with pytest.raises(ValueError, match="`logits` must have at least one class, got 0"):
        numerics.linear_cross_entropy(x, w[:0], t)
    with pytest.raises(ValueError, match=r"`chunk_size` must be an integer >= 1, or None, got 2\.5"):
        numerics.linear_cross_entropy(x, w, t, chunk_size=2.5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_not_allowed(framework):
    make = torch.tensor if framework == "torch" else np.array
    x, t, w = make([[0.0, 1.0], [0.0, 1.0]]), make([0, 1]), make([[1.0, 2.0], [1.0, 2.0]])
    for bad, message in (
        ({"z_loss": -1.0}, "`z_loss` must be a finite number >= 0, got -1.0."),
        ({"soft_cap": 0.0}, "`soft_cap` must be a finite number > 0, or None, got 0.0."),
        ({"label_smoothing": 1.5}, r"`label_smoothing` must lie in \[0, 1\], got 1.5."),
        ({"reduction": "avg"}, "`reduction` must be one of 'mean', 'sum', 'none', got 'avg'."),
        ({"class_weight": make([1.0])}, r"`class_weight` must have the shape \(2,\), got \(1,\)."),
    ):
        for call in (
            lambda o: numerics.cross_entropy(x, t, **o),
            lambda o: numerics.linear_cross_entropy(x, w, t, **o),
        ):
            with pytest.raises(ValueError, match=message):
                call(bad)
    for index in (2, -1):
        rule = rf"`targets` must lie in \[0, 1\], or be ignore_index=-100, got {index}\."
        with pytest.raises(ValueError, match=rule):
            numerics.cross_entropy(x, make([0, index]))
        with pytest.raises(ValueError, match=rule):
            numerics.linear_cross_entropy(x, w, make([0, index]))
    with pytest.raises(TypeError, match="`targets` must be class indices, integers, got"):
        numerics.cross_entropy(x, make([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"`targets` must have the shape \(2,\), got \(1,\)."):
        numerics.cross_entropy(x, make([0]))
    with pytest.raises(TypeError, match="`logits` must hold real numbers"):
        numerics.cross_entropy(x * 1j, t)
    with pytest.raises(ValueError, match="`logits` must have an axis of classes"):
        numerics.cross_entropy(make(1.0), make(0))
    with pytest.raises(ValueError, match=r"`weight` must have the shape \(classes, 2\)"):
        numerics.linear_cross_entropy(x, make([[1.0]]), t)
    with pytest.raises(TypeError, match="`weight` must be of the same kind and type as `hidden`"):
        numerics.linear_cross_entropy(x, w.astype("f4") if framework == "numpy" else w.double(), t)
    with pytest.raises(ValueError, match=r"`chunk_size` must be an integer >= 1, or None, got 0."):
        numerics.linear_cross_entropy(x, w, t, chunk_size=0)
    with pytest.raises(ValueError, match=r"`bias` must have the shape \(2,\)"):
        numerics.linear_cross_entropy(x, w, t, bias=make([1.0]))

"""The clipping table of the oracles, row by row; a row is quoted in each test's docstring."""

import math

import pytest
import torch

from steadygrad.guard import Guard, clip
from steadygrad.guard.clip import norms as norms_module

GLOBAL = {
    "norm": lambda: clip.ByNorm(1.0),
    "percentile": lambda: clip.Percentile(50, warmup=0),
    "z-score": lambda: clip.ZScore(3, warmup=2),
}
POLICIES = {
    **GLOBAL,
    "value": lambda: clip.ByValue(1.0),
    "per-parameter": lambda: clip.PerParameter(1.0),
    "adaptive": lambda: clip.Adaptive(0.01),
    "chain": lambda: clip.Chain(clip.ByValue(1.0), clip.ByNorm(1.0)),
}


@pytest.fixture(params=["host", "device"])
def where(request, monkeypatch):
    """Norms as the host takes them, which looks again where a norm may have overflowed, and as an accelerator does."""
    if request.param == "device":
        for module in ("norms", "gradients", "by_norm"):
            monkeypatch.setattr(f"steadygrad.guard.clip.{module}.reads_freely", lambda device: False)
    return request.param


def with_gradient(*values, dtype=torch.float32):
    parameters = []
    for value in values:
        gradient = torch.tensor(value, dtype=dtype)
        parameter = torch.nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient
        parameters.append(parameter)
    return parameters


def ulps(found, expected):
    step = torch.nextafter(expected.abs(), torch.tensor(torch.inf)) - expected.abs()
    return ((found - expected).abs() / step).max().item()


def test_a_gradient_is_scaled_to_within_a_unit_in_the_last_place(where):
    """gradient [3, 4], max_norm 1: [.6, .8] within 1 ulp."""
    (weight,) = with_gradient([3.0, 4.0])
    assert clip.norm_(weight, 1.0).item() == 5.0
    assert ulps(weight.grad, torch.tensor([0.6, 0.8])) <= 1


def test_torch_misses_that_by_what_it_adds_to_the_norm():
    (weight,) = with_gradient([3.0, 4.0])
    torch.nn.utils.clip_grad_norm_([weight], 1.0)
    assert ulps(weight.grad, torch.tensor([0.6, 0.8])) > 1


def test_a_norm_at_the_limit_is_not_touched(where):
    """norm = max_norm = 1e-8: unchanged."""
    (weight,) = with_gradient([1e-8])
    before = weight.grad.clone()
    clip.norm_(weight, before.double().item())
    assert torch.equal(weight.grad, before)


@pytest.mark.parametrize("max_norm", [0.0, 1.0, math.inf])
def test_zero_gradients_stay_zero(where, max_norm):
    """all-zero gradients: no NaN."""
    parameters = with_gradient([0.0, 0.0], [[0.0]])
    assert clip.norm_(parameters, max_norm).item() == 0
    assert all((p.grad == 0).all() for p in parameters)


def test_max_norm_zero_makes_zeros(where):
    """max_norm 0: zeros."""
    (weight,) = with_gradient([3.0, -4.0])
    clip.norm_(weight, 0.0)
    assert (weight.grad == 0).all()


@pytest.mark.parametrize("make", [clip.ByNorm, clip.PerParameter, clip.ByValue, clip.Adaptive])
@pytest.mark.parametrize("bad", [-1.0, math.nan, -math.inf])
def test_a_threshold_below_zero_or_nan_is_refused(make, bad):
    """max_norm < 0 or NaN: ValueError."""
    with pytest.raises(ValueError, match="is a threshold and must be >= 0, got"):
        make(bad)


@pytest.mark.parametrize("act", [clip.norm_, clip.value_, clip.adaptive_])
@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_an_action_refuses_it_too(act, bad):
    with pytest.raises(ValueError, match="must be >= 0"):
        act(with_gradient([1.0]), bad)


@pytest.mark.parametrize("values", [[3.0, 4.0], [math.inf, 1.0], [math.nan, 1.0], [1e38, 1e38]])
def test_an_infinite_limit_measures_and_changes_nothing(where, values):
    """max_norm = inf: measured, never changed, also when the norm is inf."""
    (weight,) = with_gradient(values)
    before = weight.grad.clone()
    norm = clip.norm_(weight, math.inf).item()
    assert torch.equal(weight.grad.nan_to_num(nan=7.0), before.nan_to_num(nan=7.0))
    assert math.isfinite(norm) == all(map(math.isfinite, values))


def test_squares_that_overflow_single_precision_do_not(where):
    """100 entries of 1e20, single precision: norm 1e21, each clipped to 0.1."""
    (weight,) = with_gradient([1e20] * 100)
    assert clip.norm_(weight, 1.0).item() == pytest.approx(1e21, rel=2**-22)
    assert ulps(weight.grad, torch.full((100,), 0.1)) <= 2


@pytest.mark.parametrize("p", [0.5, 1, 2, 3, 10, math.inf])
@pytest.mark.parametrize(
    ("values", "dtype"), [([1e-30], torch.float32), ([1e160] * 8, torch.float64), ([1e-200] * 8, torch.float64)]
)
def test_the_norm_is_neither_zero_nor_infinite(where, p, values, dtype):
    """1e-30 single; [1e160]*8 double: the norm neither 0 nor inf."""
    (weight,) = with_gradient(values, dtype=dtype)
    expected = values[0] * len(values) ** (1 / p)
    assert clip.norm_(weight, math.inf, p=p).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_norm_is_accumulated_in_single(where, dtype):
    """half-precision norm above 65504: accumulated in single precision, clipped right."""
    (weight,) = with_gradient([60000.0] * 64, dtype=dtype)
    value = weight.grad[0].item()
    assert clip.norm_(weight, 8.0).item() == pytest.approx(8 * value, rel=1e-6)
    assert torch.equal(weight.grad, torch.ones(64, dtype=dtype))


def test_a_ratio_below_the_normal_range_keeps_its_bits():
    (weight,) = with_gradient([3e38] * 4)
    clip.norm_(weight, 0.5)
    assert weight.grad.tolist() == pytest.approx([0.25] * 4, rel=1e-6)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_the_culprit_is_named(bad):
    """one inf, one NaN: the step is skipped, the culprit named (bitwise: test_skipped_steps)."""
    events = []
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    guard = Guard(model, torch.optim.SGD(model.parameters(), lr=0.1), sink=events.append)
    guard.backward(model(torch.ones(1, 2)).sum())
    model[0].weight.grad[0, 0] = bad
    guard.step()
    assert events[0].code == "GRD002"
    assert "`0.weight`" in events[0].message
    assert (events[0].module, events[0].step) == ("0", 1)


def test_of_many_the_culprit_is_the_first_of_the_backward_pass():
    events = []
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2))
    guard = Guard(model, torch.optim.SGD(model.parameters(), lr=0.1), sink=events.append)
    guard.backward(model(torch.ones(1, 2)).sum())
    model[0].weight.grad.fill_(math.nan)
    model[2].weight.grad[0, 0] = math.inf
    guard.step()
    assert events[0].message.endswith("2 of 4 gradients are not finite, in the order of the backward pass first that "
                                      "of `2.weight`.")  # fmt: skip


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_a_tied_parameter_counts_and_is_scaled_once(where, make):
    """a tied parameter listed twice: counted and scaled once."""
    once, twice = with_gradient([3.0, 4.0]), with_gradient([3.0, 4.0]) * 2
    for policy, parameters in ((make(), once), (make(), twice)):
        for _ in range(3):
            norm = policy(p for p in parameters)
    assert torch.equal(once[0].grad, twice[0].grad)
    assert math.isfinite(norm)


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_mixed_and_empty_and_absent_gradients_are_handled(where, make):
    """mixed dtypes, complex, empty, None gradients, a generator argument: handled."""
    parameters = [
        *with_gradient([3.0], dtype=torch.float64),
        *with_gradient([4.0], [], [[], []]),
        *with_gradient([6.0], dtype=torch.bfloat16),
        *with_gradient([8j], dtype=torch.complex64),
        torch.nn.Parameter(torch.ones(3)),
    ]
    expected = math.sqrt(3**2 + 4**2 + 6**2 + 8**2)
    assert make()(p for p in parameters).item() == pytest.approx(expected, rel=1e-6)


def test_mixed_gradients_are_scaled_alike(where):
    kinds = {torch.float64: 3.0, torch.float32: 4.0, torch.cfloat: 12j}
    parameters = [p for dtype, value in kinds.items() for p in with_gradient([value], dtype=dtype)]
    clip.norm_(parameters, 1.0)
    found = [complex(p.grad.item()) for p in parameters]
    assert found == pytest.approx([3 / 13, 4 / 13, 12j / 13], rel=1e-6)


def test_conjugated_gradients_are_scaled():
    (weight,) = with_gradient([3 + 4j], dtype=torch.cfloat)
    weight.grad = weight.grad.conj()
    clip.norm_(weight, 1.0)
    assert weight.grad.item() == pytest.approx(0.6 - 0.8j, rel=1e-6)


@pytest.mark.parametrize("make", [m for n, m in POLICIES.items() if n != "adaptive"])
def test_a_sparse_gradient_counts_each_row_once_summed(where, make):
    """sparse: handled; rows that occur twice add up before anything is measured."""
    table = torch.nn.Embedding(5, 1, sparse=True)
    table.weight.grad = torch.sparse_coo_tensor([[1, 1, 3]], [[1.0], [2.0], [4.0]], (5, 1), check_invariants=True)
    assert make()(table.weight).item() == 5.0


def test_a_sparse_gradient_is_scaled(where):
    table = torch.nn.Embedding(5, 1, sparse=True)
    table.weight.grad = torch.sparse_coo_tensor([[1, 1, 3]], [[1.0], [2.0], [4.0]], (5, 1), check_invariants=True)
    clip.norm_(table.weight, 1.0)
    assert table.weight.grad.to_dense().flatten().tolist() == pytest.approx([0, 0.6, 0, 0.8, 0], rel=1e-6)


def test_adaptive_clipping_of_a_sparse_gradient_is_a_clear_error():
    table = torch.nn.Embedding(5, 1, sparse=True)
    table.weight.grad = torch.sparse_coo_tensor([[1]], [[1.0]], (5, 1), check_invariants=True)
    with pytest.raises(ValueError, match="adaptive clipping must be dense"):
        clip.adaptive_(table.weight)


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_no_gradient_at_all_is_no_error(make):
    assert make()([torch.nn.Parameter(torch.ones(2))]).item() == 0.0
    assert make()([]).item() == 0.0


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_norm_of_many_small_gradients_is_that_of_them_laid_end_to_end(where, p, scale):
    generator = torch.Generator().manual_seed(0)
    parameters = with_gradient(*[(torch.randn(7, 5, generator=generator) * scale).tolist() for _ in range(40)], [])
    whole = torch.cat([q.grad.flatten() for q in parameters]).double()
    expected = (torch.linalg.vector_norm(whole / scale, p) * scale).item()
    assert clip.norm_(parameters, math.inf, p=p).item() == pytest.approx(expected, rel=1400 * 2**-24)


@pytest.mark.parametrize("shape", [(1000,), (37, 41), (3, 5, 7)])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_the_norm_equals_numpys_in_double(where, shape, p):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator) * 10.0**k for k in range(-3, 3)]
    whole = torch.cat([t.flatten() for t in tensors]).double()
    expected = torch.linalg.vector_norm(whole, p).item()
    # Summing n terms in single precision, pairwise in blocks: n·u bounds the relative error.
    found = norms_module.total(norms_module.norms(tensors, p), p).item()
    assert found == pytest.approx(expected, rel=len(whole) * 2**-24)

"""What a prediction may cost: it stops when its time is over, and large batches, images and weights fit in memory."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import batch, measured_weights, predict, sampling, windows
from steadygrad.prediction.batch import representatives
from steadygrad.prediction.taps import Taps, in_common


class Unrolled(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.RNNCell(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        h = x.new_zeros(len(x), 8)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


@pytest.fixture
def ticking(monkeypatch):
    """A clock that says a second more each time it is asked, which the interpreter does at each operator."""
    clock = itertools.count()
    monkeypatch.setattr("steadygrad.prediction.interpreter.time.thread_time", clock.__next__)
    return clock


def predicted(seconds, model=Unrolled):
    inputs = torch.randn(6, 30, 4, generator=torch.Generator().manual_seed(0))
    return predict(model, inputs, torch.arange(6) % 2, loss_fn=nn.CrossEntropyLoss(), seconds=seconds)


def test_what_is_reached_in_time_is_known_and_the_rest_is_not(ticking):
    whole, cut = predicted(1e9), predicted(60)
    steps = [row for row in cut if row.path == "cell"]
    assert 0 < len(steps) < 30
    assert [row.q for row in steps] == [row.q for row in whole][: len(steps)]
    assert cut["head"].mark == "unknown"
    assert any(said.startswith("not predicted within 60 s: it stopped at module 'cell'") for said in cut.unknown)


def test_a_backward_pass_that_is_cut_leaves_the_forward_pass(ticking):
    before = next(ticking)
    whole = predicted(1e9)
    cut = predicted(next(ticking) - before - 40)  # as long, but for the last 40 operators
    assert "it stopped going backward" in cut.unknown[-1]
    assert cut.loss == whole.loss
    assert [row.q for row in cut] == [row.q for row in whole]
    assert cut.layers[0].grad_q != cut.layers[0].grad_q


def test_code_that_catches_everything_ends_as_well(ticking):
    class Stubborn(Unrolled):
        def forward(self, x):
            for _ in range(5):
                try:
                    return super().forward(x)
                except Exception:
                    continue
            return super().forward(x)

    assert any("not predicted within 60 s" in said for said in predicted(60, Stubborn).unknown)


def test_time_that_is_over_leaves_nothing_behind(ticking):
    predicted(10)
    assert type(torch.randn(2)) is torch.Tensor
    assert nn.Module.__call__.__name__ != "seen"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_seconds_must_be_positive(seconds):
    with pytest.raises(ValueError, match="`seconds` must be positive"):
        predicted(seconds)


def test_a_large_batch_is_predicted_through_its_loss():
    x, y = torch.randn(10000, 16), torch.randint(10, (10000,))
    profile = predict(lambda: nn.Linear(16, 10), x, y, loss_fn=nn.CrossEntropyLoss())
    assert profile.unknown == ()
    assert profile.loss == pytest.approx(2.3, rel=0.2)  # ln 10, and a little more: logits vary
    assert profile[""].grad_q > 0


def test_a_long_sequence_is_convolved_and_pooled():
    profile = predict(
        lambda: nn.Sequential(nn.Conv1d(1, 8, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.AvgPool1d(5, 5)),
        torch.randn(2, 1, 100_000),
    )
    assert profile.unknown == ()
    assert all(row.q > 0 and row.grad_q > 0 for row in profile)


@pytest.mark.parametrize(("features", "examples"), [(3, 9), (9, 3)])
def test_products_of_all_pairs_are_those_of_the_smaller_side(features, examples):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, examples, features))
    assert sampling._met(a, b) == pytest.approx((np.einsum("sbf,scf->sbc", a, b) ** 2).sum((1, 2)), rel=1e-12)


@pytest.mark.parametrize(
    "window", [(3, 2, 1, 17, 9), (2, 2, 0, 11, 5), (4, 1, 0, 9, 6), (5, 3, 2, 4, 1), (9, 9, 0, 9, 1)]
)
def test_tables_of_windows_count_pairs_of_positions(window):
    w = windows.Window(*window)
    of = np.minimum(np.arange(w.size) // w.stride, w.out - 1)
    back = np.zeros((w.size, w.out))
    for i, j in itertools.combinations_with_replacement(range(w.size), 2):
        back[j - i, of[j] - of[i]] += 1 / (w.size - (j - i))
    assert windows._back(w).toarray() == pytest.approx(back, abs=1e-12)
    assert windows._places(w).sum(axis=1) == pytest.approx(1)
    assert windows._lags(w).sum(axis=1) == pytest.approx(1)


def test_tables_of_windows_hold_what_is_not_zero_alone():
    w = windows.Window(4, 4, 0, 100_000, 25_000)
    assert max(table(w).nnz for table in (windows._lags, windows._places, windows._back)) <= 2 * w.kernel * w.size


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), [(9, 3, 1, 1, 1), (10, 4, 2, 3, 2)])
def test_taps_in_common_are_counted(size, kernel, stride, padding, dilation, transposed):
    shape = nn.ConvTranspose1d if transposed else nn.Conv1d
    layer = shape(1, 1, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    torch.nn.init.ones_(layer.weight)
    rows = torch.stack([layer(x[None, None])[0, 0] for x in torch.eye(size)]).detach().numpy()  # [input, output]
    out = rows.shape[1]
    how = (stride, padding, dilation, transposed)
    inside = np.array([[_tap(o, k, size, *how) for k in range(kernel)] for o in range(out)])
    met = [np.mean([inside[o] @ inside[o + lag] for o in range(out - lag)]) for lag in range(out)]
    assert rows.sum(0) == pytest.approx(inside.sum(1))
    found = in_common(Taps(size, out, kernel, stride, padding, dilation, transposed))
    assert found == pytest.approx(np.array(met) / met[0], abs=1e-12)


def _tap(o, k, size, stride, padding, dilation, transposed):
    """Whether tap `k` of the kernel meets a position inside the input at output `o`."""
    place, rest = divmod(o + padding - k * dilation, stride) if transposed else (o * stride - padding + k * dilation, 0)
    return float(rest == 0 and 0 <= place < size)


def test_weights_and_data_are_looked_at_a_part_at_a_time_with_the_same_result(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    weight, data = torch.randn(50, 30, generator=generator) + 1, torch.randn(40, 6, 5, generator=generator)
    size = representatives(data)
    whole = measured_weights.measured_fill(weight, 0), sampling.moments_of_data(data, size)
    for module in (measured_weights, sampling, batch):
        monkeypatch.setattr(module, "AT_ONCE", 97)
    fill, moments = measured_weights.measured_fill(weight, 0), sampling.moments_of_data(data, representatives(data))
    values = weight.double().numpy()
    assert (fill.mean, fill.variance) == pytest.approx((values.mean(), values.var()), rel=1e-12)
    assert fill.kurtosis == pytest.approx(whole[0].kurtosis, rel=1e-12)
    for name in ("mean", "q", "d"):
        assert getattr(moments, name) == pytest.approx(getattr(whole[1], name), rel=1e-12, abs=1e-15)

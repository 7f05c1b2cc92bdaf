"""What goes in: a batch, moments, a sample of data, several arguments, token ids; and what comes out on request."""

import math

import pytest
import torch
from scipy.stats import chi2
from torch import nn

import steadygrad as sg
from steadygrad import Inputs


def mlp(activation=nn.Tanh):
    return nn.Sequential(nn.Linear(256, 256), activation(), nn.Linear(256, 16))


def test_a_shape_is_standard_normal():
    assert sg.predict(mlp, (8, 256)) == sg.predict(mlp, Inputs((8, 256))) == sg.predict(mlp, torch.Size((8, 256)))


def test_moments_are_those_of_a_batch_that_has_them():
    """A batch of mean m, second moment q and correlation c, drawn, gives what its moments give."""
    mean, q, c = 0.5, 2.0, 0.4
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, 4096, generator=generator) * math.sqrt(c * q - mean**2)
    batch = mean + common + torch.randn(64, 4096, generator=generator) * math.sqrt(q * (1 - c))
    network = lambda: nn.Sequential(nn.Linear(4096, 256), nn.Tanh(), nn.Linear(256, 16))  # noqa: E731
    described = sg.predict(network, Inputs((64, 4096), mean=mean, q=q, c=c))
    for row, other in zip(described, sg.predict(network, batch), strict=True):
        assert row.q == pytest.approx(other.q, rel=0.05)
        assert row.signal == pytest.approx(other.signal, rel=0.05)
        assert row.grad_q == pytest.approx(other.grad_q, rel=0.05)


def test_described_entries_are_gaussian():
    (row, _) = sg.predict(lambda: nn.Sequential(nn.ReLU(), nn.Linear(64, 4)), (8, 64))
    assert (row.q, row.mark) == (pytest.approx(0.5, rel=0.01), "exact")


def test_a_sample_of_data_stands_for_one_batch():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(512, 256, generator=generator), torch.randint(16, (512,), generator=generator)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    profile = sg.predict(mlp, loader, loss_fn=nn.CrossEntropyLoss())
    assert profile.batch_size == 32
    assert profile["0"].q == pytest.approx(sg.predict(mlp, x)["0"].q, rel=0.02)
    assert profile.loss > math.log(16)
    assert sg.predict(mlp, (b for b, _ in loader)).batch_size == 32


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(64, 32), nn.Linear(16, 32)

    def forward(self, one, other):
        return {"logits": self.left(one) + self.right(other)}


def test_several_arguments_and_a_mapping_as_output():
    one, other = torch.randn(8, 64), Inputs((8, 16))
    for inputs in ((one, other), {"one": one, "other": other}):
        profile = sg.predict(Two, inputs)
        assert [row.path for row in profile] == ["left", "right"]
        assert profile["left"].grad_q == pytest.approx(chi2.median(8 * 32) / (8 * 32), rel=1e-4)


def test_token_ids_are_drawn_where_their_number_is_given():
    model = lambda: nn.Sequential(nn.Embedding(50, 64), nn.Flatten(), nn.Linear(64 * 6, 8))  # noqa: E731
    profile = sg.predict(model, Inputs((16, 6), tokens=50))
    assert not profile.unknown
    assert profile["0"].q == pytest.approx(1.0, rel=0.01)
    assert profile["0"].c == pytest.approx(1 / 50, abs=0.02)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (lambda: Inputs((8, 4), q=0.1, mean=1.0), "`q` is a second moment and must be >= mean²"),
        (lambda: Inputs((8, 4), c=1.5), r"`c` is a correlation and must be within \[0, 1\]"),
        (lambda: Inputs((8, 0)), "no empty axis"),
        (lambda: Inputs((8, 4), tokens=0), "`tokens` is a number of tokens"),
        (lambda: sg.predict(mlp, []), "`inputs` must be a tensor"),
        (lambda: sg.predict(mlp, iter(["a"])), "must hold batches of tensors"),
        (lambda: sg.predict(mlp, {"a": 3}), "must hold a tensor"),
        (lambda: sg.predict(mlp, (8, 256), per="layer"), "`per` must be one of 'module', 'operator'"),
        (lambda: sg.predict(mlp, (8, 256), given="x"), "`given` must be a measured Profile"),
        (lambda: sg.predict(lambda: nn.Embedding(9, 4), (8, 256)), r"Inputs\(shape, tokens=9\)"),
    ],
)
def test_bad_inputs_get_one_line(inputs, said):
    with pytest.raises(ValueError, match=said):
        inputs()


def test_a_profile_per_operator_has_the_operators_of_both_passes():
    rows = sg.predict(mlp, (8, 256), per="operator").layers
    kinds = [row.kind for row in rows]
    assert kinds[:3] == ["aten.addmm", "aten.tanh", "aten.addmm"]
    assert "aten.tanh_backward" in kinds
    modules = sg.predict(mlp, (8, 256))
    assert [row.q for row in rows[:3]] == [row.q for row in modules]
    assert [row.path for row in rows[:3]] == ["0", "1", "2"]
    assert next(row for row in rows if row.kind == "aten.tanh_backward").grad_q == modules["0"].grad_q


def test_every_parameter_has_the_norm_of_its_gradient():
    x, y = torch.randn(64, 256, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 16
    predicted = sg.predict(mlp, x, y, loss_fn=nn.CrossEntropyLoss()).parameter_grad_norms
    torch.manual_seed(0)
    measured = sg.measure(mlp(), x, y, nn.CrossEntropyLoss()).parameter_grad_norms
    assert predicted.keys() == measured.keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    for name, norm in predicted.items():
        assert norm == pytest.approx(measured[name], rel=0.25), name


class BesideZeros(nn.Module):
    """Data behind a class token that starts at zero."""

    def __init__(self):
        super().__init__()
        self.token, self.mark, self.layer = (
            nn.Parameter(torch.zeros(1, 1, 8)),
            nn.Identity(),
            nn.Linear(8, 8, bias=False),
        )

    def forward(self, x):
        return self.layer(self.mark(torch.cat([self.token.expand(len(x), -1, -1), x], 1)))[:, 0]


def test_data_beside_zeros_are_data():
    """The mean square is that of the numbers, and what stands at the zeros stays zero."""
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
    profile = sg.predict(BesideZeros, x)
    assert profile["mark"].q == pytest.approx(float(x.square().mean()) * 3 / 4, rel=1e-6)
    assert profile["layer"].q == pytest.approx(float(x.square().mean()) / 4, rel=0.1)

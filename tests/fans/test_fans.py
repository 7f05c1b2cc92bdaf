"""fan_in and fan_out are what the layer really sums: laws through the real layer."""

import math

import pytest
import torch
from torch import nn

from steadygrad.fans import Fans, fans, weight_fans

LAYERS = {
    "linear": (lambda: nn.Linear(96, 40, bias=False), (96,)),
    "conv1d": (lambda: nn.Conv1d(16, 24, 5, bias=False), (16, 12)),
    "conv2d": (lambda: nn.Conv2d(8, 12, 3, bias=False), (8, 9, 9)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 3, bias=False), (4, 6, 6, 6)),
    "grouped": (lambda: nn.Conv2d(8, 16, 3, groups=4, bias=False), (8, 9, 9)),
    "depthwise": (lambda: nn.Conv2d(8, 8, 3, groups=8, bias=False), (8, 9, 9)),
    "strided": (lambda: nn.Conv2d(8, 12, 4, stride=2, bias=False), (8, 22, 22)),
    "transposed": (lambda: nn.ConvTranspose2d(64, 16, 5, bias=False), (64, 14, 14)),
    "transposed strided": (lambda: nn.ConvTranspose2d(16, 8, 4, stride=2, bias=False), (16, 12, 12)),
    "transposed grouped": (lambda: nn.ConvTranspose1d(16, 8, 3, groups=4, bias=False), (16, 30)),
}


def interior(x: torch.Tensor, margin: int) -> torch.Tensor:
    for axis in range(2, x.dim()):
        x = x.narrow(axis, margin, x.shape[axis] - 2 * margin)
    return x


@pytest.mark.parametrize("name", LAYERS)
def test_terms_of_an_output_and_of_an_input_gradient(name):
    """With all weights, inputs and output gradients one, an interior entry is the number of its terms."""
    make, shape = LAYERS[name]
    layer = make()
    nn.init.ones_(layer.weight)
    x = torch.ones(1, *shape, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    outer = 4 if "transposed" in name else 0
    inner = (
        4 if name == "strided" else 0 if "transposed" in name else (layer.kernel_size[0] - 1 if len(shape) > 1 else 0)
    )
    assert interior(y.detach(), outer).mean().item() == pytest.approx(fans(layer).fan_in)
    assert interior(x.grad, inner if len(shape) < 4 else 2).mean().item() == pytest.approx(fans(layer).fan_out)


def test_oracle_28_transposed_convolution_sums_1600_terms():
    assert fans(nn.ConvTranspose2d(64, 16, 5)) == Fans(1600, 400)


def test_an_uneven_stride_is_the_rounded_mean():
    assert fans(nn.ConvTranspose1d(4, 4, 3, stride=2)).fan_in == 6
    assert fans(nn.ConvTranspose1d(1, 1, 1, stride=4)).fan_in == 1


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_weights_count_by_gate(kind, gates):
    layer = kind(5, 7, num_layers=2, bidirectional=True)
    table = weight_fans(layer)
    assert table["weight_ih_l0"] == Fans(5, 7)
    assert table["weight_hh_l1_reverse"] == Fans(7, 7)
    assert table["weight_ih_l1"] == Fans(14, 7)
    assert layer.weight_ih_l0.shape[0] == gates * 7


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_cells_count_by_gate(kind):
    assert weight_fans(kind(5, 7)) == {"weight_ih": Fans(5, 7), "weight_hh": Fans(7, 7)}


def test_an_lstm_projection_has_no_gates():
    table = weight_fans(nn.LSTM(5, 8, proj_size=3))
    assert table["weight_hr_l0"] == Fans(8, 3)
    assert table["weight_hh_l0"] == Fans(3, 8)


def test_attention_counts_by_block():
    assert weight_fans(nn.MultiheadAttention(8, 2)) == {"in_proj_weight": Fans(8, 8)}
    apart = weight_fans(nn.MultiheadAttention(8, 2, kdim=3, vdim=5))
    assert apart == {"q_proj_weight": Fans(8, 8), "k_proj_weight": Fans(3, 8), "v_proj_weight": Fans(5, 8)}


def test_bilinear_and_embedding():
    layer = nn.Bilinear(3, 3, 4, bias=False)
    nn.init.ones_(layer.weight)
    x, z = (torch.ones(1, 3, requires_grad=True) for _ in range(2))
    y = layer(x, z)
    y.sum().backward()
    assert (y[0, 0].item(), x.grad[0, 0].item()) == fans(layer)
    assert fans(nn.Embedding(100, 16)) == Fans(1, 16)


def test_norms_and_containers_sum_nothing():
    for layer in (nn.BatchNorm2d(3), nn.LayerNorm(3), nn.PReLU(), nn.ReLU(), nn.Sequential(nn.Linear(2, 2))):
        assert weight_fans(layer) == {}
        with pytest.raises(TypeError, match="must have a weight"):
            fans(layer)


def test_an_unknown_layer_says_how_to_register_it_and_then_works():
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 4))

    with pytest.raises(TypeError, match=r"weight_fans\.register\(Mixer\)"):
        fans(Mixer())
    weight_fans.register(Mixer)(lambda layer: {"weight": Fans(3, 4)})
    assert fans(Mixer()) == Fans(3, 4)


def test_an_unknown_weight_name_gives_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'weight_hh_l0'"):
        fans(nn.LSTM(2, 3), "weight_hh_10")


def test_fan_in_is_what_the_output_variance_grows_by():
    """Var(y) = fan_in Var(w) E[x²]: 5 standard errors over output entries."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(64, 16, 5, bias=False)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(fans(layer).fan_in))
    y = interior(layer(torch.randn(32, 64, 14, 14)).detach(), 4)
    squares = y.double().square().mean((0, 2, 3))  # one value a channel: channels are independent
    error = squares.std() / math.sqrt(16)
    assert abs(squares.mean() - 1) < 5 * error

"""Architectures as data, which Hypothesis draws and shrinks: what networks are made of, the networks, and draws."""

import functools
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

MODULES = {
    "relu": nn.ReLU, "identity": nn.Identity, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU,
    "silu": nn.SiLU, "elu": nn.ELU, "selu": nn.SELU, "celu": nn.CELU, "mish": nn.Mish, "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus, "logsigmoid": nn.LogSigmoid, "softsign": nn.Softsign, "tanhshrink": nn.Tanhshrink,
    "prelu": nn.PReLU, "hardtanh": nn.Hardtanh, "relu6": nn.ReLU6, "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish, "softshrink": nn.Softshrink, "hardshrink": nn.Hardshrink,
    "threshold": functools.partial(nn.Threshold, 0.0, 0.0),
}  # fmt: skip
FUNCTIONS = {
    "relu": F.relu, "identity": torch.clone, "tanh": torch.tanh, "leaky_relu": F.leaky_relu, "gelu": F.gelu,
    "silu": F.silu, "elu": F.elu, "selu": F.selu, "celu": F.celu, "mish": F.mish, "sigmoid": torch.sigmoid,
    "softplus": F.softplus, "logsigmoid": F.logsigmoid, "softsign": F.softsign, "tanhshrink": F.tanhshrink,
    "hardtanh": F.hardtanh, "relu6": F.relu6, "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish, "softshrink": F.softshrink, "hardshrink": F.hardshrink,
    "threshold": functools.partial(F.threshold, threshold=0.0, value=0.0), "erf": torch.erf, "sin": torch.sin,
    "cos": torch.cos, "abs": torch.abs, "square": torch.square,
}  # fmt: skip


def _scaled(fill, gain):
    """A fill whose spread is a gain over the root of fan_in."""
    return lambda w: fill(w, gain * (w[0].numel() ** -0.5))


INITIALIZERS = {
    "default": None,
    "he normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "xavier normal": nn.init.xavier_normal_,
    "xavier uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
    "orthogonal, gain": lambda w: nn.init.orthogonal_(w, gain=2**0.5),
    "normal, 0.8": _scaled(lambda w, s: nn.init.normal_(w, std=s), 0.8),
    "normal, 1.6": _scaled(lambda w, s: nn.init.normal_(w, std=s), 1.6),
    "normal, 0.02": lambda w: nn.init.normal_(w, std=0.02),
    "truncated": _scaled(lambda w, s: nn.init.trunc_normal_(w, std=s), 1.0),
    "uniform": _scaled(lambda w, s: nn.init.uniform_(w, -s, s), 2.0),
    "hand-written": _scaled(lambda w, s: w.data.copy_(torch.randn(w.shape) * s), 1.2),
}
NORMS = {
    "none": None,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
    "batch": nn.BatchNorm1d,
    "group": lambda width: nn.GroupNorm(2, width),
}
IMAGE_NORMS = {"none": None, "batch": nn.BatchNorm2d, "group": NORMS["group"]}


class Layer(NamedTuple):
    """One layer: `form` is how it joins what came before: instead of it, added to it, or beside it."""

    width: int = 64
    activation: str = "relu"
    functional: bool = False
    form: str = "plain"
    norm: str = "none"
    bias: bool = True
    dropout: float = 0.0
    tied: bool = False
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: str = "none"


class Network(NamedTuple):
    """A network on vectors, images or tokens, between a stem, a layer or a table, and a head."""

    kind: str = "vectors"
    initializer: str = "default"
    stem: int = 64
    layers: tuple[Layer, ...] = (Layer(),)
    head: int = 10

    @property
    def plain(self):
        """Whether nothing in it divides by its own size, joins what came before, or is met twice."""
        return self.kind != "tokens" and all(
            not made.tied and made.form == "plain" and made.norm == "none" for made in self.layers
        )


class Step(nn.Module):
    """A layer as a module: its weights, its activation, its norm, and the sum or the concatenation around them."""

    def __init__(self, made, inputs, image, tied):
        super().__init__()
        self.made, norms = made, IMAGE_NORMS if image else NORMS
        width = inputs if made.form in ("pre", "post") else made.width
        normed = inputs if made.form == "pre" else width
        self.norm = norms[made.norm](normed) if norms[made.norm] else None
        options = {"kernel_size": made.kernel, "stride": made.stride, "padding": made.padding}
        make = functools.partial(nn.Conv2d, **options) if image else nn.Linear
        self.weights = tied or make(inputs, width, bias=made.bias)
        self.activation = None if made.functional else MODULES[made.activation]()
        self.dropout = nn.Dropout(made.dropout) if made.dropout else None
        self.pool = {"none": None, "avg": nn.AvgPool2d, "max": nn.MaxPool2d}[made.pool] if image else None
        self.pool = self.pool and self.pool(2)
        self.outputs = inputs + width if made.form == "beside" else width

    def forward(self, x):
        made, h = self.made, x
        h = self.norm(h) if self.norm and made.form == "pre" else h
        h = self.weights(h)
        h = self.norm(h) if self.norm and made.form in ("plain", "beside") else h
        h = self.activation(h) if self.activation else FUNCTIONS[made.activation](h)
        h = self.dropout(h) if self.dropout else h
        h = x + h if made.form in ("pre", "post") else torch.cat([x, h], 1) if made.form == "beside" else h
        h = self.norm(h) if self.norm and made.form == "post" else h
        return self.pool(h) if self.pool else h


class Built(nn.Module):
    """The whole network."""

    def __init__(self, made):
        super().__init__()
        self.made, image = made, made.kind == "images"
        width = made.stem
        self.table = nn.Embedding(40, width) if made.kind == "tokens" else None
        self.stem = {"vectors": nn.Linear(32, width), "images": nn.Conv2d(3, width, 3), "tokens": None}[made.kind]
        steps, before = [], None
        for layer in made.layers:
            step = Step(layer, width, image, _tied(before, layer, width))
            steps, before, width = [*steps, step], step.weights, step.outputs
        self.steps = nn.Sequential(*steps)
        pixels = _size(made.layers) ** 2 if image else 1
        self.head = nn.Linear(width * pixels, made.head)
        _fill(self, INITIALIZERS[made.initializer])

    def forward(self, x):
        h = self.stem(x) if self.stem else self.table(x).mean(1)
        h = self.steps(h)
        return self.head(h.flatten(1))


def _tied(before, layer, width):
    """The weights of the layer before, where this one is to use them again and can."""
    fits = isinstance(before, nn.Linear) and before.weight.shape == (layer.width, width)
    return before if layer.tied and fits and (before.bias is not None) == layer.bias else None


def _fill(model, fill):
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and fill:
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def inputs(made):
    """The batch that a network is shown."""
    generator = torch.Generator().manual_seed(0)
    match made.kind:
        case "vectors":
            return torch.randn(32, 32, generator=generator)
        case "images":
            return torch.randn(8, 3, 10, 10, generator=generator)
        case _:
            return torch.randint(0, 40, (32, 6), generator=generator)


def draw(made, x, seed):
    """The paths of one draw's rows, and the log q and log grad_q of each, [2, rows]."""
    torch.default_generator.manual_seed(seed)  # the one for all devices writes down the stack that it was called from
    model, rows, grads = Built(made).double(), [], {}
    x = x.double() if x.is_floating_point() else x
    paths = {id(module): path for path, module in reversed(list(model.named_modules()))}

    def seen(module, args, out):
        row = len(rows)
        rows.append((paths[id(module)], _log(out)))
        if out.requires_grad:
            out.register_hook(lambda grad: grads.__setitem__(row, _log(grad)))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(seen)
    y = model(x)
    y.backward(torch.randn_like(y))
    return [path for path, _ in rows], [[q for _, q in rows], [grads.get(i, np.nan) for i in range(len(rows))]]


def _log(tensor):
    return float(tensor.detach().square().mean().log())


# What is not drawn, and by how much it is off in the log, at the widths and batches here:
# exp: beyond its first layer the mean square has no law of which two moments are enough; the gradient 6 and more.
# RReLU, while it trains, draws its slopes: unknown, and said to be.
# CUBIC beyond the first layer, or behind a norm: as powers of small numbers their logs have long tails; 0.3 to 0.8, the
# band half as wide as the draws. cos, square and bounded functions before a pool: 0.05 to 0.2, by Gaussian windows.
# A std of 0.02 with uniform biases as wide as torch's: units are uniform where biases outweigh the sums; 0.24.
# Batch norm behind a sum, with a dropout of a half: 0.2. A group norm of images that begins a branch: the gradient 0.10
# low in front of it. A dropout of a half in front of a layer norm: 0.06 a layer.
# Norms and sums 16 wide: 0.16; of more than six layers, of three of images: 0.03 to 0.05 each.
# Group norms of sums of parts laid side by side, and the largest of a window of such parts: 0.7 and 0.9, as their sizes
# are taken for one; batch norms of such sums: gradients 0.1 to 0.25 low, one network in eight. The largest of a window
# in front of sums or norms: q 0.12, gradients 0.4, once 1.8; a mean of what is normed: 79% of the draws in the band,
# and over all pixels in front of the head 1.2 high.
# Norms of each example behind a table: the gradient 0.12 low at 32 wide, 0.16 at 16: lengths are taken for one. Batch
# norm there: 0.10 low.
# Batch norms that begin two branches one after the other, dropout in them: q 0.26 low behind. Even functions behind a
# table, laid beside it: the gradient's band a fifth as wide as the draws. So sums and parts laid side by side are drawn
# with layer, RMS and batch norms alone, and with functions that have a slope at zero.
# Tables that are heads too: q 0.2 low, as tokens that are seen meet their own rows.
# Pools that leave one pixel: a mean of ELU 0.09 low, and of the largest 75% of the gradients in the band.
ACTIVATIONS = sorted({*MODULES, *FUNCTIONS})
OF_IMAGES = ["relu", "elu", "gelu", "leaky_relu", "mish", "selu", "silu", "tanh"]
CUBIC = ("tanhshrink", "hardshrink", "softshrink", "square")
WIDTHS = st.sampled_from([64, 32, 16, 96, 128])
GIVEN = st.sampled_from(sorted(INITIALIZERS))


def _drawn(tuple_of, /, **parts):
    """Values of a named tuple, of which these parts are drawn and all others are as they are by default."""
    return st.fixed_dictionaries(parts).map(lambda given: tuple_of(**given))


def _whole(layer):
    """The same layer with what it can have: functions that are no modules, sums only where sizes stay."""
    functional = layer.activation not in MODULES or (layer.functional and layer.activation in FUNCTIONS)
    layer = layer._replace(functional=functional)
    if layer.form != "plain":
        return layer._replace(kernel=3, stride=1, padding=1, pool="none")
    return layer._replace(padding=0, stride=1) if layer.kernel == 1 else layer


LAYERS = _drawn(
    Layer,
    width=WIDTHS,
    activation=st.sampled_from(ACTIVATIONS),
    functional=st.booleans(),
    form=st.sampled_from(["plain", "pre", "post", "beside"]),
    norm=st.sampled_from(["none", "layer", "rms", "batch", "group"]),
    bias=st.booleans(),
    dropout=st.sampled_from([0.0, 0.1]),
    tied=st.booleans(),
).map(_whole)
CONVOLUTIONS = (
    _drawn(
        Layer,
        width=st.sampled_from([64, 16, 32]),
        activation=st.sampled_from(OF_IMAGES),
        functional=st.booleans(),
        form=st.sampled_from(["plain", "pre", "post"]),
        norm=st.sampled_from(["none", "batch", "group"]),
        bias=st.booleans(),
        kernel=st.sampled_from([3, 1]),
        stride=st.sampled_from([1, 2]),
        padding=st.sampled_from([1, 0]),
        pool=st.sampled_from(["none", "avg", "max"]),
    )
    .map(_whole)
    .filter(lambda made: made.form == "plain" or made.norm == "none" or made.norm == "batch")
)
PLAIN = LAYERS.map(lambda made: made._replace(form="plain", norm="none", tied=False, dropout=0.0))
STEMS = st.sampled_from([64, 32, 16])
WIDER = st.sampled_from([64, 32])
HEADS = st.sampled_from([10, 1, 64])


def _size(layers):
    """The size of an image of 8 by 8 behind these layers."""
    size = 8
    for made in layers:
        size = (size + 2 * made.padding - made.kernel) // made.stride + 1
        size //= 2 if made.pool != "none" else 1
    return size


def _is_seen_whole(layers):
    """Whether images keep 2 by 2 pixels, and are pooled once at the most, where nothing is normed or summed."""
    pools = sum(made.pool != "none" for made in layers)
    plain = all(made.form == "plain" and made.norm == "none" for made in layers)
    return _size(layers) >= 2 and (pools <= 1 if plain else pools == 0)


def _is_held(made):
    """Whether a layer with a norm, a sum or the like is one that is held to the law."""
    joins = made.form != "plain"
    steady = made.activation in OF_IMAGES and made.norm in ("none", "layer", "rms", "batch")
    return made.width > 16 and made.activation not in CUBIC and (steady or not joins)


def _is_of_units(made):
    return _is_held(made) and made.norm == "none" and made.activation in OF_IMAGES


def _is_followed(layers):
    """Whether no unit or group is normed on its own where what was laid side by side still stands so."""
    joined = False
    for made in layers:
        if joined and made.form in ("pre", "post") and made.norm in ("batch", "group"):
            return False
        joined = made.form == "beside" or (joined and made.form in ("pre", "post"))
    return True


def _list(layers, most):
    layers = st.lists(layers, min_size=1, max_size=most).map(tuple)
    return layers.filter(lambda made: not any(layer.activation in CUBIC for layer in made[1:]))


PLAIN_NETWORKS = _drawn(Network, initializer=GIVEN, stem=STEMS, layers=_list(PLAIN, 12), head=HEADS)
NETWORKS = _drawn(
    Network, initializer=GIVEN, stem=WIDER, layers=_list(LAYERS.filter(_is_held), 6).filter(_is_followed), head=HEADS
)
IMAGE_NETWORKS = _drawn(
    Network,
    kind=st.just("images"),
    initializer=GIVEN,
    stem=WIDER,
    layers=_list(CONVOLUTIONS, 3).filter(_is_seen_whole),
    head=HEADS,
)
TOKEN_NETWORKS = _drawn(
    Network,
    kind=st.just("tokens"),
    initializer=GIVEN,
    stem=WIDER,
    layers=_list(LAYERS.filter(_is_of_units), 2).filter(_is_followed),
    head=HEADS,
)

"""What is remembered of an operator is what a FakeTensorMode gives, to the last detail."""

import collections
import random

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.prediction.fakes import UNSEEN, Fakes
from steadygrad.prediction.outside import outside

aten = torch.ops.aten


def memory(x):
    return x.untyped_storage()._cdata


def tensors(args):
    nested = [x for arg in args for x in (arg if isinstance(arg, (list, tuple)) else (arg,))]
    return [x for x in nested if isinstance(x, torch.Tensor)]


def looks(x, args):
    """All that can be asked of a fake tensor, and whose memory it shares."""
    if x is None:
        return None
    return (
        type(x), x.shape, x.stride(), x.storage_offset(), x.dtype, x.device, x.layout, x.requires_grad,
        x.untyped_storage().nbytes(), str(torch._C._dispatch_key_set(x)), x.fake_mode, x.constant,
        [memory(x) == memory(arg) for arg in args], [x is arg for arg in args],
    )  # fmt: skip


class Held(TorchDispatchMode):
    """Hold every answer against what the mode, which remembers nothing, gives for the same arguments."""

    def __init__(self, mode):
        super().__init__()
        self.fakes = Fakes(mode)
        mode.cache_enabled = False
        self.answered = collections.Counter()
        self.asked = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with outside():
            key = self.fakes.key(func, args, kwargs)
            made = UNSEEN if key is None else self.fakes.answer(key, args)
        own = func(*args, **kwargs)
        self.asked[func] += 1
        if made is not UNSEEN:
            self.hold(func, made, own, [*args, *kwargs.values()])
        elif key is not None:
            with outside():
                self.fakes.learn(key, args, kwargs, own)
        return own

    def hold(self, func, made, own, args):
        assert type(made) is type(own)
        several = type(own) in (list, tuple)
        pairs = list(zip(made, own, strict=True)) if several else [(made, own)]
        for a, b in pairs:
            assert looks(a, tensors(args)) == looks(b, tensors(args)), func
        for which in (0, 1):  # among themselves they share memory, or do not, alike
            places = [memory(pair[which]) for pair in pairs if pair[which] is not None]
            assert len(set(places)) == len({memory(pair[1]) for pair in pairs if pair[1] is not None}), func
        self.answered[func] += 1


@pytest.fixture
def held():
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, Held(mode) as held:
        yield held


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTM(6, 6, batch_first=True), nn.GRU(6, 6), nn.RNN(6, 6)])

    def forward(self, x):
        for cell in self.cells:
            x = cell(x)[0]
        return x[:, -1].flip(0)


class Odds(nn.Module):
    """What hand-written models do."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(10, 6), nn.RMSNorm(6)
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("mask", torch.ones(4, 4, dtype=torch.bool).tril())

    def forward(self, x):
        tokens = (x[..., 0] * 0).long()
        h = self.norm(self.table(tokens) * self.scale + x.transpose(0, 1).contiguous().transpose(0, 1))
        scores = torch.einsum("bij,bkj->bik", h, h).masked_fill(~self.mask, float("-inf")).softmax(-1)
        a, b = torch.stack([scores @ h, h.clone().mul_(2).add_(1)]).unbind()
        left, right = torch.cat([a, b, F.pad(a, (1, 1))[..., 1:-1]], -1).chunk(2, -1)
        picked = left.index_select(1, torch.arange(3)).gather(1, torch.zeros(5, 3, 9, dtype=torch.long))
        return (
            (picked[:, [0, 2]].mean((1, 2)) / right.half().float().var(dim=(1, 2)).sqrt().clamp_min(1e-3)).exp().log1p()
        )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 8),
        nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    )  # fmt: skip


MODELS = [
    (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3)), (5, 6)),
    (convolutional, (5, 4, 8, 8)),
    (lambda: nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, norm_first=True), (5, 4, 6)),
    (Recurrent, (5, 4, 6)),
    (Odds, (5, 4, 6)),
]


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_answers_on_the_way_through_models_are_those_of_the_mode(held, make, shape):
    for _ in range(3):  # each later time answers come from memory
        out = make()(torch.randn(shape))
        F.cross_entropy(out.reshape(len(out), -1), torch.zeros(len(out), dtype=torch.long)).backward()
    assert sum(held.answered.values()) >= sum(held.asked[f] for f in held.answered) / 2


def test_most_of_what_models_ask_is_answered(held):
    for make, shape in MODELS:
        for _ in range(2):
            make()(torch.randn(shape)).sum().backward()
    seen = {f for f in held.asked if f.namespace == "aten"}
    assert len(held.answered) >= 0.9 * len(seen)


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool)


def laid_out(rng, shape, dtype):
    """A tensor in one of the ways in which memory is laid out."""
    plain = torch.zeros(shape, dtype=dtype)
    match rng.randrange(5):
        case 0:
            return torch.zeros(shape[::-1], dtype=dtype).permute(*reversed(range(len(shape))))
        case 1:
            return torch.zeros((*shape, 2), dtype=dtype)[..., 1]
        case 2:
            return torch.zeros((1,) * len(shape), dtype=dtype).expand(shape)
        case 3 if len(shape) == 4:
            return plain.contiguous(memory_format=torch.channels_last)
        case _:
            return plain


def binary(x, y):
    return [x + y, x * y, x - 2 * y.float(), torch.maximum(x, y), x == y, torch.where(x > 0, x, y), x / y]


def with_numbers(x, y):
    r = x.float()
    return [x + 1, x + 1.0, x * True, x**2, r**0.5, torch.clamp(r, -1, 1), 1 / r]


def views(x, y):
    some = [x.transpose(0, -1), x.unsqueeze(1), x[..., 1:], x.select(0, 0), x.detach(), x.expand(2, *x.shape)]
    return [*some, x.diagonal(0, 0, 1), x.split(1), x.unbind(-1), x.squeeze(), x.movedim(0, -1), x.unfold(0, 1, 1)]


def copies(x, y):
    blank = [torch.empty_like(x), torch.zeros_like(x, dtype=torch.float32), x.new_ones(3)]
    return [*blank, x.clone(), x.contiguous(), x.to(torch.float64), x.reshape(-1), x.flip(0), x.roll(1, 0)]


def reductions(x, y):
    r = x.float()
    return [x.sum(), x.sum(0), r.mean((0, 1), keepdim=True), x.amax(-1), x.any(), r.var(0), r.logsumexp(0), x.cumsum(0)]


def writes(x, y):
    filled = [x.clone().zero_(), x.clone().fill_(1), x.float().uniform_(-1, 2), x.clone().masked_fill_(y > 0, 1)]
    return [*filled, x.clone().copy_(y), x.double().add_(y), x.double().clone().mul_(2)]


def products(x, y):
    a, b = x.flatten(1).float(), y.flatten(1).float()
    return [a @ b.T, torch.cat([x, y]), torch.stack([x, y]), torch.outer(a.flatten(), b.flatten())]


@pytest.mark.parametrize("family", [binary, with_numbers, views, copies, reductions, writes, products])
def test_answers_over_varied_arguments_are_those_of_the_mode(held, family):
    rng = random.Random(0)
    for _ in range(12):
        shape = tuple(rng.choice((1, 2, 3)) for _ in range(rng.choice((2, 3, 4))))
        state = rng.getstate()
        kinds = rng.choice(DTYPES), rng.choice(DTYPES)
        for default in (torch.float32, torch.float32, torch.float64):
            rng.setstate(state)
            torch.set_default_dtype(default)
            try:
                family(laid_out(rng, shape, kinds[0]), laid_out(rng, shape, kinds[1]))
            finally:
                torch.set_default_dtype(torch.float32)
    assert sum(held.answered.values()) > 50


def test_what_memory_cannot_tell_is_left_to_the_mode():
    with FakeTensorMode() as mode:
        fakes, x, i = Fakes(mode), torch.zeros(4, 4), torch.zeros(4, dtype=torch.bool)
        z = torch.zeros(4, dtype=torch.complex64)
        constant = torch.tensor(2.0)
    asked = [
        (aten.nonzero.default, (i,)),  # as many as are true
        (aten._local_scalar_dense.default, (x,)),
        (aten.t_.default, (x,)),  # its argument looks otherwise afterwards
        (aten.as_strided.default, (x, (2,), (1,), 3)),  # may reach beyond
        (aten.add_.Tensor, (x[1:], x[:-1])),  # both in one memory
        (aten.add.Tensor, (x, constant)),  # a number that is known
        (aten.add.Tensor, (x, torch.zeros(4))),  # a tensor that is no fake
        (aten.abs.default, (z,)),  # may be conjugated
        (aten.mul.out, (x, x)),
    ]
    with outside():
        assert [func for func, args in asked if fakes.key(func, args, {}) is not None] == []
        assert fakes.key(aten.add.Tensor, (x, x), {}) is not None
        assert fakes.key(aten.empty.memory_format, ([2],), {"device": torch.device("cuda")}) is None


def test_numbers_of_different_types_are_different_questions():
    with FakeTensorMode() as mode:
        fakes, x = Fakes(mode), torch.zeros(4, dtype=torch.int64)
    with outside():
        keys = {fakes.key(aten.add.Tensor, (x, number), {}) for number in (1, 1.0, True)}
        keys |= {fakes.key(aten.add.Tensor, (x, 1), {"alpha": number}) for number in (1, 1.0)}
    assert len(keys) == 5


def test_memory_of_operators_is_bounded(monkeypatch):
    monkeypatch.setattr("steadygrad.prediction.fakes.MOST", 8)
    with FakeTensorMode() as mode, Held(mode) as held:
        for n in range(1, 40):
            torch.zeros(n)
    assert len(held.fakes._recipes) <= 8

"""Setups that are broken as built or as configured, and sound ones that look a little like them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Setup = dict[str, Any]


class Model(nn.Module):
    """Parts, and a function of them and the input."""

    def __init__(self, run: Callable[..., torch.Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def setup(model: nn.Module, x: torch.Tensor, y=None, *, loss_fn=None, optimizer=None) -> Setup:
    y = torch.randint(4, (len(x),)) if y is None else y
    half = len(x) // 2
    return {
        "model": model,
        "data": [(x[:half], y[:half]), (x[half:], y[half:])],
        "loss_fn": loss_fn or nn.CrossEntropyLoss(),
        "optimizer": optimizer or torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3),
    }


def vectors(features: int = 16, examples: int = 64) -> torch.Tensor:
    return torch.randn(examples, features)


def mlp(*widths: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers = [part for a, b in pairwise(widths[:-1]) for part in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def filled(model: nn.Module, weight: float, bias: float | None = 0.0) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.constant_(layer.weight, weight)
            if bias is not None:
                nn.init.constant_(layer.bias, bias)
    return model


# Broken: the code that has to come first.
BROKEN: dict[str, tuple[str, Callable[[], Setup]]] = {}
SOUND: dict[str, Callable[[], Setup]] = {}


def broken(code: str) -> Callable[[Callable[[], Setup]], Callable[[], Setup]]:
    def keep(build: Callable[[], Setup]) -> Callable[[], Setup]:
        BROKEN[build.__name__] = code, build
        return build

    return keep


def sound(build: Callable[[], Setup]) -> Callable[[], Setup]:
    SOUND[build.__name__] = build
    return build


@broken("INI002")
def convolutions_of_one_constant():
    conv = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten())
    return setup(filled(nn.Sequential(conv, nn.Linear(256, 4)), 0.01), torch.randn(32, 1, 8, 8))


@broken("INI002")
def constant_weights_with_random_biases():
    return setup(filled(mlp(16, 64, 64, 4), 0.02, None), vectors())


@broken("INI002")
def recurrent_units_alike():
    model = Model(lambda m, x: m.head(m.rnn(x)[0][:, -1]), rnn=nn.LSTM(8, 32, batch_first=True), head=nn.Linear(32, 4))
    for parameter in model.rnn.parameters():
        nn.init.constant_(parameter, 0.05)
    nn.init.constant_(model.head.weight, 0.1)
    return setup(model, torch.randn(64, 10, 8))


@broken("INI003")
def experts_that_seed_themselves():
    def expert() -> nn.Module:
        torch.manual_seed(1)
        return mlp(16, 8, 4)

    experts = nn.ModuleList(expert() for _ in range(8))
    return setup(Model(lambda m, x: sum(e(x) for e in m.experts), experts=experts), vectors())


@broken("INI004")
def depthwise_over_time_by_fan_out():
    layers = [nn.Conv1d(64, 64, 3, padding=1, groups=64, bias=False) for _ in range(8)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # PyTorch counts 64 · 3
    parts = [part for layer in layers for part in (layer, nn.ReLU())]
    return setup(nn.Sequential(*parts, nn.Flatten(), nn.Linear(512, 4)), torch.randn(64, 64, 8))


@broken("INI005")
def preactivation_blocks_without_norm():
    def block() -> nn.Module:
        part = nn.Sequential(nn.SiLU(), nn.Linear(64, 64))
        nn.init.normal_(part[1].weight, std=1.7 / 8)  # SiLU's gain at unit variance
        return Model(lambda m, x: x + m.part(x), part=part)

    return setup(nn.Sequential(nn.Linear(16, 64), *(block() for _ in range(30)), nn.Linear(64, 4)), vectors())


@broken("INI006")
def three_units_ten_layers_by_function():
    layers = nn.ModuleList([nn.Linear(8, 3), *(nn.Linear(3, 3) for _ in range(9))])
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)

    def run(m, x):
        for layer in m.layers:
            x = F.relu(layer(x))
        return m.head(x)

    return setup(Model(run, layers=layers, head=nn.Linear(3, 4)), vectors(8))


@broken("INI001")
def functional_relus_at_the_default():
    layers = nn.ModuleList([nn.Linear(16, 64), *(nn.Linear(64, 64) for _ in range(20))])

    def run(m, x):
        for layer in m.layers:
            x = torch.relu(layer(x))
        return m.head(x)

    return setup(Model(run, layers=layers, head=nn.Linear(64, 4)), vectors())


@broken("FWD004")
def functional_tanh_far_out():
    parts = {"a": nn.Linear(16, 64), "b": nn.Linear(64, 4)}
    nn.init.normal_(parts["a"].weight, std=4.0)
    return setup(Model(lambda m, x: m.b(torch.tanh(m.a(x))), **parts), vectors())


@broken("FWD007")
def products_that_are_not_scaled():
    parts = {name: nn.Linear(256, 256) for name in "qkv"}
    for name in "qk":
        nn.init.kaiming_normal_(parts[name].weight, nonlinearity="relu")

    def run(m, x):
        return m.head(((m.q(x) @ m.k(x).transpose(1, 2)).softmax(-1) @ m.v(x)).mean(1))

    return setup(Model(run, **parts, head=nn.Linear(256, 4)), torch.randn(32, 12, 256))


@broken("FWD007")
def loud_multi_head_attention():
    model = Model(
        lambda m, x: m.head(m.attention(x, x, x, need_weights=False)[0].mean(1)),
        attention=nn.MultiheadAttention(64, 4, batch_first=True),
        head=nn.Linear(64, 4),
    )
    nn.init.normal_(model.attention.in_proj_weight, std=1.0)
    return setup(model, torch.randn(32, 12, 64))


@broken("BWD003")
def a_way_through_numpy():
    def run(m, x):
        hidden = torch.relu(m.body(x))
        return m.head(torch.from_numpy(2 * hidden.detach().numpy()))

    return setup(Model(run, body=nn.Linear(16, 64), head=nn.Linear(64, 4)), vectors())


@broken("BWD003")
def a_body_under_no_grad():
    def run(m, x):
        with torch.no_grad():
            hidden = m.body(x).tanh()
        return m.head(hidden)

    return setup(Model(run, body=nn.Linear(16, 64), head=nn.Linear(64, 4)), vectors())


@broken("BWD003")
def a_choice_in_the_middle():
    parts = {"score": nn.Linear(16, 8), "table": nn.Embedding(8, 16), "head": nn.Linear(16, 4)}
    return setup(Model(lambda m, x: m.head(m.table(m.score(x).argmax(1))), **parts), vectors())


@broken("BWD003")
def a_rounded_code():
    parts = {"code": nn.Linear(16, 8), "head": nn.Linear(8, 4)}
    return setup(Model(lambda m, x: m.head(m.code(x).round()), **parts), vectors())


@broken("OPT004")
def rmsprop_with_epsilon_ten():
    model = mlp(16, 64, 4)
    return setup(model, vectors(), optimizer=torch.optim.RMSprop(model.parameters(), lr=1e-3, eps=10.0))


def in_half(kind):
    model = mlp(16, 64, 4).to(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss_fn(outputs, targets):
        return F.cross_entropy(outputs.float(), targets)

    return setup(model, vectors().to(kind), loss_fn=loss_fn, optimizer=optimizer)


@broken("OPT004")
def an_epsilon_that_half_precision_rounds_to_zero():
    return in_half(torch.float16)


@sound
def an_epsilon_that_brain_floats_hold():
    return in_half(torch.bfloat16)


@broken("OPT005")
def an_optimizer_of_a_copy():
    model = mlp(16, 64, 4)
    return setup(model, vectors(), optimizer=torch.optim.Adam(copy.deepcopy(model).parameters()))


@broken("OPT005")
def a_group_at_rate_zero():
    model = mlp(16, 64, 4)
    groups = [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}]
    return setup(model, vectors(), optimizer=torch.optim.SGD(groups, lr=0.1))


@broken("OPT006")
def a_likelihood_that_is_not_negated():
    model = nn.Sequential(mlp(16, 32, 4), nn.LogSoftmax(1))
    return setup(model, vectors(), loss_fn=lambda out, y: out.gather(1, y[:, None]).mean())


@broken("OPT006")
def a_negated_square():
    x = vectors()
    return setup(mlp(16, 32, 1), x, x.mean(1, keepdim=True), loss_fn=lambda out, y: -F.mse_loss(out, y))


@broken("NUM001")
def products_of_halves():
    parts = {"a": nn.Linear(64, 256), "b": nn.Linear(12, 4)}
    nn.init.normal_(parts["a"].weight, std=3.0)

    def run(m, x):
        hidden = m.a(x)
        return m.b((hidden @ hidden.transpose(1, 2)).sum(-1))

    return setup(Model(run, **parts).half(), torch.randn(32, 12, 64).half())


@broken("NUM001")
def squares_under_autocast():
    def run(m, x):
        with torch.autocast("cpu", dtype=torch.float16):
            hidden = m.b(F.relu(m.a(x)) * 100)
            return m.c(hidden * hidden).float()

    parts = {"a": nn.Linear(16, 64), "b": nn.Linear(64, 64), "c": nn.Linear(64, 4)}
    return setup(Model(run, **parts), 10 * vectors())


@broken("NUM002")
def a_tiny_loss_in_halves():
    model = mlp(16, 64, 4).half()
    return setup(model, vectors().half(), loss_fn=lambda out, y: 1e-6 * F.cross_entropy(out.float(), y))


@broken("FWD006")
def a_row_masked_as_a_whole():
    def run(m, x):
        scores = m.a(x) @ m.a(x).transpose(1, 2)
        masked = (torch.arange(12) == 3)[:, None].expand(12, 12)
        return m.b((scores.masked_fill(masked, -math.inf).softmax(-1) @ x).mean(1))

    return setup(Model(run, a=nn.Linear(16, 8), b=nn.Linear(16, 4)), torch.randn(64, 12, 16))


@sound
def encoder_of_copied_layers():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 3)
    model = Model(lambda m, x: m.head(m.encoder(m.stem(x)).mean(1)), stem=nn.Linear(16, 32), encoder=encoder)
    model.head = nn.Linear(32, 4)
    return setup(model, torch.randn(32, 10, 16))


@sound
def residual_with_zero_gains():
    def block() -> nn.Module:
        convs = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        convs.extend([nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)])
        nn.init.zeros_(convs[4].weight)
        return Model(lambda m, x: F.relu(x + m.convs(x)), convs=convs)

    blocks = [block() for _ in range(6)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    return setup(nn.Sequential(nn.Conv2d(3, 8, 3), *blocks, *head), torch.randn(32, 3, 8, 8))


def low_rank(inputs: int, outputs: int) -> nn.Module:
    down, up = nn.Linear(inputs, 4, bias=False), nn.Linear(4, outputs, bias=False)
    nn.init.zeros_(up.weight)
    frozen = nn.Linear(inputs, outputs).requires_grad_(False)
    return Model(lambda m, x: m.frozen(x) + m.up(m.down(x)), frozen=frozen, down=down, up=up)


@sound
def low_rank_adapters():
    return setup(nn.Sequential(low_rank(16, 32), nn.ReLU(), low_rank(32, 32), nn.ReLU(), low_rank(32, 4)), vectors())


@sound
def tied_embedding_with_padding():
    table, head = nn.Embedding(50, 32, padding_idx=0), nn.Linear(32, 50, bias=False)
    head.weight = table.weight
    rnn = nn.GRU(32, 32, batch_first=True)
    model = Model(lambda m, x: m.head(m.rnn(m.table(x))[0]).transpose(1, 2), table=table, rnn=rnn, head=head)
    x = torch.randint(0, 50, (32, 12))
    return setup(model, x, x.roll(-1, 1))


@sound
def both_directions_of_a_deep_lstm():
    rnn = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)
    return setup(Model(lambda m, x: m.head(m.rnn(x)[0][:, -1]), rnn=rnn, head=nn.Linear(32, 4)), torch.randn(32, 12, 8))


@sound
def a_cell_called_in_a_loop():
    def run(m, x):
        hidden = cell = x.new_zeros(len(x), 16)
        for step in x.unbind(1):
            hidden, cell = m.cell(step, (hidden, cell))
        return m.head(hidden)

    return setup(Model(run, cell=nn.LSTMCell(8, 16), head=nn.Linear(16, 4)), torch.randn(32, 10, 8))


@sound
def a_backbone_under_no_grad_that_the_optimizer_leaves_out():
    def run(m, x):
        with torch.no_grad():
            hidden = m.body(x).relu()
        return m.head(hidden)

    model = Model(run, body=nn.Linear(16, 64), head=nn.Linear(64, 4))
    return setup(model, vectors(), optimizer=torch.optim.Adam(model.head.parameters()))


@sound
def a_head_that_is_not_used():
    parts = {"body": nn.Linear(16, 32), "head": nn.Linear(32, 4), "other": nn.Linear(32, 7)}
    return setup(Model(lambda m, x: m.head(F.gelu(m.body(x))), **parts), vectors())


@sound
def a_reward_that_is_climbed():
    model = mlp(16, 32, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    return setup(model, vectors(), loss_fn=lambda out, y: -F.cross_entropy(out, y), optimizer=optimizer)


@sound
def a_rate_that_warms_up_from_zero():
    model = mlp(16, 32, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: epoch / 100)
    return setup(model, vectors(), optimizer=optimizer)


@sound
def halves_of_unit_size():
    model = mlp(16, 32, 4).half()
    return setup(model, vectors().half(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


@sound
def branches_that_begin_at_nothing():
    def block() -> nn.Module:
        model = Model(lambda m, x: x + m.scale * F.relu(m.layer(x)), layer=nn.Linear(32, 32))
        model.scale = nn.Parameter(torch.zeros(1))
        return model

    return setup(nn.Sequential(nn.Linear(16, 32), *(block() for _ in range(8)), nn.Linear(32, 4)), vectors())


@sound
def straight_through():
    def run(m, x):
        code = torch.sigmoid(m.code(x))
        return m.head(code + (code.round() - code).detach())

    return setup(Model(run, code=nn.Linear(16, 32), head=nn.Linear(32, 4)), vectors())


@sound
def a_teacher_that_is_a_copy():
    student = mlp(16, 32, 4)
    teacher = copy.deepcopy(student).requires_grad_(False)
    return setup(Model(lambda m, x: m.student(x) + 0 * m.teacher(x), student=student, teacher=teacher), vectors())


@sound
def masked_attention_by_hand():
    parts = {name: nn.Linear(64, 64) for name in "qkv"}

    def run(m, x):
        scores = m.q(x) @ m.k(x).transpose(1, 2) / 8
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        return m.head((scores.masked_fill(~allowed, -math.inf).softmax(-1) @ m.v(x)).mean(1))

    return setup(Model(run, **parts, head=nn.Linear(64, 4)), torch.randn(32, 12, 64))


@sound
def gates_that_are_open():
    def run(m, x):
        hidden = F.relu(m.body(x))
        return m.head(hidden * torch.sigmoid(5 + m.gate(x)))

    return setup(Model(run, body=nn.Linear(16, 32), gate=nn.Linear(16, 32), head=nn.Linear(32, 4)), vectors())


@sound
def a_prior_on_rare_classes():
    model = mlp(16, 32, 3)
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[2].bias, -math.log(99))
    return setup(model, vectors(), (torch.rand(64, 3) < 0.1).float(), loss_fn=nn.BCEWithLogitsLoss())


@sound
def a_trained_network():
    trained = setup(mlp(16, 64, 64, 4, act=nn.Tanh), vectors())
    for _ in range(100):
        for x, y in trained["data"]:
            trained["optimizer"].zero_grad()
            trained["loss_fn"](trained["model"](x), y).backward()
            trained["optimizer"].step()
    trained["optimizer"].zero_grad()
    return trained

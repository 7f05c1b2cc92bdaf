"""Small networks, batches and every optimizer of torch.optim, for the laws of the guard."""

import copy

import torch
from torch import nn

torch.set_num_threads(1)

ALL = {
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.5, foreach=False),
    "adadelta-foreach": lambda p: torch.optim.Adadelta(p, lr=0.5, foreach=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, initial_accumulator_value=0.1),
    "adagrad-fused": lambda p: torch.optim.Adagrad(p, lr=0.05, initial_accumulator_value=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adam-foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adam-amsgrad-fused": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, fused=True),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.05),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=4),
    "muon": lambda p: torch.optim.Muon(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "sgd-nesterov-foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, foreach=True),
    "sgd-fused": lambda p: torch.optim.SGD(p, lr=0.05, fused=True),
    "sgd-momentum-fused": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.2, fused=True),
    "sparse-adam": lambda p: torch.optim.SparseAdam(p, lr=0.01),
}
FUSED = [name for name in ALL if "fused" in name]


class Table(nn.Module):
    """An embedding with sparse gradients and nothing else, for SparseAdam."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4, sparse=True)

    def forward(self, x_BD):
        index = torch.arange(len(x_BD)) % 6
        return (self.embedding(index) * x_BD).sum(1, keepdim=True)


def network(name="sgd", *, batch_norm=False):
    """A network that the optimizer of this name can train: matrices alone for Muon, sparse rows for SparseAdam."""
    torch.manual_seed(0)
    if name.startswith("sparse"):
        return Table()
    bias = name != "muon"
    middle = [nn.BatchNorm1d(8)] if batch_norm else []
    return nn.Sequential(nn.Linear(4, 8, bias=bias), *middle, nn.Tanh(), nn.Linear(8, 1, bias=bias))


def batches(count, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(16, 4, generator=generator) for _ in range(count)]


def loss_of(model, x_BD):
    return nn.functional.mse_loss(model(x_BD), x_BD.sum(1, keepdim=True))


def poisoned(x_BD, value=float("nan")):
    bad = x_BD.clone()
    bad[0, 0] = value
    return bad


def train(guard, model, optimizer, data):
    """A guarded step for each batch, through a closure where the optimizer wants one."""
    for x_BD in data:
        if isinstance(optimizer, torch.optim.LBFGS):
            guard.step(closure=lambda x_BD=x_BD: evaluated(model, optimizer, x_BD))
        else:
            guard.step(loss_of(model, x_BD))


def evaluated(model, optimizer, x_BD):
    optimizer.zero_grad()
    loss = loss_of(model, x_BD)
    loss.backward()
    return loss


def bits(tree):
    """Nested containers with tensors as (dtype, shape, bytes), so that == is bitwise, also for NaN and -0."""
    match tree:
        case torch.Tensor():
            return (tree.dtype, tuple(tree.shape), tree.detach().contiguous().numpy().tobytes())
        case dict():
            return {key: bits(value) for key, value in tree.items()}
        case list() | tuple():
            return [bits(value) for value in tree]
        case _:
            return copy.deepcopy(tree)


def everything(model, optimizer):
    return bits(model.state_dict()), bits(optimizer.state_dict())

"""The loop that everyone writes, a network after the other: nn.Sequential, torch.optim, torch's own clipping."""

import math

import torch
from torch import nn

from steadygrad.study.data import load
from steadygrad.study.population.batches import ORDER_STREAM
from steadygrad.study.torch_module import network

LOSSES = {"cross-entropy": nn.CrossEntropyLoss, "mse": nn.MSELoss}


def optimizer(point, parameters):
    shared = {"lr": point.learning_rate, "weight_decay": point.weight_decay}
    betas = {"betas": (point.beta1, point.beta2), "eps": point.epsilon}
    match point.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, momentum=point.momentum, nesterov=point.nesterov, **shared)
        case "adam":
            return torch.optim.Adam(parameters, **shared, **betas)
        case "adamw":
            return torch.optim.AdamW(parameters, **shared, **betas)


def batches(point, data):
    """As one writes them: an order an epoch, slices of it."""
    generator = torch.Generator().manual_seed(ORDER_STREAM + point.seed)
    size = min(point.batch_size or len(data.inputs), len(data.inputs))
    while True:
        whole = size == len(data.inputs)
        order = torch.arange(size) if whole else torch.randperm(len(data.inputs), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            index = order[start : start + size]
            yield data.inputs[index], data.targets[index]


def sequential(point):
    """Return the trained network and the loss of every step."""
    dtype = getattr(torch, point.dtype)
    data = load(point.data).first(point.examples).to(dtype, torch.device("cpu"))
    model, loss_fn, losses = network(point), LOSSES[point.loss](), []
    made, stream = optimizer(point, model.parameters()), batches(point, data)
    for _ in range(point.steps):
        x, y = next(stream)
        made.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        losses.append(loss.item())
        norm = gradient_norm(model)
        if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
            if point.nonfinite == "stop":
                break
            continue
        if point.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), point.clip_norm)
        if point.clip_value is not None:
            nn.utils.clip_grad_value_(model.parameters(), point.clip_value)
        made.step()
    return model, losses


def gradient_norm(model):
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).item()

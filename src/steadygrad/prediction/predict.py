"""predict: the profile of a network, from theory, of the user's own code, without a weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from steadygrad.errors import SetupError, SteadygradError, UserCodeError, not_allowed
from steadygrad.profile import Profile

from .batch import exchangeable, representatives
from .interpreter import Interpreter
from .operators import TABLE
from .outside import outside, unfused
from .rows import Rows, layer_signal, loss_of
from .spread import CERTAIN
from .values import Concrete, Fill, Moments, Signal, Unknown

FEW = 32
Loss = Callable[[Any, Any], torch.Tensor]


def predict(
    model_or_factory: nn.Module | Callable[[], nn.Module],
    inputs: torch.Tensor | Sequence[int],
    targets: torch.Tensor | None = None,
    *,
    loss_fn: Loss | None = None,
) -> Profile:
    """Predict the signal and the gradient of every layer by running the user's code on moments instead of numbers.

    A factory is called under the interpreter, so the distribution of every parameter is the one that the code really
    uses, and no weight is ever allocated. For a model that is built the weights' own moments stand in for it.

    Args:
        model_or_factory: a module, or a callable without arguments that makes one.
        inputs: the batch, [examples, ...]; or its shape, for independent standard normal entries.
        targets: what `loss_fn` takes beside the output.
        loss_fn: takes (output, targets), returns a scalar. Without it each entry of the output gets a gradient of
            its own, independent, of unit variance.

    Returns:
        A `Profile` with a row for each call of a module without children, in the order of execution. `q` and `grad_q`
        are the median over draws of the weights, with the 95% band that finite width gives them. A row's mark says
        whether each of its operators is exact in the limit of wide layers, or takes something for granted. Bands are
        derived to first order in depth over width; they were held against draws for ReLU, tanh and default
        initializations (tests/prediction), and are wide where depth is no longer small beside width.

    Raises:
        UserCodeError: the user's code raises; its own error is the cause.
        ValueError: an argument is not allowed.

    >>> from torch import nn
    >>> profile = predict(lambda: nn.Sequential(nn.Linear(4096, 4096), nn.ReLU()), (8, 4096))
    >>> [(layer.kind, round(layer.q, 3)) for layer in profile]      # Var(w) = 1/(3n), bias U(-1/64, 1/64)
    [('Linear', 0.333), ('ReLU', 0.167)]

    Source: moments as in Poole et al. 2016 (equations 3 to 5), Schoenholz et al. 2017 (equation 9); finite width as in
    Hanin and Rolnick 2018.
    """
    shape = _shape(inputs)
    batch = representatives(inputs) if isinstance(inputs, torch.Tensor) else exchangeable(shape[0])
    with unfused(), FakeTensorMode(allow_non_fake_inputs=True) as fake, Interpreter(batch, TABLE) as run:
        rows = Rows(run)
        model, parameters = _model(model_or_factory, fake, run)
        rows.name(model)
        x = _input(inputs, shape, model, fake, run)
        y = None if targets is None else _data(targets, fake, run)
        with rows.watching():
            output = _called(rows, lambda: torch.func.functional_call(model, parameters, (x,)))
        loss = _called(rows, lambda: _loss(output, y, loss_fn))
        _back(loss, output, run)
    return _profile(parameters, rows, run, loss, batch.size)


def _shape(inputs: Any) -> tuple[int, ...]:
    shape = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else inputs
    if not isinstance(shape, list | tuple) or not all(isinstance(n, int) for n in shape):
        raise ValueError(not_allowed("inputs", "must be a tensor or the shape of one", inputs))
    if not shape or min(shape) < 1:
        raise ValueError(not_allowed("inputs", "must have at least one example and no empty axis", tuple(shape)))
    return tuple(shape)


def _model(given: Any, fake: FakeTensorMode, run: Interpreter) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Return the model and its parameters as fake tensors whose fills are known."""
    if isinstance(given, nn.Module):
        return given, {name: _built(p, fake, run) for name, p in given.named_parameters()}
    if not callable(given):
        raise ValueError(not_allowed("model_or_factory", "must be a module or a callable that makes one", given))
    with _user_code("the factory"):
        model = given()
    if not isinstance(model, nn.Module):
        raise ValueError(not_allowed("model_or_factory", "must make a torch.nn.Module", type(model).__name__))
    return model, dict(model.named_parameters())


def _built(parameter: torch.Tensor, fake: FakeTensorMode, run: Interpreter) -> torch.Tensor:
    with outside():
        plain = parameter.detach()
        fill = _measured_fill(plain, run.new_fill())
    tensor = fake.from_tensor(plain).requires_grad_(parameter.requires_grad)
    run.memory.put(tensor, fill)
    return tensor


def _measured_fill(weight: torch.Tensor, source: int) -> Fill | Unknown:
    """The distribution of a weight that is there; its mean counts where it is five standard errors from zero.

    Of few entries the standard error itself is too uncertain for that: their mean counts where they are all alike.
    """
    values = weight.double().numpy().ravel() if weight.numel() and weight.device.type == "cpu" else None
    if values is None:
        return Unknown("a parameter that is not on the CPU")
    if not np.isfinite(values).all():
        return Unknown("weights that are not finite")
    mean, variance = float(values.mean()), float(values.var())
    if variance > 0 and (values.size < FEW or abs(mean) <= 5 * (variance / values.size) ** 0.5):
        mean, variance = 0.0, variance + mean**2
    fourth = float(((values - mean) ** 4).mean())
    return Fill(mean, variance, source, fourth / variance**2 if variance > 0 else 3.0, "approximate")


def _input(
    inputs: Any, shape: tuple[int, ...], model: nn.Module, fake: FakeTensorMode, run: Interpreter
) -> torch.Tensor:
    if isinstance(inputs, torch.Tensor):
        return _data(inputs, fake, run)
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())
    x = torch.empty(shape, dtype=kind)
    run.memory.put(x, Signal(_independent(run), ancestors=0))
    return x


def _independent(run: Interpreter) -> Moments:
    """Entries that are independent of each other, over examples too, with mean 0 and variance 1."""
    r = run.batch.followed
    return Moments(np.zeros(r), np.ones(r), 1 - np.eye(r), CERTAIN)


def _data(tensor: torch.Tensor, fake: FakeTensorMode, run: Interpreter) -> torch.Tensor:
    with outside():
        plain = tensor.detach()
    x = fake.from_tensor(plain)
    run.memory.put(x, Concrete(plain))
    return x


def _loss(output: Any, targets: Any, loss_fn: Loss | None) -> torch.Tensor | None:
    if loss_fn is None:
        return None
    loss = loss_fn(output, targets)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        came = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise SetupError(not_allowed("loss_fn", "must return a scalar tensor", came))
    return loss


def _back(loss: torch.Tensor | None, output: Any, run: Interpreter) -> None:
    start = loss if loss is not None else output
    if not isinstance(start, torch.Tensor) or not start.requires_grad:
        return
    run.backward = True
    gradient = torch.empty_like(start)
    run.memory.put(gradient, Fill(1.0, 0.0, run.new_fill()) if loss is not None else _unit_gradient(start, run))
    start.backward(gradient)


def _unit_gradient(output: torch.Tensor, run: Interpreter) -> Signal:
    """Independent entries of unit variance: products over n of them, with any other vector, vary by 1/n."""
    share = run.batch.size / output.numel()
    moments = replace(_independent(run), excess=share, alignment=share, along=share)
    return Signal(moments, base=moments)


def _profile(parameters: dict[str, torch.Tensor], rows: Rows, run: Interpreter, loss: Any, size: int) -> Profile:
    def gradient(path: str) -> Any:
        weight = parameters.get(f"{path}.weight" if path else "weight")
        return Unknown("") if weight is None or weight.grad is None else run.value(weight.grad)

    return Profile(
        layers=tuple(layer_signal(row, run, gradient(row.path)) for row in rows.rows),
        source="predicted",
        loss=loss_of(run.value(loss)) if loss is not None else float("nan"),
        batch_size=size,
        unknown=tuple(run.unknown),
    )


def _called(rows: Rows, action: Callable[[], Any]) -> Any:
    with _user_code(lambda: f"module {rows.where()!r}" if rows.stack else "the model or its loss"):
        return action()


@contextmanager
def _user_code(where: str | Callable[[], str]) -> Iterator[None]:
    """Say of an error in the user's code where it came from."""
    try:
        yield
    except SteadygradError:
        raise
    except Exception as error:
        place = where if isinstance(where, str) else where()
        raise UserCodeError(f"{place} raised {type(error).__name__}: {error}") from error

"""A whole setup, made and interpreted without a weight or a number of the data where none is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from steadygrad.errors import SetupError
from steadygrad.setup import Setup, first_batch, mapped

from . import demands
from .batch import exchangeable
from .construction import built
from .inputs import Examples, Inputs, examples_of
from .interpreter import Interpreter
from .outside import outside
from .run import Interpretation, interpreted, interpreting
from .values import Concrete, Fill


def interpret_setup(make: Callable[[], object], *, inputs: Sequence[int] | None = None) -> tuple[Setup, Interpretation]:
    """Call a function that makes a setup under the interpreter, and interpret its model on its first batch.

    Args:
        make: returns a module, a `Setup`, or a mapping with `model`, which may be a factory too, and any of `data`,
            `loss_fn`, `optimizer`, `step`.
        inputs: the shape of a batch of standard normal entries, in place of the data.

    Raises:
        SetupError: what it returns cannot be used, or neither data nor `inputs` say what goes into the model.
        UserCodeError: the user's code raised.
    """
    with interpreting(exchangeable(2)) as run:
        setup = Setup.of(_with_model(built(make, run), run))
        run.constructing = True  # the data may still be drawn
        examples = _examples(setup, inputs, run)
        run.constructing = False
        run.batch, run.memory.examples = examples.batch, examples.batch.size
        loss_fn = setup.loss_fn if examples.targets is not None else None
        return setup, interpreted(setup.model, examples, run, loss_fn=loss_fn)


def _with_model(made: object, run: Interpreter) -> object:
    """A factory in the place of the model is called."""
    if isinstance(made, Mapping) and callable(made.get("model")) and not isinstance(made["model"], nn.Module):
        return {**made, "model": built(made["model"], run)}
    return made


def _examples(setup: Setup, inputs: Sequence[int] | None, run: Interpreter) -> Examples:
    batch = None if inputs is not None else first_batch(setup)
    if batch is not None:
        x = mapped(lambda part: _known(part, run), batch.inputs)
        y = mapped(lambda part: _numbers(part, run), batch.targets)
        with outside():
            return examples_of(x, y)
    if inputs is None:
        raise SetupError("a static check needs `data`, or the shape of a batch as `inputs`, got neither.")
    with outside():
        return examples_of(tuple(inputs))


def _known(tensor: torch.Tensor, run: Interpreter) -> torch.Tensor | Inputs:
    """A batch by its numbers; one that is drawn at random and too large to draw by its moments."""
    with outside():
        value = run.value(tensor)
    if isinstance(value, Fill) and tensor.numel() > demands.LARGEST:
        q = value.variance + value.mean**2
        return Inputs(tuple(tensor.shape), mean=value.mean, q=q, dtype=tensor.dtype)
    return _numbers(tensor, run)


def _numbers(tensor: torch.Tensor, run: Interpreter) -> torch.Tensor:
    with outside(), torch.no_grad():
        value = run.value(tensor)
        if not isinstance(value, Concrete | Fill):
            raise SetupError(f"the first batch of `data` must be known without running it, got {value}.")
        return demands.real(run, tensor).contiguous()

"""predict: the profile of a network, from theory, of the user's own code, without a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from steadygrad.errors import not_allowed, unknown_name
from steadygrad.profile import Profile

from .batch import MOST_DRAWN
from .inputs import Examples, Inputs, examples_of
from .run import Interpretation, Loss, interpreted, interpreting

PER = ("module", "operator")


def predict(
    model_or_factory: nn.Module | Callable[[], nn.Module],
    inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any] | Inputs | Iterable[Any],
    targets: Any = None,
    *,
    loss_fn: Loss | None = None,
    given: Profile | None = None,
    per: Literal["module", "operator"] = "module",
    seconds: float = math.inf,
) -> Profile:
    """Predict the signal and the gradient of every layer by running the user's code on moments instead of numbers.

    A factory is called under the interpreter, so the distribution of every parameter is the one that the code really
    uses, and no weight is ever allocated. For a model that is built the weights' own moments stand in for it.

    Args:
        model_or_factory: a module, or a callable without arguments that makes one.
        inputs: a batch, [examples, ...]; the shape of one, for independent standard normal entries; `Inputs`, for
            other moments or token ids, drawn as weights are; a sequence or a mapping of these, which is unpacked into
            the call; or batches of data, (inputs, targets) each, of which a sample stands for one.
        targets: what `loss_fn` takes beside the output.
        loss_fn: takes (output, targets), returns a scalar. Without it each entry of the output gets a gradient of
            its own, independent, of unit variance.
        given: a measured profile of the model. Where a module asks for a number that no theory gives, such as a branch
            on the signal, the prediction goes on from what was measured there.
        per: "module", or "operator" for a row a call of an operator, forward and backward.
        seconds: how long operators are followed, of this thread's own time; when they are over, what comes after is
            unknown, and `unknown` says where it stopped. Building the model is not counted.

    Returns:
        A `Profile` with a row for each call of a module without children, in the order of execution. `q` and `grad_q`
        are the median over draws of the weights, and of a batch that is described by moments, with the 95% band that
        finite width gives them. A row's mark says whether each of its operators is exact in the limit of wide layers,
        or takes something for granted. Bands are derived to first order in depth over width; they were held against
        draws for ReLU, tanh and default initializations (tests/prediction), and are wide where depth is no longer
        small beside width. What could not be followed stands in `unknown`, with module and line.

    Raises:
        UserCodeError: the user's code raises; its own error is the cause.
        SetupError: the factory needs arguments, or the loss is no scalar.
        ValueError: an argument is not allowed.

    >>> from torch import nn
    >>> profile = predict(lambda: nn.Sequential(nn.Linear(4096, 4096), nn.ReLU()), (8, 4096))
    >>> [(layer.kind, round(layer.q, 3)) for layer in profile]      # Var(w) = 1/(3n), bias U(-1/64, 1/64)
    [('Linear', 0.333), ('ReLU', 0.167)]

    Source: moments as in Poole et al. 2016 (equations 3 to 5), Schoenholz et al. 2017 (equation 9); finite width as in
    Hanin and Rolnick 2018.
    """
    if per not in PER:
        raise ValueError(unknown_name("per", per, PER))
    if not seconds > 0:
        raise ValueError(not_allowed("seconds", "must be positive", seconds))
    if given is not None and not isinstance(given, Profile):
        raise ValueError(not_allowed("given", "must be a measured Profile", type(given).__name__))
    examples = examples_of(inputs, targets)

    def found(examples: Examples) -> Interpretation:
        with interpreting(examples.batch) as run:
            return interpreted(
                model_or_factory,
                examples,
                run,
                loss_fn=loss_fn,
                given=given,
                per_operator=per == "operator",
                seconds=seconds,
            )

    first = found(examples)
    if not first.run.meets_all or examples.batch.size > MOST_DRAWN:
        return first.profile
    return found(replace(examples, batch=replace(examples.batch, each=True))).profile

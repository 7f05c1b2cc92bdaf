"""One interpretation of a model: built, run forward and backward, and read."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import polygamma
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from steadygrad.errors import SetupError, not_allowed
from steadygrad.profile import Profile

from . import linear_map
from .alongside import Alongside
from .batch import Batch
from .bilinear import BilinearAsLinear
from .circular import CircularPads
from .construction import Built, constructed
from .conversions import convertible
from .demands import UnknownNumber
from .initializers import recorded
from .inputs import Examples, Inputs
from .interpreter import Interpreter, OutOfTime
from .kinship import Drawn
from .lazy_parameters import fake_lazy_parameters
from .meeting import MET_NOTHING
from .memory import covers
from .operators import TABLE
from .operators.positions import as_signal
from .other_generators import put_back
from .outside import outside, unfused
from .propagation import forward
from .readout import gradient_norm, layer_signal, loss_of, operator_signal
from .rows import Row, Rows, first_tensor
from .source import Source, Wave, forget_decays
from .spread import CERTAIN, Bend, Spread, log_mean
from .users_code import users_code
from .values import Concrete, Fill, Moments, Signal, Unknown

Loss = Callable[[Any, Any], torch.Tensor]
NO_GRADIENT = Unknown("no gradient")


@dataclass(frozen=True)
class Interpretation:
    """What one run showed: the profile, its rows as they were seen, and what went in."""

    profile: Profile
    rows: tuple[Row, ...]
    run: Interpreter
    entered: Signal | None


@contextlib.contextmanager
def interpreting(batch: Batch) -> Iterator[Interpreter]:
    """Run the code inside on fake tensors and follow their moments; torch is as it was at the end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        fake = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        fake.__deepcopy__ = lambda memo: fake  # type: ignore[attr-defined]  # copies of its tensors are its own
        run = stack.enter_context(Interpreter(batch, TABLE, fake))
        stack.enter_context(unfused())
        stack.enter_context(CircularPads())
        stack.enter_context(BilinearAsLinear())
        stack.enter_context(recorded(run))
        stack.enter_context(fake_lazy_parameters())
        stack.enter_context(convertible(fake))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(put_back())
        stack.callback(forget_decays)
        yield run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What torch logs and warns of fake tensors is no concern of the user's; errors are said once, by us."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
            yield
    finally:
        log.disabled = before


def interpreted(
    model_or_factory: Any,
    examples: Examples,
    run: Interpreter,
    *,
    loss_fn: Loss | None = None,
    given: Profile | None = None,
    per_operator: bool = False,
    seconds: float = math.inf,
) -> Interpretation:
    """Build a model, run it forward and backward, and return what is known of every call."""
    model = constructed(model_or_factory, run)
    rows = Rows(run, given)
    rows.name(model.model)
    run.allow(seconds)
    args = [_input(part, model.model, run) for part in examples.args]
    kwargs = {name: _input(part, model.model, run) for name, part in examples.kwargs.items()}
    y = _like_data(examples.targets, run)
    _note_bad_numbers([*args, *kwargs.values()], run)
    run.record(rows.where if per_operator else None)
    with model.standing_in(), rows.watching(), _stopping(rows, run):
        output = _called(rows, lambda: model.model(*args, **kwargs))
        run.in_loss = loss_fn is not None
        loss = _called(rows, lambda: _loss(output, y, loss_fn))
        run.in_loss = False
        rows.loss = loss
        rows.look_for_chance()
        _called(rows, lambda: _back(loss, output, run))
    entered = first_tensor([*args, *kwargs.values()])
    with outside(), torch.no_grad():
        return _read(model, rows, run, None if entered is None else as_signal(run, run.value(entered)))


@contextlib.contextmanager
def _stopping(rows: Rows, run: Interpreter) -> Iterator[None]:
    """Where the code asks for a number that no theory gives, and nothing was measured, the rest is unknown."""
    try:
        yield
    except UnknownNumber as error:
        rows.stopped = rows.stopped or str(error)
        run.note(f"{rows.stopped}; what comes after is unknown: a measured profile, `given`, would let it go on")
    except OutOfTime as error:
        rows.stopped = str(error)
        where = "going backward" if run.backward else f"at module {rows.where()!r}"
        run.note(f"{error}: it stopped {where}, and what comes after has no prediction to be held against")
    finally:
        run.allow(math.inf)


def _input(part: Any, model: nn.Module, run: Interpreter) -> Any:
    if not isinstance(part, Inputs):
        return _like_data(part, run)
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    x = torch.empty(tuple(part.shape), dtype=part.dtype or first.dtype, device=first.device)
    with outside():
        run.memory.put(x, _described(part, max(x.numel() // run.batch.size, 1), run))
    return x


def _note_bad_numbers(parts: list[Any], run: Interpreter) -> None:
    tensor = first_tensor(parts)
    with outside():
        known = None if tensor is None else run.value(tensor)
        bad = isinstance(known, Concrete) and not bool(known.tensor.isfinite().all())
    if bad:
        run.note("`inputs` hold numbers that are not finite: nothing follows from them")


def _described(part: Inputs, entries: int, run: Interpreter) -> Signal:
    """Return so many normal entries an example, about the mean of all: what a layer makes of what is certain.

    They are sums over weights of vectors that lie as far apart as the examples do, so that all that follows for a
    layer's units follows for them: of n entries |x|²/n has the relative variance 2/n, and x·y/n of two examples 1/n.
    """
    assert part.c is not None
    varying = _certain(part.q - part.mean**2, part.q * (1 - part.c), run)
    weight = Fill(0.0, 1.0, run.new_fill())
    source = linear_map.forward(varying, weight, None, terms=1, units=entries, batch=run.batch, noises=run.noises)
    wave = Wave(source, source.nodes + part.mean, gaussian=part.mean == 0)
    return Signal(forward(wave, run.batch, run.noises), wave)


def _certain(q: float, d: float, run: Interpreter) -> Moments:
    """Return moments of all draws: no mean, a second moment and half the mean squared difference of two examples."""
    r = run.batch.followed
    return Moments(np.zeros(r), np.full(r, q), run.batch.off_diagonal(d), CERTAIN)


def _like_data(found: Any, run: Interpreter) -> Any:
    """Tensors of data as fake tensors whose numbers are known, in whatever they stand."""
    match found:
        case torch.Tensor():
            with outside():
                plain = found.detach()
                plain = (
                    plain if covers(plain) else plain.clone()
                )  # a part of other data, whose memory is not the batch's
            return run.fake_of(plain)
        case dict():
            return {key: _like_data(x, run) for key, x in found.items()}
        case list() | tuple():
            return type(found)(_like_data(x, run) for x in found)
        case _:
            return found


def _loss(output: Any, targets: Any, loss_fn: Loss | None) -> torch.Tensor | None:
    if loss_fn is None:
        return None
    loss = loss_fn(output, targets)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        came = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise SetupError(not_allowed("loss_fn", "must return a scalar tensor", came))
    return loss


def _back(loss: torch.Tensor | None, output: Any, run: Interpreter) -> None:
    start = loss if loss is not None else first_tensor(output)
    if start is None:
        run.note("the output of the model holds no tensor: no gradient starts from it")
    if not isinstance(start, torch.Tensor) or not start.requires_grad:
        return
    run.backward = True
    # Examples first in memory too, whatever the output's own order, as what is put there is taken to lie.
    gradient = torch.empty_like(start, memory_format=torch.contiguous_format)
    run.memory.put(gradient, _of_a_loss(run) if loss is not None else _unit_gradient(start, run))
    start.backward(gradient)


def _of_a_loss(run: Interpreter) -> Fill:
    one = Fill(1.0, 0.0, run.new_fill())
    run.sent_back.add(one.source)
    return one


def _unit_gradient(output: torch.Tensor, run: Interpreter) -> Signal:
    """Independent normal entries of unit variance: products over n of them, with any other vector, vary by 1/n.

    The mean square of all N entries is a gamma variable of shape N/2, so its log has the mean ψ(N/2) - log(N/2), about
    -1/N, the variance ψ'(N/2), about 2/N, the third cumulant ψ''(N/2), about -4/N²; its median is about 1 - 2/(3N).
    What one unit's square varies by over the batch is in it.
    """
    share = run.batch.size / output.numel()
    variance, third = (float(polygamma(n, output.numel() / 2)) for n in (1, 2))
    third -= run.batch.skewed(2 * share)  # what sizes of single examples add to it where a band is asked for
    noise = run.noises.noise(log_mean(2 / output.numel()), variance, third, 2 * share)
    noise = replace(noise, bend=_meeting(output, run))
    moments = _certain(1.0, 1.0, run)
    products = run.batch.off_diagonal(share)
    met = MET_NOTHING.raised(share, share)
    moments = replace(
        moments,
        spread=noise,
        excess=products,
        alignment=share,
        crossed=share,
        meeting=met,
        origin=Drawn(noise, 1 / share),
    )
    known, apart = 2 * run.batch.overlap(moments), 2 * run.batch.apart_of(moments)
    alongside = Alongside(known, 0.0) if run.batch.followed > 1 else None
    moments = replace(moments, unit_variance=known, unit_apart=apart, alongside=alongside)
    return Signal(moments, base=moments)


def _meeting(output: torch.Tensor, run: Interpreter) -> Bend:
    """Return how far independent gradients lie along the output, relative to the mean of that.

    Where functions are homogeneous the product g·h of gradient and signal is the same in every layer, that at the
    output (Euler): normal, given the signal. Its square varies by 2, the mean of n of them by 2/n, and all of them by
    what the output's own few units do, whose lengths go with it.
    """
    count = output.numel() / output.shape[-1 if output.dim() < 4 else 1]
    nothing, along = np.zeros(0), run.noises.noise(0.0, 2 / count, 8 / count**2)
    match run.value(output):
        case Signal(wave=Wave(source=Source(shared=Spread() as lengths) as source, gaussian=True)):
            along = along.plus(lengths.centred.scaled(source.of_signal))
    return Bend(0.0, nothing, nothing, along.weights, free=True)


def _read(model: Built, rows: Rows, run: Interpreter, entered: Signal | None) -> Interpretation:
    parameters = model.parameters
    gradients = {name: NO_GRADIENT if p.grad is None else run.value(p.grad) for name, p in parameters.items()}
    seen = [*rows.rows, *rows.not_reached(model.model)]
    layers = [
        layer_signal(r, run, gradients.get(f"{r.path}.weight" if r.path else "weight", NO_GRADIENT)) for r in seen
    ]
    if run.calls is not None:
        layers = [row for call in run.calls if (row := operator_signal(call, run)) is not None]
    norms = {name: gradient_norm(gradients[name], p.numel()) for name, p in parameters.items()}
    profile = Profile(
        layers=tuple(layers),
        source="predicted",
        loss=loss_of(run.value(rows.loss)) if rows.loss is not None else math.nan,
        batch_size=run.batch.size,
        unknown=tuple(run.unknown),
        parameter_grad_norms={name: norm for name, norm in norms.items() if not math.isnan(norm)},
    )
    return Interpretation(profile, tuple(seen), run, entered)


def _called(rows: Rows, action: Callable[[], Any]) -> Any:
    with users_code(lambda: _running(rows)):
        return action()


def _running(rows: Rows) -> str:
    """What runs: a module by its path, the model itself, or what stands outside of it."""
    path = rows.where()
    if path:
        return f"module {path!r}"
    return (
        "the model" if any(id(m) in rows.paths for m, *_ in rows.stack) else "the loss, or what it asks of the model,"
    )

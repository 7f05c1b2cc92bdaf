"""torch.nn.init's functions as distributions: what they would fill a tensor with, without its numbers.

Some look at numbers on the way, or return early where there are none: they are recorded. The functions themselves get
other code while an interpreter runs, so it does not matter under which name, or into what table, they were imported.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch._subclasses.fake_tensor import FakeTensor

from .interpreter import Interpreter
from .law import NODES, NORMAL, distributed
from .outside import outside
from .values import Fill

Given = dict[str, Any]


def truncated_normal(run: Interpreter, tensor: torch.Tensor, given: Given) -> Fill:
    """N(mean, std²) within [a, b]; the ends are numbers, not deviations."""
    mean, std = float(given["mean"]), float(given["std"])
    low, high = (float(ndtr((given[end] - mean) / std)) for end in ("a", "b"))
    nodes = (np.arange(NODES) + 0.5) / NODES
    values = np.clip(mean + std * ndtri(low + (high - low) * nodes), given["a"], given["b"])
    return distributed(values, np.full(NODES, 1 / NODES), run.new_fill())


def orthogonal(run: Interpreter, tensor: torch.Tensor, given: Given) -> Fill:
    """Rows, or columns, are orthonormal vectors of n = max(rows, columns) entries, which have kurtosis 3n/(n + 2)."""
    n = max(len(tensor), tensor.numel() // max(len(tensor), 1))
    return Fill(0.0, float(given["gain"]) ** 2 / n, run.new_fill(), 3 * n / (n + 2), form="orthogonal")


def sparse(run: Interpreter, tensor: torch.Tensor, given: Given) -> Fill:
    """A share of each column is zero, the rest is N(0, std²)."""
    zero = math.ceil(given["sparsity"] * len(tensor)) / len(tensor)
    values = np.concatenate([[0.0], given["std"] * NORMAL.values])
    return distributed(values, np.concatenate([[zero], (1 - zero) * NORMAL.weights]), run.new_fill())


def identity(run: Interpreter, tensor: torch.Tensor, given: Given) -> Fill:
    """Ones on the diagonal of a matrix."""
    return _ones(run, tensor, min(tensor.shape))


def dirac(run: Interpreter, tensor: torch.Tensor, given: Given) -> Fill:
    """Ones in the middle of the kernels that hand on the channels of each group."""
    groups = int(given["groups"])
    return _ones(run, tensor, groups * min(len(tensor) // groups, tensor.shape[1]))


def _ones(run: Interpreter, tensor: torch.Tensor, count: int) -> Fill:
    share = count / tensor.numel()
    found = distributed(np.array([0.0, 1.0]), np.array([1 - share, share]), run.new_fill())
    return Fill(found.mean, found.variance, found.source, found.kurtosis, law=found.law, form="identity")


RECORDED: dict[str, Callable[[Interpreter, torch.Tensor, Given], Fill]] = {
    "trunc_normal_": truncated_normal,
    "orthogonal_": orthogonal,
    "sparse_": sparse,
    "eye_": identity,
    "dirac_": dirac,
}


def _copied(name: str) -> types.FunctionType:
    """The function of torch.nn.init as it is, under its own code."""
    f = getattr(torch.nn.init, name)
    copy = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    copy.__kwdefaults__ = f.__kwdefaults__
    return copy


_ORIGINALS = {name: _copied(name) for name in RECORDED}
_RUNNING: list[Interpreter] = []


def _stand_in(*args: Any, **kwargs: Any) -> Any:
    # Runs as the code of another function, in whose globals no name of this file is known.
    import sys

    from steadygrad.prediction.initializers import called

    return called(sys._getframe().f_code.co_name, args, kwargs)


def called(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record a call of an initializer; where no interpreter runs, or the tensor is real, it is called as it is."""
    original = _ORIGINALS[name]
    bound = inspect.signature(original).bind(*args, **kwargs)
    bound.apply_defaults()
    tensor = bound.arguments["tensor"]
    if not _RUNNING or not isinstance(tensor, FakeTensor):
        return original(*args, **kwargs)
    bound.arguments["tensor"] = torch.empty(tensor.shape, device="meta")
    run = _RUNNING[-1]
    with outside(), torch.no_grad():
        original(*bound.args, **bound.kwargs)  # what it does not allow, it says
        if tensor.numel():
            run.write(tensor, RECORDED[name](run, tensor, bound.arguments))
    return tensor


@contextlib.contextmanager
def recorded(run: Interpreter) -> Iterator[None]:
    """Let torch.nn.init's functions tell `run` what they fill; their own code comes back at the end."""
    _RUNNING.append(run)
    for name in RECORDED:
        getattr(torch.nn.init, name).__code__ = _stand_in.__code__.replace(co_name=name)
    try:
        yield
    finally:
        _RUNNING.pop()
        if not _RUNNING:
            for name, original in _ORIGINALS.items():
                getattr(torch.nn.init, name).__code__ = original.__code__

"""What networks of a study learn: digits, Gaussian noise, a file, or what a function returns."""

from __future__ import annotations

import importlib
import math
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steadygrad.errors import SetupError, not_allowed, unknown_name
from steadygrad.setup.user_code import user_code

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Examples to learn from and examples held out, all numbers finite.

    Attributes:
        inputs: [examples, features].
        targets: [examples, outputs]; of classes, one-hot rows.
        test_inputs: the same, held out.
        test_targets: the same, held out.
        classes: whether targets are one-hot rows, so that there is an accuracy.

    >>> digits().inputs.shape, digits().test_targets.shape
    (torch.Size([1438, 64]), torch.Size([359, 10]))
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    test_inputs: torch.Tensor
    test_targets: torch.Tensor
    classes: bool = True

    def __post_init__(self) -> None:
        for x, y, part in ((self.inputs, self.targets, ""), (self.test_inputs, self.test_targets, "test_")):
            if x.dim() != 2 or y.dim() != 2 or len(x) != len(y) or not len(x):
                shapes = (tuple(x.shape), tuple(y.shape))
                rule = f"and `{part}targets` must be [examples, features] and [examples, outputs], at least one example"
                raise ValueError(not_allowed(f"{part}inputs", rule, shapes))
            _check_finite(f"{part}inputs", x)
            _check_finite(f"{part}targets", y)
        if self.inputs.shape[1] != self.test_inputs.shape[1] or self.targets.shape[1] != self.test_targets.shape[1]:
            widths = [t.shape[1] for t in (self.inputs, self.targets, self.test_inputs, self.test_targets)]
            rule = "and `test_targets` must have as many columns as `inputs` and `targets`"
            raise ValueError(f"`test_inputs` {rule}, {widths[0]} and {widths[1]}, got {widths[2]} and {widths[3]}.")

    def first(self, examples: int | None) -> Data:
        """Return the data with only so many examples to learn from."""
        if examples is None or examples >= len(self.inputs):
            return self
        return Data(
            inputs=self.inputs[:examples],
            targets=self.targets[:examples],
            test_inputs=self.test_inputs,
            test_targets=self.test_targets,
            classes=self.classes,
        )

    def to(self, dtype: torch.dtype, device: torch.device) -> Data:
        """Return the data in this type on this device."""
        x, y, u, v = (
            t.to(device=device, dtype=dtype) for t in (self.inputs, self.targets, self.test_inputs, self.test_targets)
        )
        return Data(inputs=x, targets=y, test_inputs=u, test_targets=v, classes=self.classes)


def _check_finite(name: str, tensor: torch.Tensor) -> None:
    if wrong := int((~tensor.isfinite()).sum()):
        raise ValueError(f"`{name}` must be finite, got NaN or infinity in {wrong} of {tensor.numel()} entries.")


def split(inputs: Array, targets: Array, *, held_out: float = 0.2, standardize: bool = True) -> Data:
    """Return examples as `Data`, in a fixed random order, the last part of them held out.

    Inputs get one mean and one deviation, those of all entries of the training part, so that q = 1 at the first layer.

    Args:
        inputs: [examples, ...].
        targets: whole numbers [examples], which are classes, or [examples, outputs].
        held_out: share of the examples.
        standardize: whether to.

    Raises:
        ValueError: they are not as many, fewer than two, not numbers, or not finite.
    """
    x, y = _numbers("inputs", inputs), _numbers("targets", targets)
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(not_allowed("targets", "must be as many as `inputs`, at least two", (len(x), len(y))))
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.float64), y[order]
    cut = len(x) - round(held_out * len(x))
    if standardize:
        x = (x - x[:cut].mean()) / (x[:cut].std() or 1.0)
    return _data((x[:cut], y[:cut]), (x[cut:], y[cut:]))


def _numbers(name: str, values: Array) -> NDArray[Any]:
    """The values as an array of numbers, or of truth values, an example a row."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(not_allowed(name, "must be real numbers", str(array.dtype)))
    if not array.ndim:
        raise ValueError(not_allowed(name, "must be an example a row", array.item()))
    return array


def _data(training: tuple[Array, Array], held_out: tuple[Array, Array]) -> Data:
    """Flat examples and, of whole numbers in one dimension, one-hot rows: as many classes as both parts have."""
    both = np.concatenate([training[1], held_out[1]])
    classes = both.ndim == 1 and both.dtype.kind in "biu"
    if classes and both.min() < 0:
        raise SetupError(not_allowed("targets", "that are whole numbers are classes and must be >= 0", int(both.min())))
    rows = _one_hot(both.astype(np.int64)) if classes else _flat(both)
    x, u = (torch.from_numpy(_flat(part[0])) for part in (training, held_out))
    y, v = (torch.from_numpy(part) for part in np.split(rows, [len(training[1])]))
    return Data(inputs=x, targets=y, test_inputs=u, test_targets=v, classes=classes)


def _flat(values: NDArray[Any]) -> Array:
    return values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)


def _one_hot(classes: NDArray[np.int64]) -> Array:
    rows = np.zeros((len(classes), int(classes.max()) + 1))
    rows[np.arange(len(classes)), classes] = 1.0
    return rows


@lru_cache(maxsize=1)
def digits() -> Data:
    """1797 images of 8 x 8 pixels and their classes, 359 of them held out."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SetupError("`data` 'digits' needs scikit-learn: pip install scikit-learn.") from None
    return split(*load_digits(return_X_y=True))


@lru_cache(maxsize=1)
def gaussian() -> Data:
    """1280 independent normal inputs of 64 features, ten classes by the largest of ten random directions."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1280, 64))
    return split(x, (x @ draw.normal(size=(64, 10))).argmax(1), standardize=False)


DATASETS: dict[str, Callable[[], Data]] = {"digits": digits, "gaussian": gaussian}


def check_name(name: str, known: Iterable[str]) -> None:
    """Raise a ValueError unless this may name data: one of the known, a file, or a function of a module."""
    if name not in known and not name.endswith(".npz") and ":" not in name:
        raise ValueError(unknown_name("data", name, [*known, "FILE.npz", "module:function"]))


@lru_cache(maxsize=8)
def load(name: str) -> Data:
    """Return the data that a name stands for.

    Args:
        name: in `DATASETS`; a file "x.npz" with the arrays `inputs` and `targets`, and `test_inputs` and
            `test_targets` or a fifth held out; or "module:function", which returns `Data`.

    Raises:
        ValueError: it names no data.
        SetupError: the data that it names cannot be had; a `UserCodeError` where the function raised.

    >>> load("gaussian").classes
    True
    """
    if name in DATASETS:
        return DATASETS[name]()
    if name.endswith(".npz"):
        return _from_file(Path(name))
    check_name(name, DATASETS)
    return _from_function(name)


def _from_file(path: Path) -> Data:
    try:
        with path.open("rb") as file:
            arrays = dict(np.load(file))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SetupError(f"`data` {str(path)!r} cannot be read: {str(error).rstrip('.')}.") from error
    if missing := {"inputs", "targets"} - set(arrays):
        raise SetupError(f"`data` {str(path)!r} must hold the arrays `inputs` and `targets`, lacks {sorted(missing)}.")
    try:
        return _from_arrays(arrays)
    except ValueError as error:
        raise SetupError(f"`data` {str(path)!r}: {error}") from error


def _from_arrays(arrays: dict[str, Array]) -> Data:
    held_out = {"test_inputs", "test_targets"} & set(arrays)
    if len(held_out) == 1:
        raise ValueError(f"`test_inputs` and `test_targets` go together, got {held_out.pop()} alone.")
    if not held_out:
        return split(arrays["inputs"], arrays["targets"])
    x, y, u, v = (_numbers(name, arrays[name]) for name in ("inputs", "targets", "test_inputs", "test_targets"))
    return _data((x, y), (u, v))


def _from_function(name: str) -> Data:
    module, _, function = name.partition(":")
    with _working_directory_on_path(), user_code(f"`data` {name!r}"):
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise SetupError(f"`data` {name!r} must name a function of a module: {error}.") from error
        if not callable(found):
            raise SetupError(not_allowed("data", f"{name!r} must name a function", found))
        made = found()
    if not isinstance(made, Data):
        raise SetupError(not_allowed("data", f"{name!r} must return Data", type(made).__name__))
    return made


@contextmanager
def _working_directory_on_path() -> Iterator[None]:
    """Let modules that lie beside the spec be found by the installed command too, as `python -m` finds them."""
    path = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = path

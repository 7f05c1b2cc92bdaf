"""What networks of a study learn: digits, Gaussian noise, a file, or what a function returns."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from steadygrad.errors import SetupError, not_allowed, unknown_name

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Examples to learn from and examples held out.

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


def split(inputs: Array, targets: Array, *, held_out: float = 0.2, standardize: bool = True) -> Data:
    """Return examples as `Data`, in a fixed random order, the last part of them held out.

    Inputs get one mean and one deviation, those of all entries of the training part, so that q = 1 at the first layer.

    Args:
        inputs: [examples, ...].
        targets: whole numbers [examples], which are classes, or [examples, outputs].
        held_out: share of the examples.
        standardize: whether to.
    """
    order = np.random.default_rng(0).permutation(len(inputs))
    x = np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1)[order]
    y = np.asarray(targets)[order]
    classes = y.ndim == 1 and np.issubdtype(y.dtype, np.integer)
    rows = np.eye(int(y.max()) + 1)[y] if classes else y.reshape(len(y), -1).astype(np.float64)
    cut = len(x) - round(held_out * len(x))
    if standardize:
        x = (x - x[:cut].mean()) / (x[:cut].std() or 1.0)
    parts = [torch.from_numpy(part) for part in (x[:cut], rows[:cut], x[cut:], rows[cut:])]
    return Data(inputs=parts[0], targets=parts[1], test_inputs=parts[2], test_targets=parts[3], classes=classes)


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


@lru_cache(maxsize=8)
def load(name: str) -> Data:
    """Return the data that a name stands for.

    Args:
        name: in `DATASETS`; a file "x.npz" with the arrays `inputs` and `targets`, and `test_inputs` and
            `test_targets` or a fifth held out; or "module:function", which returns `Data`.

    Raises:
        SetupError: there is no such data.

    >>> load("gaussian").classes
    True
    """
    if name in DATASETS:
        return DATASETS[name]()
    if name.endswith(".npz"):
        return _from_file(Path(name))
    if ":" in name:
        return _from_function(name)
    raise SetupError(unknown_name("data", name, [*DATASETS, "FILE.npz", "module:function"]))


def _from_file(path: Path) -> Data:
    try:
        arrays = dict(np.load(path))
    except (OSError, ValueError) as error:
        raise SetupError(f"`data` {str(path)!r} cannot be read: {error}.") from error
    if missing := {"inputs", "targets"} - set(arrays):
        raise SetupError(f"`data` {str(path)!r} must hold the arrays `inputs` and `targets`, lacks {sorted(missing)}.")
    if "test_inputs" not in arrays:
        return split(arrays["inputs"], arrays["targets"])
    both = split(arrays["inputs"], arrays["targets"], held_out=0.0, standardize=False)
    test = split(arrays["test_inputs"], arrays["test_targets"], held_out=0.0, standardize=False)
    return Data(
        inputs=both.inputs,
        targets=both.targets,
        test_inputs=test.inputs,
        test_targets=test.targets,
        classes=both.classes,
    )


def _from_function(name: str) -> Data:
    module, _, function = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise SetupError(f"`data` {name!r} must name a function of a module: {error}.") from error
    if not isinstance(made, Data):
        raise SetupError(not_allowed("data", f"{name!r} must return Data", type(made).__name__))
    return made

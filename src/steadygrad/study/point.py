"""A point of a grid: one network, its data and its training, said in full; its content is its identity."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import fields
from functools import cached_property, lru_cache
from itertools import compress
from operator import itemgetter, ne
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from steadygrad.errors import not_allowed, unknown_name
from steadygrad.theory import INITIALIZERS, activation

Optimizer = Literal["sgd", "adam", "adamw"]
Loss = Literal["cross-entropy", "mse"]
SLOPED = ("leaky_relu", "prelu")


def _named(subject: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in known:
            raise ValueError(unknown_name(subject, name, known))
        return name

    return check


@lru_cache(maxsize=256)
def _activation_name(name: str) -> str:
    return activation(name).name


def _data_name(name: str) -> str:
    _check_data_name(name)
    return name


@lru_cache(maxsize=256)
def _check_data_name(name: str) -> None:
    from .data import DATASETS, check_name

    check_name(name, DATASETS)


def number(value: Any) -> Any:
    """Return what may be a number as it is: pydantic alone would read one from a truth value or a text too."""
    if isinstance(value, bool | str | bytes):
        raise PydanticCustomError("number", "must be a number")
    return value


def _no_limit(value: Any) -> Any:
    """An infinite threshold clips nothing, as in torch; in a TOML file, which has no null, it is the way to say so."""
    return None if isinstance(value, float) and value == math.inf else value


_Number = BeforeValidator(number)
DataName = Annotated[str, AfterValidator(_data_name)]
Name = Annotated[str, AfterValidator(_activation_name)]
InitializerName = Annotated[str, AfterValidator(_named("initializer", INITIALIZERS))]
Count = Annotated[int, Field(ge=1), _Number]
Natural = Annotated[int, Field(ge=0), _Number]
Seed = Annotated[int, Field(ge=0, lt=2**31), _Number]
Finite = Annotated[float, Field(allow_inf_nan=False), _Number]
Scale = Annotated[float, Field(ge=0, allow_inf_nan=False), _Number]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _Number]
Rate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), _Number]
Limit = Annotated[Positive | None, BeforeValidator(_no_limit)]
YesOrNo = Annotated[bool, Strict()]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=False))
class Point:
    """One MLP, the data that it sees and how it is trained.

    `depth` hidden layers of `width` units, each Linear and activation, then one Linear. Weights come from
    `initializer` times `gain`, or are N(0, sigma_w^2 / fan_in) where `sigma_w` is given; biases are N(0, sigma_b^2)
    where `sigma_b` is given, else the initializer's own; `bias_mean` is added to those of the hidden layers.

    Attributes:
        data: a name in `study.data.DATASETS`, a file "x.npz", or "module:function".
        examples: how many examples of the training part are used; all by default.
        depth: hidden layers, >= 1.
        width: units of a hidden layer.
        activation: a name in `theory.NAMES`.
        slope: of leaky_relu, or of prelu before it is trained; torch's own default where it is not given.
        initializer: a name in `theory.INITIALIZERS`; torch's default where `sigma_w` is not given either.
        gain: multiplies the initializer's weights.
        sigma_w: sqrt(fan_in Var(w)), with normal weights.
        sigma_b: standard deviation of a bias.
        bias_mean: added to every hidden bias.
        loss: "cross-entropy", or "mse" (against one-hot targets where the data has classes).
        optimizer: "sgd", "adam" or "adamw", as torch.optim defines them.
        learning_rate: >= 0.
        momentum: of sgd.
        nesterov: whether sgd looks ahead.
        beta1: of adam and adamw.
        beta2: of adam and adamw.
        epsilon: of adam and adamw.
        weight_decay: as the optimizer defines it.
        clip_norm: largest norm of the whole gradient; none where it is infinite.
        clip_value: largest entry of the gradient; none where it is infinite.
        nonfinite: "stop" freezes the network at the first loss or gradient that is not finite, "skip" leaves out
            that step and goes on.
        batch_size: examples a step, drawn without replacement within an epoch; all of them where there are not as
            many, or where it is None.
        steps: optimizer steps; 0 measures the network as it is drawn.
        seed: of the draw of the weights and of the order of the examples.
        dtype: "float32" or "float64".
        curve: how many points of the training curve are kept, evenly spaced.

    Raises:
        pydantic.ValidationError: a ValueError that names the field.

    >>> point = Point(depth=4, width=16, activation="tanh", sigma_w=1.5)
    >>> point.learning_rate, point.identity == Point(depth=4, width=16, activation="tanh", sigma_w=1.5).identity
    (0.01, True)
    """

    data: DataName = "digits"
    examples: Count | None = None
    depth: Count
    width: Count
    activation: Name
    slope: Finite | None = None
    initializer: InitializerName | None = None
    gain: Scale = 1.0
    sigma_w: Scale | None = None
    sigma_b: Scale | None = None
    bias_mean: Finite = 0.0
    loss: Loss = "cross-entropy"
    optimizer: Optimizer = "sgd"
    learning_rate: Scale = 0.01
    momentum: Rate = 0.0
    nesterov: YesOrNo = False
    beta1: Rate = 0.9
    beta2: Rate = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Scale = 0.0
    clip_norm: Limit = None
    clip_value: Limit = None
    nonfinite: Literal["stop", "skip"] = "stop"
    batch_size: Count | None = 64
    steps: Natural = 200
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = "float32"
    curve: Natural = 32

    @model_validator(mode="after")
    def _fits_together(self) -> Point:
        if self.sigma_w is not None and (self.initializer is not None or self.gain != 1):
            raise ValueError("`sigma_w` is the scale of the weights: give it, or `initializer` and `gain`, not both.")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("`clip_norm` and `clip_value` exclude each other: give one.")
        if self.slope is not None and self.activation not in SLOPED:
            raise ValueError(not_allowed("slope", f"is for {' and '.join(SLOPED)}", self.activation))
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum > 0):
            raise ValueError("`nesterov` needs the optimizer 'sgd' and a momentum > 0.")
        return self

    @cached_property
    def identity(self) -> str:
        """The hash of its content: of every field that is not at its default, so that new fields change none."""
        values = _values(self.__dict__)
        said = dict(compress(zip(FIELDS, values, strict=True), map(ne, values, _values(_DEFAULTS))))
        return hashlib.blake2b(_in_order(said).encode(), digest_size=12).hexdigest()


_in_order = json.JSONEncoder(sort_keys=True).encode
FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Point))
_values: Callable[[dict[str, Any]], tuple[Any, ...]] = itemgetter(*FIELDS)
# Of what every point must say there is no default, and nothing is equal to what stands for it.
_MISSING = object()
_DEFAULTS = dict.fromkeys(FIELDS, _MISSING)


def kind(key: str, value: object) -> object:
    """Return what of a value decides whether a point fits together: a name, or of a number whether it is the default.

    >>> kind("gain", 1.0), kind("gain", 2.0) == kind("gain", 3.0), kind("optimizer", "adam")
    (True, True, 'adam')
    """
    return value if isinstance(value, str | bool) else value == _DEFAULTS.get(key)


def _read_defaults() -> None:
    required = ("depth", "width", "activation")
    example = Point(depth=1, width=1, activation="relu")
    _DEFAULTS.update({key: example.__dict__[key] for key in FIELDS if key not in required})


_read_defaults()

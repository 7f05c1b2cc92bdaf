"""A grid of points, from Python or from a TOML file: fixed values, products and zips."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from itertools import product as every_combination
from pathlib import Path
from typing import Annotated, Any, Self, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from .axis import values_of
from .point import FIELDS, Natural, Point, Seed, kind
from .spec_error import SpecError, Where, said_of
from .toml_lines import parse

_HINTS = get_type_hints(Point, include_extras=True)
_STRICT = ConfigDict(extra="forbid", frozen=True)


def _tables() -> tuple[type[BaseModel], type[BaseModel]]:
    """The table of fixed values and that of axes: one key a field of `Point`, checked as the field is."""
    one: dict[str, Any] = {name: (_HINTS[name] | None, None) for name in FIELDS}
    axis: dict[str, Any] = {
        name: (Annotated[tuple[_HINTS[name], ...], BeforeValidator(values_of)], ())  # type: ignore[valid-type]
        for name in FIELDS
    }
    return create_model("Fixed", __config__=_STRICT, **one), create_model("Axes", __config__=_STRICT, **axis)


Fixed, Axes = _tables()


def _same_length(axes: BaseModel) -> BaseModel:
    lengths = {name: len(getattr(axes, name)) for name in sorted(axes.model_fields_set)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the lists of a `zip` go together and must be of one length, got {listed}.")
    return axes


class Spec(BaseModel):
    """A grid: every combination of the lists of `product`, of the zips and of the seeds, over the fixed values.

    Attributes:
        name: of the study.
        fixed: a value each.
        product: a list each, or {start, stop, count, spacing}; every combination is a point.
        zip: tables of lists of one length, which go together.
        seeds: how many (from 0 on), or which.

    Raises:
        SpecError: a key or a value is not known or not allowed; from a file, with its line.

    >>> spec = Spec.of(name="scale", fixed={"depth": 3, "width": 8, "activation": "tanh"},
    ...                product={"sigma_w": [1.0, 1.5]}, seeds=3)
    >>> len(spec), next(spec.points()).sigma_w
    (6, 1.0)
    >>> Spec.of(name="typo", fixed={"widht": 8})
    Traceback (most recent call last):
    steadygrad.study.spec_error.SpecError: `fixed.widht` ... Did you mean 'width'?
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    fixed: Fixed = Fixed()  # type: ignore[valid-type]
    product: Axes = Axes()  # type: ignore[valid-type]
    zip: tuple[Annotated[Axes, AfterValidator(_same_length)], ...] = ()  # type: ignore[valid-type]
    seeds: Natural | tuple[Seed, ...] = 1

    @classmethod
    def of(
        cls,
        *,
        name: str,
        fixed: dict[str, Any] | None = None,
        product: dict[str, Any] | None = None,
        zip: Sequence[dict[str, Any]] = (),  # the table's own name
        seeds: int | Sequence[int] | None = None,
    ) -> Spec:
        """Return a spec from Python values; one seed, 0, where neither `seeds` nor a key `seed` is given."""
        given: dict[str, Any] = {"name": name, "fixed": fixed or {}, "product": product or {}, "zip": list(zip)}
        return cls.checked(given if seeds is None else {**given, "seeds": seeds})

    @classmethod
    def read(cls, path: str | Path) -> Spec:
        """Return the spec that a TOML file holds."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")  # some editors mark the file as UTF-8
        except OSError as error:
            raise SpecError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise SpecError(f"{path} cannot be read: TOML is UTF-8 text, and its byte {error.start} is not.") from error
        return cls.from_toml(text, source=str(path))

    @classmethod
    def from_toml(cls, text: str, *, source: str = "spec") -> Spec:
        """Return the spec that TOML text holds; `source` is what errors call it."""
        tables, line_of = parse(text, source)
        try:
            return cls.checked(tables)
        except SpecError as error:
            raise SpecError(f"{source}:{line_of(error.where)}: {error}", where=error.where) from error

    @classmethod
    def checked(cls, tables: dict[str, Any]) -> Spec:
        """Return a spec from nested tables, in the form of the TOML file."""
        try:
            return cls.model_validate(tables)
        except ValidationError as error:
            raise said_of(error) from None

    def axes(self) -> list[list[dict[str, Any]]]:
        """Return what is combined: one list an axis, of the values that each step along it sets."""
        axes = self._given_axes()
        if "seed" not in self._places():
            seeds = range(self.seeds) if isinstance(self.seeds, int) else self.seeds
            axes.append([{"seed": seed} for seed in seeds])
        return axes

    def _given_axes(self) -> list[list[dict[str, Any]]]:
        axes = [[{key: value} for value in values] for key, values in _set(self.product).items()]
        for table in self.zip:
            columns = _set(table)
            axes.append([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
        return axes

    def lengths(self) -> list[tuple[str, int]]:
        """Return the name of each axis (a zip's first key) and its length, without expanding any."""
        lengths = [(key, len(values)) for key, values in _set(self.product).items()]
        lengths += [(next(iter(_set(table)), "zip"), _length(table)) for table in self.zip]
        if "seed" not in self._places():
            lengths.append(("seed", self.seeds if isinstance(self.seeds, int) else len(self.seeds)))
        return lengths

    def values(self, key: str) -> list[Any]:
        """Return what is given for a key, wherever it is; nothing where it is left at its default.

        >>> Spec.of(name="s", fixed={"width": 8, "activation": "relu"}, product={"depth": [3, 1]}).values("depth")
        [3, 1]
        """
        tables = [self.product, *self.zip]
        given = [value for table in tables for value in _set(table).get(key, ())]
        return [*given, _set(self.fixed)[key]] if key in _set(self.fixed) else given

    def __len__(self) -> int:
        return math.prod(length for _, length in self.lengths())

    def points(self) -> Iterator[Point]:
        """Yield the points in the order of the axes, the last (the seeds) quickest; none twice."""
        seen: set[str] = set()
        fixed = _set(self.fixed)
        for steps in every_combination(*self.axes()):
            point = self._point(fixed, steps)
            if point.identity not in seen:
                seen.add(point.identity)
                yield point

    @property
    def identity(self) -> str:
        """The hash of its content, by which a result folder knows its spec."""
        content = json.dumps(self.tables(), sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()

    def tables(self) -> dict[str, Any]:
        """Return its content as nested tables, ranges written out."""
        dumped: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        if "seed" not in self._places():
            dumped["seeds"] = self.seeds if isinstance(self.seeds, int) else list(self.seeds)
        return {key: value for key, value in dumped.items() if value}

    def _places(self) -> dict[str, list[Where]]:
        """Return the paths at which each key is given."""
        places: dict[str, list[Where]] = {}
        tables: list[tuple[Where, Any]] = [(("fixed",), self.fixed), (("product",), self.product)]
        tables += [(("zip", i), table) for i, table in enumerate(self.zip)]
        for path, table in tables:
            for key in _set(table):
                places.setdefault(key, []).append((*path, key))
        return places

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        places = self._places()
        for key, where in places.items():
            if len(where) > 1:
                raise SpecError(f"`{key}` must be given once, got it in two tables.", where=where[-1])
        if "seed" in places and "seeds" in self.model_fields_set:
            raise SpecError("`seeds` and `seed` exclude each other: give one.", where=("seeds",))
        for key in ("depth", "width", "activation"):
            if key not in places:
                raise SpecError(f"`{key}` must be given, in `fixed`, `product` or a `zip`.", where=("fixed",))
        self._check_not_empty()
        fixed, axes = _set(self.fixed), [_one_of_each_kind(axis) for axis in self._given_axes()]
        for steps in every_combination(*axes):
            self._point(fixed, steps)
        return self

    def _check_not_empty(self) -> None:
        empty: list[Where] = [("zip", i) for i, table in enumerate(self.zip) if not _length(table)]
        if self.seeds in (0, ()):
            empty.append(("seeds",))
        if empty:
            name = empty[0][0]
            raise SpecError(f"`{name}` must not be empty: the grid has no point.", where=empty[0])

    def _point(self, fixed: dict[str, Any], steps: Sequence[dict[str, Any]]) -> Point:
        values = dict(fixed)
        for step in steps:
            values.update(step)
        try:
            return Point(**values)
        except ValidationError as error:
            said = str(said_of(error))
            at = f" (at {_words(steps)})" if steps else ""
            where = next((places[0] for key, places in self._places().items() if said.startswith(f"`{key}`")), ())
            raise SpecError(f"{said}{at}", where=where) from None


def _set(table: Any) -> dict[str, Any]:
    return {name: getattr(table, name) for name in type(table).model_fields if name in table.model_fields_set}


def _length(table: Any) -> int:
    return max((len(values) for values in _set(table).values()), default=0)


def _one_of_each_kind(axis: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for step in axis:
        found.setdefault(tuple(kind(key, value) for key, value in step.items()), step)
    return list(found.values())


def _words(steps: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{key} = {value}" for step in steps for key, value in step.items())
